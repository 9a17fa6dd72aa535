package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// at is the n-th position of a log that begins at Start of recovering.
func at(n int) adapter.Position { return adapter.Position{MS: 9, Seq: uint64(n)} }

// recovering is a server with recovery and a log that the test writes.
var recovering = Options{RecoveryWindow: time.Minute, Start: at(0)}

// log broadcasts event n, whose argument is n, to rooms.
func (s *testServer) log(n int, rooms ...string) {
	s.Deliver([]adapter.Entry{{
		Position: at(n),
		Message:  adapter.Message{Rooms: rooms, Args: fmt.Appendf(nil, `"n",%d`, n)},
	}})
}

// logged is what a client gets of event n.
func logged(n int) string { return fmt.Sprintf(`2["n",%d,"%s"]`, n, at(n)) }

func auth(pid string, offset any) string {
	data, _ := json.Marshal(map[string]any{"pid": pid, "offset": offset})
	return string(data)
}

// comeBack connects anew with a pid and an offset, and reports whether the server took the session up again.
func (s *testServer) comeBack(t testing.TB, was identity, offset any) (*raw, identity, bool) {
	t.Helper()
	c := s.dial(t)
	is := c.enter("/", auth(was.PID, offset))
	if (is.SID == was.SID) != (is.PID == was.PID) {
		t.Fatalf("was %+v, is %+v: half recovered", was, is)
	}
	return c, is, is.SID == was.SID
}

// away waits until the server knows that the session's client is away.
func (s *testServer) away(t testing.TB, id identity) {
	t.Helper()
	sessions := s.Of("/").sessions
	eventually(t, "the client to be away", func() bool {
		sessions.mu.Lock()
		defer sessions.mu.Unlock()
		_, ok := sessions.away[id.PID]
		return ok
	})
}

// joiner joins rooms when asked to, and says its data.
func joiner(s *Server) {
	n := s.Of("/")
	n.On("join", func(_ context.Context, s *Socket, e *Event) {
		var rooms []string
		_ = e.Decode(&rooms)
		s.SetData(fmt.Sprint(rooms))
		_ = s.EmitAt(rooms, "joined")
	})
}

func (c *raw) join(rooms string, offset int) {
	c.t.Helper()
	data, _ := json.Marshal(strings.Fields(rooms))
	c.send(`2["join",` + string(data) + `]`)
	c.want(`2["joined","` + at(offset).String() + `"]`)
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	sockets := make(chan *Socket, 2)
	s := serve(t, recovering, func(s *Server) { joiner(s); asker(sockets)(s) })
	c := s.dial(t)
	id := c.enter("/", `{"token":"x"}`)
	if id.PID == "" || id.PID == id.SID {
		t.Fatalf("got %+v, want a pid of its own", id)
	}
	if first := <-sockets; first.Recovered() {
		t.Error("a first connection counts as recovered")
	}
	s.log(1)
	c.want(logged(1))
	c.join("a b", 1)
	s.log(2, "a")
	c.want(logged(2))
	c.drop()
	s.away(t, id)
	s.log(3, "a")
	s.log(4, "b")
	s.log(5, "z")
	s.log(6, "a", "b")
	s.log(7)
	s.log(8, id.SID)
	_ = s.Of("/").To("a").Volatile().Emit("gone")

	c, _, ok := s.comeBack(t, id, at(2).String())
	if !ok {
		t.Fatal("not recovered")
	}
	for _, n := range []int{3, 4, 6, 7, 8} {
		c.want(logged(n))
	}
	again := <-sockets
	if !again.Recovered() || again.ID() != id.SID || !slices.Equal(sortedCopy(again.Rooms()), []string{"a", "b"}) {
		t.Errorf("recovered %v, id %s, rooms %v", again.Recovered(), again.ID(), again.Rooms())
	}
	if got := again.Data(); got != "[a b]" {
		t.Errorf("data is %v, want what SetData was given", got)
	}
	s.log(9, "b")
	c.want(logged(9))
	c.wantNothing()
}

func TestNotRecovered(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, joiner)
	other := s.dial(t)
	stranger := other.enter("/", "")
	tests := map[string]func(id identity) string{
		"no offset":              func(id identity) string { return fmt.Sprintf(`{"pid":%q}`, id.PID) },
		"offset is null":         func(id identity) string { return auth(id.PID, nil) },
		"offset is a number":     func(id identity) string { return auth(id.PID, 1) },
		"offset is empty":        func(id identity) string { return auth(id.PID, "") },
		"offset is text":         func(id identity) string { return auth(id.PID, "hello") },
		"offset is before start": func(id identity) string { return auth(id.PID, "8-0") },
		"offset is zero":         func(id identity) string { return auth(id.PID, "0-0") },
		"offset is ahead":        func(id identity) string { return auth(id.PID, at(99).String()) },
		"no pid":                 func(identity) string { return fmt.Sprintf(`{"offset":%q}`, at(1)) },
		"pid is empty":           func(identity) string { return auth("", at(1).String()) },
		"pid is a number":        func(identity) string { return fmt.Sprintf(`{"pid":1,"offset":%q}`, at(1)) },
		"pid is an object":       func(identity) string { return fmt.Sprintf(`{"pid":{},"offset":%q}`, at(1)) },
		"pid is unknown":         func(identity) string { return auth("unknown", at(1).String()) },
		"pid is the sid":         func(id identity) string { return auth(id.SID, at(1).String()) },
		"nothing":                func(identity) string { return "" },
	}
	for name, ask := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.dial(t)
			id := c.enter("/", "")
			c.join("a", 0)
			c.drop()
			s.away(t, id)
			c = s.dial(t)
			is := c.enter("/", ask(id))
			if is.SID == id.SID || is.PID == id.PID || is.PID == "" || is == stranger {
				t.Errorf("was %+v, is %+v, want a new one", id, is)
			}
			c.wantNothing()
			_ = s.Of("/").To("a").Volatile().Emit("x")
			c.wantNothing() // it is in no room
		})
	}
	other.wantNothing()
}

