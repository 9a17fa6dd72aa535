package socketio

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// party is some clients in some rooms.
type party struct {
	t       *testing.T
	n       *Namespace
	sockets map[string]*Socket
	clients map[string]*raw
}

// newParty seats ann in a and b, bob in b and cid in none.
func newParty(t *testing.T, opts Options) *party {
	sockets := make(chan *Socket, 1)
	srv := serve(t, opts, asker(sockets))
	p := &party{t, srv.Of("/"), map[string]*Socket{}, map[string]*raw{}}
	for name, rooms := range map[string]string{"ann": "a b", "bob": "b", "cid": ""} {
		p.clients[name] = srv.client(t)
		p.sockets[name] = <-sockets
		p.sockets[name].Join(strings.Fields(rooms)...)
	}
	return p
}

// got checks who gets the event x next, and only that, once.
func (p *party) got(want string) {
	p.t.Helper()
	for name, c := range p.clients {
		c.send("0/nowhere,")
		first := c.next()
		got := !strings.HasPrefix(first, "4/nowhere")
		if got {
			if !strings.HasPrefix(first, `2["x"`) {
				p.t.Errorf("%s got %s", name, first)
			}
			c.want(`4/nowhere,{"message":"Invalid namespace"}`)
		}
		if got != slices.Contains(strings.Fields(want), name) {
			p.t.Errorf("%s got the event: %v, want those who get it to be %q", name, got, want)
		}
	}
}

func (p *party) names(of []*Socket) string {
	var out []string
	for name, s := range p.sockets {
		if slices.Contains(of, s) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, window := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprint("window ", window), func(t *testing.T) {
			t.Parallel()
			p := newParty(t, Options{RecoveryWindow: window})
			n, ann, bob := p.n, p.sockets["ann"], p.sockets["bob"]
			tests := []struct {
				name   string
				target Target
				want   string
			}{
				{"everybody", n.To(), "ann bob cid"},
				{"a", n.To("a"), "ann"},
				{"a and b", n.To("a", "b"), "ann bob"},
				{"b twice", n.To("b", "b"), "ann bob"},
				{"unknown", n.To("z"), ""},
				{"an id", n.To(bob.ID()), "bob"},
				{"an id again", n.To(bob.ID()), "bob"},
				{"an id and its room", n.To(bob.ID(), "b"), "ann bob"},
				{"all but b", n.To().Except("b"), "cid"},
				{"b but a", n.To("b").Except("a"), "bob"},
				{"all but an id", n.To().Except(bob.ID()), "ann cid"},
				{"all but two", n.To().Except("a").Except(bob.ID()), "cid"},
				{"from ann to all", ann.To(), "bob cid"},
				{"from ann to b", ann.To("b"), "bob"},
				{"from bob to a", bob.To("a"), "ann"},
				{"from bob to bob", bob.To(bob.ID()), ""},
				{"volatile to b", n.To("b").Volatile(), "ann bob"},
			}
			for range 2 { // the first round leaves traces in the window
				for _, tt := range tests {
					if err := tt.target.Emit("x", 1); err != nil {
						t.Fatal(err)
					}
					p.got(tt.want)
					if got := p.names(tt.target.Sockets()); got != tt.want {
						t.Errorf("%s: sockets %q, want %q", tt.name, got, tt.want)
					}
				}
			}
			_ = n.Emit("x")
			p.got("ann bob cid")
		})
	}
}

