package publisher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/events"
)

// traced is a publisher whose spans are recorded.
func traced(t *testing.T, cfg Config, options ...sdktrace.TracerProviderOption) (*Publisher, *miniredis.Miniredis, *tracetest.SpanRecorder) {
	t.Helper()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	t.Cleanup(func() { _ = client.Close() })
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(recorder))...)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	cfg.Durable, cfg.TracerProvider = true, provider
	return New(client, cfg), server, recorder
}

// sent are the events of a channel.
func sent(t *testing.T, server *miniredis.Miniredis, channel string) (all []events.Event) {
	t.Helper()
	entries, err := server.Stream("eventbus:in:" + channel)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ev, err := events.Decode([]byte(e.Values[1]), 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ev)
	}
	return all
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestTracing(t *testing.T) {
	t.Parallel()
	const upstream = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	p, server, recorder := traced(t, Config{})
	caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	inCall := trace.ContextWithSpanContext(t.Context(), caller)
	decode := func(metadata string) events.Event {
		ev, err := events.Decode([]byte(`{"id":"`+fmt.Sprint(len(recorder.Ended()))+`","type":"photo.deleted","data": {"photoId":"p"},"metadata":{"source":"s","version":"1.0"`+
			metadata+`},"timestamp":"2026-01-31T12:00:00.000Z","more":[1.0]}`), 0)
		if err != nil {
			t.Fatal(err)
		}
		return ev
	}
	for i, tt := range []struct {
		name, metadata  string
		ctx             context.Context
		trace, parent   string // of the span; empty: of its own
		traceID, linked string
	}{
		{"alone", ``, t.Context(), "", "", "", ""},
		{"in a call", ``, inCall, caller.TraceID().String(), caller.SpanID().String(), caller.TraceID().String(), ""},
		{"of an event", `,"traceparent":"` + upstream + `","traceId":"mine"`, t.Context(), upstream[3:35], upstream[36:52], "mine", ""},
		{"of an event in a call", `,"traceparent":"` + upstream + `"`, inCall, upstream[3:35], upstream[36:52], upstream[3:35], caller.TraceID().String()},
		{"malformed", `,"traceparent":"00-1"`, t.Context(), "", "", "", ""},
	} {
		ev := decode(tt.metadata)
		before := string(ev.Raw())
		if err := p.Publish(tt.ctx, ev); err != nil {
			t.Fatal(err)
		}
		span := recorder.Ended()[i]
		sc, got := span.SpanContext(), sent(t, server, "photo:upload")[i]
		if span.Name() != "event-bus.publish.photo:upload" || span.SpanKind() != trace.SpanKindProducer || span.Status().Code != codes.Ok {
			t.Errorf("%s: span %s, %v, %v", tt.name, span.Name(), span.SpanKind(), span.Status())
		}
		if tt.trace != "" && sc.TraceID().String() != tt.trace || span.Parent().IsValid() != (tt.parent != "") || tt.parent != "" && span.Parent().SpanID().String() != tt.parent {
			t.Errorf("%s: span %v below %v, want below %q of %q", tt.name, sc, span.Parent(), tt.parent, tt.trace)
		}
		if links := span.Links(); len(links) > 0 != (tt.linked != "") || tt.linked != "" && links[0].SpanContext.TraceID().String() != tt.linked {
			t.Errorf("%s: links %v, want %q", tt.name, links, tt.linked)
		}
		if !got.SpanContext().Equal(sc.WithRemote(true)) {
			t.Errorf("%s: the event carries %v, want %v", tt.name, got.SpanContext(), sc)
		}
		if want := tt.traceID; got.Metadata.TraceID != want && (want != "" || got.Metadata.TraceID != sc.TraceID().String()) {
			t.Errorf("%s: traceId is %q, want %q", tt.name, got.Metadata.TraceID, want)
		}
		if string(ev.Raw()) != before || string(got.Data) != `{"photoId":"p"}` || !strings.HasSuffix(string(got.Raw()), `"more":[1.0]}`) {
			t.Errorf("%s: %s became %s", tt.name, before, got.Raw())
		}
		a := attributes(span)
		for key, want := range map[string]string{
			"messaging.system": "redis", "messaging.destination.name": "photo:upload", "messaging.message.id": ev.ID, "event.id": ev.ID,
			"event.type": "photo.deleted", "event.channel": "photo:upload", "event.source": "s", "messaging.operation.type": "send",
		} {
			if a[key] != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, key, a[key], want)
			}
		}
	}
}

