package engineio

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzPacket checks that what is decoded encodes to the same, for text to the very bytes.
func FuzzPacket(f *testing.F) {
	for _, seed := range []string{"", "0{}", "1", "2probe", "3", "4hello", "5", "6", "b", "bAQIDBA==", "bAQIDBA", "b!", "abc", "4\xff", "4ä"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := parsePacket(bytes.Clone(in))
		if err != nil {
			return
		}
		out := appendPacket(nil, p)
		if !p.binary && !bytes.Equal(out, in) {
			t.Fatalf("%q came back as %q", in, out)
		}
		again, err := parsePacket(bytes.Clone(out))
		if err != nil || !samePacket(again, p) {
			t.Fatalf("%q: got %v, %v the second time, want %v", in, again, err, p)
		}
	})
}

// FuzzPayload checks that a payload of valid packets comes back whole, and that nothing is handled beyond an error.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{"", "4a", "4a\x1e4b", "4a\x1e", "\x1e4a", "4a\x1ebAQ==\x1e2", "4a\x1ezz\x1e4b", "4ä\x1e\xff"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var got []packet
		err := eachPacket(bytes.Clone(in), func(p packet) bool {
			got = append(got, packet{p.kind, p.binary, bytes.Clone(p.data)})
			return true
		})
		pieces := bytes.Split(in, []byte{separator})
		for i, piece := range pieces[:len(got)] {
			if want, err := parsePacket(bytes.Clone(piece)); err != nil || !samePacket(got[i], want) {
				t.Fatalf("packet %d of %q: got %v, want %v, %v", i, in, got[i], want, err)
			}
		}
		if err == nil && len(got) != len(pieces) {
			t.Fatalf("%q: got %d packets, want %d", in, len(got), len(pieces))
		}
		if err != nil {
			if _, own := parsePacket(bytes.Clone(pieces[len(got)])); own == nil {
				t.Fatalf("%q: got %v after packet %d, want the next one too", in, err, len(got))
			}
		}
		var out []byte
		for _, p := range got {
			out = appendSeparated(out, p)
		}
		var again []packet
		if err := eachPacket(out, func(p packet) bool {
			again = append(again, p)
			return true
		}); len(got) > 0 && (err != nil || !slices.EqualFunc(again, got, samePacket)) {
			t.Fatalf("%q: got %v, %v the second time, want %v", in, again, err, got)
		}
	})
}

// FuzzFrames gives a websocket whatever bytes, in one piece and cut up: both times it has to hear the same messages
// and say the same, and may not keep more than a message's worth of them.
func FuzzFrames(f *testing.F) {
	join := func(parts ...[]byte) []byte { return slices.Concat(parts...) }
	hello := clientFrame(ws.OpText, true, "4hello")
	f.Add(join(hello, hello), []byte{1, 2, 3}, false)
	f.Add(join(clientFrame(ws.OpText, false, "4h"), clientFrame(ws.OpPing, true, "p"), clientFrame(ws.OpContinuation, true, "i")), []byte{5}, false)
	f.Add(join(clientFrame(ws.OpBinary, true, strings.Repeat("b", 200)), clientFrame(ws.OpClose, true, "\x03\xe8")), []byte{7, 1}, false)
	f.Add(join(hello, clientFrame(ws.OpText, true, "zz"), hello), []byte{0, 9}, false)
	f.Add(longHeader(1<<63), []byte{3}, false)
	f.Add(longHeader(1001), []byte{3}, false)
	f.Add(clientFrame(ws.OpText, true, "4\xff"), []byte{}, false)
	squeezed := compressed(f, ws.OpText, bytes.Repeat([]byte("4"), 900))
	f.Add(ws.MustCompileFrame(ws.MaskFrame(squeezed)), []byte{2}, true)
	f.Add(ws.MustCompileFrame(ws.MaskFrame(compressed(f, ws.OpText, make([]byte, 5000)))), []byte{2}, true)
	squeezed.Payload = squeezed.Payload[:2]
	squeezed.Header.Length = 2
	f.Add(join(ws.MustCompileFrame(ws.MaskFrame(squeezed)), hello), []byte{2}, true)
	f.Fuzz(func(t *testing.T, stream, cuts []byte, deflate bool) {
		whole := overheard(t, stream, nil, deflate)
		if pieces := overheard(t, stream, cuts, deflate); pieces != whole {
			t.Fatalf("cut at %v: got\n%s\nwant\n%s", cuts, pieces, whole)
		}
	})
}

// overheard is what happens on a connection that is sent stream, cut after each given number of bytes in turn.
func overheard(t *testing.T, stream, cuts []byte, deflate bool) string {
	const limit = 1000
	c, l, r := fakeConn(t, Options{MaxPayload: limit})
	c.ws.deflate = deflate
	for i := 0; len(stream) > 0; i++ {
		n := len(stream)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		l.input(stream[:n])
		stream = stream[n:]
		if p := c.ws.partial; p != nil && cap(p.buf)+cap(p.message) > 4*limit+2*n {
			t.Fatalf("keeps %d and %d bytes, want no more than some %d", cap(p.buf), cap(p.message), limit)
		}
	}
	c.srv.work.Wait()
	closed := Reason("")
	select {
	case closed = <-r.closed:
	default:
	}
	return fmt.Sprintf("messages %v\nsaid %q\nclosed %q, link %v %v", r.messages, l.took, closed, l.shutOff, l.closed)
}