// A Target is a value: narrowing one leaves it as it was.
func TestTargetIsAValue(t *testing.T) {
	t.Parallel()
	p := newParty(t, Options{})
	all := p.n.To().Except("z")
	_, _ = all.Except("a"), all.Except("b")
	_ = all.Except("a").Volatile()
	if all.volatile || p.names(all.Sockets()) != "ann bob cid" {
		t.Errorf("a target was changed by narrowing it: %+v", all)
	}
	one, other := all.Except("a"), all.Except("b")
	if got, want := p.names(one.Sockets())+"/"+p.names(other.Sockets()), "bob cid/cid"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The caller may use its slice again, while the broadcast is kept in the window.
func TestTargetKeepsNoSlice(t *testing.T) {
	t.Parallel()
	srv, err := New(Options{RecoveryWindow: time.Minute, RecoveryBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	n := srv.Of("/")
	rooms, except := []string{"a", "b"}, []string{"c"}
	_ = n.To(rooms...).Except(except...).Emit("x")
	rooms[0], rooms[1], except[0] = "changed", "changed", "changed"
	for range 10 { // the first is trimmed on the way
		_ = n.To("a").Emit("x", strings.Repeat("y", 30))
	}
}

func TestTargetJoinLeaveDisconnect(t *testing.T) {
	t.Parallel()
	p := newParty(t, Options{})
	p.n.To("b").Join("c", "d")
	_ = p.n.To("c").Emit("x")
	p.got("ann bob")
	p.n.To("a").Leave("c", "unknown")
	_ = p.n.To("c").Emit("x")
	p.got("bob")
	if rooms := p.sockets["ann"].Rooms(); !slices.Equal(sortedCopy(rooms), []string{"a", "b", "d"}) {
		t.Errorf("ann is in %v", rooms)
	}
	if got := p.n.Rooms(); got != 4 {
		t.Errorf("%d rooms have members, want 4", got)
	}
	p.n.To().Except("a").Disconnect()
	p.clients["bob"].want("1")
	p.clients["cid"].want("1")
	_ = p.n.Emit("x")
	p.got("ann")
	if got := p.names(p.n.To().Sockets()); got != "ann" {
		t.Errorf("sockets are %q, want ann", got)
	}
}

func sortedCopy(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

func TestJoinTwiceLeaveOnce(t *testing.T) {
	t.Parallel()
	p := newParty(t, Options{})
	s := p.sockets["cid"]
	s.Join("r", "r")
	s.Join("r")
	_ = p.n.To("r").Emit("x")
	p.got("cid")
	s.Leave("r")
	s.Leave("r", s.ID())
	_ = p.n.To("r").Emit("x")
	p.got("")
	_ = p.n.To(s.ID()).Emit("x")
	p.got("cid")
}

// Broadcasts from several goroutines reach everybody in one and the same order.
func TestOneOrderForAll(t *testing.T) {
	t.Parallel()
	const each = 100
	p := newParty(t, Options{RecoveryWindow: time.Minute})
	var senders sync.WaitGroup
	for i := range 4 {
		senders.Go(func() {
			for k := range each {
				_ = p.n.To("b").Emit("x", fmt.Sprint(i, "-", k))
			}
		})
	}
	for range 4 * each {
		if a, b := p.clients["ann"].next(), p.clients["bob"].next(); a != b {
			t.Fatalf("ann got %s, bob got %s", a, b)
		}
	}
	senders.Wait()
	p.got("")
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	entry := func(seq uint64, args string, rooms []string) adapter.Entry {
		return adapter.Entry{
			Position: adapter.Position{MS: 5, Seq: seq},
			Message:  adapter.Message{Rooms: rooms, Args: []byte(args)},
		}
	}
	for _, recovery := range []bool{false, true} {
		t.Run(fmt.Sprint("recovery ", recovery), func(t *testing.T) {
			t.Parallel()
			opts := Options{Start: adapter.Position{MS: 5}}
			if recovery {
				opts.RecoveryWindow = time.Minute
			}
			p := newParty(t, opts)
			p.n.deliver([]adapter.Entry{
				entry(1, `"x",{"a":1},"two"`, []string{"a"}),
				entry(2, `"y\""`, nil),
				entry(3, `"z",null`, []string{"b", "a"}),
			})
			for _, name := range []string{"ann", "bob", "cid"} {
				want := []string{`2["x",{"a":1},"two"]`, `2["y\""]`, `2["z",null]`}
				if recovery {
					want = []string{`2["x",{"a":1},"two","5-1"]`, `2["y\"","5-2"]`, `2["z",null,"5-3"]`}
				}
				switch name {
				case "bob":
					want = want[1:]
				case "cid":
					want = want[1:2]
				}
				p.clients[name].want(want...)
			}
			p.got("")
			p.n.deliver(nil)
		})
	}
}

func TestVolatileSkipsWhoMustWait(t *testing.T) {
	t.Parallel()
	opts := Options{}
	opts.Engine.MaxQueue = 16 << 20
	p := newParty(t, opts)
	ann := p.clients["ann"]
	ann.pause()
	big := strings.Repeat("y", 1<<20)
	for range 8 { // more than the kernel takes
		_ = p.n.To("a").Emit("big", big)
	}
	_ = p.n.To().Volatile().Emit("x")
	p.clients["bob"].want(`2["x"]`)
	p.clients["cid"].want(`2["x"]`)
	ann.paused.Unlock()
	for range 8 {
		ann.want(`2["big","` + big + `"]`)
	}
	_ = p.n.To().Volatile().Emit("x")
	p.got("ann bob cid")
}

// A client that does not read is disconnected once too much waits for it; a recovery backlog is no such thing.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	j := newJournal()
	sockets := make(chan *Socket, 1)
	srv := serve(t, Options{}, func(s *Server) {
		asker(sockets)(s)
		s.Of("/").OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	c := srv.client(t)
	<-sockets
	c.pause()
	defer c.paused.Unlock()
	big := strings.Repeat("y", 1<<20)
	for range 10 {
		_ = srv.Of("/").Emit("big", big)
	}
	j.want(t, "slow client")
}

func TestServerWideDisconnect(t *testing.T) {
	t.Parallel()
	j := newJournal()
	sockets := make(chan *Socket, 3)
	srv := serve(t, Options{}, func(s *Server) {
		asker(sockets)(s)
		s.Of("/").OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	var clients []*raw
	for range 3 {
		clients = append(clients, srv.client(t))
		<-sockets
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	srv.Drain(ctx, 10*time.Millisecond)
	for _, c := range clients {
		c.wantClosed()
		j.want(t, "server shutting down")
	}
	if n := srv.Engine().Len(); n != 0 {
		t.Errorf("%d connections open after Drain", n)
	}
}

// Sockets are used by others while their clients connect and leave: none of them is half made.
func TestTargetsWhileClientsConnect(t *testing.T) {
	t.Parallel()
	for _, opts := range []Options{{}, recovering} {
		s := serve(t, opts, nil)
		n := s.Of("/")
		stop := make(chan struct{})
		var user sync.WaitGroup
		user.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n.To().Join("r")
				for _, socket := range n.To().Sockets() {
					if socket.ID() == "" {
						t.Error("a socket has no id yet")
					}
					_, _ = socket.Rooms(), socket.Data()
				}
				n.To("r").Leave("r")
			}
		})
		for range 40 {
			c := s.dial(t)
			id := c.enter("/", "")
			c.drop()
			if opts.RecoveryWindow > 0 {
				c, _, _ = s.comeBack(t, id, at(0).String())
				c.drop()
			}
		}
		close(stop)
		user.Wait()
	}
}
