package socketio

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/photo-management/event-bus/server/engineio"
)

func TestDisconnectReasons(t *testing.T) {
	t.Parallel()
	tests := []struct {
		want   string
		leave  func(*raw, *Socket)
		packet string // that the client gets before
	}{
		{"client namespace disconnect", func(c *raw, _ *Socket) { c.send("1"); c.wantNothing(); c.drop() }, ""},
		{"server namespace disconnect", func(c *raw, s *Socket) { s.Disconnect() }, "1"},
		{"transport close", func(c *raw, _ *Socket) { c.drop() }, ""},
		{"transport close", func(c *raw, _ *Socket) { c.frame(ws.NewCloseFrame(nil)) }, ""},
		{"transport close", func(c *raw, _ *Socket) { c.frame(ws.NewTextFrame([]byte("1"))) }, ""},
		{"transport error", func(c *raw, _ *Socket) { c.frame(ws.NewFrame(3, true, nil)) }, ""},
		{"parse error", func(c *raw, _ *Socket) { c.frame(ws.NewTextFrame([]byte("x"))) }, ""},
		{"parse error", func(c *raw, _ *Socket) { c.send("x") }, ""},
		{"forced close", func(_ *raw, s *Socket) { s.Conn().Close() }, ""},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprint(i, " ", tt.want), func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			sockets := make(chan *Socket, 1)
			srv := serve(t, Options{RecoveryWindow: time.Minute}, func(s *Server) {
				asker(sockets)(s)
				s.Of("/").OnDisconnect(func(s *Socket, why Reason) {
					j.note(fmt.Sprint(why, " ", s.Connected(), s.Rooms(), s.Namespace().Rooms()))
				})
			})
			c := srv.client(t)
			s := <-sockets
			s.Join("room")
			tt.leave(c, s)
			j.want(t, tt.want+" false [] 0")
			if tt.packet != "" {
				c.want(tt.packet)
			}
			s.Disconnect() // once more changes nothing
			s.Join("room")
			if n := s.Namespace().Rooms(); n != 0 {
				t.Errorf("%d rooms have members, want none", n)
			}
			if why := Reason(tt.want); why != ClientDisconnect && why != ServerDisconnect {
				wait(t, "the connection to close", c.gone)
			}
			j.wantNothing(t)
		})
	}
}

func TestPingTimeout(t *testing.T) {
	t.Parallel()
	j := newJournal()
	engine := engineio.Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond}
	s := serve(t, Options{Engine: engine}, func(s *Server) {
		s.Of("/").OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	c := s.client(t)
	c.mu.Lock() // it cannot answer
	defer c.mu.Unlock()
	j.want(t, "ping timeout")
}

// A client that goes is noticed at once, however much of what it sent is unread while a handler is at work.
func TestDropBehindABacklog(t *testing.T) {
	t.Parallel()
	for _, events := range []int{1, 10, 500, 2000, 20_000} {
		t.Run(fmt.Sprint(events), func(t *testing.T) {
			t.Parallel()
			entered, block, gone := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
			s := serve(t, Options{}, func(s *Server) {
				n := s.Of("/")
				n.On("wait", func(context.Context, *Socket, *Event) { entered <- struct{}{}; <-block })
				n.OnDisconnect(func(*Socket, Reason) { close(gone) })
			})
			c := s.client(t)
			c.send(`2["wait"]`)
			wait(t, "the handler", entered)
			for range events {
				c.send(`2["more"]`)
			}
			c.drop() // loopback delivers that at once
			close(block)
			wait(t, "OnDisconnect", gone)
		})
	}
}

// OnDisconnect is the last that is called for a socket, and never while a handler of its runs.
func TestDisconnectDuringAHandler(t *testing.T) {
	t.Parallel()
	j := newJournal()
	block := make(chan struct{})
	sockets := make(chan *Socket, 1)
	srv := serve(t, Options{}, func(s *Server) {
		asker(sockets)(s)
		n := s.Of("/")
		n.On("work", func(context.Context, *Socket, *Event) {
			j.note("work begins")
			<-block
			j.note("work ends")
		})
		n.On("quit", func(_ context.Context, s *Socket, _ *Event) {
			s.Disconnect()
			j.note("quit ends")
		})
		n.OnDisconnect(func(*Socket, Reason) { j.note("gone") })
	})
	c := srv.client(t)
	s := <-sockets
	c.send(`2["work"]`, `2["work"]`)
	j.want(t, "work begins")
	s.Disconnect()
	c.want("1")
	close(block)
	j.want(t, "work ends", "gone") // the second event came too late

	c.enter("/", "")
	c.send(`2["quit"]`)
	j.want(t, "quit ends", "gone")
}

// A client disconnected by the server may come back over the same connection, as soon as it hears of it.
func TestReconnectOnTheSameConnection(t *testing.T) {
	t.Parallel()
	sockets := make(chan *Socket, 1)
	c := serve(t, Options{RecoveryWindow: time.Minute}, asker(sockets)).client(t)
	for range 200 {
		s := <-sockets
		go s.Disconnect()
		c.want("1")
		c.enter("/", "")
	}
	s := <-sockets
	c.send("1")
	c.enter("/", "")
	if again := <-sockets; again.ID() == s.ID() {
		t.Error("the new socket has the id of the old one")
	}
	c.wantNothing()
}

// What was sent before the client knew is dropped; it breaks no rule.
func TestPacketsOfADisconnectedClient(t *testing.T) {
	t.Parallel()
	j := newJournal()
	sockets := make(chan *Socket, 1)
	srv := serve(t, Options{}, func(s *Server) {
		asker(sockets)(s)
		s.Of("/").OnAny(func(_ context.Context, _ *Socket, e *Event) { j.note(e.Name) })
	})
	c := srv.client(t)
	s := <-sockets
	s.Disconnect()
	c.send(`2["late"]`, `30["late"]`, `51-["late",{"_placeholder":true,"num":0}]`)
	c.sendBinary("late")
	c.send("1")
	c.want("1")
	c.wantNothing()
	c.enter("/", "")
	c.send(`2["new"]`)
	j.want(t, "new")
}

func TestNamespacesAreSeparate(t *testing.T) {
	t.Parallel()
	j := newJournal()
	srv := serve(t, Options{}, func(s *Server) {
		for _, name := range []string{"/", "/a"} {
			n := s.Of(name)
			n.OnAny(func(_ context.Context, s *Socket, e *Event) { j.note(s.Namespace().Name() + " " + e.Name) })
			n.OnDisconnect(func(s *Socket, why Reason) { j.note(fmt.Sprint(s.Namespace().Name(), " ", why)) })
		}
	})
	c := srv.client(t)
	first := c.enter("/a", "")
	c.send(`2/a,["x"]`, `2["x"]`)
	j.want(t, "/a x", "/ x")
	_ = srv.Of("/a").Emit("y")
	_ = srv.Of("/").Emit("y")
	c.want(`2/a,["y"]`, `2["y"]`)
	srv.Of("/a").To(first.SID).Disconnect()
	c.want("1/a,")
	j.want(t, "/a server namespace disconnect")
	c.send(`2["x"]`)
	j.want(t, "/ x")
	c.drop()
	j.want(t, "/ transport close")
}
