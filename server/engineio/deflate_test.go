package engineio

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// deflateOffer is what browsers offer.
func deflateOffer(params ...string) httphead.Option {
	p := map[string]string{}
	for _, name := range params {
		name, value, _ := strings.Cut(name, "=")
		p[name] = value
	}
	return httphead.NewOption(wsflate.ExtensionName, p)
}

func compressed(t testing.TB, op ws.OpCode, payload []byte) ws.Frame {
	t.Helper()
	f, err := wsflate.CompressFrame(ws.NewFrame(op, true, payload))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// wantInflated reads a frame and compares it decompressed.
func (c *wsClient) wantInflated(op ws.OpCode, payload string, wasCompressed bool) {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	if got := f.Header.Rsv == 0x4; got != wasCompressed {
		c.t.Errorf("%d bytes: compressed %v, want %v", len(payload), got, wasCompressed)
	}
	if f, err = wsflate.DecompressFrame(f); err != nil {
		c.t.Fatal(err)
	}
	if f.Header.OpCode != op || string(f.Payload) != payload {
		c.t.Fatalf("got opcode %#x and %d bytes, want %#x and %d bytes", f.Header.OpCode, len(f.Payload), op, len(payload))
	}
}

func TestDeflate(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{Deflate: true}, echo).websocket(deflateOffer("client_max_window_bits"))
		big := "4" + strings.Repeat("squeeze me ", 1000)
		c.raw(ws.MustCompileFrame(ws.MaskFrame(compressed(t, ws.OpText, []byte(big)))))
		c.wantInflated(ws.OpText, big, true)
		c.sendText("4small") // compressing is up to the sender, message by message
		c.wantInflated(ws.OpText, "4small", false)
		c.raw(ws.MustCompileFrame(ws.MaskFrame(compressed(t, ws.OpBinary, []byte(big)))))
		c.wantInflated(ws.OpText, "4bin", true) // its attachment is large, and they go as one
		c.wantInflated(ws.OpBinary, big, true)
		c.send(ws.OpPing, "p")
		c.wantInflated(ws.OpPong, "p", false)

		whole := compressed(t, ws.OpText, []byte(big)).Payload
		first := ws.NewFrame(ws.OpText, false, whole[:10])
		first.Header.Rsv = 0x4
		c.raw(ws.MustCompileFrame(ws.MaskFrame(first)))
		c.raw(clientFrame(ws.OpPing, true, "between"))
		c.raw(clientFrame(ws.OpContinuation, true, string(whole[10:])))
		c.wantFrame(ws.OpPong, "between")
		c.wantInflated(ws.OpText, big, true)
		c.wantMessages(message{big[1:], false}, message{"small", false}, message{big, true}, message{big[1:], false})
	})
}

func TestDeflateNegotiation(t *testing.T) {
	t.Parallel()
	const agreed = "permessage-deflate;server_no_context_takeover;client_no_context_takeover"
	for _, test := range []struct {
		name, offer string
		on          bool
		want        string
	}{
		{"off", "permessage-deflate", false, ""},
		{"none offered", "", true, ""},
		{"another", "x-other", true, ""},
		{"plain", "permessage-deflate", true, agreed},
		{"browser", "permessage-deflate; client_max_window_bits", true,
			agreed},
		{"small window", "permessage-deflate; server_max_window_bits=10", true, ""}, // our compressor has 15
		{"fallback", "permessage-deflate; server_max_window_bits=10, permessage-deflate", true,
			agreed},
		{"unknown parameter", "permessage-deflate; shiny", true, ""}, // RFC 7692 section 5: decline
	} {
		t.Run(test.name, func(t *testing.T) {
			h := serve(t, Options{Deflate: test.on}, nil)
			req, err := http.NewRequest("GET", h.web.URL+"/?EIO=4&transport=websocket", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header = upgradeHeader.Clone()
			if test.offer != "" {
				req.Header.Set("Sec-WebSocket-Extensions", test.offer)
			}
			res, err := h.web.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got := strings.ReplaceAll(res.Header.Get("Sec-WebSocket-Extensions"), " ", "")
			if res.StatusCode != 101 || got != test.want {
				t.Errorf("got %d %q, want 101 %q", res.StatusCode, got, test.want)
			}
		})
	}
}

func TestDeflateErrors(t *testing.T) {
	const limit = 100_000
	bomb := compressed(t, ws.OpText, make([]byte, 2<<20))
	control := ws.NewPingFrame([]byte("x"))
	control.Header.Rsv = 0x4
	continuation := ws.NewFrame(ws.OpContinuation, true, []byte("x"))
	continuation.Header.Rsv = 0x4
	for _, test := range []struct {
		name string
		sent []ws.Frame
		code ws.StatusCode
	}{
		{"bomb", []ws.Frame{bomb}, 1009},
		{"one byte too many", []ws.Frame{compressed(t, ws.OpText, []byte("4"+strings.Repeat("x", limit)))}, 1009},
		{"corrupt", []ws.Frame{{Header: ws.Header{Fin: true, Rsv: 0x4, OpCode: ws.OpText, Length: 3}, Payload: []byte("\xff\xff\xff")}}, 1007},
		{"compressed ping", []ws.Frame{control}, 1002},
		{"compressed continuation", []ws.Frame{ws.NewFrame(ws.OpText, false, []byte("4")), continuation}, 1002},
		{"invalid UTF-8 within", []ws.Frame{compressed(t, ws.OpText, []byte("4\xff"))}, 1007},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, Options{Deflate: true, MaxPayload: limit}, nil).websocket(deflateOffer())
			for _, f := range test.sent {
				c.raw(ws.MustCompileFrame(ws.MaskFrame(f)))
			}
			c.wantClosed(TransportError)
			c.wantCloseFrame(test.code)
		})
	}
}

func TestInflateIsBounded(t *testing.T) {
	t.Parallel()
	bomb := compressed(t, ws.OpText, make([]byte, 2<<20)).Payload
	w := &limitedBuffer{limit: 1000}
	if err := wsflate.DefaultHelper.DecompressTo(w, bomb); !errors.Is(err, errInflated) {
		t.Errorf("got %v, want %v", err, errInflated)
	}
	if got := cap(w.buf); got > 1000*5/4 {
		t.Errorf("holds %d bytes, want about 1000", got)
	}
	exact, err := inflate(compressed(t, ws.OpText, make([]byte, 1000)).Payload, 1000)
	if err != nil || len(exact) != 1000 {
		t.Errorf("got %d bytes, %v, want 1000", len(exact), err)
	}
}

// A broadcast to clients with and without compression is encoded once for each kind.
func TestDeflateIsShared(t *testing.T) {
	t.Parallel()
	m := NewBinaryMessage(bytes.Repeat([]byte("a"), 2000), bytes.Repeat([]byte("b"), 2000))
	var wg sync.WaitGroup
	views := make([][]byte, 8)
	for i := range views {
		wg.Go(func() {
			c, l, _ := fakeConn(t, Options{Deflate: true})
			c.ws.deflate = i%2 == 0
			c.Send(m)
			views[i] = l.took
		})
	}
	wg.Wait()
	for i := range views {
		if !bytes.Equal(views[i], views[i%2]) {
			t.Errorf("client %d got other bytes than client %d", i, i%2)
		}
	}
	if len(views[0]) >= len(views[1])/10 {
		t.Errorf("compressed to %d bytes from %d, want less than a tenth", len(views[0]), len(views[1]))
	}
}
