package events

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "00-" + traceID + "-b7ad6b7169203331-01"
)

func TestSpanContext(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		parent:                                   true,
		"00-" + traceID + "-b7ad6b7169203331-00": true,
		"01-" + traceID + "-b7ad6b7169203331-01-what-later": true, // versions add to the end
		"":                                       false,
		"nonsense":                               false,
		parent + "-more":                         false,
		strings.ToUpper(parent):                  false,
		"ff-" + traceID + "-b7ad6b7169203331-01": false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-" + traceID + "-0000000000000000-01":                  false,
		strings.Repeat("0", 1<<16):                                false,
	} {
		sc := Event{Metadata: Metadata{Traceparent: text}}.SpanContext()
		if sc.IsValid() != want || want && (sc.TraceID().String() != traceID || !sc.IsRemote()) {
			t.Errorf("%.80q: got %v, want valid: %t", text, sc, want)
		}
	}
}

// What is added is in the metadata, and nothing else has changed.
func TestWithTrace(t *testing.T) {
	t.Parallel()
	sc := Event{Metadata: Metadata{Traceparent: parent}}.SpanContext()
	p, id := `"traceparent":"`+parent+`"`, `"traceId":"`+traceID+`"`
	for was, want := range map[string]string{
		`{"id":"e","type":"t","data":{"n":1.0}}`:                  `{"id":"e","type":"t","data":{"n":1.0},"metadata":{` + p + `,` + id + `}}`,
		`{"metadata": null ,"id":"e","type":"t","data":{}}`:       `{"metadata": {` + p + `,` + id + `} ,"id":"e","type":"t","data":{}}`,
		`{"id":"e","type":"t","metadata":{ },"data":{}}`:          `{"id":"e","type":"t","metadata":{ ` + p + `,` + id + `},"data":{}}`,
		`{"id":"e","type":"t","data":{},"metadata":{"a":[1, 2]}}`: `{"id":"e","type":"t","data":{},"metadata":{"a":[1, 2],` + p + `,` + id + `}}`,
		`{"id":"e","type":"t","data":{"traceparent":"x"},"metadata":{"traceId":"mine","traceparent": "old" , "b":{}}}`://
		`{"id":"e","type":"t","data":{"traceparent":"x"},"metadata":{"traceId":"mine","traceparent": "` + parent + `" , "b":{}}}`,
		`{"id":"e","type":"t","data":{},"metadata":{"traceId":"","x":1,"traceparent":null}}`://
		`{"id":"e","type":"t","data":{},"metadata":{"traceId":"` + traceID + `","x":1,` + p + `}}`,
		`{"id":"e","type":"t","data":{},"metadata":{"traceparent":"1","traceId":null}}`://
		`{"id":"e","type":"t","data":{},"metadata":{` + p + `,` + id + `}}`,
		`{"id":"e","type":"t","data":{},"metadata":{"traceId":"x"},"metadata":{"trace\u0070arent":"a","traceparent":"b"}}`://
		`{"id":"e","type":"t","data":{},"metadata":{"traceId":"x"},"metadata":{"trace\u0070arent":"a",` + p + `,` + id + `}}`,
	} {
		ev, err := Decode([]byte(was), 0)
		if err != nil {
			t.Fatalf("%s: %v", was, err)
		}
		got := ev.WithTrace(sc)
		if string(got.Raw()) != want {
			t.Errorf("%s became\n%s, want\n%s", was, got.Raw(), want)
		}
		if !got.SpanContext().Equal(sc) || got.Metadata.TraceID == "" || !json.Valid(got.Raw()) || string(ev.Raw()) != was {
			t.Errorf("%s: the event is %+v", was, got)
		}
		if again, err := Decode(got.Raw(), 0); err != nil || again.Metadata != got.Metadata || again.ID != "e" || string(again.Data) != string(ev.Data) {
			t.Errorf("%s: decoded again it is %+v, %v", was, again, err)
		}
		if same := ev.WithTrace(trace.SpanContext{}); string(same.Raw()) != was {
			t.Errorf("%s: no span made it %s", was, same.Raw())
		}
	}
	if got := (Event{ID: "e"}).WithTrace(sc); got.Raw() != nil {
		t.Errorf("an event without JSON became %s", got.Raw())
	}
}

func FuzzWithTrace(f *testing.F) {
	f.Add([]byte(`{"id":"e","type":"t","data":{},"metadata":{"traceparent":"","traceId":null}}`))
	f.Add([]byte(`{"metadata":null,"id":"e","type":"t","data":{}}`))
	sc := Event{Metadata: Metadata{Traceparent: parent}}.SpanContext()
	f.Fuzz(func(t *testing.T, raw []byte) {
		ev, err := Decode(raw, 0)
		if err != nil {
			return
		}
		again, err := Decode(ev.WithTrace(sc).Raw(), 0)
		if err != nil {
			t.Fatalf("%s is no event any more: %v", raw, err)
		}
		if !again.SpanContext().Equal(sc) || again.Metadata.TraceID == "" || again.ID != ev.ID || again.Type != ev.Type || string(again.Data) != string(ev.Data) ||
			again.Metadata.Source != ev.Metadata.Source || again.Timestamp != ev.Timestamp {
			t.Fatalf("%s became %s", raw, again.Raw())
		}
	})
}

func TestTraceAttributes(t *testing.T) {
	t.Parallel()
	ev, err := Decode([]byte(`{"id":"e","type":"t","data":{"secret":"payload"},"metadata":{"source":"`+strings.Repeat("ä", 1000)+`"}}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, a := range ev.TraceAttributes("c") {
		got[string(a.Key)] = a.Value.String()
	}
	for name, want := range map[string]string{
		"messaging.system": "redis", "messaging.destination.name": "c", "messaging.message.id": "e", "event.id": "e", "event.type": "t", "event.channel": "c",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if n := len(got["event.source"]); n < maxAttributeBytes || n > maxAttributeBytes+4 {
		t.Errorf("event.source has %d bytes", n)
	}
	if _, there := got["event.trace_id"]; there {
		t.Error("there is an event.trace_id of an event without")
	}
}

// A span that records nothing may be ended like any other.
func TestEndSpanOfNone(t *testing.T) {
	t.Parallel()
	EndSpan(trace.SpanFromContext(t.Context()), errors.New("x"))
}
