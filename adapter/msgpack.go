package adapter

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// Node's adapters write MessagePack with @msgpack/msgpack (the streams adapter) and notepack.io (the others). Here it
// is turned into the JSON text that JSON.stringify would make of the value, and back (msgpackencode.go).

// maxDepth is how deep values may be nested, in JSON and in MessagePack, so that no stack overflows.
const maxDepth = 1000

// binaryMark opens the stand-in for a binary value, see Message.Binary. It cannot be found inside a JSON string, where
// its quotes would be escaped.
const binaryMark = `{"_placeholder":true,"num":-1,"base64":"`

var errMsgpack = fmt.Errorf("%w: not MessagePack that has a meaning in JSON", errWire)

// msgpackToJSON turns one value into JSON text and appends it to dst. Binary values become their stand-ins, dates the
// text that Date.toJSON gives, what is not a number null; so does undefined, but for members of objects, which are left
// out. Extensions other than those are an error: no adapter writes them, and a hole in their place would look
// like the event that somebody meant.
func msgpackToJSON(dst, src []byte) ([]byte, error) {
	dst, rest, err := unpackValue(dst, src, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after its end", len(rest))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMsgpack, err)
	}
	return dst, nil
}

// unpackValue appends the first value of src, and returns what comes after it. A length that src claims allocates
// nothing before its bytes are seen.
func unpackValue(dst, src []byte, depth int) (out, rest []byte, err error) {
	switch msgp.NextType(src) {
	case msgp.StrType:
		text, rest, err := msgp.ReadStringZC(src)
		return appendString(dst, text), rest, err
	case msgp.BinType:
		data, rest, err := msgp.ReadBytesZC(src)
		if err == nil {
			dst, err = unpackBinary(dst, data, depth+1)
		}
		return dst, rest, err
	case msgp.IntType:
		n, rest, err := msgp.ReadInt64Bytes(src)
		return strconv.AppendInt(dst, n, 10), rest, err
	case msgp.UintType:
		n, rest, err := msgp.ReadUint64Bytes(src)
		return strconv.AppendUint(dst, n, 10), rest, err
	case msgp.Float32Type, msgp.Float64Type:
		f, rest, err := msgp.ReadFloat64Bytes(src)
		return appendFloat(dst, f), rest, err
	case msgp.BoolType:
		b, rest, err := msgp.ReadBoolBytes(src)
		return strconv.AppendBool(dst, b), rest, err
	case msgp.NilType:
		return append(dst, "null"...), src[1:], nil
	case msgp.ArrayType:
		return unpackArray(dst, src, depth+1)
	case msgp.MapType:
		return unpackObject(dst, src, depth+1)
	case msgp.InvalidType:
		return nil, nil, errors.New("it ends early, or has a byte that begins nothing")
	default:
		return unpackExtension(dst, src, depth)
	}
}

func unpackArray(dst, src []byte, depth int) (out, rest []byte, err error) {
	n, src, err := msgp.ReadArrayHeaderBytes(src)
	if err == nil && depth > maxDepth {
		err = errDepth
	}
	if err != nil {
		return nil, nil, err
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, src, err = unpackValue(dst, src, depth); err != nil {
			return nil, nil, err
		}
	}
	return append(dst, ']'), src, nil
}

func unpackObject(dst, src []byte, depth int) (out, rest []byte, err error) {
	n, src, err := msgp.ReadMapHeaderBytes(src)
	if err == nil && depth > maxDepth {
		err = errDepth
	}
	if err != nil {
		return nil, nil, err
	}
	dst = append(dst, '{')
	first := len(dst)
	for range n {
		before := len(dst)
		if before > first {
			dst = append(dst, ',')
		}
		if dst, src, err = unpackKey(dst, src, before == first); err != nil {
			return nil, nil, err
		}
		if isUndefined(src) {
			dst, src = dst[:before], src[undefinedSize:]
			continue
		}
		if dst, src, err = unpackValue(append(dst, ':'), src, depth); err != nil {
			return nil, nil, err
		}
	}
	return append(dst, '}'), src, nil
}

