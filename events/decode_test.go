package events

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	full := `{"id":"e1","type":"photo.uploaded","data":{"photoId":"p1"},"metadata":{"source":"upload","traceId":"t",` +
		`"clientId":"c","sessionId":"s","version":"1.0","traceparent":"00-1-2-03","more":[1]},` +
		`"timestamp":"2026-01-31T12:00:00.000Z","extra":{"kept":true}}`
	tests := []struct {
		name, raw, wantRaw string
		want               Event
	}{
		{"every member", full, full, Event{
			ID: "e1", Type: "photo.uploaded", Data: json.RawMessage(`{"photoId":"p1"}`),
			Metadata:  Metadata{"upload", "t", "c", "s", "1.0", "00-1-2-03"},
			Timestamp: "2026-01-31T12:00:00.000Z",
		}},
		{"least", `{"id":"e","type":"t","data":{}}`, `{"id":"e","type":"t","data":{}}`,
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{}`)}},
		{"white space around it goes, inside stays", "\r\n\t {\"id\" : \"e\",\n\"type\":\"t\",\"data\": { } } \n",
			"{\"id\" : \"e\",\n\"type\":\"t\",\"data\": { } }",
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{ }`)}},
		{"the last of a name counts", `{"id":7,"id":"e","data":1,"type":"t","type":"u","data":{"a":1},` +
			`"metadata":{"source":"old","traceId":"old"},"metadata":{"source":5,"source":"new"}}`, "",
			Event{ID: "e", Type: "u", Data: json.RawMessage(`{"a":1}`), Metadata: Metadata{Source: "new"}}},
		{"escaped names and values", `{"\u0069d":"a\u00e9\n\ud83d\ude00","type":"t","data":{}}`, "",
			Event{ID: "aé\n😀", Type: "t", Data: json.RawMessage(`{}`)}},
		{"null is absent", `{"id":"e","type":"t","data":{},"metadata":{"clientId":null},"timestamp":null}`, "",
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{}`)}},
		{"null metadata is absent", `{"id":"e","type":"t","data":{},"metadata":null}`, "",
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{}`)}},
		{"an Event may have a specversion", `{"id":"e","type":"t","data":{},"metadata":{"source":"s"},"specversion":"1.0"}`,
			`{"id":"e","type":"t","data":{},"metadata":{"source":"s"},"specversion":"1.0"}`,
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{}`), Metadata: Metadata{Source: "s"}}},
		{"brackets in strings are not nesting", `{"id":"e","type":"t","data":{"a":"` + strings.Repeat(`[\"{`, 200) + `"}}`, "",
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{"a":"` + strings.Repeat(`[\"{`, 200) + `"}`)}},
		{"128 levels", `{"id":"e","type":"t","data":` + nested(127) + `}`, "",
			Event{ID: "e", Type: "t", Data: json.RawMessage(nested(127))}},
		{"many brackets side by side", `{"id":"e","type":"t","data":{"a":[` + strings.Repeat("[],", 200) + `0]}}`, "",
			Event{ID: "e", Type: "t", Data: json.RawMessage(`{"a":[` + strings.Repeat("[],", 200) + `0]}`)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := decode(t, tt.raw)
			if tt.wantRaw != "" && string(got.Raw()) != tt.wantRaw {
				t.Errorf("Raw() = %s, want %s", got.Raw(), tt.wantRaw)
			}
			got.raw, got.doc, got.data, got.metadata = nil, "", "", ""
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Decode = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	const name = `: want a non-empty string of at most 256 bytes`
	long := strings.Repeat("x", 257)
	tests := []struct{ name, raw, want string }{
		{"nothing", "", "want valid JSON"},
		{"cut off", `{"id":"e"`, "want valid JSON"},
		{"two values", `{"id":"e","type":"t","data":{}}{}`, "want valid JSON"},
		{"byte order mark", "\ufeff" + `{"id":"e","type":"t","data":{}}`, "want valid JSON"},
		{"not UTF-8", "{\"id\":\"\xff\",\"type\":\"t\",\"data\":{}}", "want UTF-8"},
		{"a surrogate in UTF-8", "{\"id\":\"\xed\xa0\x80\",\"type\":\"t\",\"data\":{}}", "want UTF-8"},
		{"an array", `[]`, "want a JSON object"},
		{"a string", `"id"`, "want a JSON object"},
		{"129 levels", `{"id":"e","type":"t","data":` + nested(128) + `}`, "want at most 128 levels of nesting"},
		{"bottomless", strings.Repeat("[", 1<<20), "want at most 128 levels of nesting"},
		{"no id", `{"type":"t","data":{}}`, `field "id"` + name},
		{"empty id", `{"id":"","type":"t","data":{}}`, `field "id"` + name},
		{"number for an id", `{"id":1,"type":"t","data":{}}`, `field "id"` + name},
		{"the last id is wrong", `{"id":"e","id":null,"type":"t","data":{}}`, `field "id"` + name},
		{"long id", `{"id":"` + long + `","type":"t","data":{}}`, `field "id"` + name},
		{"no type", `{"id":"e","data":{}}`, `field "type"` + name},
		{"long type", `{"id":"e","type":"` + long + `","data":{}}`, `field "type"` + name},
		{"no data", `{"id":"e","type":"t"}`, `field "data": want an object`},
		{"null data", `{"id":"e","type":"t","data":null}`, `field "data": want an object`},
		{"array for data", `{"id":"e","type":"t","data":[]}`, `field "data": want an object`},
		{"string for metadata", `{"id":"e","type":"t","data":{},"metadata":"m"}`, `field "metadata": want an object`},
		{"number for clientId", `{"id":"e","type":"t","data":{},"metadata":{"clientId":5}}`,
			`field "metadata.clientId": want a string`},
		{"number for timestamp", `{"id":"e","type":"t","data":{},"timestamp":5}`, `field "timestamp": want a string`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.raw), 2<<20)
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("Decode: %v, want ErrMalformed", err)
			}
			if want := "malformed event: " + tt.want; err.Error() != want {
				t.Errorf("Decode: %v, want %s", err, want)
			}
		})
	}
}

func TestDecodeSize(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"id":"e","type":"t","data":{}}`)
	if _, err := Decode(raw, len(raw)); err != nil {
		t.Errorf("Decode at the limit: %v", err)
	}
	if _, err := Decode(raw, len(raw)-1); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrMalformed) {
		t.Errorf("Decode above the limit: %v, want ErrTooLarge", err)
	}
	if _, err := Decode(make([]byte, DefaultMaxBytes+1), 0); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Decode above the default limit: %v, want ErrTooLarge", err)
	}
	cloud := []byte(`{"specversion":"1.0","id":"e","type":"t","source":"s","data":{}}`)
	if _, err := Decode(cloud, len(cloud)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("Decode of a CloudEvent that grows above the limit: %v, want ErrTooLarge", err)
	}
}

func TestMarshalJSON(t *testing.T) {
	t.Parallel()
	raw := `{"id":"e","type":"t","data":{},"extra":1}`
	got, err := json.Marshal(map[string]any{"event": decode(t, raw)})
	if want := `{"event":` + raw + `}`; err != nil || string(got) != want {
		t.Errorf("Marshal = %s, %v, want %s", got, err, want)
	}
	if _, err := json.Marshal(Event{ID: "e"}); err == nil {
		t.Error("Marshal of an event made by hand: no error")
	}
}

// nested returns n objects, one in the other.
func nested(n int) string { return strings.Repeat(`{"a":`, n-1) + "{}" + strings.Repeat("}", n-1) }
