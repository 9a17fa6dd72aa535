package socketio

import (
	"encoding/json"
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
	if len(rooms) == 0 {
		rooms = nil
	}
	return Target{ns: n, rooms: rooms}
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
	b := adapter.Broadcast[*engineio.Message]{Rooms: t.rooms, Except: t.except}
	if t.volatile {
		b.Frame = t.ns.message(packet{kind: typeEvent}, data, nil)
		b.Frame.Volatile = true
		t.ns.rooms.Apply([]adapter.Broadcast[*engineio.Message]{b})
		return nil
	}
	t.ns.emit.Lock() // one order for everybody
	defer t.ns.emit.Unlock()
	b.Position = t.ns.rooms.Position().Next(time.Now())
	b.Frame = t.ns.message(packet{kind: typeEvent}, data, t.ns.offset(b.Position))
	t.ns.rooms.Apply([]adapter.Broadcast[*engineio.Message]{b})
	return nil
}

// Deliver applies entries of the log to the namespace's own sockets, in order. A namespace that is fed from a log
// is not to be emitted to otherwise, but for volatile broadcasts: positions are the log's.
func (n *Namespace) Deliver(entries []adapter.Entry) {
	batch := make([]adapter.Broadcast[*engineio.Message], len(entries))
	for i, e := range entries {
		name, _ := json.Marshal(e.Event) // a string always encodes
		head := appendPacket(make([]byte, 0, 64), packet{kind: typeEvent, namespace: n.name})
		head = append(append(append(head, '['), name...), ',')
		batch[i] = adapter.Broadcast[*engineio.Message]{
			Position: e.Position,
			Rooms:    e.Rooms,
			Frame:    engineio.NewMessage(head, e.Payload, n.offset(e.Position), closing),
		}
	}
	n.emit.Lock()
	defer n.emit.Unlock()
	n.rooms.Apply(batch)
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
