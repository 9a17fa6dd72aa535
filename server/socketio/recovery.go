package socketio

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
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

// add makes s, which has its seat, known to those who come for it.
func (t *sessions) add(s *Socket) {
	if s.pid == "" {
		return
	}
	t.mu.Lock()
	t.live[s.pid] = s
	t.mu.Unlock()
}

func (t *sessions) remove(pid string) {
	t.mu.Lock()
	delete(t.live, pid)
	delete(t.away, pid)
	t.mu.Unlock()
}

// leave keeps what a disconnected socket had, unless it was taken over already.
func (t *sessions) leave(s *Socket, rooms []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[s.pid] != s {
		return
	}
	delete(t.live, s.pid)
	now := time.Now()
	t.away[s.pid] = absent{Session{s.id, rooms, s.Data(), s.pid}, now}
	t.order = append(t.order, departure{s.pid, now})
}

// take hands the session out that auth asks for, to one asker only. Where its connection is thought alive still,
// the client knows better: that one is closed.
func (t *sessions) take(auth json.RawMessage) (was Session, after adapter.Position, ok bool) {
	if t.window == 0 || auth == nil {
		return was, after, false
	}
	var asked struct {
		PID    string `json:"pid"`
		Offset string `json:"offset"`
	}
	if json.Unmarshal(auth, &asked) != nil || asked.PID == "" {
		return was, after, false
	}
	after, err := adapter.ParsePosition(asked.Offset)
	t.mu.Lock()
	gone, isAway := t.away[asked.PID]
	old := t.live[asked.PID]
	delete(t.away, asked.PID)
	delete(t.live, asked.PID)
	t.mu.Unlock()
	if old != nil {
		rooms := old.ns.rooms.Exit(old.seat)
		was = Session{old.id, rooms, old.Data(), old.pid}
		old.client.conn.CloseAs(engineio.TransportClose)
		return was, after, err == nil
	}
	return gone.Session, after, isAway && err == nil && time.Since(gone.left) <= t.window
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
	s.seat = n.rooms.Enter(s.id, s, func(adapter.Position) { s.Enqueue(s.welcome()) })
	n.sessions.add(s)
}

// resume connects s as the socket that its client had before, if auth asks for it and all is there still.
func (n *Namespace) resume(ctx context.Context, s *Socket, auth json.RawMessage) bool {
	was, after, ok := n.sessions.take(auth)
	if !ok {
		return false
	}
	if n.resumed != nil {
		rooms, err := n.resumed(ctx, s, was)
		if err != nil {
			return false
		}
		was.Rooms = rooms
	}
	s.id, s.pid, s.recovered = was.ID, was.pid, true
	s.seat, ok = n.rooms.Return(s.id, s, was.Rooms, after, func(missed []*engineio.Message) {
		s.Enqueue(s.welcome())
		s.client.conn.EnqueueBacklog(missed)
	})
	if ok {
		n.sessions.add(s)
	}
	return ok
}
