package events

import (
	"bytes"
	"cmp"
	"fmt"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

const (
	maxDepth     = 128 // of nested arrays and objects, the event itself included
	maxNameBytes = 256 // of id and type: they become keys in Redis and labels
)

// Decode reads an event from JSON as publishers write it, or from a CloudEvents 1.0 event in structured JSON, which
// it rewrites. A maxBytes of zero means DefaultMaxBytes; more is ErrTooLarge. What is no event is ErrMalformed, and
// the error names the member and what would be right. As in JavaScript, the last of several members of one name
// counts. A member that is null counts as absent. The event keeps raw: the caller must not change it afterwards.
func Decode(raw []byte, maxBytes int) (Event, error) {
	maxBytes = cmp.Or(maxBytes, DefaultMaxBytes)
	if err := checkSize(raw, maxBytes); err != nil {
		return Event{}, err
	}
	raw = bytes.Trim(raw, " \t\r\n")
	if err := checkJSON(raw); err != nil {
		return Event{}, err
	}
	m := readMembers(raw)
	if m.isCloudEvent() {
		var err error
		if raw, err = fromCloudEvent(m.doc); err != nil {
			return Event{}, err
		}
		if err = checkSize(raw, maxBytes); err != nil {
			return Event{}, err
		}
		m = readMembers(raw)
	}
	return m.event(raw)
}

func checkSize(raw []byte, maxBytes int) error {
	if len(raw) > maxBytes {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrTooLarge, len(raw), maxBytes)
	}
	return nil
}

// checkJSON makes sure of all that the rest of the package relies on.
func checkJSON(raw []byte) error {
	switch {
	case !utf8.Valid(raw): // a websocket text frame must be UTF-8, RFC 6455 section 8.1
		return fmt.Errorf("%w: want UTF-8", ErrMalformed)
	case tooDeep(raw): // before the syntax check, which recurses
		return fmt.Errorf("%w: want at most %d levels of nesting", ErrMalformed, maxDepth)
	case !gjson.ValidBytes(raw):
		return fmt.Errorf("%w: want valid JSON", ErrMalformed)
	case raw[0] != '{':
		return fmt.Errorf("%w: want a JSON object", ErrMalformed)
	}
	return nil
}

func tooDeep(raw []byte) bool {
	// Nothing is deeper than it has brackets, and counting those is far faster than following them.
	if bytes.Count(raw, []byte{'{'})+bytes.Count(raw, []byte{'['}) <= maxDepth {
		return false
	}
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// members are the top-level members of one JSON object, the last of each name.
type members struct {
	doc                                             gjson.Result
	id, typ, data, metadata, timestamp, specVersion gjson.Result
}

func readMembers(raw []byte) members {
	m := members{doc: gjson.Result{Type: gjson.JSON, Raw: string(raw)}}
	m.doc.ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "id":
			m.id = value
		case "type":
			m.typ = value
		case "data":
			m.data = value
		case "metadata":
			m.metadata = value
		case "timestamp":
			m.timestamp = value
		case "specversion":
			m.specVersion = value
		}
		return true
	})
	return m
}

func (m *members) event(raw []byte) (Event, error) {
	if !isName(m.id) {
		return Event{}, wrong("id", "a non-empty string of at most 256 bytes")
	}
	if !isName(m.typ) {
		return Event{}, wrong("type", "a non-empty string of at most 256 bytes")
	}
	if !m.data.IsObject() {
		return Event{}, wrong("data", "an object")
	}
	if !isStringOrAbsent(m.timestamp) {
		return Event{}, wrong("timestamp", "a string")
	}
	end := m.data.Index + len(m.data.Raw)
	e := Event{
		ID:        m.id.Str,
		Type:      m.typ.Str,
		Data:      raw[m.data.Index:end:end],
		Timestamp: m.timestamp.Str,
		raw:       raw,
		doc:       m.doc.Raw,
		data:      m.data.Raw,
		metadata:  m.metadata.Raw,
	}
	err := e.Metadata.read(m.metadata)
	return e, err
}

func (m *Metadata) read(from gjson.Result) error {
	if from.Type == gjson.Null {
		return nil
	}
	if !from.IsObject() {
		return wrong("metadata", "an object")
	}
	fields := [...]struct {
		name  string
		value *string
		bad   bool
	}{
		{name: "source", value: &m.Source},
		{name: "traceId", value: &m.TraceID},
		{name: "clientId", value: &m.ClientID},
		{name: "sessionId", value: &m.SessionID},
		{name: "version", value: &m.Version},
		{name: "traceparent", value: &m.Traceparent},
	}
	from.ForEach(func(key, value gjson.Result) bool {
		for i := range fields {
			if f := &fields[i]; f.name == key.Str {
				*f.value, f.bad = value.Str, !isStringOrAbsent(value)
				break
			}
		}
		return true
	})
	for _, f := range fields {
		if f.bad {
			return wrong("metadata."+f.name, "a string")
		}
	}
	return nil
}

func isName(v gjson.Result) bool {
	return v.Type == gjson.String && v.Str != "" && len(v.Str) <= maxNameBytes
}

func isStringOrAbsent(v gjson.Result) bool { return v.Type == gjson.String || v.Type == gjson.Null }

func wrong(field, want string) error {
	return fmt.Errorf("%w: field %q: want %s", ErrMalformed, field, want)
}
