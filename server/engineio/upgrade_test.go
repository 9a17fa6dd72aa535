package engineio

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// probe opens a websocket for a session that polls, and probes it.
func (p *pollClient) probe() *wsClient {
	p.h.t.Helper()
	c := p.connect()
	c.sendText("2probe")
	c.wantText("3probe")
	return c
}

func (p *pollClient) connect() *wsClient {
	p.h.t.Helper()
	c := p.h.connect(strings.Replace(p.query, Polling, WebSocket, 1))
	c.recorder = p.recorder
	return c
}

func (p *pollClient) notUpgrading() bool {
	p.conn.mu.Lock()
	defer p.conn.mu.Unlock()
	return p.conn.probe == nil
}

func TestUpgrade(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		p := serve(t, Options{}, echo).polling()
		p.wantPost("4before", 200, "ok")
		p.wantGet(200, "4before")
		waiting := p.poll()
		c := p.probe()
		p.want(<-waiting, 200, "6") // lets the client pause
		if got := p.conn.Transport(); got != Polling {
			t.Errorf("transport while probing: got %s, want polling", got)
		}
		p.wantPost("4meanwhile", 200, "ok")
		p.wantGet(200, "4meanwhile")
		p.wantGet(200, "6") // nothing to say, but the client is not kept waiting
		p.conn.Send(text("held"))
		c.sendText("5", "4after")
		c.wantText("4held", "4after")
		p.wantTexts("before", "meanwhile", "after")
		if got := p.conn.Transport(); got != WebSocket {
			t.Errorf("transport: got %s, want websocket", got)
		}
		p.wantGet(400, `{"code":3,"message":"Bad request"}`)
		c.sendText("4alive")
		c.wantText("4alive")
	})
}

// TestUpgradeWhileSending is a client that upgrades while the server sends without pause: nothing may get lost,
// doubled or out of order, either way.
func TestUpgradeWhileSending(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{}, nil)
		for range 15 {
			upgradeWhileSending(t, h)
		}
	})
}

func upgradeWhileSending(t *testing.T, h *harness) {
	p := h.polling()
	window := make(chan struct{}, 50) // messages sent and not yet received
	var enough atomic.Bool
	sent := make(chan int, 1)
	go func() {
		n := 0
		for ; !enough.Load(); n++ {
			window <- struct{}{}
			p.conn.Send(text(strconv.Itoa(n)))
		}
		p.conn.Send(text("end"))
		sent <- n
	}()
	next := 0
	receive := func(packet string) {
		if packet == "6" {
			return
		}
		if want := "4" + strconv.Itoa(next); packet != want {
			t.Errorf("got %q, want %q", packet, want)
		}
		next++
		<-window
	}
	var paused atomic.Bool
	polled := make(chan bool)
	go func() {
		for !paused.Load() {
			for packet := range strings.SplitSeq(p.get().body, "\x1e") {
				receive(packet)
			}
		}
		close(polled)
	}()
	p.wantPost("4a", 200, "ok")
	c := p.probe()
	p.wantPost("4b\x1e4c", 200, "ok")
	paused.Store(true)
	<-polled
	c.sendText("5", "4d")
	c.send(ws.OpText, "4e")
	for upgraded := next; next < upgraded+100 && !t.Failed(); {
		receive(c.readText())
	}
	enough.Store(true)
	for packet := c.readText(); packet != "4end"; packet = c.readText() {
		receive(packet)
	}
	if n := <-sent; n != next {
		t.Errorf("got %d messages, want %d", next, n)
	}
	p.wantTexts("a", "b", "c", "d", "e")
	c.Close()
	p.wantClosed(TransportClose)
}

// A poll that the client leaves waiting when it upgrades concerns the new transport no more.
func TestPollBrokenOffAfterUpgrade(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{}, echo).polling()
	c := p.connect()
	waiting := p.poll()
	c.sendText("5") // without a probe nothing ends the poll but this
	p.want(<-waiting, 200, "6")
	c.sendText("4x")
	c.wantText("4x")
}

