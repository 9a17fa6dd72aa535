package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// clientPacket is a Socket.IO packet: kind is '0' CONNECT, '1' DISCONNECT, '2' EVENT, '3' ACK or '4' CONNECT_ERROR.
type clientPacket struct {
	kind byte
	id   int             // of the ack, or -1
	data json.RawMessage // or nil
}

// parseClientPacket reports ok for what is for us: not other namespaces, nor packets with binary attachments, as the
// service has neither.
func parseClientPacket(p []byte) (packet clientPacket, ok bool, err error) {
	if len(p) == 0 || p[0] < '0' || p[0] > '6' {
		return packet, false, errPacket
	}
	packet = clientPacket{kind: p[0], id: -1}
	p = p[1:]
	if packet.kind > '4' || bytes.HasPrefix(p, []byte("/")) {
		return packet, false, nil
	}
	digits := len(p) - len(bytes.TrimLeft(p, "0123456789"))
	if digits > 0 {
		if packet.id, err = strconv.Atoi(string(p[:digits])); err != nil {
			return packet, false, errPacket
		}
		p = p[digits:]
	}
	if len(p) > 0 {
		packet.data = p
	}
	return packet, true, nil
}

// refusedError is a CONNECT_ERROR.
type refusedError struct {
	message    string
	retryAfter time.Duration // 0: never
}

func (e *refusedError) Error() string { return "refused: " + e.message }

func newRefusedError(data []byte) error {
	var body struct {
		Message string
		Data    json.RawMessage
	}
	var more struct{ RetryAfter float64 } // seconds
	if json.Unmarshal(data, &body) != nil {
		body.Message = string(data)
	}
	_ = json.Unmarshal(body.Data, &more) // other refusals have other data, or none
	const most = 3600
	seconds := max(0, min(more.RetryAfter, most))
	return &refusedError{plain(body.Message), time.Duration(seconds * float64(time.Second))}
}
