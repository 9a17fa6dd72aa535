package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// member joins rooms by EmitAt, Join and Leave, and notes its sockets' ends.
func member(j journal) func(*Server) {
	return func(s *Server) {
		joiner(s)
		n := s.Of("/")
		n.OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
		n.On("leave", func(_ context.Context, s *Socket, e *Event) {
			var room string
			_ = e.Decode(&room)
			s.Leave(room)
			_ = e.Ack()
		})
		n.On("plain join", func(_ context.Context, s *Socket, e *Event) {
			var room string
			_ = e.Decode(&room)
			s.Join(room)
			_ = e.Ack()
		})
	}
}

// sorted is what Session says of a pid, with its rooms sorted and without that of the id.
func (x *node) stored(t *testing.T, id identity) string {
	t.Helper()
	s, ok := x.Session(id.PID)
	if !ok {
		return "none"
	}
	if s.PID != id.PID || s.ID != id.SID || s.Rooms[0] != id.SID || slices.Contains(s.Rooms[1:], id.SID) {
		t.Errorf("stored %+v of %+v", s, id)
	}
	return strings.Join(sortedCopy(s.Rooms[1:]), " ") + " " + string(s.Data)
}

// What is stored follows what happens, and the store hears of it.
func TestStoreIsTold(t *testing.T) {
	t.Parallel()
	net := join(t, 1, member(newJournal()))
	x := net.nodes[0]
	c := x.dial(t)
	id := c.enter("/", "")
	want := func(calls, session string) {
		t.Helper()
		c.wantNothing()
		if got := x.store.told(id.PID); got != calls {
			t.Errorf("told %q, want %q", got, calls)
		}
		if got := x.stored(t, id); got != session {
			t.Errorf("session is %q, want %q", got, session)
		}
	}
	want("changed", " ")
	c.join("a b", 0)
	want("changed save", `a b "[a b]"`) // data changed first
	c.join("b a", 0)
	want("changed", `a b "[b a]"`) // no new room
	c.send(`20["plain join","c"]`)
	c.want(`30[]`)
	want("changed", `a b c "[b a]"`)
	c.send(`20["plain join","c"]`, `21["leave","unknown"]`)
	c.want(`30[]`, `31[]`)
	want("", `a b c "[b a]"`)
	c.send(`20["leave","b"]`)
	c.want(`30[]`)
	want("changed", `a c "[b a]"`)
	_ = x.Of("/").To("a").Join("d")
	net.settle()
	want("changed", `a c d "[b a]"`)

	c.drop()
	x.away(t, id)
	eventually(t, "release", func() bool {
		got := x.store.told(id.PID)
		if got != "" && got != "release" {
			t.Errorf("told %q, want release", got)
		}
		return got != ""
	})
	if got := x.stored(t, id); got != `a c d "[b a]"` {
		t.Errorf("session is %q", got)
	}
	var ok bool
	if c, _, ok = x.comeBack(t, id, at(1).String()); !ok {
		t.Fatal("not recovered")
	}
	want("take changed", `a c d "[b a]"`)
	c.send("1")
	want("drop", "none")

	c.enter("/", "")
	sockets := x.Of("/").To().Sockets()
	id = identity{sockets[0].id, sockets[0].pid}
	sockets[0].Disconnect()
	c.want("1")
	eventually(t, "drop", func() bool { return strings.HasSuffix(x.store.told(id.PID), "drop") })
}