// A poll may have been let in while the upgrade went through: it has no say over the new transport.
func TestPollLateForUpgrade(t *testing.T) {
	t.Parallel()
	c, _, _ := fakeConn(t, Options{})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	c.srv.serveGET(w, httptest.NewRequestWithContext(gone, "GET", "/", nil), c)
	if w.Code != 400 {
		t.Errorf("got %d, want 400", w.Code)
	}
	if c.closed.Load() {
		t.Errorf("closed with reason %q, want it open", c.reason)
	}
}

// Nor may one that waited, and whose client let go of it when it had upgraded.
func TestPollBreaksAfterUpgrade(t *testing.T) {
	t.Parallel()
	for name, upgraded := range map[string]func(c *Conn, cancel func()){
		"cancelled":  func(_ *Conn, cancel func()) { cancel() },
		"unwritable": func(c *Conn, _ func()) { c.wakePollLocked() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, l, r := fakeConn(t, Options{})
			c.ws = nil // it polls, to begin with
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			served := make(chan bool)
			go func() {
				c.srv.serveGET(unwritable{}, httptest.NewRequestWithContext(ctx, "GET", "/", nil), c)
				close(served)
			}()
			r.polled()
			c.mu.Lock()
			c.ws = l.t
			upgraded(c, cancel)
			c.mu.Unlock()
			<-served
			if c.closed.Load() {
				t.Errorf("closed with reason %q, want it open", c.reason)
			}
		})
	}
}

// unwritable is the answer to a client that is gone.
type unwritable struct{}

func (unwritable) Header() http.Header       { return http.Header{} }
func (unwritable) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (unwritable) WriteHeader(int)           {}

func TestAbandonedUpgrade(t *testing.T) {
	soon := Options{UpgradeTimeout: 500 * time.Millisecond}
	for _, test := range []struct {
		name    string
		opts    Options
		abandon func(*pollClient)
	}{
		{"timeout before the probe", soon, func(p *pollClient) { p.connect().wantEnd() }},
		{"timeout after the probe", soon, func(p *pollClient) { p.probe().wantEnd() }},
		{"closed before the probe", Options{}, func(p *pollClient) { p.connect().Close() }},
		{"closed after the probe", Options{}, func(p *pollClient) { p.probe().Close() }},
		{"not a probe", Options{}, func(p *pollClient) {
			c := p.connect()
			c.sendText("4too early")
			c.wantEnd()
		}},
		{"close frame", Options{}, func(p *pollClient) {
			c := p.probe()
			c.send(ws.OpClose, "")
			c.wantCloseFrame(1000)
		}},
		{"protocol error", Options{}, func(p *pollClient) {
			c := p.probe()
			c.raw(ws.MustCompileFrame(ws.NewTextFrame([]byte("5")))) // not masked
			c.wantEnd()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachLink(t, func(t *testing.T, serve serveFunc) {
				p := serve(t, test.opts, echo).polling()
				test.abandon(p)
				eventually(t, "the upgrade is given up", p.notUpgrading)
				p.wantPost("4still polling", 200, "ok")
				p.wantGet(200, "4still polling")
				if test.opts.UpgradeTimeout == 0 {
					p.connect().sendText("5", "4and upgraded after all")
					p.wantTexts("still polling", "and upgraded after all")
				}
			})
		})
	}
}

func TestSecondUpgradeIsRefused(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		p := serve(t, Options{}, echo).polling()
		c := p.probe()
		p.connect().wantCloseFrame(0)
		c.sendText("5", "4x")
		c.wantText("4x")
		second := p.connect()
		second.wantCloseFrame(0)
		c.sendText("4y")
		c.wantText("4y")
	})
}

func TestUpgradeOfClosedSession(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		p := serve(t, Options{}, nil).polling()
		p.conn.Send(text("last"))
		p.conn.Close()
		p.connect().wantCloseFrame(0)
		p.wantGet(200, "4last\x1e1")
		if _, err := p.h.tryConnect(strings.Replace(p.query, Polling, WebSocket, 1)); err != ws.StatusError(400) {
			t.Errorf("got %v, want status 400", err)
		}
	})
}

func TestCloseEndsUpgrade(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		p := serve(t, Options{}, nil).polling()
		c := p.probe()
		p.conn.Close()
		c.wantEnd()
		p.wantClosed(ForcedClose)
		p.wantGet(200, "1")
	})
}
