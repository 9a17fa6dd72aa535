package socketio

import (
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Target is a set of sockets to send to: those in any of some rooms, or all of a namespace, but for some. It is a
// value; its methods return narrower ones.
type Target struct {
	ns       *Namespace
	rooms    []string
	except   []string
	volatile bool
}

// To addresses the sockets in any of the rooms; a socket's id is a room too. Without rooms it addresses all.
func (n *Namespace) To(rooms ...string) Target {
	return Target{ns: n, rooms: append([]string(nil), rooms...)} // none is nil, which is everybody
}

// Emit sends an event to all sockets of the namespace.
func (n *Namespace) Emit(event string, args ...any) error { return n.To().Emit(event, args...) }

// Except leaves those out who are in any of the rooms.
func (t Target) Except(rooms ...string) Target {
	t.except = append(t.except[:len(t.except):len(t.except)], rooms...)
	return t
}

// Volatile sends only to those who can take it at once, and keeps nothing for those who are away.
func (t Target) Volatile() Target {
	t.volatile = true
	return t
}

// Emit sends an event to every socket addressed, once.
func (t Target) Emit(event string, args ...any) error {
	data, err := encodeArgs(event, args)
	if err != nil {
		return err
	}
	t.ns.emit.Lock() // one order for everybody
	defer t.ns.emit.Unlock()
	b := adapter.Broadcast[*engineio.Message]{Rooms: t.rooms, Except: t.except, Volatile: t.volatile}
	last := t.ns.rooms.Position()
	if !t.volatile {
		b.Position = last.Next(time.Now())
		last = b.Position
	}
	b.Frame = t.ns.message(packet{kind: typeEvent}, data, t.ns.offset(last))
	b.Frame.Volatile = t.volatile
	t.ns.rooms.Apply([]adapter.Broadcast[*engineio.Message]{b})
	return nil
}

// Deliver applies entries of the log to the namespace's own sockets, in order. A namespace that is fed from a log
// is not to be emitted to otherwise, but for volatile broadcasts: positions are the log's.
func (n *Namespace) Deliver(entries []adapter.Entry) {
	n.emit.Lock()
	defer n.emit.Unlock()
	// Enough at a time for merged writes, and much less than may wait for a client before it counts as slow.
	most := min(256<<10, n.srv.opts.Engine.MaxQueue/2)
	var batch []adapter.Broadcast[*engineio.Message]
	size := 0
	for _, e := range entries {
		frame := n.entry(e)
		if size += frame.Len(); size > most && len(batch) > 0 {
			n.rooms.Apply(batch)
			batch, size = batch[:0], frame.Len()
		}
		batch = append(batch, adapter.Broadcast[*engineio.Message]{
			Position: e.Position, Rooms: e.Rooms, Except: e.Except, Frame: frame, Volatile: e.Volatile, At: e.At,
		})
	}
	n.rooms.Apply(batch)
}

// entry encodes an entry of the log. Its payload is JSON from elsewhere: nothing in it is taken for a Binary.
func (n *Namespace) entry(e adapter.Entry) *engineio.Message {
	head := appendPacket(make([]byte, 0, 64), packet{kind: typeEvent, namespace: n.name})
	return engineio.NewMessage(append(head, '['), e.Args, n.offset(e.Position), closing)
}

// Sockets lists the sockets addressed.
func (t Target) Sockets() []*Socket {
	members := t.ns.rooms.Members(t.rooms, t.except)
	out := make([]*Socket, 0, len(members))
	for _, m := range members {
		out = append(out, m.(*Socket))
	}
	return out
}

// Join puts all sockets addressed into rooms.
func (t Target) Join(rooms ...string) {
	for _, s := range t.Sockets() {
		s.Join(rooms...)
	}
}

// Leave takes all sockets addressed out of rooms.
func (t Target) Leave(rooms ...string) {
	for _, s := range t.Sockets() {
		s.Leave(rooms...)
	}
}

// Disconnect disconnects all sockets addressed.
func (t Target) Disconnect() {
	for _, s := range t.Sockets() {
		s.Disconnect()
	}
}