// A client goes from server to server, with its rooms, its data and what it has missed. The old connection, if it is
// open still, is closed.
func TestReturnToAnotherServer(t *testing.T) {
	t.Parallel()
	for _, drops := range []bool{true, false} {
		t.Run(fmt.Sprint("drops ", drops), func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			seen := make(chan Session, 10)
			net := join(t, 2, func(s *Server) {
				member(j)(s)
				s.Of("/").OnResume(func(_ context.Context, _ *Socket, was Session) ([]string, error) {
					seen <- was
					return was.Rooms, nil
				})
			})
			a, b := net.nodes[0], net.nodes[1]
			c := a.dial(t)
			id := c.enter("/", "")
			c.join("r s", 0)
			net.broadcast(1, "r")
			c.want(logged(1))
			if drops {
				c.drop()
				a.away(t, id)
			}
			net.broadcast(2, "elsewhere")
			net.broadcast(3, "s")
			net.broadcast(4, id.SID)
			net.settle() // the old connection has got all of it
			old := c
			c, _, ok := b.comeBack(t, id, at(1).String())
			if !ok {
				t.Fatal("not recovered")
			}
			c.want(logged(3), logged(4))
			if !drops {
				old.wantClosed(logged(3), logged(4))
			}
			j.want(t, "transport close")
			was := <-seen
			if raw, ok := was.Data.(json.RawMessage); !ok || string(raw) != `"[r s]"` || was.ID != id.SID ||
				!slices.Equal(sortedCopy(was.Rooms), []string{"r", "s"}) {
				t.Errorf("OnResume saw %+v", was)
			}
			socket := b.Of("/").To(id.SID).Sockets()[0]
			if raw, ok := socket.Data().(json.RawMessage); !ok || string(raw) != `"[r s]"` || !socket.Recovered() {
				t.Errorf("data is %#v", socket.Data())
			}
			if got := sortedCopy(socket.Rooms()); !slices.Equal(got, []string{"r", "s"}) {
				t.Errorf("is in %v", got)
			}
			if got := a.stored(t, id); got != "none" {
				t.Errorf("the first server has %s still", got)
			}
			if got := net.vault.rooms(id.PID); got != "r s of 2" {
				t.Errorf("stored %s", got)
			}
			// And back again.
			back, _, ok := a.comeBack(t, id, at(4).String())
			if !ok {
				t.Fatal("not recovered on the first server")
			}
			c.wantClosed()
			net.broadcast(5, "s")
			back.want(logged(5))
			back.wantNothing()
			if calls := a.store.told(id.PID); strings.Contains(calls, "drop") {
				t.Errorf("told %s", calls)
			}
		})
	}
}

// What a client was told is stored: not even the sudden end of its server can undo it.
func TestEmitAtIsStoredFirst(t *testing.T) {
	t.Parallel()
	saving, save := make(chan struct{}), make(chan struct{})
	openSave := sync.OnceFunc(func() { close(save) })
	defer openSave() // whatever happens
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	a.store.before = func(context.Context, string) error { saving <- struct{}{}; <-save; return nil }
	c := a.dial(t)
	id := c.enter("/", "")
	c.send(`2["join",["r","s"]]`)
	wait(t, "the store", saving)
	if got := a.stored(t, id); got != `r s "[r s]"` {
		t.Errorf("to be stored: %q, want the rooms that it is about to be in", got)
	}
	socket := a.Of("/").To(id.SID).Sockets()[0]
	if rooms := socket.Rooms(); len(rooms) != 0 {
		t.Errorf("is in %v, and it is not stored", rooms)
	}
	net.broadcast(1, "r") // before it is in there
	net.settle()
	socket.Join("t") // meanwhile
	if got := a.stored(t, id); got != `r s t "[r s]"` {
		t.Errorf("to be stored: %q", got)
	}
	if len(c.in) != 0 {
		t.Errorf("got %s, and it is not stored", c.next())
	}
	openSave()
	c.want(`2["joined","` + at(1).String() + `"]`)
	if got := net.vault.rooms(id.PID); got != "r s t of 1" {
		t.Errorf("told the client, and stored %s", got)
	}
	eventually(t, "the join to be over", func() bool {
		a.Of("/").sessions.mu.Lock()
		defer a.Of("/").sessions.mu.Unlock()
		return len(socket.joining) == 0
	})
	a.hold(true) // the first server says nothing any more
	net.broadcast(2, "s")
	c, _, ok := b.comeBack(t, id, at(1).String())
	if !ok {
		t.Fatal("not recovered")
	}
	c.want(logged(2))
}

