package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A client that comes back before the server has noticed that it was gone is right: its old connection is closed.
func TestTakeover(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		s.Of("/").OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	old := s.dial(t)
	id := old.enter("/", "")
	old.join("a", 0)
	s.log(1, "a")
	c, _, ok := s.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	c.want(logged(1))
	old.wantClosed(logged(1))
	j.want(t, "transport close")
	s.log(2, "a")
	c.want(logged(2))
	c.wantNothing()
	j.wantNothing(t)
	if n := s.Engine().Len(); n != 1 {
		t.Errorf("%d connections are open, want 1", n)
	}

	// And again, from the connection that took over.
	again, _, ok := s.comeBack(t, id, at(2).String())
	if !ok {
		t.Fatal("not recovered from the second connection")
	}
	c.wantClosed()
	s.log(3, "a")
	again.want(logged(3))
}

// Of several who ask for a session, one gets it; the others are new. There is only ever one of an id.
func TestOneClaimantOnly(t *testing.T) {
	t.Parallel()
	for _, alive := range []bool{false, true} {
		t.Run(fmt.Sprint("alive ", alive), func(t *testing.T) {
			t.Parallel()
			s := serve(t, recovering, joiner)
			for round := range 20 {
				old := s.dial(t)
				id := old.enter("/", "")
				old.join("a", round)
				if !alive {
					old.drop()
					s.away(t, id)
				}
				s.log(round+1, "a")
				const claimants = 4
				clients := make([]*raw, claimants)
				for i := range clients {
					clients[i] = s.dial(t)
				}
				for _, c := range clients {
					go c.send("0" + auth(id.PID, at(round).String()))
				}
				// The winner's pid is good again at once, so the next claimant may take over from it, and so on. Once
				// all are answered, one has the id; from whoever had it before, the connection was taken.
				held := make([]bool, claimants)
				for i, c := range clients {
					held[i] = <-c.in == fmt.Sprintf(`0{"sid":"%s","pid":"%s"}`, id.SID, id.PID)
				}
				open := 0
				for i, c := range clients {
					c.send("0/nowhere,")
					for packet := range c.in {
						if packet == `4/nowhere,{"message":"Invalid namespace"}` {
							if held[i] {
								open++
							}
							break
						}
					}
					c.drop()
				}
				if open != 1 {
					t.Fatalf("%d of %d claimants have the session", open, claimants)
				}
			}
		})
	}
}

// The old connection may end by itself at the very moment the client takes over: the rooms must not get lost.
func TestTakeoverWhileTheOldConnectionEnds(t *testing.T) {
	t.Parallel()
	connecting, sockets := make(chan struct{}, 1), make(chan *Socket, 1)
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		asker(sockets)(s)
		s.Of("/").Use(func(context.Context, *Socket, json.RawMessage) error { connecting <- struct{}{}; return nil })
	})
	n := s.Of("/")
	for round := range 20 {
		old := s.dial(t)
		id := old.enter("/", "")
		<-connecting
		was := <-sockets
		old.join("a", round)

		// The claimant, and then the end of the old one, meet at the door of the sessions.
		c := s.dial(t)
		n.sessions.mu.Lock()
		c.send("0" + auth(id.PID, at(round).String()))
		<-connecting
		old.drop()
		eventually(t, "the old socket to end", func() bool { return !was.Connected() })
		n.sessions.mu.Unlock()

		c.want(fmt.Sprintf(`0{"sid":"%s","pid":"%s"}`, id.SID, id.PID))
		if is := <-sockets; !slices.Equal(is.Rooms(), []string{"a"}) {
			t.Fatalf("round %d: recovered into rooms %v, want a", round, is.Rooms())
		}
		s.log(round+1, "a")
		c.want(logged(round + 1))
		c.drop()
	}
}

// Sessions are taken over again and again while old connections end: who is recovered has its room still.
func TestTakeoverStorm(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, joiner)
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			id := c.enter("/", "")
			c.join("a", 0)
			for round := range 100 {
				old, ok := c, false
				if round%2 == 0 {
					go old.drop()
				}
				if c, _, ok = s.comeBack(t, id, at(0).String()); !ok {
					t.Fatalf("round %d: not recovered", round)
				}
				if rooms := s.Of("/").To(id.SID).Sockets()[0].Rooms(); !slices.Equal(rooms, []string{"a"}) {
					t.Fatalf("round %d: recovered into rooms %v, want a", round, rooms)
				}
				old.drop()
			}
		})
	}
}

