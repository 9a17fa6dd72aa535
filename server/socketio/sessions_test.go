package socketio

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// The window, in virtual time: nothing here touches a connection.
func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, err := New(Options{RecoveryWindow: time.Minute, Start: adapter.Position{MS: 1}})
		if err != nil {
			t.Fatal(err)
		}
		n := srv.Of("/")
		leave := func(pid string) {
			s := &Socket{ns: n, id: "id of " + pid, pid: pid}
			n.rooms.Enter(&s.seat, s.id, s, func(adapter.Position) {})
			n.sessions.live[pid] = s
			s.connected.Store(true)
			s.end("transport close")
		}
		take := func(pid string) bool {
			_, seen := n.sessions.look(pid)
			was, ok := n.sessions.take(pid)
			if ok && was.ID != "id of "+pid || ok != seen {
				t.Errorf("took %+v, %v, and saw %v", was, ok, seen)
			}
			return ok
		}
		want := func(pid string, ok bool) {
			t.Helper()
			if take(pid) != ok {
				t.Errorf("take %s is %v, want %v", pid, !ok, ok)
			}
		}
		leave("a")
		want("a", true)
		want("a", false) // to one asker only
		leave("a")
		time.Sleep(time.Minute)
		want("a", true)
		leave("a")
		time.Sleep(time.Minute + time.Millisecond)
		want("a", false) // before expire has seen it

		leave("b")
		time.Sleep(30 * time.Second)
		want("b", true) // it returned…
		leave("b")      // …and left again, later than first noted
		leave("c")
		time.Sleep(31 * time.Second)
		n.sessions.expire(time.Now())
		want("b", true)
		time.Sleep(30 * time.Second)
		n.sessions.expire(time.Now())
		want("c", false)
		if left := n.sessions; len(left.live)+len(left.away)+len(left.order) != 0 {
			t.Errorf("left over: %d live, %d away, %d in order", len(left.live), len(left.away), len(left.order))
		}
	})
}

// The server forgets by itself.
func TestWindowPasses(t *testing.T) {
	t.Parallel()
	opts := recovering
	opts.RecoveryWindow = 30 * time.Millisecond
	s := serve(t, opts, nil)
	n := s.Of("/")
	c := s.dial(t)
	id := c.enter("/", "")
	s.log(1, "a")
	c.drop()
	eventually(t, "the session and the broadcast to be forgotten", func() bool {
		n.sessions.mu.Lock()
		defer n.sessions.mu.Unlock()
		return len(n.sessions.away)+len(n.sessions.live)+len(n.sessions.order) == 0 && !reachesBack(n, at(0))
	})
	if _, _, ok := s.comeBack(t, id, at(1).String()); ok {
		t.Error("recovered after the window")
	}
}

// reachesBack reports whether the window still holds everything after a position.
func reachesBack(n *Namespace, after adapter.Position) bool {
	var seat adapter.Seat[*engineio.Message]
	ok := n.rooms.Return(&seat, "probe", &Socket{}, nil, after, func([]*engineio.Message) {})
	if ok {
		n.rooms.Exit(&seat)
	}
	return ok
}

func TestNewID(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 10_000 {
		id := newID()
		if len(id) != 20 || seen[id] {
			t.Fatalf("got %q", id)
		}
		seen[id] = true
	}
}