// Two joins at a time lose nothing of each other.
func TestTwoJoinsAtATime(t *testing.T) {
	t.Parallel()
	saving, save := make(chan struct{}, 2), make(chan struct{})
	net := join(t, 1, joiner)
	x := net.nodes[0]
	c := x.dial(t)
	id := c.enter("/", "")
	socket := x.Of("/").To(id.SID).Sockets()[0]
	x.store.before = func(context.Context, string) error { saving <- struct{}{}; <-save; return nil }
	for _, rooms := range [][]string{{"a", "b"}, {"b", "c"}} {
		go func() { _ = socket.EmitAt(rooms, "joined") }()
		<-saving
	}
	save <- struct{}{}
	c.want(`2["joined","` + at(0).String() + `"]`)
	if got := x.stored(t, id); got != "a b c " {
		t.Errorf("session is %q, want the rooms of the other one too", got)
	}
	save <- struct{}{}
	c.want(`2["joined","` + at(0).String() + `"]`)
	if got := x.stored(t, id); got != "a b c " {
		t.Errorf("session is %q", got)
	}
}

// While the store is away, life goes on where it is.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	c := a.dial(t)
	id := c.enter("/", "")
	for _, x := range net.nodes {
		x.store.setDown(true)
	}
	c.join("r", 0) // stored or not
	c.drop()
	a.away(t, id)
	net.broadcast(1, "r")
	c, _, ok := a.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered where it was")
	}
	c.want(logged(1))
	if _, _, ok := b.comeBack(t, id, at(1).String()); ok {
		t.Error("recovered where nothing is known of it")
	}
	c.wantNothing()
	if got := a.stored(t, id); got != `r "[r]"` {
		t.Errorf("session is %q", got)
	}
	// It fails between Look and Take: nothing was taken.
	for _, x := range net.nodes {
		x.store.setDown(false)
	}
	socket := a.Of("/").To(id.SID).Sockets()[0]
	socket.Join("s") // stored now
	b.Of("/").OnResume(func(_ context.Context, _ *Socket, was Session) ([]string, error) {
		b.store.setDown(true)
		return was.Rooms, nil
	})
	if _, _, ok := b.comeBack(t, id, at(1).String()); ok {
		t.Error("recovered without having taken it")
	}
	c.wantNothing()
}

// The session is taken while a join is to be stored: nothing is emitted to the old connection.
func TestTakenWhileJoining(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} { // before or after the server hears of it
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			saving, save := make(chan struct{}), make(chan struct{})
			openSave := sync.OnceFunc(func() { close(save) })
			defer openSave() // whatever happens
			net := join(t, 2, member(j))
			a, b := net.nodes[0], net.nodes[1]
			a.store.before = func(context.Context, string) error { saving <- struct{}{}; <-save; return nil }
			a.store.late = late
			old := a.dial(t)
			id := old.enter("/", "")
			old.send(`2["join",["r"]]`)
			wait(t, "the store", saving)
			c, _, ok := b.comeBack(t, id, at(0).String())
			if !ok {
				t.Fatal("not recovered")
			}
			openSave()
			old.wantClosed()
			j.want(t, "transport close")
			net.broadcast(1, "r")
			c.want() // it is not in there, as it was never told so
			net.settle()
			c.wantNothing()
			if got := net.vault.rooms(id.PID); got != " of 2" {
				t.Errorf("stored %q", got)
			}
			a.store.catchUp()
			if got := a.stored(t, id); got != "none" {
				t.Errorf("the old server has %q still", got)
			}
			c.wantNothing()
		})
	}
}

// Who may not have a session does its owner no harm, on another server either.
func TestRefusedOnAnotherServer(t *testing.T) {
	t.Parallel()
	net := join(t, 2, func(s *Server) {
		joiner(s)
		s.Of("/").OnResume(func(context.Context, *Socket, Session) ([]string, error) { return nil, errors.New("no") })
	})
	owner := net.nodes[0].dial(t)
	id := owner.enter("/", "")
	owner.join("r", 0)
	thief, _, ok := net.nodes[1].comeBack(t, id, at(0).String())
	if ok {
		t.Fatal("recovered, though OnResume refused")
	}
	net.broadcast(1, "r")
	owner.want(logged(1))
	net.settle()
	thief.wantNothing()
	if calls := net.nodes[1].store.told(id.PID); calls != "look" {
		t.Errorf("told %q", calls)
	}
	if got := net.vault.rooms(id.PID); got != "r of 1" {
		t.Errorf("stored %q", got)
	}
}