// unpackKey appends the name of a member. JavaScript's are strings, so a number becomes one.
func unpackKey(dst, src []byte, first bool) (out, rest []byte, err error) {
	switch msgp.NextType(src) {
	case msgp.StrType:
		text, rest, err := msgp.ReadStringZC(src)
		if first && string(text) == "_placeholder" {
			dst = append(dst, ' ') // an object that looks like a stand-in is none, thanks to this space
		}
		return appendString(dst, text), rest, err
	case msgp.IntType, msgp.UintType:
		if dst, rest, err = unpackValue(append(dst, '"'), src, 0); err != nil {
			return nil, nil, err
		}
		return append(dst, '"'), rest, nil
	default:
		return nil, nil, errors.New("a key is neither text nor an integer")
	}
}

// unpackBinary writes a stand-in, which is an object and so a level deeper.
func unpackBinary(dst, data []byte, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	dst = base64.StdEncoding.AppendEncode(append(dst, binaryMark...), data)
	return append(dst, `"}`...), nil
}

// appendFloat writes a number as JSON.stringify does.
func appendFloat(dst []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(dst, "null"...)
	}
	if abs := math.Abs(f); abs == 0 || abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-2] == '0' && dst[n-3] == '-' { // 1e-07
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}

// Types of extensions: what notepack.io made up, and the timestamp of the specification, which both packages write.
const (
	extNotepack  = 0
	extTimestamp = -1
)

// isUndefined reports whether src begins with notepack.io's undefined.
func isUndefined(src []byte) bool {
	return len(src) >= undefinedSize && src[0] == fixext1 && src[1] == extNotepack
}

const (
	fixext1       = 0xd4 // the first of five with a fixed size
	fixext16      = 0xd8
	ext8          = 0xc7 // the first of three with a size of one, two and four bytes
	ext32         = 0xc9
	undefinedSize = 3
)

func unpackExtension(dst, src []byte, depth int) (out, rest []byte, err error) {
	if isUndefined(src) {
		return append(dst, "null"...), src[undefinedSize:], nil
	}
	kind, data, rest, err := readExtension(src)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case kind == extTimestamp && len(data) == 4:
		return appendDate(dst, int64(binary.BigEndian.Uint32(data)), 0), rest, nil
	case kind == extTimestamp && len(data) == 8: // 30 bits of nanoseconds, 34 of seconds
		both := binary.BigEndian.Uint64(data)
		return appendDate(dst, int64(both&(1<<34-1)), uint32(both>>34)), rest, nil
	case kind == extTimestamp && len(data) == 12:
		return appendDate(dst, int64(binary.BigEndian.Uint64(data[4:])), binary.BigEndian.Uint32(data)), rest, nil
	case kind == extNotepack && src[0] <= ext32: // an ArrayBuffer
		dst, err = unpackBinary(dst, data, depth+1)
		return dst, rest, err
	case kind == extNotepack && len(data) == 8: // a Date of older releases
		return appendMillis(dst, float64(int64(binary.BigEndian.Uint64(data)))), rest, nil
	default:
		return nil, nil, fmt.Errorf("an extension of type %d with %d bytes", kind, len(data))
	}
}

func readExtension(src []byte) (kind int8, data, rest []byte, err error) {
	var head, size int
	switch first := src[0]; {
	case first >= fixext1 && first <= fixext16:
		head, size = 2, 1<<(first-fixext1)
	case first >= ext8 && first <= ext32:
		width := 1 << (first - ext8)
		if head = width + 2; len(src) < head {
			return 0, nil, nil, msgp.ErrShortBytes
		}
		var wide [4]byte
		copy(wide[4-width:], src[1:])
		size = int(min(binary.BigEndian.Uint32(wide[:]), math.MaxInt32))
	}
	if len(src) < head || len(src)-head < size {
		return 0, nil, nil, msgp.ErrShortBytes
	}
	return int8(src[head-1]), src[head : head+size], src[head+size:], nil
}

func appendDate(dst []byte, sec int64, nsec uint32) []byte {
	return appendMillis(dst, math.Trunc(float64(sec)*1e3+float64(nsec)/1e6))
}

// appendMillis writes a date, in milliseconds since the epoch, as Date.toJSON does (ECMAScript, "Date Time String
// Format"): years of six digits where four do not do, and null where no Date is.
func appendMillis(dst []byte, ms float64) []byte {
	if math.Abs(ms) > 8.64e15 {
		return append(dst, "null"...)
	}
	at := time.UnixMilli(int64(ms)).UTC()
	if year := at.Year(); year < 0 || year > 9999 {
		return fmt.Appendf(dst, `"%+07d%s"`, year, at.Format("-01-02T15:04:05.000Z"))
	}
	return at.AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
}
