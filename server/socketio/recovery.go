package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Session is what a returning client gets back.
type Session struct {
	// ID is the socket id it had.
	ID string
	// Rooms are those it was in.
	Rooms []string
	// Data is what Socket.SetData was given last.
	Data any

	pid string
}

// sessions knows, by the secret id that each client was given for it, the sockets that are connected and, for the
// recovery window, those that were.
type sessions struct {
	window time.Duration

	mu    sync.Mutex
	live  map[string]*Socket
	away  map[string]absent
	order []departure // oldest first; some may have returned
}

type absent struct {
	Session
	left time.Time
}

type departure struct {
	pid  string
	left time.Time
}

func newSessions(window time.Duration) *sessions {
	return &sessions{window: window, live: map[string]*Socket{}, away: map[string]absent{}}
}

// newID is as long and random as Node's ids: 15 bytes in URL-safe base64.
func newID() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// seat calls take, which gives s its seat or reports false, and makes s known to those who come for it. The lock is
// held over both: before its client can know, everybody does.
func (t *sessions) seat(s *Socket, take func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ok := take()
	if ok && s.pid != "" {
		t.live[s.pid] = s
	}
	return ok
}

// leave takes s out of its rooms, and keeps what it had if it may return for it and nobody has taken it over. The
// lock is held over both: who asks for the session meanwhile finds it here or there, never half gone.
func (t *sessions) leave(s *Socket, recoverable bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	rooms := s.ns.rooms.Exit(&s.seat)
	if t.live[s.pid] != s {
		return
	}
	delete(t.live, s.pid)
	if recoverable {
		now := time.Now()
		t.away[s.pid] = absent{Session{s.id, rooms, s.Data(), s.pid}, now}
		t.order = append(t.order, departure{s.pid, now})
	}
}

// claim is what a client gives to get its session back.
type claim struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
	after  adapter.Position
}

// claimed reads the claim in a CONNECT packet's payload.
func claimed(auth json.RawMessage) (c claim, ok bool) {
	if auth == nil || json.Unmarshal(auth, &c) != nil || c.PID == "" {
		return c, false
	}
	var err error
	c.after, err = adapter.ParsePosition(c.Offset)
	return c, err == nil
}

// look shows the session of that id, without a change.
func (t *sessions) look(pid string) (Session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.live[pid]; s != nil {
		return Session{s.id, s.Rooms(), s.Data(), s.pid}, true
	}
	gone, ok := t.away[pid]
	return gone.Session, ok && time.Since(gone.left) <= t.window
}

// take hands the session out, to one asker only. Where its connection is thought alive still, the client knows
// better: that one is closed.
func (t *sessions) take(pid string) (was Session, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	gone, isAway := t.away[pid]
	old := t.live[pid]
	delete(t.away, pid)
	delete(t.live, pid)
	if old != nil {
		was = Session{old.id, old.ns.rooms.Exit(&old.seat), old.Data(), old.pid}
		old.client.conn.CloseAs(engineio.TransportClose)
		return was, true
	}
	return gone.Session, isAway && time.Since(gone.left) <= t.window
}

// expire forgets those who have been away for too long.
func (t *sessions) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.order) > 0 && now.Sub(t.order[0].left) > t.window {
		d := t.order[0]
		t.order[0] = departure{}
		t.order = t.order[1:]
		if a, ok := t.away[d.pid]; ok && a.left.Equal(d.left) {
			delete(t.away, d.pid)
		}
	}
}

// enter connects s as a new socket.
func (n *Namespace) enter(s *Socket) {
	s.id, s.pid, s.recovered = newID(), "", false
	if n.srv.opts.RecoveryWindow > 0 {
		s.pid = newID()
	}
	n.sessions.seat(s, func() bool {
		n.rooms.Enter(&s.seat, s.id, s, func(adapter.Position) { s.Enqueue(s.welcome()) })
		return true
	})
}

// resume connects s as the socket that its client had before, if auth asks for it and all is there still. Only who
// may have the session takes it from where it is.
func (n *Namespace) resume(ctx context.Context, s *Socket, auth json.RawMessage) bool {
	c, ok := claimed(auth)
	if !ok || n.srv.opts.RecoveryWindow == 0 {
		return false
	}
	seen, ok := n.sessions.look(c.PID)
	if !ok {
		return false
	}
	kept := seen.Rooms
	if n.resumed != nil {
		var err error
		if kept, err = n.resumed(ctx, s, seen); err != nil {
			return false
		}
	}
	was, ok := n.sessions.take(c.PID)
	if !ok {
		return false
	}
	// It may have been connected until now, and have joined and left rooms since we looked.
	rooms := append(without(kept, without(seen.Rooms, was.Rooms)), without(was.Rooms, seen.Rooms)...)
	s.id, s.pid, s.recovered = was.ID, was.pid, true
	own := s.Data()
	ok = n.sessions.seat(s, func() bool {
		if own == nil {
			s.SetData(was.Data) // before the next one can take the session over
		}
		return n.rooms.Return(&s.seat, s.id, s, rooms, c.after, func(missed []*engineio.Message) {
			s.Enqueue(s.welcome())
			s.client.conn.EnqueueBacklog(missed)
		})
	})
	if !ok {
		s.SetData(own)
	}
	return ok
}

func without(rooms, these []string) []string {
	return slices.DeleteFunc(slices.Clone(rooms), func(r string) bool { return slices.Contains(these, r) })
}
