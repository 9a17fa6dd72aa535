package socketio

import (
	"context"
	"encoding/json"

	"github.com/photo-management/event-bus/server/engineio"
)

// reply is a client's acknowledgement, or that none will come.
type reply struct {
	args   []json.RawMessage
	binary bool // there are stand-ins in args
	gone   bool
}

// plain are the arguments with binary ones as base64 strings.
func (r reply) plain() []json.RawMessage {
	if r.binary {
		for i, a := range r.args {
			r.args[i] = plainBinary(a)
		}
	}
	return r.args
}

// EmitWithAck sends an event and waits for the client's acknowledgement, for as long as ctx lets it. A handler
// must not wait for its own client, whose packets it holds up.
func (s *Socket) EmitWithAck(ctx context.Context, event string, args ...any) ([]json.RawMessage, error) {
	data, err := encodeArgs(event, args)
	if err != nil {
		return nil, err
	}
	q := askAll([]*Socket{s}, func(p packet) *engineio.Message { return s.ns.message(p, data, nil) })
	defer q.end()
	if q.sent == 0 {
		return nil, ErrDisconnected
	}
	select {
	case r := <-q.replies:
		if r.gone {
			return nil, ErrDisconnected
		}
		return r.plain(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// acked hands the client's answer to who waits for it. An answer to nothing is ignored, as in Node.
func (s *Socket) acked(p packet) {
	args := elements(append([]byte(nil), p.data...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if answer, ok := s.acks[p.id]; ok {
		delete(s.acks, p.id)
		answer <- reply{args: args, binary: p.attachments > 0}
	}
}

// question is an event that some sockets are to acknowledge. Each of those it was sent to gives one reply.
type question struct {
	replies chan reply // has room for all
	sent    int
	sockets []*Socket
	ids     []uint64
}

// askAll sends an event that is to be acknowledged to sockets. It does not wait.
func askAll(sockets []*Socket, encode func(packet) *engineio.Message) *question {
	q := &question{replies: make(chan reply, len(sockets)), sockets: sockets, ids: make([]uint64, len(sockets))}
	for i, s := range sockets {
		q.ids[i] = s.expectAck(q.replies)
		if !s.Connected() && s.forgetAck(q.ids[i]) {
			continue // it left before
		}
		q.sent++
		s.client.conn.Send(encode(packet{kind: typeEvent, id: q.ids[i], hasID: true}))
	}
	return q
}

// end forgets the replies that have not come.
func (q *question) end() {
	for i, s := range q.sockets {
		s.forgetAck(q.ids[i])
	}
}

// answers calls each with every acknowledgement until all have come that will, or ctx ends.
func (q *question) answers(ctx context.Context, each func(reply)) {
	for range q.sent {
		var r reply
		select {
		case r = <-q.replies:
		default:
			select { // what has come counts, even if ctx has ended
			case r = <-q.replies:
			case <-ctx.Done():
				q.end()
				return
			}
		}
		if !r.gone {
			each(r)
		}
	}
}

// expectAck makes the id of an acknowledgement, or its absence, that goes to answer once.
func (s *Socket) expectAck(answer chan<- reply) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	if s.acks == nil {
		s.acks = map[uint64]chan<- reply{}
	}
	s.acks[id] = answer
	return id
}

// forgetAck reports whether the acknowledgement was still awaited.
func (s *Socket) forgetAck(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.acks[id]
	delete(s.acks, id)
	return ok
}
