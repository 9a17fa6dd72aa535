package engineio

import (
	"encoding/binary"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// A Message is what goes out to clients, encoded once and shared by all of them: text, or text followed by
// binary attachments that nothing may come between. It is read-only after it was made.
type Message struct {
	// wire is what a websocket is sent: one frame a packet.
	wire []byte
	// parts are the packets in wire, their bounds without the frame header. A message of one text packet, the
	// common case, has none: it begins at head and ends with wire.
	parts []part
	head  uint8
	// Volatile messages are dropped where they would have to wait. Set before the first send.
	Volatile bool

	deflate  sync.Once
	deflated []byte // wire with compressed frames; made for the first connection that wants it
}

type part struct {
	start, end int
	binary     bool
}

// deflateThreshold is the size in bytes from which compressing pays, as in Node.
const deflateThreshold = 1024

// NewMessage makes the message whose text is the chunks one after the other. The text must be valid UTF-8.
func NewMessage(chunks ...[]byte) *Message {
	return newPacket(typeMessage, chunks...)
}

// NewBinaryMessage makes a message of a text and the binary messages that belong right behind it.
func NewBinaryMessage(text []byte, attachments ...[]byte) *Message {
	m := newPacket(typeMessage, text)
	m.parts = append(make([]part, 0, 1+len(attachments)), part{int(m.head), len(m.wire), false})
	for _, a := range attachments {
		m.wire = appendHeader(m.wire, ws.OpBinary, len(a))
		start := len(m.wire)
		m.wire = append(m.wire, a...)
		m.parts = append(m.parts, part{start, len(m.wire), true})
	}
	return m
}

func newPacket(kind byte, chunks ...[]byte) *Message {
	n := 1
	for _, c := range chunks {
		n += len(c)
	}
	wire := appendHeader(make([]byte, 0, ws.HeaderSize(ws.Header{Length: int64(n)})+n), ws.OpText, n)
	m := &Message{head: uint8(len(wire))}
	wire = append(wire, kind)
	for _, c := range chunks {
		wire = append(wire, c...)
	}
	m.wire = wire
	return m
}

// Len is the size of m in bytes on a websocket.
func (m *Message) Len() int { return len(m.wire) }

// Text is m's text, without a copy, and whether attachments belong to it.
func (m *Message) Text() (text []byte, binary bool) {
	if m.parts == nil {
		return m.wire[m.head+1:], false
	}
	return m.wire[m.parts[0].start+1 : m.parts[0].end], len(m.parts) > 1
}

// appendPayload appends m's packets as a polling payload, with separators between them and before the first one
// if dst is not empty.
func (m *Message) appendPayload(dst []byte) []byte {
	if m.parts == nil {
		return appendSeparated(dst, packet{kind: m.wire[m.head], data: m.wire[m.head+1:]})
	}
	for _, p := range m.parts {
		if p.binary {
			dst = appendSeparated(dst, packet{binary: true, data: m.wire[p.start:p.end]})
		} else {
			dst = appendSeparated(dst, packet{kind: m.wire[p.start], data: m.wire[p.start+1 : p.end]})
		}
	}
	return dst
}

func appendSeparated(dst []byte, p packet) []byte {
	if len(dst) > 0 {
		dst = append(dst, separator)
	}
	return appendPacket(dst, p)
}

// compressed is wire for a connection that negotiated permessage-deflate.
func (m *Message) compressed() []byte {
	if len(m.wire) < deflateThreshold {
		return m.wire
	}
	m.deflate.Do(func() {
		parts := m.parts
		if parts == nil {
			parts = []part{{int(m.head), len(m.wire), false}}
		}
		for _, p := range parts {
			f := ws.NewTextFrame(m.wire[p.start:p.end])
			if p.binary {
				f = ws.NewBinaryFrame(m.wire[p.start:p.end])
			}
			f, err := wsflate.CompressFrame(f)
			if err != nil { // writing to memory does not fail; should it ever, plain frames are valid too
				m.deflated = m.wire
				return
			}
			m.deflated = append(m.deflated, ws.MustCompileFrame(f)...)
		}
	})
	return m.deflated
}

// appendHeader appends the header of an unmasked final frame (RFC 6455 section 5.2).
func appendHeader(dst []byte, op ws.OpCode, n int) []byte {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n <= 125:
		return append(dst, byte(n))
	case n <= 0xffff:
		return binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
}

var (
	pingMessage = newPacket(typePing)
	noopMessage = newPacket(typeNoop)
	probeAnswer = newPacket(typePong, []byte("probe"))
)
