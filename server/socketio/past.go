package socketio

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// ErrPast is the answer to a question about broadcasts that are no longer kept.
var ErrPast = errors.New("broadcasts since then are no longer kept")

// JoinSince puts the client into a room and tells it so, by an event of the given name and, if it wants one, by the
// acknowledgement. answer makes the one argument of each, both JSON objects; of the second nil means none. It is given
// the place in the log where the client joins, and what the room got after an earlier one (Namespace.Position) up to
// there, oldest first. Whatever comes after that place follows behind the answer: with what the caller knows from
// before, answer has all there was, without a gap or a double.
//
// The entries have a position and an event, no rooms; those with attachments say that they are Binary, and lack Args.
// They are not to be changed. answer is called under a lock: it must not wait, nor call a method of a socket.
//
// Like Socket.EmitAt it waits until the room is stored, and the event brings an offset to recover from. The error is
// ErrPast, and the client has not joined, when what came since is not known any more; ErrDisconnected when it has left.
func (e *Event) JoinSince(room string, since adapter.Position, name string, answer func(at adapter.Position, past []adapter.Entry) (told, ack json.RawMessage)) error {
	s, n := e.socket, e.socket.ns
	done, ok := s.secure([]string{room})
	err := ErrDisconnected
	known := !ok || n.rooms.JoinSince(&s.seat, room, since, func(at adapter.Position, past []adapter.Past[*engineio.Message]) {
		told, ack := answer(at, n.entries(past))
		head := appendPacket(make([]byte, 0, 64), packet{kind: typeEvent, namespace: n.name})
		head = append(appendName(append(head, '['), name), ',')
		s.Enqueue(engineio.NewMessage(head, told, n.offset(at), closing))
		if ack != nil && e.WantsAck() {
			e.answered = true
			head = appendPacket(make([]byte, 0, 64), packet{kind: typeAck, namespace: n.name, id: e.packet.id, hasID: true})
			s.Enqueue(engineio.NewMessage(append(head, '['), ack, closing))
		}
		err = nil
	})
	done()
	if !known {
		n.tell(s.pid) // it was stored with the room
		return ErrPast
	}
	s.Flush()
	return err
}

// entries are broadcasts of ours as the log had them, without a copy of their arguments.
func (n *Namespace) entries(past []adapter.Past[*engineio.Message]) []adapter.Entry {
	head := len(appendPacket(nil, packet{kind: typeEvent, namespace: n.name})) + len("[")
	out := make([]adapter.Entry, len(past))
	for i, p := range past {
		out[i] = adapter.Entry{Position: p.Position, Message: adapter.Message{Namespace: n.name}}
		text, binary := p.Frame.Text()
		if out[i].Binary = binary; !binary {
			out[i].Args = bytes.TrimSuffix(bytes.TrimSuffix(text[head:], closing), n.offset(p.Position))
		}
	}
	return out
}
