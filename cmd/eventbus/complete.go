package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/photo-management/event-bus/events"
)

// decodeLine makes the event of a line, as it stands if nothing is missing. So does a CloudEvent.
func decodeLine(l line, source string) (events.Event, error) {
	if l.long {
		return events.Event{}, fmt.Errorf("%w: %d bytes, want at most %d", events.ErrTooLarge, l.size, events.DefaultMaxBytes)
	}
	var ev map[string]json.RawMessage
	metadata := map[string]json.RawMessage{}
	var syntax *json.SyntaxError
	err := json.Unmarshal(l.text, &ev)
	if errors.As(err, &syntax) {
		return events.Event{}, fmt.Errorf("not JSON: %w, at byte %d", err, syntax.Offset)
	}
	if !absent(ev["metadata"]) && json.Unmarshal(ev["metadata"], &metadata) != nil {
		metadata = nil
	}
	if err != nil || ev == nil || !absent(ev["specversion"]) {
		return events.Decode(l.text, 0) // which takes it, or knows what is wrong
	}
	return complete(l.text, ev, metadata, source)
}

// complete makes an event of its members. Those that are absent it gets here, else it is raw. Metadata that is no object
// is nil, and stays what it is.
func complete(raw []byte, ev, metadata map[string]json.RawMessage, source string) (events.Event, error) {
	fresh, err := events.New("fresh", struct{}{}, events.Metadata{Source: source})
	if err != nil {
		return events.Event{}, err
	}
	inside := metadata != nil && fill(metadata, map[string]string{"source": source, "version": fresh.Metadata.Version})
	if inside {
		ev["metadata"] = encode(metadata)
	}
	if fill(ev, map[string]string{"id": fresh.ID, "timestamp": fresh.Timestamp}) || inside {
		raw = encode(ev)
	}
	return events.Decode(raw, 0)
}

// fill sets the members that are absent, and reports whether there were any.
func fill(object map[string]json.RawMessage, members map[string]string) (changed bool) {
	for name, value := range members {
		if absent(object[name]) {
			object[name] = quote(value)
			changed = true
		}
	}
	return changed
}

func absent(v json.RawMessage) bool { return v == nil || string(v) == "null" }

func quote(text string) json.RawMessage {
	b, _ := json.Marshal(text) // a string always encodes
	return b
}

// encode leaves <, > and & as they are.
func encode(object map[string]json.RawMessage) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(object) // parts of valid JSON always encode
	return b.Bytes()
}