// A session that was taken, but whose offset is not known, is at its end; the client is a new one.
func TestTakenButNotKnown(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	c := a.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	c.drop()
	a.away(t, id)
	is := b.dial(t).enter("/", auth(id.PID, "8-0"))
	if is.SID == id.SID {
		t.Error("recovered from an offset before the first")
	}
	if got := net.vault.rooms(id.PID); got != "none" {
		t.Errorf("stored %q", got)
	}
	if calls := b.store.told(id.PID); calls != "look take drop" {
		t.Errorf("told %q", calls)
	}
	long := b.dial(t).enter("/", auth(strings.Repeat("x", 1000), at(0).String()))
	if calls := b.store.told(strings.Repeat("x", 1000)); long.PID == "" || calls != "" {
		t.Errorf("asked for a pid of 1000 bytes: %q", calls)
	}
}

// The server that a client returns to may still take it for its own, from an earlier time.
func TestReturnWhereAnOldCopyIs(t *testing.T) {
	t.Parallel()
	judged := make(chan Session, 10)
	net := join(t, 2, func(s *Server) {
		joiner(s)
		s.Of("/").OnResume(func(_ context.Context, _ *Socket, was Session) ([]string, error) {
			judged <- was
			return slices.DeleteFunc(slices.Clone(was.Rooms), func(r string) bool { return r == "forbidden" }), nil
		})
	})
	a, b := net.nodes[0], net.nodes[1]
	a.store.mu.Lock()
	a.store.late = true
	a.store.mu.Unlock()
	first := a.dial(t)
	id := first.enter("/", "")
	first.join("old", 0)
	second, _, ok := b.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	second.join("new forbidden", 0)
	b.Of("/").To(id.SID).Sockets()[0].Leave("old")
	third, _, ok := a.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered on the first server")
	}
	first.wantClosed()
	second.wantClosed()
	socket := a.Of("/").To(id.SID).Sockets()
	if len(socket) != 1 || !slices.Equal(socket[0].Rooms(), []string{"new"}) {
		t.Errorf("sockets %v, want one, in new", socket)
	}
	for i := range 3 {
		if was := <-judged; i == 2 && !slices.Equal(sortedCopy(was.Rooms), []string{"forbidden", "new"}) {
			t.Errorf("OnResume saw %v at last", was.Rooms)
		}
	}
	a.store.catchUp() // what it says has been made good
	net.broadcast(1, "new")
	third.want(logged(1))
}

// Another server takes the session while this one is about to seat its client: there is one owner at the end.
func TestTakenBeforeSeated(t *testing.T) {
	t.Parallel()
	calls, judging, judge := 0, make(chan struct{}), make(chan struct{})
	openJudge := sync.OnceFunc(func() { close(judge) })
	defer openJudge() // whatever happens
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	a.store.late = true
	first := a.dial(t)
	id := first.enter("/", "")
	first.join("r", 0)
	second, _, ok := b.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	a.store.mu.Lock()
	a.store.late = false
	a.store.mu.Unlock()
	// The first server has an old copy, so OnResume is asked again once the session is taken.
	a.Of("/").OnResume(func(_ context.Context, _ *Socket, was Session) ([]string, error) {
		if calls++; calls == 2 {
			close(judging)
			<-judge
		}
		return was.Rooms, nil
	})
	third := a.dial(t)
	third.send("0" + auth(id.PID, at(0).String()))
	wait(t, "OnResume", judging)
	second.wantClosed()
	fourth, _, ok := b.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered from a server that has not seated it")
	}
	openJudge()
	if got := third.next(); strings.Contains(got, id.SID) {
		t.Errorf("got %s, and the session is on the other server", got)
	}
	net.broadcast(1, "r")
	fourth.want(logged(1))
	net.settle()
	third.wantNothing()
	if got := net.vault.rooms(id.PID); got != "r of 2" {
		t.Errorf("stored %q", got)
	}
}

