package socketio

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Packet types of Socket.IO protocol 5.
const (
	typeConnect      = '0'
	typeDisconnect   = '1'
	typeEvent        = '2'
	typeAck          = '3'
	typeConnectError = '4'
	typeBinaryEvent  = '5'
	typeBinaryAck    = '6'
)

// reservedEvents mean something to clients or to Node's servers, so they are no names for events.
var reservedEvents = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

var errPacket = errors.New("not a Socket.IO packet")

// packet is a decoded packet. Binary types are told apart by attachments alone.
type packet struct {
	kind        byte
	namespace   string
	id          uint64 // of the ack asked for or given
	hasID       bool
	attachments int
	data        []byte // JSON, or nil
	name        string // of an event that was parsed
}

const maxAckID = 1<<53 - 1 // what JavaScript counts to

// parsePacket decodes a text packet (protocol 5, "Packet encoding"). data of the result points into p; it is valid
// JSON of the kind that the type asks for.
func parsePacket(p []byte, maxAttachments int) (packet, error) {
	if len(p) == 0 || p[0] < typeConnect || p[0] > typeBinaryAck {
		return packet{}, errPacket
	}
	out := packet{kind: p[0], namespace: "/"}
	rest := p[1:]
	if out.kind == typeBinaryEvent || out.kind == typeBinaryAck {
		digits, after, ok := bytes.Cut(rest[:min(len(rest), 12)], []byte{'-'})
		n, err := strconv.ParseUint(string(digits), 10, 32)
		if !ok || err != nil || n < 1 || n > uint64(maxAttachments) {
			return packet{}, fmt.Errorf("%w: want 1 to %d attachments", errPacket, maxAttachments)
		}
		out.kind -= typeBinaryEvent - typeEvent
		out.attachments = int(n)
		rest = rest[len(rest[:min(len(rest), 12)])-len(after):]
	}
	if len(rest) > 0 && rest[0] == '/' {
		name, after, _ := bytes.Cut(rest, []byte{','})
		if len(name) > maxNamespace {
			return packet{}, fmt.Errorf("%w: namespace over %d bytes", errPacket, maxNamespace)
		}
		out.namespace, rest = string(name), after
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits > 0 {
		id, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
		if err != nil || id > maxAckID {
			return packet{}, fmt.Errorf("%w: ack id out of range", errPacket)
		}
		out.id, out.hasID, rest = id, true, rest[digits:]
	}
	if len(rest) > 0 {
		out.data = rest
	}
	if !out.valid() {
		return packet{}, fmt.Errorf("%w: wrong payload", errPacket)
	}
	return out, nil
}

// maxNamespace bounds a namespace's name in bytes.
const maxNamespace = 1024

// valid reports whether the payload is what the type wants.
func (p *packet) valid() bool {
	if p.data != nil && !json.Valid(p.data) {
		return false
	}
	switch p.kind {
	case typeConnect:
		return p.data == nil || p.data[0] == '{'
	case typeDisconnect:
		return p.data == nil
	case typeConnectError:
		return p.data != nil && (p.data[0] == '{' || p.data[0] == '"')
	case typeEvent:
		name, ok := eventName(p.data)
		p.name = name
		return ok && !slices.Contains(reservedEvents, name)
	default:
		return p.data != nil && p.data[0] == '[' && (p.hasID || p.kind != typeAck)
	}
}

// eventName is the first element of an event's payload. Like Node it takes a number for a name.
func eventName(data []byte) (string, bool) {
	if len(data) == 0 || data[0] != '[' {
		return "", false
	}
	first, _ := nextElement(data[1:])
	switch {
	case len(first) == 0:
		return "", false
	case first[0] == '-' || first[0] >= '0' && first[0] <= '9':
		return string(first), true
	case first[0] != '"':
		return "", false
	case bytes.IndexByte(first, '\\') < 0:
		return string(first[1 : len(first)-1]), true
	}
	var name string
	err := json.Unmarshal(first, &name)
	return name, err == nil
}

// appendPacket encodes p.
func appendPacket(dst []byte, p packet) []byte {
	if p.attachments > 0 {
		dst = strconv.AppendInt(append(dst, p.kind+typeBinaryEvent-typeEvent), int64(p.attachments), 10)
		dst = append(dst, '-')
	} else {
		dst = append(dst, p.kind)
	}
	if p.namespace != "/" {
		dst = append(append(dst, p.namespace...), ',')
	}
	if p.hasID {
		dst = strconv.AppendUint(dst, p.id, 10)
	}
	return append(dst, p.data...)
}

// elements splits a valid JSON array. The elements point into data.
func elements(data []byte) []json.RawMessage {
	var out []json.RawMessage
	for rest := data[1:]; ; {
		var e []byte
		if e, rest = nextElement(rest); e == nil {
			return out
		}
		out = append(out, e)
	}
}

// nextElement cuts the first element off the rest of a valid JSON array, nil at its end.
func nextElement(rest []byte) (element, after []byte) {
	rest = bytes.TrimLeft(rest, ", \t\r\n")
	depth, quoted := 0, false
	for i := 0; i < len(rest); i++ {
		switch b := rest[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '[' || b == '{':
			depth++
		case depth > 0 && (b == ']' || b == '}'):
			depth--
		case depth == 0 && (b == ',' || b == ']'):
			if i == 0 {
				return nil, nil
			}
			return bytes.TrimRight(rest[:i], " \t\r\n"), rest[i:]
		}
	}
	return nil, nil
}

// Binary is bytes that travel as they are, as a binary attachment, wherever in an argument they are found. On the
// other side they are a Buffer, ArrayBuffer or Blob. (A []byte would travel as base64 text.)
type Binary []byte

// binaryMark opens the stand-in that a Binary leaves in JSON until its packet is put together. It cannot be found
// inside a JSON string, where its quotes would be escaped.
const binaryMark = `{"_placeholder":true,"num":-1,"base64":"`

// MarshalJSON writes a stand-in for the attachment.
func (b Binary) MarshalJSON() ([]byte, error) {
	out := base64.StdEncoding.AppendEncode([]byte(binaryMark), b)
	return append(out, `"}`...), nil
}

// extractBinary replaces the stand-ins in data by placeholders and returns the attachments.
func extractBinary(data []byte) ([]byte, [][]byte) {
	if !bytes.Contains(data, []byte(binaryMark)) {
		return data, nil
	}
	var out []byte
	var attachments [][]byte
	for {
		before, after, found := bytes.Cut(data, []byte(binaryMark))
		out = append(out, before...)
		if !found {
			return out, attachments
		}
		text, rest, _ := bytes.Cut(after, []byte(`"}`))
		bin, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil { // not ours: a raw argument that looks like one stays as it is
			out = append(out, binaryMark...)
			data = after
			continue
		}
		out = append(out, `{"_placeholder":true,"num":`...)
		out = strconv.AppendInt(out, int64(len(attachments)), 10)
		out = append(out, '}')
		attachments = append(attachments, bin)
		data = rest
	}
}

// hasBinary reports whether there are stand-ins in data.
func hasBinary(data []byte) bool {
	_, attachments := extractBinary(data)
	return attachments != nil
}

// plainBinary replaces the stand-ins in data by their base64 strings.
func plainBinary(data []byte) []byte {
	var out []byte
	for {
		before, after, found := bytes.Cut(data, []byte(binaryMark))
		out = append(out, before...)
		if !found {
			return out
		}
		text, rest, _ := bytes.Cut(after, []byte(`"}`))
		out = append(append(append(out, '"'), text...), '"')
		data = rest
	}
}

// insertBinary replaces the placeholders in data by the attachments: a []byte in base64, which encoding/json decodes
// into a []byte or Binary field, and a Binary by its stand-in.
func insertBinary[B ~[]byte](data []byte, attachments []B) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	tree, err := replacePlaceholders(tree, attachments)
	if err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

// replacePlaceholders recurses at most as deep as encoding/json decodes, 10,000 levels.
func replacePlaceholders[B ~[]byte](v any, attachments []B) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		for i := range v {
			if v[i], err = replacePlaceholders(v[i], attachments); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		if v["_placeholder"] == true {
			num, ok := v["num"].(json.Number)
			n, err := strconv.Atoi(string(num))
			if !ok || err != nil || n < 0 || n >= len(attachments) {
				return nil, fmt.Errorf("%w: placeholder without attachment", errPacket)
			}
			return attachments[n], nil
		}
		for k := range v {
			if v[k], err = replacePlaceholders(v[k], attachments); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
