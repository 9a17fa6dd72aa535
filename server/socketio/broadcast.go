package socketio

import (
	"slices"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Target is a set of sockets to send to, on all servers: those in any of some rooms, or all of a namespace, but for
// some. It is a value; its methods return narrower ones.
//
// With Options.Cluster, what a Target is told to do goes through the log, so it happens in one order everywhere, and
// soon rather than at once. Its methods then wait until the log has it, at most 5 s.
type Target struct {
	ns       *Namespace
	rooms    []string
	except   []string
	volatile bool
	local    bool
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

// Local addresses only those of the sockets that are on this server, and acts at once. What is emitted so has no
// place in the log: it is not kept for those who are away, and brings no offset to come back with.
func (t Target) Local() Target {
	t.local = true
	return t
}

// Emit sends an event to every socket addressed, once.
func (t Target) Emit(event string, args ...any) error {
	data, err := encodeArgs(event, args)
	if err != nil {
		return err
	}
	if t.acts() {
		t.emit(data)
		return nil
	}
	return t.ns.publish(adapter.Message{
		Kind: adapter.Event, Rooms: t.rooms, Except: t.except,
		Args: data[1:], Binary: hasBinary(data), Volatile: t.volatile,
	})
}

// acts reports whether t acts at once rather than through the log.
func (t Target) acts() bool { return t.local || t.ns.srv.opts.Cluster == nil }

func (t Target) emit(data []byte) {
	t.ns.emit.Lock() // one order for everybody
	defer t.ns.emit.Unlock()
	b := adapter.Broadcast[*engineio.Message]{Rooms: t.rooms, Except: t.except, Volatile: t.volatile}
	last := t.ns.rooms.Position()
	if !t.volatile && !t.local {
		b.Position = last.Next(time.Now())
		last = b.Position
	}
	offset := t.ns.offset(last)
	if t.local && !endsWithText(data) {
		offset = nil
	}
	b.Frame = t.ns.message(packet{kind: typeEvent}, data, offset)
	b.Frame.Volatile = t.volatile
	t.ns.rooms.Apply([]adapter.Broadcast[*engineio.Message]{b})
}

// Sockets lists those of the sockets addressed that are on this server. FetchSockets tells of all.
func (t Target) Sockets() []*Socket {
	members := t.ns.rooms.Members(t.rooms, t.except)
	out := make([]*Socket, 0, len(members))
	for _, m := range members {
		out = append(out, m.(*Socket))
	}
	return out
}

// Join puts all sockets addressed into rooms.
func (t Target) Join(rooms ...string) error {
	return t.do(adapter.Message{Kind: adapter.Join, Into: slices.Clone(rooms)})
}

// Leave takes all sockets addressed out of rooms.
func (t Target) Leave(rooms ...string) error {
	return t.do(adapter.Message{Kind: adapter.Leave, Into: slices.Clone(rooms)})
}

// Disconnect disconnects all sockets addressed.
func (t Target) Disconnect() error { return t.do(adapter.Message{Kind: adapter.Disconnect}) }

// Close disconnects all sockets addressed and closes their connections, with their sockets in other namespaces.
func (t Target) Close() error { return t.do(adapter.Message{Kind: adapter.Disconnect, Close: true}) }

func (t Target) do(m adapter.Message) error {
	if t.acts() {
		t.act(&m)
		return nil
	}
	m.Rooms, m.Except = t.rooms, t.except
	return t.ns.publish(m)
}

// act does to this server's sockets what m says.
func (t Target) act(m *adapter.Message) {
	for _, s := range t.Sockets() {
		switch m.Kind {
		case adapter.Join:
			s.Join(m.Into...)
		case adapter.Leave:
			s.Leave(m.Into...)
		case adapter.Disconnect:
			s.Disconnect()
			if m.Close {
				s.client.close()
			}
		}
	}
}
