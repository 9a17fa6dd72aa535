package engineio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestWebSocketMessages(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, echo).websocket()
		c.sendText("4hello", "4", "4grüß🙂")
		c.wantText("4hello", "4", "4grüß🙂")
		c.send(ws.OpBinary, "\x00\xff\x01")
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, "\x00\xff\x01")
		c.send(ws.OpBinary, "")
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, "")
		c.sendText("bAP8B", "bAP8=", "6")
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, "\x00\xff\x01")
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, "\x00\xff")
		c.wantMessages(message{"hello", false}, message{"", false}, message{"grüß🙂", false},
			message{"\x00\xff\x01", true}, message{"", true}, message{"\x00\xff\x01", true}, message{"\x00\xff", true})
	})
}

func TestFrameLengths(t *testing.T) {
	const limit = 300_000
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{MaxPayload: limit}, echo).websocket()
		for _, n := range []int{1, 2, 125, 126, 127, 65535, 65536, limit} {
			packet := "4" + strings.Repeat("x", n-1)
			c.sendText(packet)
			c.wantText(packet)
		}
		// A short length in the longest form is unusual and legal enough to be read as what it says.
		c.raw(append([]byte{0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0}, "4x"...))
		c.wantText("4x")
	})
}

func TestFragments(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, echo).websocket()
		c.raw(clientFrame(ws.OpText, false, "4h\xc3")) // half an ä
		c.send(ws.OpPing, "between")
		c.wantFrame(ws.OpPong, "between")
		c.raw(clientFrame(ws.OpContinuation, false, ""))
		c.raw(clientFrame(ws.OpContinuation, false, "\xa4ll"))
		c.send(ws.OpPong, "unasked")
		c.raw(clientFrame(ws.OpContinuation, true, "o"))
		c.wantText("4hällo")
		c.raw(clientFrame(ws.OpBinary, false, "\x01"))
		c.raw(clientFrame(ws.OpContinuation, true, "\x02"))
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, "\x01\x02")
		c.sendText("4whole again")
		c.wantText("4whole again")
	})
}

// longHeader is the header of a masked text frame with a 64-bit length, and no more.
func longHeader(length uint64) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{0x81, 0x80 | 127}, length), 1, 2, 3, 4)
}

func TestCloseCodes(t *testing.T) {
	frame := clientFrame
	reserved := func(bits byte) []byte {
		f := frame(ws.OpText, true, "4x")
		f[0] |= bits
		return f
	}
	closing := func(code ws.StatusCode, why string) []byte {
		return frame(ws.OpClose, true, string(ws.NewCloseFrameBody(code, why)))
	}
	const limit = 1000
	for _, test := range []struct {
		name   string
		sent   []byte
		code   ws.StatusCode
		reason Reason
	}{
		{"unmasked", ws.MustCompileFrame(ws.NewTextFrame([]byte("4x"))), 1002, TransportError},
		{"rsv1 without extension", reserved(0x40), 1002, TransportError},
		{"rsv2", reserved(0x20), 1002, TransportError},
		{"rsv3", reserved(0x10), 1002, TransportError},
		{"reserved data opcode", frame(0x3, true, "x"), 1002, TransportError},
		{"reserved control opcode", frame(0xb, true, "x"), 1002, TransportError},
		{"oversized control frame", []byte{0x89, 0x80 | 126, 0, 126, 0, 0, 0, 0}, 1002, TransportError},
		{"fragmented control frame", frame(ws.OpPing, false, "x"), 1002, TransportError},
		{"unexpected continuation", frame(ws.OpContinuation, true, "4x"), 1002, TransportError},
		{"continuation after the end", slices.Concat(frame(ws.OpText, false, "6"),
			frame(ws.OpContinuation, true, ""), frame(ws.OpContinuation, true, "")), 1002, TransportError},
		{"text within a message", append(frame(ws.OpText, false, "4x"), frame(ws.OpText, true, "4y")...), 1002, TransportError},
		{"high bit of the length", longHeader(1 << 63), 1002, TransportError},
		{"all bits of the length", longHeader(1<<64 - 1), 1002, TransportError},
		{"one byte too long", longHeader(limit + 1), 1009, TransportError},
		{"longest length", longHeader(1<<63 - 1), 1009, TransportError},
		{"too long in pieces", append(frame(ws.OpText, false, "4"+strings.Repeat("x", limit-1)),
			frame(ws.OpContinuation, true, "x")[:6]...), 1009, TransportError},
		{"invalid UTF-8", frame(ws.OpText, true, "4\xff"), 1007, TransportError},
		{"half a rune", frame(ws.OpText, true, "4\xc3"), 1007, TransportError},
		{"not a packet", frame(ws.OpText, true, "abc"), 1000, ParseError},
		{"no packet", frame(ws.OpText, true, ""), 1000, ParseError},
		{"bad base64", frame(ws.OpText, true, "b!"), 1000, ParseError},
		{"close", frame(ws.OpClose, true, ""), 1000, TransportClose},
		{"close 1001", closing(1001, "going"), 1001, TransportClose},
		{"close 4000", closing(4000, ""), 4000, TransportClose},
		{"close 1005", closing(1005, ""), 1002, TransportClose},
		{"close 999", closing(999, ""), 1002, TransportClose},
		{"close with one byte", frame(ws.OpClose, true, "\x03"), 1002, TransportClose},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, serve serveFunc) {
				c := serve(t, Options{MaxPayload: limit}, nil).websocket()
				c.raw(append(frame(ws.OpText, true, "4before"), test.sent...))
				c.wantTexts("before")
				c.wantClosed(test.reason)
				c.wantCloseFrame(test.code)
			})
		})
	}
}

