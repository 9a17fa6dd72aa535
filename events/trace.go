package events

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// SpanContext is the trace that an event is part of, as its metadata.traceparent has it (W3C Trace Context). It is not
// valid if there is none, or one that is malformed: that counts as none.
func (e Event) SpanContext() trace.SpanContext {
	if e.Metadata.Traceparent == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), traceparent(e.Metadata.Traceparent))
	return trace.SpanContextFromContext(ctx)
}

// traceparent is the text as what carries it, which has no tracestate.
type traceparent string

func (t traceparent) Get(key string) string {
	if key == "traceparent" {
		return string(t)
	}
	return ""
}

func (traceparent) Set(string, string) {}
func (traceparent) Keys() []string     { return []string{"traceparent"} }

// WithTrace is the event as part of a trace: with the metadata.traceparent of a span, and with its trace as
// metadata.traceId if it names none, for readers that know only that. All else stays as it is, byte for byte. It is the
// event itself if the span is not valid.
func (e Event) WithTrace(sc trace.SpanContext) Event {
	if e.raw == nil || !sc.IsValid() {
		return e
	}
	parent := `"00-` + sc.TraceID().String() + "-" + sc.SpanID().String() + "-" + (sc.TraceFlags() & w3cFlags).String() + `"`
	set := []patch{{name: "traceparent", text: parent}}
	if e.Metadata.TraceID == "" {
		set = append(set, patch{name: "traceId", text: `"` + sc.TraceID().String() + `"`})
	}
	raw := apply(e.doc, patches(e.doc, set))
	m := readMembers(raw)
	traced, err := m.event(raw)
	if err != nil {
		return e // cannot be: it was an event, and has two more members
	}
	return traced
}

// w3cFlags are those that W3C Trace Context knows.
const w3cFlags = trace.FlagsSampled | trace.FlagsRandom

// patch puts a text where a document had the bytes from one place to another.
type patch struct {
	name     string // of the member whose value the text is
	from, to int
	text     string
}

// patches are how members of the metadata get their values, in the order of their places.
func patches(doc string, set []patch) []patch {
	metadata, _ := lastMember(gjson.Result{Type: gjson.JSON, Raw: doc}, "metadata")
	if !metadata.IsObject() {
		at, before := patch{from: metadata.Index, to: metadata.Index + len(metadata.Raw)}, "" // null
		if !metadata.Exists() {
			at, before = patch{from: len(doc) - 1, to: len(doc) - 1}, `,"metadata":`
		}
		at.text = before + "{" + strings.TrimPrefix(missing(set), ",") + "}"
		return []patch{at}
	}
	var there, absent []patch
	empty := false
	for _, one := range set {
		value, n := lastMember(metadata, one.name)
		if empty = n == 0; value.Exists() {
			one.from, one.to = value.Index, value.Index+len(value.Raw)
			there = append(there, one)
		} else {
			absent = append(absent, one)
		}
	}
	slices.SortFunc(there, func(a, b patch) int { return cmp.Compare(a.from, b.from) })
	end := metadata.Index + len(metadata.Raw) - 1
	more := patch{from: end, to: end, text: missing(absent)}
	if empty {
		more.text = strings.TrimPrefix(more.text, ",")
	}
	return append(there, more)
}

// lastMember finds a member of an object, the last one of several, and how many members there are.
func lastMember(object gjson.Result, name string) (found gjson.Result, n int) {
	object.ForEach(func(key, value gjson.Result) bool {
		if n++; key.Str == name {
			found = value
		}
		return true
	})
	return found, n
}

// missing are members as they follow others.
func missing(absent []patch) (text string) {
	for _, m := range absent {
		text += `,"` + m.name + `":` + m.text
	}
	return text
}

func apply(doc string, patches []patch) []byte {
	b := make([]byte, 0, len(doc)+160)
	at := 0
	for _, one := range patches {
		b = append(append(b, doc[at:one.from]...), one.text...)
		at = one.to
	}
	return append(b, doc[at:]...)
}

// maxAttributeBytes is how much of a text of an event, or about one, is in a span.
const maxAttributeBytes = 256

// TraceAttributes are what each span about an event says of it and its channel, by the names of the design and by those
// of OpenTelemetry's conventions for messaging. What is not known of it is left out.
func (e Event) TraceAttributes(channel string) []attribute.KeyValue {
	all := make([]attribute.KeyValue, 0, 12) // with room for two that a span adds
	all = append(all,
		attribute.String("messaging.system", "redis"),
		attribute.String("messaging.destination.name", channel),
		attribute.String("event.channel", channel),
	)
	for _, a := range [...]struct{ name, value string }{
		{"event.id", e.ID}, {"messaging.message.id", e.ID}, {"event.type", e.Type},
		{"event.source", e.Metadata.Source}, {"event.trace_id", e.Metadata.TraceID},
	} {
		if a.value != "" {
			// A copy: spans wait to be sent, and should not keep whole events.
			all = append(all, attribute.String(a.name, strings.Clone(cut(a.value, maxAttributeBytes))))
		}
	}
	if e.raw != nil {
		all = append(all, attribute.Int("messaging.message.body.size", len(e.raw)))
	}
	return all
}

// EndSpan ends a span with what came of it. Of an error it has the text, bounded, which is as fit for others as a log's.
func EndSpan(span trace.Span, err error, options ...trace.SpanEndOption) {
	if err == nil {
		span.SetStatus(codes.Ok, "")
	} else if span.IsRecording() {
		text := cut(strings.ToValidUTF8(err.Error(), "\ufffd"), maxAttributeBytes)
		span.AddEvent("exception", trace.WithAttributes(
			attribute.String("exception.type", fmt.Sprintf("%T", err)), attribute.String("exception.message", text),
		))
		span.SetStatus(codes.Error, text)
	}
	span.End(options...)
}
