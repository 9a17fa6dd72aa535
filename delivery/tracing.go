package delivery

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/events"
)

// tracer makes what makes the span of each attempt to deliver an event to a subscription: event-bus.webhook.<channel>, or
// event-bus.handle.<channel> for a Go function, which finds it in its context. They are below what the event
// names in its metadata.traceparent, and there are none for events without a sampled trace. It is nil without a provider.
func (s *Subscribers) tracer(sub *subscription) func(context.Context, events.Event, int) (context.Context, func(error)) {
	if s.parts.TracerProvider == nil {
		return nil
	}
	tracer := s.parts.TracerProvider.Tracer("github.com/photo-management/event-bus/delivery")
	name, kind := "event-bus.handle."+sub.channel, trace.SpanKindConsumer
	if sub.webhook {
		name, kind = "event-bus.webhook."+sub.channel, trace.SpanKindClient
	}
	return func(ctx context.Context, ev events.Event, attempt int) (context.Context, func(error)) {
		parent := ev.SpanContext()
		if !parent.IsSampled() {
			return ctx, func(error) {}
		}
		ctx, span := tracer.Start(trace.ContextWithRemoteSpanContext(ctx, parent), name, trace.WithSpanKind(kind))
		if span.IsRecording() {
			span.SetAttributes(append(ev.TraceAttributes(sub.channel),
				attribute.String("messaging.operation.type", "process"),
				attribute.String("messaging.destination.subscription.name", sub.name), attribute.Int("event.attempt", attempt))...)
		}
		return ctx, func(err error) { events.EndSpan(span, err) }
	}
}

// setTrace has a request carry on the span of ctx, or without one the trace of the event, as it is.
func setTrace(ctx context.Context, req *http.Request, ev events.Event) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("http.request.method", req.Method), attribute.String("server.address", req.URL.Hostname()))
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	} else if isTraceparent(ev.Metadata.Traceparent) {
		req.Header.Set("Traceparent", ev.Metadata.Traceparent)
	}
}

// traceStatus notes an answer's status in the span of ctx.
func traceStatus(ctx context.Context, status int) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
}