// Nothing that follows the end is handled, and the session does not live on.
func TestNothingAfterTheEnd(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{}, nil)
		c := h.websocket()
		c.raw(slices.Concat(clientFrame(ws.OpText, true, "4x"), clientFrame(ws.OpClose, true, ""),
			clientFrame(ws.OpText, true, "4y")))
		c.wantClosed(TransportClose)
		c.wantTexts("x")
		c.wantNoMessage()
		eventually(t, "the session is forgotten", func() bool { return h.lookup(c.recorder.conn.ID()) == nil })
	})
}

func TestManyFramesInOneWrite(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, echo).websocket()
		var all []byte
		var want []string
		for i := range 2000 {
			packet := fmt.Sprint("4", i, strings.Repeat("x", i%50))
			all = append(all, clientFrame(ws.OpText, true, packet)...)
			want = append(want, packet)
		}
		c.raw(all)
		c.wantText(want...)
	})
}

func TestByteByByte(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, echo).websocket()
		for _, b := range slices.Concat(clientFrame(ws.OpText, true, "4slow"), clientFrame(ws.OpPing, true, "p"),
			clientFrame(ws.OpBinary, true, strings.Repeat("b", 130))) {
			c.raw([]byte{b})
		}
		c.wantText("4slow")
		c.wantFrame(ws.OpPong, "p")
		c.wantText("4bin")
		c.wantFrame(ws.OpBinary, strings.Repeat("b", 130))
	})
}

// However the stream is cut in two or three, the same messages come out.
func TestSplits(t *testing.T) {
	t.Parallel()
	stream := slices.Concat(clientFrame(ws.OpText, true, "4one"), clientFrame(ws.OpText, false, "4t"),
		clientFrame(ws.OpPing, true, ""), clientFrame(ws.OpContinuation, false, "w"),
		clientFrame(ws.OpContinuation, true, "o"), clientFrame(ws.OpBinary, true, strings.Repeat("3", 126)))
	c, l, r := fakeConn(t, Options{})
	for i := range len(stream) + 1 {
		for j := i; j <= min(i+20, len(stream)); j++ {
			l.input(stream[:i])
			l.input(stream[i:j])
			l.input(stream[j:])
			r.wantMessages(message{"one", false}, message{"two", false}, message{strings.Repeat("3", 126), true})
			l.wantTook(ws.MustCompileFrame(ws.NewPongFrame(nil)))
			if c.ws.partial != nil {
				t.Fatalf("cut at %d and %d: a buffer is left, want none", i, j)
			}
		}
	}
}

// What the client sends before it has seen the handshake's answer is not lost.
func TestEarlyFrames(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{}, echo)
		c := h.pipelined([]byte("GET /?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n" +
			"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n" +
			string(clientFrame(ws.OpText, true, "4early")) + string(bytes.Repeat(clientFrame(ws.OpText, true, "4bird"), 1000))))
		parseOpen(t, c.readText())
		c.wantText("4early")
		for range 1000 {
			c.wantText("4bird")
		}
	})
}
