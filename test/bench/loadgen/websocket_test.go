//go:build linux

package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/gobwas/ws"
)

// TestParseFrame reads what another implementation wrote, byte by byte.
func TestParseFrame(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 1, 125, 126, 65535, 65536, maxFrame} {
		payload := bytes.Repeat([]byte("x"), length)
		b, err := ws.CompileFrame(ws.NewTextFrame(payload))
		if err != nil {
			t.Fatal(err)
		}
		for _, cut := range []int{0, 1, 2, 3, 9, len(b) - 1} {
			if cut >= len(b) {
				continue
			}
			if _, size, err := parseFrame(b[:cut]); size != 0 || err != nil {
				t.Errorf("%d of %d bytes: got a frame of %d, %v, want to wait for more", cut, len(b), size, err)
			}
		}
		f, size, err := parseFrame(append(b, "next"...))
		if err != nil || size != len(b) || f.op != opText || !f.final || !bytes.Equal(f.payload, payload) {
			t.Errorf("%d bytes of payload: got opcode %d, %d bytes, size %d, %v", length, f.op, len(f.payload), size, err)
		}
	}
}

func TestParseFrameRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		frame []byte
		want  error
	}{
		{[]byte{0x81, 0x81, 0, 0, 0, 0, 'x'}, errMasked},
		{[]byte{0x82, 127, 0, 0, 0, 0, 0, 8, 0, 1}, errTooLarge},
		{[]byte{0x82, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, errTooLarge},
	} {
		if _, _, err := parseFrame(c.frame); !errors.Is(err, c.want) {
			t.Errorf("%x: got %v, want %v", c.frame, err, c.want)
		}
	}
}