// Who leaves a namespace, or is sent away, gives its session up.
func TestNamespaceDisconnectIsNotRecoverable(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*raw, *Socket){
		"client": func(c *raw, _ *Socket) { c.send("1"); c.wantNothing() },
		"server": func(c *raw, s *Socket) { s.Disconnect(); c.want("1") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sockets := make(chan *Socket, 2)
			s := serve(t, recovering, asker(sockets))
			c := s.dial(t)
			id := c.enter("/", "")
			leave(c, <-sockets)
			for range 2 { // over the same connection, and over another
				is := c.enter("/", auth(id.PID, at(0).String()))
				if is.SID == id.SID || is.PID == id.PID || (<-sockets).Recovered() {
					t.Errorf("was %+v, is %+v, want a new one", id, is)
				}
				c.drop()
				c = s.dial(t)
			}
		})
	}
}

func TestWithoutRecovery(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, joiner)
	c := s.dial(t)
	id := c.enter("/", auth("x", "1-1"))
	if id.PID != "" {
		t.Errorf("got pid %q without recovery", id.PID)
	}
	c.send(`2["join",["a"]]`)
	c.want(`2["joined"]`)
	_ = s.Of("/").To("a").Emit("n", 1)
	c.want(`2["n",1]`)
}

func TestOnResume(t *testing.T) {
	t.Parallel()
	seen := make(chan Session, 10)
	verdict := make(chan error, 10)
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		n := s.Of("/")
		n.Use(func(_ context.Context, _ *Socket, auth json.RawMessage) error {
			if strings.Contains(string(auth), "refused") {
				return errors.New("no")
			}
			return nil
		})
		n.OnResume(func(_ context.Context, s *Socket, was Session) ([]string, error) {
			seen <- was
			rooms := slices.DeleteFunc(was.Rooms, func(name string) bool { return name == "a" })
			return append(rooms, "c", "c", was.Rooms[0]), <-verdict
		})
	})
	start := func(t *testing.T) identity {
		c := s.dial(t)
		id := c.enter("/", "")
		c.join("a b", int(s.Of("/").rooms.Position().Seq))
		c.drop()
		s.away(t, id)
		return id
	}

	id := start(t)
	s.log(1, "a")
	s.log(2, "b")
	s.log(3, "c")
	verdict <- nil
	c, _, ok := s.comeBack(t, id, at(0).String())
	was := <-seen
	if was.ID != id.SID || len(was.Rooms) < 1 || was.Data != "[a b]" {
		t.Errorf("OnResume saw %+v", was)
	}
	if !ok {
		t.Fatal("not recovered")
	}
	c.want(logged(2), logged(3)) // a is lost, and what was missed in it
	s.log(4, "a")
	s.log(5, "b", "c")
	c.want(logged(5))
	c.drop()
	s.away(t, id)

	verdict <- errors.New("token expired")
	c, _, ok = s.comeBack(t, id, at(5).String())
	<-seen
	if ok {
		t.Error("recovered, though OnResume refused")
	}
	s.log(6, "b")
	c.wantNothing()

	// A middleware that refuses comes first, and leaves the session for the next attempt.
	id = start(t)
	c = s.dial(t)
	c.send(fmt.Sprintf(`0{"pid":%q,"offset":%q,"refused":true}`, id.PID, at(6)))
	c.want(`4{"message":"no"}`)
	verdict <- nil
	if _, _, ok := s.comeBack(t, id, at(6).String()); !ok {
		t.Error("a refused attempt has used the session up")
	}
}

// What does not fit the window any more is a gap, and a gap is never silent: the client comes back as a new one, and
// nothing of its session is left over in it.
func TestRecoveryBytesRunOut(t *testing.T) {
	t.Parallel()
	opts := recovering
	opts.RecoveryBytes = 200
	sockets := make(chan *Socket, 2)
	s := serve(t, opts, func(s *Server) { joiner(s); asker(sockets)(s) })
	c := s.dial(t)
	id := c.enter("/", "")
	c.join("a", 0)
	<-sockets
	c.drop()
	s.away(t, id)
	for n := 1; n <= 20; n++ {
		s.log(n, "elsewhere")
	}
	if _, _, ok := s.comeBack(t, id, at(1).String()); ok {
		t.Error("recovered, though broadcasts since then are forgotten")
	}
	if is := <-sockets; is.Recovered() || is.Data() != nil || len(is.Rooms()) > 0 {
		t.Errorf("the new socket: recovered %v, data %v, rooms %v, want none of it", is.Recovered(), is.Data(), is.Rooms())
	}
}

// Recovery is the namespace's own: another one knows nothing of the session.
func TestRecoveryIsPerNamespace(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, func(s *Server) { s.Of("/chat") })
	c := s.dial(t)
	root, chat := c.enter("/", ""), c.enter("/chat", "")
	c.drop()
	s.away(t, root)
	c = s.dial(t)
	if is := c.enter("/chat", auth(root.PID, at(0).String())); is.SID == root.SID {
		t.Error("recovered in another namespace")
	}
	c = s.dial(t)
	if is := c.enter("/chat", auth(chat.PID, at(0).String())); is != chat {
		t.Errorf("was %+v, is %+v", chat, is)
	}
	if is := c.enter("/", auth(root.PID, at(0).String())); is != root {
		t.Errorf("was %+v, is %+v", root, is)
	}
}
