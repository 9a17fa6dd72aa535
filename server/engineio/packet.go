package engineio

import (
	"bytes"
	"encoding/base64"
	"errors"
	"unicode/utf8"
)

// Packet types of Engine.IO 4, the first byte of every text packet.
const (
	typeOpen    = '0'
	typeClose   = '1'
	typePing    = '2'
	typePong    = '3'
	typeMessage = '4'
	typeUpgrade = '5'
	typeNoop    = '6'
	typeBase64  = 'b' // a binary message where only text can go
)

const separator = '\x1e' // between the packets of a polling payload

var errPacket = errors.New("not an Engine.IO packet")

// packet is one decoded packet. A binary message has type typeMessage.
type packet struct {
	kind   byte
	binary bool
	data   []byte
}

// parsePacket decodes a text packet. The data of the result points into p, but for base64.
func parsePacket(p []byte) (packet, error) {
	if len(p) == 0 || !utf8.Valid(p) {
		return packet{}, errPacket
	}
	switch kind := p[0]; {
	case kind >= typeOpen && kind <= typeNoop:
		return packet{kind: kind, data: p[1:]}, nil
	case kind == typeBase64:
		data, err := decodeBase64(p[1:])
		return packet{kind: typeMessage, binary: true, data: data}, err
	}
	return packet{}, errPacket
}

// decodeBase64 takes standard base64 with or without padding, as clients send both.
func decodeBase64(p []byte) ([]byte, error) {
	p = bytes.TrimRight(p, "=")
	out := make([]byte, base64.RawStdEncoding.DecodedLen(len(p)))
	n, err := base64.RawStdEncoding.Decode(out, p)
	if err != nil {
		return nil, errPacket
	}
	return out[:n], nil
}

// appendPacket encodes p as text.
func appendPacket(dst []byte, p packet) []byte {
	if p.binary {
		return base64.StdEncoding.AppendEncode(append(dst, typeBase64), p.data)
	}
	return append(append(dst, p.kind), p.data...)
}

// eachPacket decodes a polling payload and calls fn for every packet until one is wrong or fn returns false.
func eachPacket(payload []byte, fn func(packet) bool) error {
	for more := true; more; {
		var one []byte
		one, payload, more = bytes.Cut(payload, []byte{separator})
		p, err := parsePacket(one)
		if err != nil {
			return err
		}
		if !fn(p) {
			return nil
		}
	}
	return nil
}