// Each event of a batch has a span of its own, and what is refused has none.
func TestTracingOfBatch(t *testing.T) {
	t.Parallel()
	p, server, recorder := traced(t, Config{})
	bad := newEvent(t, events.PhotoDeleted, map[string]any{"photo": "p"})
	errs := p.PublishBatch(t.Context(), []events.Event{deleted(t, "p"), bad, started(t, "p"), deleted(t, "q")})
	if errs[0] != nil || errs[1] == nil || errs[2] != nil || errs[3] != nil {
		t.Fatal(errs)
	}
	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		spans[attributes(s)["event.id"]] = s
	}
	all := append(sent(t, server, "photo:upload"), sent(t, server, "photo:processing")...)
	if len(all) != 3 || len(spans) != 3 {
		t.Fatalf("got %d events and %d spans, want 3", len(all), len(spans))
	}
	for _, ev := range all {
		if !ev.SpanContext().Equal(spans[ev.ID].SpanContext().WithRemote(true)) {
			t.Errorf("%s carries %v, want %v", ev.ID, ev.SpanContext(), spans[ev.ID].SpanContext())
		}
	}
}

// That a trace is not sampled goes on, so that nobody begins another one.
func TestTracingNotSampled(t *testing.T) {
	t.Parallel()
	p, server, recorder := traced(t, Config{}, sdktrace.WithSampler(sdktrace.NeverSample()))
	if err := p.Publish(t.Context(), deleted(t, "p")); err != nil {
		t.Fatal(err)
	}
	if sc := sent(t, server, "photo:upload")[0].SpanContext(); !sc.IsValid() || sc.IsSampled() || len(recorder.Ended()) != 0 {
		t.Errorf("got %v and %d spans, want a trace that is not sampled", sc, len(recorder.Ended()))
	}
}

// An event as long as may be is sent as it is.
func TestTracingDoesNotMakeTooLong(t *testing.T) {
	t.Parallel()
	ev := deleted(t, "p")
	p, server, _ := traced(t, Config{MaxBytes: len(ev.Raw()) + 10})
	if err := p.Publish(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	if got := sent(t, server, "photo:upload")[0]; string(got.Raw()) != string(ev.Raw()) {
		t.Errorf("got %s", got.Raw())
	}
}

func TestTracingTellsErrors(t *testing.T) {
	t.Parallel()
	p, server, recorder := traced(t, Config{Timeout: 50 * time.Millisecond})
	server.Close()
	ev := newEvent(t, events.PhotoDeleted, map[string]any{"photoId": "payload-of-it"})
	one := p.Publish(t.Context(), ev)
	many := p.PublishBatch(t.Context(), []events.Event{ev})
	if err := errors.Join(one, many[0]); one == nil || many[0] == nil {
		t.Fatal(err)
	}
	spans := recorder.Ended()
	if len(spans) != 2 {
		t.Fatalf("got %d spans", len(spans))
	}
	for _, s := range spans {
		if s.Status().Code != codes.Error || s.Status().Description == "" || len(s.Events()) != 1 || s.Events()[0].Name != "exception" {
			t.Errorf("got %v, %v", s.Status(), s.Events())
		}
		if text := fmt.Sprint(s.Status(), s.Events(), s.Attributes()); strings.Contains(text, "payload-of-it") {
			t.Errorf("the payload is in %s", text)
		}
	}
}

// Without a provider tracing costs nothing. The test runs alone: others would allocate.
func TestTracingOff(t *testing.T) {
	p := New(nil, Config{})
	ev := deleted(t, "p")
	evs, errs, good := []events.Event{ev}, []error{nil}, map[string][]int{"c": {0}}
	if n := testing.AllocsPerRun(100, func() {
		_, span := p.begin(t.Context(), "c", ev)
		finish(span, nil)
		p.beginAll(t.Context(), good, evs)(errs)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkTracing is what the spans add to publishing, and what having none costs.
func BenchmarkTracing(b *testing.B) {
	ev := benchEvents(b, 1)[0]
	for name, p := range map[string]*Publisher{
		"off":       New(nil, Config{}),
		"sampled":   New(nil, Config{TracerProvider: sdktrace.NewTracerProvider()}),
		"unsampled": New(nil, Config{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, span := p.begin(b.Context(), "photo:upload", ev)
				finish(span, nil)
			}
		})
	}
}
