package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// store keeps sessions where other servers find them.
type store interface {
	// Save stores what Server.Session says now, and returns when it is stored. The error is adapter.ErrTaken when
	// another server has the session; when ctx ended, it will be stored later.
	Save(ctx context.Context, pid string) error
	// Changed is Save without the wait.
	Changed(pid string)
	// Look shows a session, whoever has it.
	Look(ctx context.Context, pid string) (adapter.StoredSession, bool, error)
	// Take makes a session this server's, and says which one had it before: this one too, if what Changed was told of
	// it is still to be stored. It is false when there is none to take. Server.Taken is not called for what a later
	// Take has made good.
	Take(ctx context.Context, pid string) (s adapter.StoredSession, from string, ok bool, err error)
	// Release says that the client is away, and may return.
	Release(pid string)
	// Drop says that the client will not return.
	Drop(pid string)
}

// storeTimeout bounds a wait for the store. Who waits is a client, and it can go on without.
const storeTimeout = 2 * time.Second

// Session is what is to be stored of a session now, false if none of that id is here. Its rooms are those that its client
// is in, that of its id among them as in Node, and those that it is about to be told of.
//
// Data given to Socket.SetData is encoded here, at any time: it must not change any more, or see to that in its
// MarshalJSON.
func (s *Server) Session(pid string) (adapter.StoredSession, bool) {
	for _, n := range s.all() {
		if was, ok := n.sessions.current(pid); ok {
			rooms := append([]string{was.ID}, was.Rooms...)
			return adapter.StoredSession{PID: pid, ID: was.ID, Rooms: rooms, Data: encodeData(was.Data)}, true
		}
	}
	return adapter.StoredSession{}, false
}

// encodeData is what SetData was given, or nil where JSON cannot tell.
func encodeData(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return data
}

// Taken says that another server has taken a session over: it is forgotten here, and its old connection closed.
func (s *Server) Taken(pid string) {
	s.claims.lose(pid)
	for _, n := range s.all() {
		n.sessions.take(pid)
	}
}

// current is a session with the rooms it is about to have.
func (t *sessions) current(pid string) (Session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was, ok := t.lookLocked(pid)
	if s := t.live[pid]; s != nil {
		was.Rooms = append(was.Rooms, without(s.joining, was.Rooms)...)
	}
	return was, ok
}

// expect notes rooms that s is about to be told of, and returns those that are new to it.
func (t *sessions) expect(s *Socket, join []string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[s.pid] != s {
		return nil
	}
	fresh := without(join, s.Rooms())
	s.joining = append(s.joining, fresh...)
	return fresh
}

// joined is the end of what expect began.
func (t *sessions) joined(s *Socket, fresh []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, room := range fresh {
		if i := slices.Index(s.joining, room); i >= 0 {
			s.joining = slices.Delete(s.joining, i, i+1)
		}
	}
	if len(s.joining) == 0 {
		s.joining = nil
	}
}

// forget drops the session of s, if it is that of s still, and closes its connection.
func (t *sessions) forget(s *Socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.live[s.pid] == s {
		delete(t.live, s.pid)
		s.ns.rooms.Exit(&s.seat)
		s.client.conn.CloseAs(engineio.TransportClose)
	}
}

// secure has the session stored with rooms that s will be told of, so that they are not lost if this server dies
// right after. It returns what to call when s is in them, and false when s has lost its session. It waits
// for a store that is away no longer than a client can.
func (s *Socket) secure(join []string) (done func(), ok bool) {
	done = func() {}
	if s.ns.srv.opts.Sessions == nil || s.pid == "" {
		return done, true
	}
	fresh := s.ns.sessions.expect(s, join)
	if len(fresh) == 0 {
		return done, true
	}
	return func() { s.ns.sessions.joined(s, fresh) }, s.save()
}

// save has the session of s stored. It is false when another server has it: then s has lost it, and is closed.
func (s *Socket) save() bool {
	ctx, cancel := context.WithTimeout(s.ns.srv.context(), storeTimeout)
	defer cancel()
	if err := s.ns.srv.opts.Sessions.Save(ctx, s.pid); errors.Is(err, adapter.ErrTaken) {
		s.ns.sessions.forget(s)
		return false
	}
	return true
}

// tell has the store know how a session stands. Who calls it last tells what is last: it asks itself.
func (n *Namespace) tell(pid string) {
	store := n.srv.opts.Sessions
	if store == nil || pid == "" {
		return
	}
	n.telling.Lock()
	defer n.telling.Unlock()
	n.sessions.mu.Lock()
	_, here := n.sessions.live[pid]
	_, away := n.sessions.away[pid]
	n.sessions.mu.Unlock()
	switch {
	case here:
		store.Changed(pid)
	case away:
		store.Release(pid)
	}
}

// drop has the store know that a session is at its end.
func (n *Namespace) drop(pid string) {
	if store := n.srv.opts.Sessions; store != nil && pid != "" {
		n.telling.Lock()
		defer n.telling.Unlock()
		store.Drop(pid)
	}
}
