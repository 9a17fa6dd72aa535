package server

import (
	"bytes"
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/server/socketio"
)

// tracing makes the spans of what happens to events here: event-bus.consume.<channel> where it is taken to the log, on the
// leader of the channel, and below that event-bus.deliver.<channel> on each replica. Nil makes none. What
// publishes has spans of its own, and so has package delivery.
type tracing struct {
	tracer   trace.Tracer
	channels []string
	caughtUp <-chan struct{} // what the log had before is not delivered again
	maxEvent int
}

// newTracing makes what makes spans, or nil without a provider.
func newTracing(provider trace.TracerProvider, channels []string, log eventLog, maxEvent int) *tracing {
	if provider == nil {
		return nil
	}
	return &tracing{provider.Tracer("github.com/photo-management/event-bus/server"), channels, log.CaughtUp(), maxEvent}
}

// consume starts the span of each message of a batch. It is below the one that the event names in its metadata.traceparent,
// else the first of a trace of its own, if that is sampled. The event goes on with the new span in its place, unless that
// made it too long. There is no span where the publisher has decided that its trace is not sampled.
func (t *tracing) consume(ctx context.Context, channel string, batch []arrival) []trace.Span {
	if t == nil {
		return nil
	}
	spans := make([]trace.Span, len(batch))
	for i := range batch {
		in := &batch[i]
		parent := in.event.SpanContext()
		if parent.IsValid() && !parent.IsSampled() {
			continue
		}
		_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, parent), "event-bus.consume."+channel, trace.WithSpanKind(trace.SpanKindConsumer))
		if !span.IsRecording() {
			continue
		}
		span.SetAttributes(append(in.event.TraceAttributes(channel),
			attribute.String("messaging.operation.name", "consume"), attribute.String("messaging.operation.type", "process"))...)
		if traced := in.event.WithTrace(span.SpanContext()); len(traced.Raw()) <= t.maxEvent {
			in.event = traced
		}
		spans[i] = span
	}
	return spans
}

// consumed ends what consume has started, with what became of each message, or with why that is not known.
func (t *tracing) consumed(spans []trace.Span, batch []arrival, err error) {
	for i, span := range spans {
		if span == nil {
			continue
		}
		in, outcome, failure := &batch[i], "routed", err
		switch {
		case err != nil:
			outcome = "abandoned" // the next leader has it again
		case in.refused != nil:
			outcome, failure = "refused", in.refused
		case !in.fresh:
			outcome = "duplicate"
		case in.dropped != "":
			outcome = "dropped"
			span.SetAttributes(attribute.String("event.filter", in.dropped))
		}
		span.SetAttributes(attribute.String("event.outcome", outcome))
		events.EndSpan(span, failure)
	}
}

// delivered makes a span of each sampled event among entries that were given to the sockets of this replica, all together,
// since start. There is none for a single socket: a full room would have thousands. What others than the leaders of channels
// write has none, nor has what is heard by Pub/Sub instead of a log: it does not say its channel.
func (t *tracing) delivered(entries []adapter.Entry, start time.Time) {
	if t == nil {
		return
	}
	select {
	case <-t.caughtUp:
	default:
		return
	}
	var end time.Time
	for i := range entries {
		if e := &entries[i]; e.Key != "" && e.Kind == adapter.Event && sampled(e.Args) {
			if end.IsZero() {
				end = time.Now()
			}
			t.deliver(e, start, end)
		}
	}
}

func (t *tracing) deliver(e *adapter.Entry, start, end time.Time) {
	if strings.Contains(e.Key, ".") { // one more message of the same event
		return
	}
	name, args := socketio.SplitArgs(e.Args)
	ev, err := events.Decode(args, t.maxEvent)
	parent := ev.SpanContext()
	if err != nil || !parent.IsSampled() {
		return
	}
	for _, channel := range t.channels {
		if !adapter.IsKeyOf(e.Key, channel) {
			continue
		}
		_, span := t.tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), "event-bus.deliver."+channel,
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(start))
		if span.IsRecording() {
			span.SetAttributes(append(ev.TraceAttributes(channel),
				attribute.String("messaging.operation.name", "deliver"), attribute.String("messaging.operation.type", "process"),
				attribute.String("socketio.event", strings.ToValidUTF8(string(bytes.Trim(name, `"`)), "")), attribute.Int("socketio.rooms", len(e.Rooms)),
				attribute.Stringer("eventbus.log.position", e.Position))...)
		}
		events.EndSpan(span, nil, trace.WithTimestamp(end))
		return
	}
}

// sampled reports whether there is the traceparent of a sampled span somewhere in a text, which is quick to see. Whose it is
// is still to be asked.
func sampled(text []byte) bool {
	const name, flags = `"traceparent"`, len(`"00-`) + 32 + len("-") + 16 + len("-")
	for {
		at := bytes.Index(text, []byte(name))
		if at < 0 {
			return false
		}
		text = text[at+len(name):]
		value := bytes.TrimLeft(text, ": \t\r\n")
		if len(value) >= flags+2 && value[0] == '"' && isOdd(value[flags+1]) {
			return true
		}
	}
}

// isOdd reports whether a hexadecimal digit has its lowest bit set.
func isOdd(c byte) bool {
	return c >= '0' && c <= '9' && c&1 == 1 || c >= 'a' && c <= 'f' && c&1 == 0 // 'b' is 11, and 98
}
