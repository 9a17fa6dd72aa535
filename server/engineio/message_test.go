package engineio

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// decode reads m back from both its encodings, which have to agree.
func decode(t *testing.T, m *Message) []packet {
	t.Helper()
	var frames []packet
	for rd := bytes.NewReader(m.wire); rd.Len() > 0; {
		f, err := readFrame(rd)
		if err != nil || !f.Header.Fin || f.Header.Masked {
			t.Fatalf("got %+v, %v, want whole unmasked frames", f.Header, err)
		}
		if f.Header.OpCode == ws.OpBinary {
			frames = append(frames, packet{kind: typeMessage, binary: true, data: f.Payload})
			continue
		}
		p, err := parsePacket(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, p)
	}
	var payload []packet
	if err := eachPacket(m.appendPayload(nil), func(p packet) bool {
		payload = append(payload, p)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(frames, payload, samePacket) {
		t.Fatalf("websocket %v, polling %v, want the same", frames, payload)
	}
	return frames
}

func samePacket(a, b packet) bool {
	return a.kind == b.kind && a.binary == b.binary && bytes.Equal(a.data, b.data)
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 124, 125, 126, 65534, 65535, 65536, 1 << 20} {
		data := strings.Repeat("x", n)
		half := n / 2
		for name, test := range map[string]struct {
			m    *Message
			want []packet
		}{
			"text":        {NewMessage([]byte(data)), []packet{{typeMessage, false, []byte(data)}}},
			"chunks":      {NewMessage([]byte(data[:half]), nil, []byte(data[half:])), []packet{{typeMessage, false, []byte(data)}}},
			"no binary":   {NewBinaryMessage([]byte(data)), []packet{{typeMessage, false, []byte(data)}}},
			"attachments": {NewBinaryMessage([]byte("t"), []byte(data), nil), []packet{{typeMessage, false, []byte("t")}, {typeMessage, true, []byte(data)}, {typeMessage, true, nil}}},
		} {
			if got := decode(t, test.m); !slices.EqualFunc(got, test.want, samePacket) {
				t.Errorf("%s of %d bytes came back as %d packets, want %d the same", name, n, len(got), len(test.want))
			}
			if got, want := test.m.Len(), len(test.m.wire); got != want {
				t.Errorf("Len: got %d, want %d", got, want)
			}
		}
	}
}

func TestMessageKeepsItsBytes(t *testing.T) {
	t.Parallel()
	data := []byte("before")
	m, b := NewMessage(data), NewBinaryMessage(data, data)
	copy(data, "after!")
	for _, p := range append(decode(t, m), decode(t, b)...) {
		if string(p.data) != "before" {
			t.Errorf("got %q, want %q: a message keeps what it was made of", p.data, "before")
		}
	}
}

func TestDecodeBase64(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in, want string
		ok       bool
	}{
		{"", "", true}, {"AA", "\x00", true}, {"AA==", "\x00", true}, {"AAE", "\x00\x01", true}, {"AAE=", "\x00\x01", true},
		{"+/+/", "\xfb\xff\xbf", true}, {"A", "", false}, {"A===", "", false}, {"AA=A", "", false}, {"-_-_", "", false}, {"A A", "", false},
	} {
		got, err := decodeBase64([]byte(test.in))
		if string(got) != test.want || (err == nil) != test.ok {
			t.Errorf("%q: got %q, %v, want %q, valid %v", test.in, got, err, test.want, test.ok)
		}
	}
}
