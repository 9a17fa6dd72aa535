package events

import "github.com/tidwall/gjson"

// Lookup returns the value at a path of the event's JSON, and whether there is one; null is one. As in JavaScript, of
// several members of one name the last counts.
func (e Event) Lookup(p Path) (Value, bool) {
	// An empty field may be absent, null or empty: the JSON knows.
	if s := e.decoded(p.field); s != "" {
		return Value{Kind: String, Str: s}, true
	}
	if len(p.parts) == 0 {
		return Value{}, false
	}
	from, parts := gjson.Result{Type: gjson.JSON, Raw: e.doc}, p.parts
	switch {
	case len(parts) < 2:
	case parts[0].name == "data":
		from.Raw, parts = e.data, parts[1:]
	case parts[0].name == "metadata":
		from.Raw, parts = e.metadata, parts[1:]
	}
	for _, part := range parts {
		if from = child(from, part); !from.Exists() {
			return Value{}, false
		}
	}
	return newValue(from), true
}

func (e *Event) decoded(f field) string {
	switch f {
	case idField:
		return e.ID
	case typeField:
		return e.Type
	case timestampField:
		return e.Timestamp
	case sourceField:
		return e.Metadata.Source
	case traceIDField:
		return e.Metadata.TraceID
	case clientIDField:
		return e.Metadata.ClientID
	case sessionIDField:
		return e.Metadata.SessionID
	case versionField:
		return e.Metadata.Version
	case traceparentField:
		return e.Metadata.Traceparent
	}
	return ""
}

// child returns the zero Result, which does not exist, if v has no such child. It walks instead of asking gjson for a
// path, because in a gjson path *, #, @, | and others have a meaning.
func child(v gjson.Result, p part) gjson.Result {
	var found gjson.Result
	switch {
	case v.IsObject():
		v.ForEach(func(key, value gjson.Result) bool {
			if key.Str == p.name {
				found = value
			}
			return true
		})
	case v.IsArray() && p.index >= 0:
		i := 0
		v.ForEach(func(_, value gjson.Result) bool {
			if i == p.index {
				found = value
			}
			i++
			return i <= p.index
		})
	}
	return found
}
