package socketio

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
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
	// Data is what Socket.SetData was given last. Where the session comes from another server, it is that as JSON, a
	// json.RawMessage, or nil if there was none or it could not be encoded.
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
// lock is held over both: who asks for the session meanwhile finds it here or there, never half gone. It reports
// whether the session was its own still.
func (t *sessions) leave(s *Socket, recoverable bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	rooms := s.ns.rooms.Exit(&s.seat)
	if t.live[s.pid] != s {
		return false
	}
	delete(t.live, s.pid)
	if recoverable {
		now := time.Now()
		t.away[s.pid] = absent{Session{s.id, rooms, s.Data(), s.pid}, now}
		t.order = append(t.order, departure{s.pid, now})
	}
	return true
}

// look shows the session of that id, without a change.
func (t *sessions) look(pid string) (Session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lookLocked(pid)
}

func (t *sessions) lookLocked(pid string) (Session, bool) {
	if s := t.live[pid]; s != nil {
		return Session{s.id, s.Rooms(), s.Data(), s.pid}, true
	}
	gone, ok := t.away[pid]
	gone.Rooms = slices.Clone(gone.Rooms) // the caller's
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

// reset forgets everybody, in one step with the new beginning of the rooms. It returns who was here, and which sessions.
func (t *sessions) reset(rooms *adapter.Rooms[*engineio.Message], start adapter.Position) (here []*Socket, pids []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range rooms.Members(nil, nil) {
		s := m.(*Socket)
		rooms.Exit(&s.seat)
		here = append(here, s)
	}
	rooms.Reset(start)
	pids = slices.AppendSeq(slices.Collect(maps.Keys(t.live)), maps.Keys(t.away))
	clear(t.live)
	clear(t.away)
	t.order = nil
	return here, pids
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
