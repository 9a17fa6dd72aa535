package socketio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Event is one event from a client.
type Event struct {
	Name string

	socket   *Socket
	packet   packet
	answered bool
}

// Args are the event's arguments as JSON, valid until the handler returns. Binary ones are base64 strings.
func (e *Event) Args() []json.RawMessage { return elements(e.packet.data)[1:] }

// Decode decodes the arguments into the given pointers, in order. It is an error when there are fewer; further ones
// are left. A []byte takes a binary argument.
func (e *Event) Decode(into ...any) error {
	args := e.Args()
	if len(args) < len(into) {
		return fmt.Errorf("event %q: want %d arguments, got %d", e.Name, len(into), len(args))
	}
	for i, p := range into {
		if err := json.Unmarshal(args[i], p); err != nil {
			return fmt.Errorf("event %q, argument %d: %w", e.Name, i+1, err)
		}
	}
	return nil
}

// Attachments is how many of the values in the arguments are binary. In Args they look like base64 strings.
func (e *Event) Attachments() int { return e.packet.attachments }

// WantsAck reports whether the client waits for an acknowledgement.
func (e *Event) WantsAck() bool { return e.packet.hasID && !e.answered }

// Ack acknowledges the event, if the client asked for that and was not answered yet.
func (e *Event) Ack(args ...any) error {
	if !e.WantsAck() {
		return nil
	}
	data, err := appendArgs([]byte{'['}, args)
	if err != nil {
		return err
	}
	e.answered = true
	if e.socket.Connected() {
		e.socket.client.conn.Send(e.socket.ns.message(packet{kind: typeAck, id: e.packet.id, hasID: true}, data, nil))
	}
	return nil
}

// encodeArgs encodes an event without the closing bracket, so that an offset can follow.
func encodeArgs(event string, args []any) ([]byte, error) {
	if slices.Contains(reservedEvents, event) {
		return nil, fmt.Errorf("event %q: the name is reserved", event) // clients close on it
	}
	return encodeEvent(event, args)
}

func encodeEvent(event string, args []any) ([]byte, error) {
	data := make([]byte, 0, len(event)+128)
	return appendArgs(appendName(append(data, '['), event), args)
}

// Args are an event's name and its arguments, which are JSON, as an adapter.Message has them.
func Args(event string, args ...json.RawMessage) []byte {
	size := len(event) + 16
	for _, a := range args {
		size += len(a) + 1
	}
	out := appendName(make([]byte, 0, size), event)
	for _, a := range args {
		out = append(append(out, ','), a...)
	}
	return out
}

// SplitArgs takes apart what Args makes: the event's name, which is JSON, and its arguments, joined by commas.
func SplitArgs(event []byte) (name, args []byte) {
	name, args = nextElement(event)
	if name == nil {
		return event, nil
	}
	return name, bytes.TrimLeft(args, ", \t\r\n")
}

// appendName appends a name as a JSON string: mostly as it is, which is quick to see.
func appendName(dst []byte, name string) []byte {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(name) // a string always encodes
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), name...), '"')
}

func appendArgs(data []byte, args []any) ([]byte, error) {
	for i, a := range args {
		if len(data) > 1 {
			data = append(data, ',')
		}
		raw, ok := a.(json.RawMessage)
		if !ok || len(raw) == 0 {
			var err error
			if raw, err = json.Marshal(a); err != nil {
				return nil, fmt.Errorf("argument %d: %w", i+1, err)
			}
		}
		data = append(data, bytes.TrimSpace(raw)...) // what it ends with counts, see Socket.Emit
	}
	return data, nil
}

// message makes the message of an event or ack from its data, which lacks the closing bracket, and an offset.
func (n *Namespace) message(p packet, data, offset []byte) *engineio.Message {
	p.namespace = n.name
	data, attachments := extractBinary(data)
	p.attachments = len(attachments)
	if attachments == nil {
		return n.plainMessage(p, data, offset)
	}
	head := appendPacket(make([]byte, 0, 64), p)
	return engineio.NewBinaryMessage(append(append(append(head, data...), offset...), ']'), attachments...)
}

// plainMessage is message for data without stand-ins.
func (n *Namespace) plainMessage(p packet, data, offset []byte) *engineio.Message {
	p.namespace = n.name
	return engineio.NewMessage(appendPacket(make([]byte, 0, 64), p), data, offset, closing)
}

var closing = []byte{']'}

// offset is the last argument that lets a client recover from p, nil when there is no recovery.
func (n *Namespace) offset(p adapter.Position) []byte {
	if n.srv.opts.RecoveryWindow == 0 {
		return nil
	}
	return append(p.Append(append(make([]byte, 0, 32), `,"`...)), '"')
}