// Whoever has a pid but may not resume with it does the owner no harm.
func TestRefusedTakeover(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		s.Of("/").OnResume(func(context.Context, *Socket, Session) ([]string, error) { return nil, errors.New("no") })
	})
	owner := s.dial(t)
	id := owner.enter("/", "")
	owner.join("a", 0)
	thief, _, ok := s.comeBack(t, id, at(0).String())
	if ok {
		t.Fatal("recovered, though OnResume refused")
	}
	s.log(1, "a")
	owner.want(logged(1))
	thief.wantNothing()
}

// The old connection may live on while OnResume thinks: the rooms it joins and leaves meanwhile are joined and left.
func TestTakeoverWhileTheOldSocketGoesOn(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan []string)
	sockets := make(chan *Socket, 2)
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		asker(sockets)(s)
		s.Of("/").OnResume(func(context.Context, *Socket, Session) ([]string, error) {
			close(asked)
			return <-answer, nil
		})
	})
	old := s.dial(t)
	id := old.enter("/", "")
	was := <-sockets
	old.join("keep left refused", 0)
	c := s.dial(t)
	c.send("0" + auth(id.PID, at(0).String()))
	wait(t, "OnResume", asked)
	was.Join("joined")
	was.Leave("left")
	s.log(1, "joined")
	old.want(logged(1))
	answer <- []string{"keep", "left"}
	c.want(fmt.Sprintf(`0{"sid":"%s","pid":"%s"}`, id.SID, id.PID), logged(1))
	if is := <-sockets; !slices.Equal(sortedCopy(is.Rooms()), []string{"joined", "keep"}) {
		t.Errorf("recovered into %v, want joined and keep", is.Rooms())
	}
	old.wantClosed()
}

// A handler of the old connection may still run: the new one does not wait for it.
func TestTakeoverFromABlockedHandler(t *testing.T) {
	t.Parallel()
	entered, block := make(chan struct{}), make(chan struct{})
	s := serve(t, recovering, func(s *Server) {
		s.Of("/").On("block", func(_ context.Context, s *Socket, _ *Event) {
			close(entered)
			<-block
			s.Join("late")
			_ = s.Emit("late")
			s.Disconnect()
		})
	})
	old := s.dial(t)
	id := old.enter("/", "")
	old.send(`2["block"]`)
	wait(t, "the handler", entered)
	c, _, ok := s.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	close(block)
	old.wantClosed()
	c.wantNothing()
	if sockets := s.Of("/").To().Sockets(); len(sockets) != 1 || len(sockets[0].Rooms()) != 0 {
		t.Errorf("sockets %v, want the new one, in no room", sockets)
	}
	c.drop() // and its session is its own still
	if _, _, ok := s.comeBack(t, id, at(0).String()); !ok {
		t.Error("not recovered: the end of the old socket took the session of the new one along")
	}
}

// A broadcast may bring a client its CONNECT before the server is through with connecting it. What the client then
// knows, its pid, must be good already: it could come back with it at once.
func TestSessionIsKnownBeforeItsClientHearsOfIt(t *testing.T) {
	t.Parallel()
	connecting := make(chan struct{}, 1)
	s := serve(t, recovering, func(s *Server) {
		s.Of("/").Use(func(context.Context, *Socket, json.RawMessage) error { connecting <- struct{}{}; return nil })
	})
	n := s.Of("/")
	c := s.dial(t)
	n.sessions.mu.Lock() // no session can be noted
	c.send("0")
	<-connecting
	for range 2000 {
		_ = n.To().Volatile().Emit("x") // sends what waits for the clients that are in
		if len(c.in) > 0 {
			n.sessions.mu.Unlock()
			t.Fatalf("got %s, and the server does not know the session yet", c.next())
		}
	}
	n.sessions.mu.Unlock()
	if got := c.next(); !strings.HasPrefix(got, `0{"sid":`) {
		t.Errorf("CONNECT is answered with %s", got)
	}
}
