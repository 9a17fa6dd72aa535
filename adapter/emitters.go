package adapter

import (
	"bytes"
	"cmp"
	"errors"
	"strings"
)

// Emitters are programs that publish with @socket.io/redis-emitter, without a server of their own: events on a channel of
// their namespace, or of the one room that they are for, and commands on another.
type Emitters struct {
	// Prefix starts the names of the channels. Zero means "socket.io", as in Node.
	Prefix string
	// Namespace is where they publish to. Zero means "/".
	Namespace string
}

func (e Emitters) channel() string {
	return cmp.Or(e.Prefix, "socket.io") + "#" + cmp.Or(e.Namespace, "/") + "#"
}

// Commands is the channel of their commands.
func (e Emitters) Commands() string {
	return cmp.Or(e.Prefix, "socket.io") + "-request#" + cmp.Or(e.Namespace, "/") + "#"
}

// Events is a pattern for the channels of their events. Others publish there as well.
func (e Emitters) Events() string {
	return strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `\`, `\\`).Replace(e.channel()) + "*"
}

// Heard is what was published on one of those channels in a form for Decode, nil if no emitter has.
func (e Emitters) Heard(channel string, payload []byte) []byte {
	switch {
	case channel == e.Commands():
		return append([]byte("command "), payload...)
	case isEmitted(payload) && strings.HasPrefix(channel, e.channel()):
		return append([]byte("event "), payload...)
	}
	return nil
}

// isEmitted tells what an emitter publishes for sockets, an array of three, from what servers do, which are maps.
func isEmitted(payload []byte) bool { return len(payload) > 0 && payload[0] == 0x93 }

// errNotEmitted is for what no emitter has published.
var errNotEmitted = errors.New("not from an emitter")

// Decode decodes what Heard has returned.
func (e Emitters) Decode(heard []byte) (Message, error) {
	kind, payload, _ := bytes.Cut(heard, []byte{' '})
	var entry *Entry
	if string(kind) == "event" {
		decoded, err := decodeClassicEvent(payload)
		if err != nil {
			return Message{}, err
		}
		if decoded.From == "emitter" {
			entry = &decoded
		}
	} else {
		decoded, err := decodeClassicRequest(cmp.Or(e.Namespace, "/"), payload)
		if err != nil {
			return Message{}, err
		}
		entry = decoded.Entry
	}
	if entry == nil || entry.Kind == Other {
		return Message{}, errNotEmitted
	}
	return entry.Message, nil
}
