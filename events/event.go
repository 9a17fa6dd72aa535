// Package events is what travels on the bus: the Event, its types and their schemas, decoding with limits,
// validation against schemas and content rules, and field lookup for rules and filters.
//
// It does no I/O: how events travel and who hears them, other packages know.
//
//go:generate go run ./generate
package events

import (
	"encoding/json"
	"errors"
)

// DefaultMaxBytes is the largest JSON text Decode takes unless told otherwise, and the largest New makes: 1 MiB.
const DefaultMaxBytes = 1 << 20

var (
	// ErrTooLarge says that an event's JSON is longer than allowed.
	ErrTooLarge = errors.New("event too large")
	// ErrMalformed says that the bytes are not an event: not JSON, or a member of the wrong shape.
	ErrMalformed = errors.New("malformed event")
	// ErrInvalid says that an event breaks the schema of its type. Sending it again does not help.
	ErrInvalid = errors.New("invalid event")
	// ErrUnknownType says that no schema and no channel is known for the event's type.
	ErrUnknownType = errors.New("unknown event type")
)

// Event is one event, made by Decode or New and read-only from then on: it is shared by everybody who handles it.
type Event struct {
	ID        string          `json:"id"`   // 1 to 256 bytes; the bus delivers an ID once
	Type      string          `json:"type"` // 1 to 256 bytes, such as PhotoUploaded
	Data      json.RawMessage `json:"data"` // a JSON object
	Metadata  Metadata        `json:"metadata"`
	Timestamp string          `json:"timestamp"` // RFC 3339 if Validate agrees; Decode takes any string, or none

	raw []byte
	// The same bytes as strings, so that Lookup need not copy: the whole, and its members.
	doc, data, metadata string
}

// Metadata says where an event comes from and whom it concerns. An absent member is the empty string.
type Metadata struct {
	Source      string `json:"source"`
	TraceID     string `json:"traceId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
	SessionID   string `json:"sessionId,omitempty"`
	Version     string `json:"version"`
	Traceparent string `json:"traceparent,omitempty"` // W3C Trace Context
}

// Raw returns the event's JSON as it came, without the white space around it, members unknown to Event included.
// The caller must not change it. It is nil for an Event that neither Decode nor New made.
func (e Event) Raw() []byte { return e.raw }

// MarshalJSON returns Raw, so that an event inside another value keeps the members Event has no field for.
func (e Event) MarshalJSON() ([]byte, error) {
	if e.raw == nil {
		return nil, errors.New("event has no JSON: make it with New or Decode")
	}
	return e.raw, nil
}
