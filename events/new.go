package events

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const (
	defaultVersion = "1.0"
	// As JavaScript's Date.prototype.toISOString writes it, in UTC.
	timestampLayout = "2006-01-02T15:04:05.000Z07:00"
)

// New makes an event of the given type that happens now. Data becomes a JSON object; ID is a UUIDv7 (RFC 9562), so
// that IDs sort by time; an empty m.Version means "1.0". Whether the event fits its schema, Validate says.
func New(eventType string, data any, m Metadata) (Event, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Event{}, fmt.Errorf("make an event id: %w", err)
	}
	body, err := marshal(data)
	if err != nil {
		return Event{}, fmt.Errorf("encode the data of %s: %w", eventType, err)
	}
	m.Version = cmp.Or(m.Version, defaultVersion)
	type plain Event // without MarshalJSON
	raw, err := marshal(plain{
		ID:        id.String(),
		Type:      eventType,
		Data:      body,
		Metadata:  m,
		Timestamp: time.Now().UTC().Format(timestampLayout),
	})
	if err != nil {
		return Event{}, fmt.Errorf("encode %s: %w", eventType, err)
	}
	return Decode(raw, DefaultMaxBytes)
}

// marshal writes <, > and & as they are, as JavaScript does; json.Marshal would write six bytes for each.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}
