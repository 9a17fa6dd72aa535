package publisher

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/events"
)

// tracerName is the instrumentation scope of our spans.
const tracerName = "github.com/photo-management/event-bus/publisher"

// begin starts the span of an event that is published on a channel, and makes it the event's trace, which those that
// take it go on with, sampled or not. Its parent is the trace that the event has, else the one of ctx. Without
// Config.TracerProvider there is no span, and the event stays as it is; so it does if the trace made it too long.
func (p *Publisher) begin(ctx context.Context, channel string, ev events.Event) (events.Event, trace.Span) {
	if p.tracer == nil {
		return ev, nil
	}
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindProducer)}
	if sc := ev.SpanContext(); sc.IsValid() {
		if caller := trace.SpanContextFromContext(ctx); caller.IsValid() && caller.TraceID() != sc.TraceID() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: caller}))
		}
		ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	_, span := p.tracer.Start(ctx, "event-bus.publish."+channel, options...)
	if span.IsRecording() {
		span.SetAttributes(append(ev.TraceAttributes(channel),
			attribute.String("messaging.operation.name", "publish"), attribute.String("messaging.operation.type", "send"))...)
	}
	if traced := ev.WithTrace(span.SpanContext()); len(traced.Raw()) <= p.cfg.MaxBytes {
		ev = traced
	}
	return ev, span
}

// beginAll begins the spans of those of a batch that are good, by channel, and puts their traces into evs. It returns what
// ends the spans, once it is known what became of each.
func (p *Publisher) beginAll(ctx context.Context, good map[string][]int, evs []events.Event) (end func(errs []error)) {
	if p.tracer == nil {
		return func([]error) {}
	}
	spans := make([]trace.Span, len(evs))
	for channel, of := range good {
		for _, i := range of {
			evs[i], spans[i] = p.begin(ctx, channel, evs[i])
		}
	}
	return func(errs []error) {
		for i, span := range spans {
			finish(span, errs[i])
		}
	}
}

// finish ends a span, if there is one.
func finish(span trace.Span, err error) {
	if span != nil {
		events.EndSpan(span, err)
	}
}