// Another server takes the session before this one has heard that it has it itself.
func TestTakenBeforeTakeReturns(t *testing.T) {
	t.Parallel()
	net := join(t, 3, joiner)
	a, b, c := net.nodes[0], net.nodes[1], net.nodes[2]
	first := a.dial(t)
	id := first.enter("/", "")
	first.join("r", 0)
	taking, take := make(chan struct{}), make(chan struct{})
	openTake := sync.OnceFunc(func() { close(take) })
	defer openTake() // whatever happens
	b.store.taken = func(context.Context, string) { close(taking); <-take }
	second := b.dial(t)
	second.send("0" + auth(id.PID, at(0).String()))
	wait(t, "Take", taking)
	third, _, ok := c.comeBack(t, id, at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	openTake()
	wait(t, "the connection to close", second.gone)
	if sockets := b.Of("/").To(id.SID).Sockets(); len(sockets) != 0 {
		t.Errorf("%d sockets have what is another server's", len(sockets))
	}
	if got := net.vault.rooms(id.PID); got != "r of 3" {
		t.Errorf("stored %q", got)
	}
	net.broadcast(1, "r")
	third.want(logged(1))
}

// On one server too, those who come for one session at a time have it one after the other, never two at once.
func TestClaimantsOnOneServer(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	a, b := net.nodes[0], net.nodes[1]
	taking, take := make(chan struct{}, 2), make(chan struct{})
	b.store.taken = func(context.Context, string) { taking <- struct{}{}; <-take }
	c := a.dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	first, second := b.dial(t), b.dial(t)
	first.send("0" + auth(id.PID, at(0).String()))
	<-taking
	second.send("0" + auth(id.PID, at(0).String()))
	take <- struct{}{}
	welcome := fmt.Sprintf(`0{"sid":"%s","pid":"%s"}`, id.SID, id.PID)
	first.want(welcome)
	<-taking
	take <- struct{}{}
	second.want(welcome)
	first.wantClosed()
	if sockets := b.Of("/").To().Sockets(); len(sockets) != 1 {
		t.Errorf("%d sockets, want 1", len(sockets))
	}
}

func TestClaimsWaitInTurn(t *testing.T) {
	t.Parallel()
	c := claims{under: map[string]*claiming{}}
	if !c.begin(long(t), "a") || !c.begin(long(t), "b") {
		t.Fatal("one waits for another")
	}
	if c.begin(short(t), "a") {
		t.Error("two have it at once")
	}
	c.lose("a")
	if !c.lost("a") || c.lost("b") || c.lost("c") {
		t.Error("lost is wrong")
	}
	c.won("a")
	if c.lost("a") {
		t.Error("lost, though it was won since")
	}
	next := make(chan bool)
	go func() { next <- c.begin(context.Background(), "a") }()
	c.end("a")
	if !<-next || c.lost("a") {
		t.Error("the next one did not get it")
	}
	c.end("a")
	c.end("b")
	c.lose("a")
	if len(c.under) != 0 {
		t.Errorf("left over: %v", c.under)
	}
}

// A client that says goodbye on one server is a stranger on all.
func TestGoodbyeIsForAllServers(t *testing.T) {
	t.Parallel()
	net := join(t, 2, joiner)
	c := net.nodes[0].dial(t)
	id := c.enter("/", "")
	c.join("r", 0)
	c.send("1")
	c.wantNothing()
	if _, _, ok := net.nodes[1].comeBack(t, id, at(0).String()); ok {
		t.Error("recovered after its goodbye")
	}
	if _, _, ok := net.nodes[0].comeBack(t, id, at(0).String()); ok {
		t.Error("recovered after its goodbye where it was")
	}
}
