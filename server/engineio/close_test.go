package engineio

import (
	"context"
	"net/http"
	"testing"
	"time"
)

const unknownSession = `{"code":1,"message":"Session ID unknown"}`

func TestCloseByServerWhilePolling(t *testing.T) {
	t.Parallel()
	t.Run("poll waits", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		got := p.poll()
		p.conn.Close()
		p.want(<-got, 200, "1")
		p.wantClosed(ForcedClose)
		p.wantGet(400, unknownSession)
	})
	t.Run("messages wait", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{MaxPayload: 4}, nil).polling()
		p.conn.Send(text("a"))
		p.conn.Send(text("last"))
		p.conn.Close()
		p.conn.Send(text("too late"))
		p.wantClosed(ForcedClose)
		p.wantPost("4x", 400, unknownSession)
		p.wantGet(200, "4a")
		p.wantGet(200, "4last\x1e1")
		p.wantGet(400, unknownSession)
	})
}

func TestCloseByServerOverWebSocket(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, nil).websocket()
		c.conn.Send(text("last"))
		c.conn.Close()
		c.conn.Send(text("too late"))
		c.wantClosed(ForcedClose)
		c.wantText("4last")
		c.wantCloseFrame(0)
	})
}

// The close frame comes after what was queued, however long the client takes to read that.
func TestCloseFrameBehindWaitingMessages(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{MaxQueue: 64 << 20}, nil).websocket()
		big := make([]byte, 12<<20) // more than the kernel takes at once
		for i := range big {
			big[i] = 'x'
		}
		c.conn.Send(NewMessage(big))
		c.conn.Close()
		c.wantText("4" + string(big))
		c.wantCloseFrame(0)
	})
}

func TestCloseByClient(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		got := p.poll()
		p.wantPost("1\x1e4late", 200, "ok")
		p.wantClosed(TransportClose)
		p.want(<-got, 200, "6") // a noop lets the poll go, as in the protocol's test suite
		p.wantGet(400, unknownSession)
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, nil).websocket()
		c.sendText("1")
		c.wantClosed(TransportClose)
		for {
			if _, err := c.read(); err != nil {
				break // with or without a close frame before
			}
		}
	})
}

// Connections that broke are gone at once: the protocol's test suite wants their next poll refused.
func TestBrokenPollingSessionIsForgotten(t *testing.T) {
	t.Parallel()
	t.Run("parse error", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		p.post("abc")
		p.wantClosed(ParseError)
		p.wantGet(400, unknownSession)
	})
	t.Run("parse error while a poll waits", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		got := p.poll()
		p.post("abc")
		p.wantClosed(ParseError)
		p.want(<-got, 200, "1")
		p.wantGet(400, unknownSession)
	})
	t.Run("cancelled poll", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		p.cancelPoll()
		p.wantClosed(TransportError)
		p.wantGet(400, unknownSession)
	})
	t.Run("ping timeout", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond}, nil).polling()
		p.wantClosed(PingTimeout)
		p.wantGet(400, unknownSession)
	})
}

// cancelPoll begins a poll and breaks it off while it waits.
func (p *pollClient) cancelPoll() {
	p.h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", p.h.web.URL+"/?"+p.query, nil)
	if err != nil {
		p.h.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.h.web.Client().Do(req)
		done <- err
	}()
	p.polled()
	cancel()
	if err := <-done; err == nil {
		p.h.t.Fatal("the poll was answered, want it cancelled")
	}
}

func TestCloseFromHandler(t *testing.T) {
	closing := func(r *recorder) {
		r.on = func([]byte, bool) {
			r.conn.Send(text("bye"))
			r.conn.Close()
			r.conn.Close()
		}
	}
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, closing).polling()
		p.wantPost("4a\x1e4b", 200, "ok")
		p.wantTexts("a")
		p.wantClosed(ForcedClose)
		p.wantGet(200, "4bye\x1e1")
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, closing).websocket()
		c.raw(append(clientFrame(1, true, "4a"), clientFrame(1, true, "4b")...))
		c.wantText("4bye")
		c.wantCloseFrame(0)
		c.wantTexts("a")
		c.wantClosed(ForcedClose)
	})
}

func TestCloseFromAccept(t *testing.T) {
	closing := func(r *recorder) {
		r.conn.Send(text("no"))
		r.conn.Close()
	}
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		h := serve(t, Options{}, closing)
		got := h.do("GET", "EIO=4&transport=polling", "", nil)
		o := parseOpen(t, got.body[:len(got.body)-len("\x1e4no\x1e1")])
		if want := got.body[len(got.body)-len("\x1e4no\x1e1"):]; want != "\x1e4no\x1e1" {
			t.Errorf("got %q, want OPEN, the message and CLOSE", got.body)
		}
		h.recorder(o.SID).wantClosed(ForcedClose)
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, closing).websocket()
		c.wantText("4no")
		c.wantCloseFrame(0)
		c.wantClosed(ForcedClose)
	})
}

func TestClientVanishes(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{}, nil)
		c := h.websocket()
		c.sendText("4last words")
		c.Conn.Close()
		c.wantTexts("last words")
		c.wantClosed(TransportClose)
		if got := h.Ended()[TransportClose]; got != 1 {
			t.Errorf("Ended: got %d, want 1", got)
		}
		if got := h.Len(); got != 0 {
			t.Errorf("Len: got %d, want 0", got)
		}
	})
}
