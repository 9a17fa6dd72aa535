package delivery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/events"
)

const (
	upstreamTrace = "0af7651916cd43dd8448eb211c80319c"
	upstreamSpan  = "b7ad6b7169203331"
)

// Each attempt to deliver an event with a sampled trace is a span, and who receives it goes on from there.
func TestTracing(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	rec := newReceiver(t)
	var mu sync.Mutex
	parents := map[string]string{}
	rec.set(func(w http.ResponseWriter, r *http.Request, id string, try int) {
		mu.Lock()
		defer mu.Unlock()
		parents[fmt.Sprint(id, " ", try)] = r.Header.Get("Traceparent")
		if id == "traced" && try == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	b := newBus(t, newStore(t), impatient, func(p *Parts) { p.TracerProvider = provider })
	b.hook(Spec{ID: "hook", Webhook: &Webhook{URL: rec.url + "/in?token=secret"}})
	inside := make(chan trace.SpanContext, 10)
	if _, err := b.Handle(HandlerSpec{ID: "sees", Channel: channel, Handler: func(ctx context.Context, ev events.Event) error {
		inside <- trace.SpanContextFromContext(ctx)
		if ev.ID == "traced" {
			return nil
		}
		panic("what " + ev.ID + " has brought about")
	}, NoRetry: true}); err != nil {
		t.Fatal(err)
	}
	defer b.lead("hook:hook", "go:sees")()
	offer := func(id, traceparent string) {
		t.Helper()
		text := strings.Replace(string(eventOf(t, id, "p").Raw()), `"metadata":{`, `"metadata":{"traceparent":"`+traceparent+`",`, 1)
		if err := b.store.Feed(channel).Offer(t.Context(), []byte(text), ""); err != nil {
			t.Fatal(err)
		}
	}
	sampled := "00-" + upstreamTrace + "-" + upstreamSpan + "-01"
	quiet := "00-" + upstreamTrace + "-" + upstreamSpan + "-00"
	offer("traced", sampled)
	offer("quiet", quiet)
	offer("malformed", "00-1")
	offer("panics", sampled)
	named := func(name string) (all []sdktrace.ReadOnlySpan) {
		for _, s := range recorder.Ended() {
			if s.Name() == name {
				all = append(all, s)
			}
		}
		return all
	}
	eventually(t, "the events", func() bool {
		return len(rec.got()) == 4 && len(named("event-bus.webhook."+channel)) == 3 && len(named("event-bus.handle."+channel)) == 2
	})

	mu.Lock()
	defer mu.Unlock()
	for key, want := range map[string]string{"quiet 1": quiet, "malformed 1": ""} {
		if parents[key] != want {
			t.Errorf("%s: traceparent %q, want %q", key, parents[key], want)
		}
	}
	for _, s := range named("event-bus.webhook." + channel) {
		a := attributes(s)
		sc := s.SpanContext()
		sent := events.Event{Metadata: events.Metadata{Traceparent: parents[a["event.id"]+" "+a["event.attempt"]]}}.SpanContext()
		if s.SpanKind() != trace.SpanKindClient || sc.TraceID().String() != upstreamTrace || s.Parent().SpanID().String() != upstreamSpan || !sent.Equal(sc.WithRemote(true)) {
			t.Errorf("%v %v below %v, and the receiver has got %v", s.SpanKind(), sc, s.Parent(), sent)
		}
		code, status := codes.Ok, "200"
		if a["event.id"] == "traced" && a["event.attempt"] == "1" {
			code, status = codes.Error, "503"
		}
		if s.Status().Code != code || a["http.response.status_code"] != status || a["http.request.method"] != "POST" || a["server.address"] != "127.0.0.1" ||
			a["messaging.destination.subscription.name"] != "hook" {
			t.Errorf("got %v, %v, want %v, %s", s.Status(), a, code, status)
		}
		if text := fmt.Sprint(a, s.Status(), s.Events()); strings.Contains(text, "secret") {
			t.Errorf("the token of the URL is in %s", text)
		}
	}
	for _, s := range named("event-bus.handle." + channel) {
		a := attributes(s)
		failed := a["event.id"] == "panics"
		if s.SpanKind() != trace.SpanKindConsumer || s.Parent().SpanID().String() != upstreamSpan || (s.Status().Code == codes.Error) != failed || a["event.attempt"] != "1" {
			t.Errorf("got %v below %v, %v, %v", s.SpanKind(), s.Parent(), s.Status(), a)
		}
	}
	valid := 0
	for range 4 {
		if (<-inside).IsValid() {
			valid++
		}
	}
	if valid != 2 {
		t.Errorf("%d handlers have a span in their context, want 2", valid)
	}
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

// Without a provider tracing costs nothing. The test runs alone: others would allocate.
func TestTracingOff(t *testing.T) {
	ev := eventOf(t, "1", "p")
	failure := errors.New("x")
	c := &Consumer{cfg: ConsumerConfig{Handle: func(context.Context, events.Event) error { return failure }}}
	if n := testing.AllocsPerRun(100, func() {
		if c.call(t.Context(), ev, 1) != failure {
			t.Error("the error got lost")
		}
		traceStatus(t.Context(), 200)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
