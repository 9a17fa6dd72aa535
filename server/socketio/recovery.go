package socketio

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// claim is what a client gives to get its session back.
type claim struct {
	PID    string `json:"pid"`
	Offset string `json:"offset"`
	after  adapter.Position
}

// maxPID bounds in bytes the ids that clients may ask for. Ours have 20.
const maxPID = 128

// claimed reads the claim in a CONNECT packet's payload.
func claimed(auth json.RawMessage) (c claim, ok bool) {
	if auth == nil || json.Unmarshal(auth, &c) != nil || c.PID == "" || len(c.PID) > maxPID {
		return c, false
	}
	var err error
	c.after, err = adapter.ParsePosition(c.Offset)
	return c, err == nil
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
	if n.srv.opts.Sessions != nil {
		if !n.srv.claims.begin(ctx, c.PID) {
			return false
		}
		defer n.srv.claims.end(c.PID)
	}
	seen, here, ok := n.look(ctx, c.PID)
	if !ok {
		return false
	}
	kept, err := n.judge(ctx, s, seen)
	if err != nil || !n.caughtUp(ctx, c.after) {
		return false
	}
	was, elsewhere, ok := n.take(ctx, c.PID)
	if !ok {
		return false
	}
	if elsewhere && here { // it had moved on from what we saw
		seen = was
		kept, err = n.judge(ctx, s, seen)
	}
	if err == nil {
		// It may have been connected until now, and have joined and left rooms since we looked.
		rooms := append(without(kept, without(seen.Rooms, was.Rooms)), without(was.Rooms, seen.Rooms)...)
		if n.reseat(s, was, rooms, c.after) {
			if n.srv.claims.unsure(c.PID) {
				s.save() // which closes s if it is not the owner
			}
			return true
		}
	}
	if !n.srv.claims.lost(c.PID) {
		n.drop(c.PID)
	}
	return false
}

// judge asks OnResume which rooms a session keeps.
func (n *Namespace) judge(ctx context.Context, s *Socket, was Session) ([]string, error) {
	if n.resumed == nil {
		return was.Rooms, nil
	}
	was.Rooms = slices.Clone(was.Rooms)
	return n.resumed(ctx, s, was)
}

// catchUpTimeout is how long a returning client may have to wait for what other servers have broadcast already.
const catchUpTimeout = 2 * time.Second

// caughtUp waits until this server's end of the log is no earlier than p, which the client may have from a server that
// was ahead.
func (n *Namespace) caughtUp(ctx context.Context, p adapter.Position) bool {
	if n.srv.opts.Cluster == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return n.rooms.Await(ctx, p)
}

// look shows a session, which is here or elsewhere, without a change.
func (n *Namespace) look(ctx context.Context, pid string) (was Session, here, ok bool) {
	if was, ok := n.sessions.look(pid); ok || n.srv.opts.Sessions == nil {
		return was, true, ok
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stored, ok, err := n.srv.opts.Sessions.Look(ctx, pid)
	return fromStored(pid, stored), false, ok && err == nil
}

// take makes a session this server's, to be handed to one client. What it had is known best where it was last: here,
// or in the store.
func (n *Namespace) take(ctx context.Context, pid string) (was Session, elsewhere, ok bool) {
	if n.srv.opts.Sessions == nil {
		was, ok = n.sessions.take(pid)
		return was, false, ok
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stored, from, ok, err := n.srv.opts.Sessions.Take(ctx, pid)
	switch {
	case err != nil: // the store is away: who is here may go on
		was, ok = n.sessions.take(pid)
		return was, false, ok
	case !ok: // somebody else has it
		return was, false, false
	}
	n.srv.claims.won(pid)
	was, ok = n.sessions.take(pid) // what is here from an earlier time must go in any case
	if from == n.srv.opts.ID {
		return was, false, ok
	}
	return fromStored(pid, stored), true, stored.ID != ""
}

func fromStored(pid string, stored adapter.StoredSession) Session {
	was := Session{ID: stored.ID, Rooms: without(stored.Rooms, []string{stored.ID}), pid: pid}
	if stored.Data != nil {
		was.Data = stored.Data
	}
	return was
}

// reseat connects s as the socket of a session that was taken, unless another server has taken it since, or what it
// has missed is not known.
func (n *Namespace) reseat(s *Socket, was Session, rooms []string, after adapter.Position) bool {
	s.id, s.pid, s.recovered = was.ID, was.pid, true
	own := s.Data()
	ok := n.sessions.seat(s, func() bool {
		if n.srv.claims.lost(s.pid) {
			return false
		}
		if own == nil {
			s.SetData(was.Data) // before the next one can take the session over
		}
		return n.rooms.Return(&s.seat, s.id, s, rooms, after, func(missed []*engineio.Message) {
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
