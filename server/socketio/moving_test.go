package socketio

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// A client comes back from a server that was ahead of this one: it waits until this one is there.
func TestReturnAheadOfTheTail(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	c := a.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	b.hold(true)
	for n := 1; n <= 5; n++ {
		net.broadcast(n, "r")
		c.want(logged(n))
	}
	back := b.dial(t)
	back.send("0" + auth(id.PID, at(3).String()))
	eventually(t, "the client to wait", func() bool { return b.Of("/").rooms.Waiting() == 1 })
	b.hold(false)
	back.want(fmt.Sprintf(`0{"sid":"%s","pid":"%s"}`, id.SID, id.PID), logged(4), logged(5))
	net.broadcast(6, "r")
	back.want(logged(6))
	back.wantNothing()
}

// An offset that never comes is waited for no longer than a client can; meanwhile others are served.
func TestReturnAheadOfAllThereIs(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	c := a.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	ahead := b.dial(t)
	ahead.send("0" + auth(id.PID, at(99).String()))
	eventually(t, "the client to wait", func() bool { return b.Of("/").rooms.Waiting() == 1 })
	b.client(t)
	net.broadcast(1, "r")
	c.want(logged(1)) // its owner keeps it: nothing was taken
	if got := ahead.next(); got[:len(`0{"sid":"`)] != `0{"sid":"` || got[9:29] == id.SID {
		t.Errorf("got %s, want to be a new one", got)
	}
	if n := b.Of("/").rooms.Waiting(); n != 0 {
		t.Errorf("%d are waiting still", n)
	}
	net.broadcast(2, "r")
	c.want(logged(2))
}

// Who waits for the tail is no obstacle to the end of Run.
func TestRunEndsWhileOneWaits(t *testing.T) {
	t.Parallel()
	net := join(t, 1, joiner)
	x := net.nodes[0]
	id := x.dial(t).enter("/", "")
	x.dial(t).send("0" + auth(id.PID, at(99).String()))
	eventually(t, "the client to wait", func() bool { return x.Of("/").rooms.Waiting() == 1 })
	start := time.Now()
	x.stop()
	if took := time.Since(start); took > catchUpTimeout/2 {
		t.Errorf("took %s", took)
	}
}

// Clients go to and fro between servers, one of which is behind the other now and then: each sees every number
// once and in order.
func TestFlapping(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(300 * time.Microsecond):
				net.broadcast(n, "a")
			}
		}
	})
	background.Go(func() {
		dice := rand.New(rand.NewPCG(1, 1))
		for {
			x := net.nodes[dice.IntN(2)]
			x.hold(true)
			select {
			case <-stop:
				x.hold(false)
				return
			case <-time.After(time.Duration(dice.IntN(5000)) * time.Microsecond):
				x.hold(false)
			}
		}
	})
	var moved atomic.Int64
	t.Cleanup(func() {
		close(stop)
		background.Wait()
		if moved.Load() == 0 {
			t.Error("nobody has moved")
		}
	})
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(uint64(i), 2))
			f := &follower{t: t, last: -1}
			on := net.nodes[i%2]
			f.raw = on.dial(t)
			f.id = f.enter("/", "")
			f.send(`2["join",["a"]]`)
			for range 25 {
				for range 1 + dice.IntN(20) {
					f.follow(f.next())
				}
				if dice.IntN(2) == 0 {
					f.drop() // otherwise it leaves its old connection to itself
				}
				to := net.nodes[dice.IntN(2)]
				c, _, ok := to.comeBack(t, f.id, f.offset.String())
				if !ok {
					t.Fatalf("not recovered from %v", f.offset)
				}
				if to != on {
					moved.Add(1)
				}
				f.drop()
				f.raw, on = c, to
			}
		})
	}
}

// Several ask all servers for one session: at the end one connection has it, on one server.
func TestClaimantsOnAllServers(t *testing.T) {
	t.Parallel()
	net := join(t, 3, joiner)
	for round := range 20 {
		old := net.nodes[round%3].dial(t)
		id := old.enter("/", "")
		old.join("a", round)
		net.broadcast(round+1, "a")
		old.want(logged(round + 1))
		net.settle()
		const claimants = 6
		clients := make([]*raw, claimants)
		for i := range clients {
			clients[i] = net.nodes[i%3].dial(t)
		}
		for _, c := range clients {
			go c.send("0" + auth(id.PID, at(round).String()))
		}
		for _, c := range clients {
			<-c.in
		}
		holders, rooms := 0, 0
		for _, x := range net.nodes {
			for _, s := range x.Of("/").To(id.SID).Sockets() {
				holders++
				rooms += len(s.Rooms())
			}
		}
		if holders != 1 || rooms != 1 {
			t.Fatalf("round %d: %d sockets have the session, in %d rooms, want one in one", round, holders, rooms)
		}
		for _, c := range clients {
			c.drop()
		}
		old.drop()
	}
}

