package web

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/photo-management/event-bus/events"
)

// timestampLayout is how JavaScript's Date.prototype.toISOString writes a time.
const timestampLayout = "2006-01-02T15:04:05.000Z07:00"

// readEvent reads an event and completes what a caller need not think about: an id, which is the given one or a new one,
// the timestamp, and the metadata's source, which is the caller, and version. An event that has them stays byte for byte as it came. A CloudEvent is
// completed as such, and rewritten by events.
func readEvent(raw []byte, maxBytes int, id, source string) (events.Event, error) {
	if completed, ok := complete(raw, id, source); ok {
		raw = completed
	}
	event, err := events.Decode(raw, maxBytes)
	if err != nil {
		return events.Event{}, readError(err)
	}
	return event, nil
}

// complete returns false for what is complete, and for what is no event anyway.
func complete(raw []byte, id, source string) ([]byte, bool) {
	var event, metadata map[string]json.RawMessage
	if !utf8.Valid(raw) || json.Unmarshal(raw, &event) != nil || event == nil {
		return nil, false
	}
	stamp, changed := "timestamp", false
	isEvent := json.Unmarshal(event["metadata"], &metadata) == nil && metadata != nil
	switch {
	case isEvent:
	case string(event["specversion"]) == `"1.0"`:
		stamp = "time"
	case !present(event, "metadata"):
		isEvent, metadata = true, map[string]json.RawMessage{}
	}
	if !present(event, "id") {
		if id == "" {
			id = rand.Text()
		}
		event["id"], changed = quote(id), true
	}
	if !present(event, stamp) {
		event[stamp], changed = quote(time.Now().UTC().Format(timestampLayout)), true
	}
	if isEvent {
		for name, value := range map[string]string{"source": source, "version": "1.0"} {
			if !present(metadata, name) && value != "" {
				metadata[name] = quote(value)
				event["metadata"], changed = encode(metadata), true
			}
		}
	}
	if !changed {
		return nil, false
	}
	return encode(event), true
}

// present says whether a member is there and not null.
func present(object map[string]json.RawMessage, name string) bool {
	v, ok := object[name]
	return ok && string(v) != "null"
}

func quote(s string) json.RawMessage { return encode(s) }

// encode writes what came from JSON, <, > and & as they are.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings and raw JSON that has been read
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}
