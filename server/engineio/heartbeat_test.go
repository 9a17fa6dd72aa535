package engineio

import (
	"testing"
	"time"
)

// often pings every 20 ms and is patient with the answer.
var often = Options{PingInterval: 20 * time.Millisecond, PingTimeout: patience}

// silence gives up soon.
var silence = Options{PingInterval: 20 * time.Millisecond, PingTimeout: 40 * time.Millisecond}

func TestPongKeepsAlive(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, often, echo).polling()
		for range 5 {
			p.wantGet(200, "2")
			p.wantPost("3", 200, "ok")
		}
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, often, echo).websocket()
		for range 5 {
			c.wantText("2")
			c.sendText("3")
		}
	})
}

func TestSilenceClosesWithPingTimeout(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, silence, nil).polling()
		p.wantGet(200, "2")
		p.wantGet(200, "1")
		p.wantClosed(PingTimeout)
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, silence, nil)
		c, began := h.websocket(), time.Now()
		c.wantText("2")
		c.wantClosed(PingTimeout)
		if got, want := time.Since(began), silence.PingInterval+silence.PingTimeout; got < want {
			t.Errorf("closed after %v, want no sooner than %v", got, want)
		}
		c.wantEnd()
	})
}

func TestPingFromClientIsAnError(t *testing.T) {
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		p.wantPost("2", 200, "ok")
		p.wantClosed(TransportError)
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, nil).websocket()
		c.sendText("2")
		c.wantClosed(TransportError)
		c.wantCloseFrame(0)
	})
}

// A pong nobody asked for does not put the next ping off.
func TestUnaskedPong(t *testing.T) {
	t.Parallel()
	c, l, _ := fakeConn(t, Options{})
	due := c.timed.due
	l.input(clientFrame(1, true, "3"))
	if c.timed.due != due || c.pinged {
		t.Errorf("due at tick %d, pinged %v, want tick %d, false", c.timed.due, c.pinged, due)
	}
}

// Another packet instead of the pong shows that the client lives: it gets the time once more.
func TestBusyClientGetsMoreTime(t *testing.T) {
	t.Parallel()
	c, l, r := fakeConn(t, Options{})
	expire := func() {
		c.srv.wheel.remove(c)
		c.timer()
	}
	expire()
	l.wantTook(clientView(pingMessage))
	l.input(clientFrame(1, true, "4busy"))
	expire()
	if c.closed.Load() {
		t.Fatal("closed though a message came since the ping")
	}
	expire()
	r.wantClosed(PingTimeout)
	if !l.closed {
		t.Error("the link is open, want it closed")
	}
}

// The wheel hands out due connections before it calls them. One whose timer was set again meanwhile is not due any
// more: here its goodbye still has all its time.
func TestTimerSetAgainBeforeItIsCalled(t *testing.T) {
	t.Parallel()
	c, l, _ := fakeConn(t, Options{})
	l.room = 0
	c.Send(text("last"))
	var due []*Conn
	for len(due) == 0 {
		due = c.srv.wheel.advance(due)
	}
	c.Close()
	due[0].timer()
	if l.closed {
		t.Error("closed while the last message waits, want it sent within lingerTime")
	}
	l.room = -1
	l.t.writable()
	l.wantTook(append(clientView(text("last")), closeFrame...))
}
