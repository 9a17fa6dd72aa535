package adapter

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/tinylib/msgp/msgp"
)

// jsonToMsgpack appends to dst what @msgpack/msgpack and notepack.io decode to the value that JSON.parse makes of
// src. If binary is set, stand-ins for binary values become those.
func jsonToMsgpack(dst []byte, src string, binary bool) ([]byte, error) {
	if err := checkJSON(src); err != nil {
		return nil, err
	}
	p := packer{dst: dst, src: src, binary: binary}
	p.value()
	return p.dst, nil
}

// packer goes over valid JSON once.
type packer struct {
	dst    []byte
	src    string // what is left
	binary bool
}

// next skips white space, and returns the byte after it.
func (p *packer) next() byte {
	p.src = strings.TrimLeft(p.src, " \t\r\n")
	return p.src[0]
}

func (p *packer) skip(n int) { p.src = p.src[n:] }

func (p *packer) value() {
	switch p.next() {
	case '{':
		if !p.standIn() {
			p.object()
		}
	case '[':
		p.array()
	case '"':
		p.text()
	case 't':
		p.dst = msgp.AppendBool(p.dst, true)
		p.skip(len("true"))
	case 'f':
		p.dst = msgp.AppendBool(p.dst, false)
		p.skip(len("false"))
	case 'n':
		p.dst = msgp.AppendNil(p.dst)
		p.skip(len("null"))
	default:
		p.number()
	}
}

func (p *packer) array() {
	start, n := p.open(), uint32(0)
	for ; p.next() != ']'; n++ {
		p.value()
		p.comma()
	}
	p.close(start, msgp.AppendArrayHeader(nil, n))
}

func (p *packer) object() {
	start, n := p.open(), uint32(0)
	for ; p.next() != '}'; n++ {
		p.text()
		p.next()
		p.skip(len(":"))
		p.value()
		p.comma()
	}
	p.close(start, msgp.AppendMapHeader(nil, n))
}

func (p *packer) comma() {
	if p.next() == ',' {
		p.skip(len(","))
	}
}

// open leaves room for the short header of a container: how much is in it is known only at its end, and mostly little.
func (p *packer) open() (start int) {
	p.skip(len("{"))
	p.dst = append(p.dst, 0)
	return len(p.dst) - 1
}

func (p *packer) close(start int, header []byte) {
	p.skip(len("}"))
	p.dst[start] = header[0]
	p.dst = slices.Insert(p.dst, start+1, header[1:]...)
}

func (p *packer) text() {
	end, escaped := 1, false
	for ; p.src[end] != '"'; end++ {
		if p.src[end] == '\\' {
			escaped = true
			end++
		}
	}
	text := p.src[1:end]
	if escaped {
		_ = json.Unmarshal([]byte(p.src[:end+1]), &text) // it is valid
	}
	p.dst = msgp.AppendString(p.dst, validUTF8(text))
	p.skip(end + 1)
}

// number writes integers of 64 bits as such, and all else as the double that JavaScript has.
func (p *packer) number() {
	end := strings.IndexAny(p.src, ",]} \t\r\n")
	if end < 0 {
		end = len(p.src)
	}
	digits := p.src[:end]
	p.skip(end)
	if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
		p.dst = msgp.AppendUint64(p.dst, n)
		return
	}
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n != 0 { // there is a -0
		p.dst = msgp.AppendInt64(p.dst, n)
		return
	}
	f, _ := strconv.ParseFloat(digits, 64) // one that is too large is infinite, as in JavaScript
	p.dst = msgp.AppendFloat64(p.dst, f)
}

// standIn writes the binary value that a stand-in is for, and reports whether there was one.
func (p *packer) standIn() bool {
	text, ok := strings.CutPrefix(p.src, binaryMark)
	if !ok || !p.binary {
		return false
	}
	text, rest, ok := strings.Cut(text, `"}`)
	if !ok {
		return false
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	p.dst, p.src = msgp.AppendBytes(p.dst, data), rest
	return true
}
