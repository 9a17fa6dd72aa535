package socketio

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// ErrDisconnected is the end of waiting for somebody who has left.
var ErrDisconnected = errors.New("socket disconnected")

// Socket is a client in a namespace. Its methods may be called from any goroutine.
type Socket struct {
	ns        *Namespace
	client    *client
	id, pid   string
	recovered bool
	since     int64 // when it connected, in ms since the epoch
	seat      adapter.Seat[*engineio.Message]
	joining   []string // rooms it is about to be told of; guarded by the lock of sessions
	connected atomic.Bool

	mu   sync.Mutex
	data any
	acks map[uint64]chan<- reply
	next uint64
}

// ID is the id that clients know as socket.id. It is empty in middlewares.
func (s *Socket) ID() string { return s.id }

// Namespace is where s is.
func (s *Socket) Namespace() *Namespace { return s.ns }

// Conn is the connection under s.
func (s *Socket) Conn() *engineio.Conn { return s.client.conn }

// Recovered reports whether s continues an earlier connection, with its id, rooms and missed broadcasts.
func (s *Socket) Recovered() bool { return s.recovered }

// Connected reports whether the client is in the namespace still.
func (s *Socket) Connected() bool { return s.connected.Load() }

// Data is what SetData was given last: the caller's own knowledge of the client.
func (s *Socket) Data() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data
}

// SetData keeps v with the socket, and with its session when the client is away.
func (s *Socket) SetData(v any) {
	s.mu.Lock()
	s.data = v
	s.mu.Unlock()
	if s.Connected() {
		s.ns.tell(s.pid)
	}
}

// Enqueue and Flush make a Socket a member of rooms.
func (s *Socket) Enqueue(m *engineio.Message) { s.client.conn.Enqueue(m) }

// Flush sends what was enqueued.
func (s *Socket) Flush() { s.client.conn.Flush() }

// Emit sends an event to this client alone. Arguments are encoded as JSON; a json.RawMessage goes as it is and a
// Binary as an attachment. It is dropped when the client has left.
func (s *Socket) Emit(event string, args ...any) error {
	data, err := encodeArgs(event, args)
	if err != nil {
		return err
	}
	if s.pid != "" && data[len(data)-1] == '"' {
		// The client would take the text at the end for its offset.
		s.emitAt(nil, data)
	} else if s.Connected() {
		s.client.conn.Send(s.ns.message(packet{kind: typeEvent}, data, nil))
	}
	return nil
}

// EmitAt is Emit with the client's recovery offset as the last argument, so that a client that no broadcast has
// reached yet can recover too. It joins rooms with it: what is broadcast to them from then on comes after the event.
// With Options.Sessions it waits until the rooms are stored, so that the client, once told, finds itself in them
// wherever it returns.
func (s *Socket) EmitAt(join []string, event string, args ...any) error {
	data, err := encodeArgs(event, args)
	if err != nil {
		return err
	}
	done, ok := s.secure(join)
	defer done()
	if ok {
		s.emitAt(join, data)
	}
	return nil
}

func (s *Socket) emitAt(join []string, data []byte) {
	s.ns.rooms.Join(&s.seat, join, func(p adapter.Position) {
		s.Enqueue(s.ns.message(packet{kind: typeEvent}, data, s.ns.offset(p)))
	})
	s.Flush()
}

// Join puts s into rooms.
func (s *Socket) Join(rooms ...string) {
	if s.ns.rooms.Join(&s.seat, rooms, nil) {
		s.ns.tell(s.pid)
	}
}

// Leave takes s out of rooms.
func (s *Socket) Leave(rooms ...string) {
	if s.ns.rooms.Leave(&s.seat, rooms...) {
		s.ns.tell(s.pid)
	}
}

// Rooms lists the rooms that s has joined.
func (s *Socket) Rooms() []string { return s.ns.rooms.Of(&s.seat) }

// To addresses rooms, without s itself. Without rooms it addresses everybody else.
func (s *Socket) To(rooms ...string) Target { return s.ns.To(rooms...).Except(s.id) }

// Disconnect takes the client out of the namespace; clients do not come back from that by themselves. Its
// connection stays, for other namespaces.
func (s *Socket) Disconnect() {
	if s.leave(ServerDisconnect) {
		s.client.conn.Send(encode(packet{kind: typeDisconnect, namespace: s.ns.name}))
		s.client.conn.Do(func() { s.ns.gone(s, ServerDisconnect) })
	}
}

// end is the client's doing; it is called in turn with its other events.
func (s *Socket) end(why Reason) {
	if s.leave(why) {
		s.ns.gone(s, why)
	}
}

// leave takes s out of everything. It reports false if that was done before.
func (s *Socket) leave(why Reason) bool {
	if !s.connected.CompareAndSwap(true, false) {
		return false
	}
	mayReturn := why != ClientDisconnect && why != ServerDisconnect
	switch own := s.ns.sessions.leave(s, mayReturn); {
	case own && mayReturn:
		s.ns.tell(s.pid)
	case own:
		s.ns.drop(s.pid)
	}
	s.mu.Lock()
	for _, answer := range s.acks {
		answer <- reply{gone: true}
	}
	s.acks = nil
	s.mu.Unlock()
	return true
}

// welcome is the CONNECT packet.
func (s *Socket) welcome() *engineio.Message {
	data := append([]byte(`{"sid":"`), s.id...)
	if s.pid != "" {
		data = append(append(data, `","pid":"`...), s.pid...)
	}
	return encode(packet{kind: typeConnect, namespace: s.ns.name, data: append(data, `"}`...)})
}

func (s *Socket) dispatch(p packet) {
	h, ok := s.ns.handlers[p.name]
	if !ok {
		h = s.ns.fallback
	}
	h(s.ns.srv.context(), s, &Event{Name: p.name, socket: s, packet: p})
}