// Nobody who was there when the log had a gap comes back recovered; who comes after it does.
func TestReset(t *testing.T) {
	t.Parallel()
	j := newJournal()
	net := join(t, 1, member(j))
	x := net.nodes[0]
	x.Of("/chat")
	clients := make([]*raw, 3)
	ids := make([]identity, 3)
	for i := range clients {
		clients[i] = x.dial(t)
		ids[i] = clients[i].enter("/", "")
		clients[i].enter("/chat", "")
		clients[i].join("r", 0)
	}
	net.broadcast(1, "r")
	for _, c := range clients {
		c.want(logged(1))
	}
	clients[0].drop()
	x.away(t, ids[0])
	j.want(t, "transport close")
	idle := x.dial(t) // in no namespace

	x.Reset(at(5))
	for _, c := range clients[1:] {
		c.wantClosed()
		j.want(t, "forced close")
	}
	n := x.Of("/")
	if len(n.sessions.live)+len(n.sessions.away)+len(n.sessions.order)+n.Rooms()+len(n.To().Sockets()) != 0 {
		t.Errorf("left over: %+v, %d rooms", n.sessions, n.Rooms())
	}
	for i, offset := range []int{1, 0, 5} {
		if _, ok := x.Session(ids[i].PID); ok {
			t.Error("a session is to be stored still")
		}
		if _, _, ok := x.comeBack(t, ids[i], at(offset).String()); ok {
			t.Errorf("recovered from %d", offset)
		}
	}
	id := idle.enter("/", "")
	idle.join("r", 5)
	x.Deliver([]adapter.Entry{{Position: at(6), Message: adapter.Message{Rooms: []string{"r"}, Args: []byte(`"n",6`)}}})
	idle.want(logged(6))
	if _, _, ok := x.comeBack(t, id, at(5).String()); !ok {
		t.Error("not recovered, and has come after the gap")
	}
}

// A session that another server knows all about goes on there, though this one has a gap.
func TestResetElsewhere(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	c := a.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	a.hold(true)
	for n := 1; n <= 4; n++ {
		net.broadcast(n, "r")
	}
	a.Reset(at(4))
	c.wantClosed()
	c, _, ok := b.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered where all is known")
	}
	c.want(logged(1), logged(2), logged(3), logged(4))
}

// The log is found to have a gap while a client is on its way back: it is a new one.
func TestResetWhileResuming(t *testing.T) {
	t.Parallel()
	judging, judge := make(chan struct{}), make(chan struct{})
	openJudge := sync.OnceFunc(func() { close(judge) })
	defer openJudge() // whatever happens
	net := join(t, 1, func(s *Server) {
		joiner(s)
		s.Of("/").OnResume(func(_ context.Context, _ *Socket, was Session) ([]string, error) {
			close(judging)
			<-judge
			return was.Rooms, nil
		})
	})
	x := net.nodes[0]
	c := x.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	back := x.dial(t)
	back.send("0" + auth(id.PID, at(0).String()))
	wait(t, "OnResume", judging)
	x.Reset(at(5))
	openJudge()
	c.wantClosed()
	if got := back.next(); got[9:29] == id.SID {
		t.Error("recovered over the gap")
	}
	x.Deliver([]adapter.Entry{{Position: at(6), Message: adapter.Message{Rooms: []string{"r"}, Args: []byte(`"n",6`)}}})
	back.wantNothing() // it is in no room
}

// A handler may emit an offset just when the log is reset. It must not be one from beyond the gap, from which its
// client could come back as if there was none.
func TestResetWhileEmitting(t *testing.T) {
	t.Parallel()
	const numbers = 3000
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		s.Of("/").On("note", func(_ context.Context, s *Socket, _ *Event) { _ = s.EmitAt(nil, "note") })
	})
	stop := make(chan struct{})
	var broadcaster sync.WaitGroup
	broadcaster.Go(func() {
		defer close(stop)
		dice := rand.New(rand.NewPCG(1, 1))
		for n := 1; n < numbers; n++ {
			if dice.IntN(40) == 0 {
				n++ // it is lost
				s.Reset(at(n))
				continue
			}
			s.log(n, "a")
			time.Sleep(100 * time.Microsecond) // leave some time to the clients
		}
	})
	t.Cleanup(broadcaster.Wait)
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(uint64(i), 2))
			f := &follower{t: t, last: -1}
			f.raw = s.dial(t)
			f.id = f.enter("/", "")
			f.send(`2["join",["a"]]`)
			for f.hear(stop, 1+dice.IntN(30)) {
				if dice.IntN(2) == 0 {
					f.send(`2["note"]`)
					continue
				}
				c, is, ok := s.comeBack(t, f.id, f.offset.String())
				f.drop()
				f.raw = c
				if !ok {
					f.id, f.last, f.offset = is, -1, adapter.Position{}
					f.send(`2["join",["a"]]`)
				}
			}
		})
	}
}

// hear follows some packets, fewer if the connection ends, and reports false once stop is closed.
func (f *follower) hear(stop <-chan struct{}, packets int) bool {
	f.t.Helper()
	for range packets {
		select {
		case p, ok := <-f.in:
			if !ok {
				return true
			}
			f.follow(p)
		case <-stop:
			return false
		}
	}
	return true
}
