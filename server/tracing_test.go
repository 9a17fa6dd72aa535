package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// spans are those of a bus, as they end.
type spans struct{ *tracetest.SpanRecorder }

// trace has the spans of a bus that does not run yet recorded.
func (b *bus) trace(t testing.TB, options ...sdktrace.TracerProviderOption) spans {
	t.Helper()
	s := spans{tracetest.NewSpanRecorder()}
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(s))...)
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	b.tracing = newTracing(provider, b.declared.channels, b.Log, b.cfg.MaxEvent)
	return s
}

// of waits for the spans of a name.
func (s spans) of(t testing.TB, name string, n int) (found []sdktrace.ReadOnlySpan) {
	t.Helper()
	eventually(t, "the spans "+name, func() bool {
		found = nil
		for _, span := range s.Ended() {
			if span.Name() == name {
				found = append(found, span)
			}
		}
		return len(found) >= n
	})
	if len(found) != n {
		t.Fatalf("got %d spans %s, want %d", len(found), name, n)
	}
	return found
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

const (
	upstreamTrace = "0af7651916cd43dd8448eb211c80319c"
	upstreamSpan  = "b7ad6b7169203331"
	upstream      = "00-" + upstreamTrace + "-" + upstreamSpan + "-01"
)

// An event's way is one trace: below what its publisher names come the one who takes it in, and then who delivers it.
func TestTraces(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	spans := b.trace(t)
	b.run()
	close(b.source.subscribed)
	eventually(t, "the server to be ready", func() bool { return b.Ready() == nil })
	alice := b.connect(t, token(t, "alice"))
	alice.joins("subscribe:photo", `{"photoId":"p"}`)
	for i, tt := range []struct{ name, metadata, trace, parent string }{
		{"of a publisher", `,"traceparent": "` + upstream + `"`, upstreamTrace, upstreamSpan},
		{"of its own", ``, "", ""},
		{"malformed", `,"traceparent":"00-nonsense-01"`, "", ""},
		{"with the trace of an old reader", `,"traceId":"mine"`, "", ""},
	} {
		b.publish("photo:processing", event(tt.name, "photo.processing.started", `"photoId":"p","traceparent":"x"`, tt.metadata))
		consume := spans.of(t, "event-bus.consume.photo:processing", i+1)[i]
		deliver := spans.of(t, "event-bus.deliver.photo:processing", i+1)[i]
		sc := consume.SpanContext()
		if tt.trace != "" && sc.TraceID().String() != tt.trace || consume.Parent().IsValid() != (tt.parent != "") || tt.parent != "" && consume.Parent().SpanID().String() != tt.parent {
			t.Errorf("%s: consumed as %v below %v", tt.name, sc, consume.Parent())
		}
		if deliver.SpanContext().TraceID() != sc.TraceID() || deliver.Parent().SpanID() != sc.SpanID() {
			t.Errorf("%s: delivered as %v below %v, want below %v", tt.name, deliver.SpanContext(), deliver.Parent(), sc)
		}
		for _, s := range []sdktrace.ReadOnlySpan{consume, deliver} {
			a := attributes(s)
			if s.SpanKind() != trace.SpanKindConsumer || s.Status().Code != codes.Ok || a["event.id"] != tt.name || a["event.type"] != "photo.processing.started" ||
				a["event.channel"] != "photo:processing" || a["messaging.system"] != "redis" || len(s.Links()) != 0 {
				t.Errorf("%s: %s is %v, %v, %v", tt.name, s.Name(), s.SpanKind(), s.Status(), a)
			}
		}
		if got := attributes(consume)["event.outcome"]; got != "routed" {
			t.Errorf("%s: outcome %q", tt.name, got)
		}
		if a := attributes(deliver); a["socketio.event"] != "processing.event" || a["eventbus.log.position"] == "" || a["socketio.rooms"] != "1" {
			t.Errorf("%s: delivered with %v", tt.name, a)
		}
		heard := decoded(t, alice.event().arg)
		if !heard.SpanContext().Equal(sc.WithRemote(true)) || tt.metadata == `,"traceId":"mine"` != (heard.Metadata.TraceID == "mine") {
			t.Errorf("%s: the browser hears %s", tt.name, heard.Raw())
		}
	}

	// What its publisher does not sample nobody does, and it is not touched.
	before := len(spans.Ended())
	quiet := event("quiet", "photo.processing.started", `"photoId":"p"`, `,"traceparent":"`+strings.TrimSuffix(upstream, "1")+`0"`)
	b.publish("photo:processing", quiet)
	alice.want("processing.event", quiet)
	if after := len(spans.Ended()); after != before {
		t.Errorf("%d spans of what is not sampled", after-before)
	}
}

// A span says what became of the event.
func TestTraceOutcomes(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{declared: Declarations{Filters: []routing.Filter{{
		ID: "no-deleted", Type: "exclude", Conditions: []routing.Condition{{Field: "type", Operator: "eq", Value: "photo.deleted"}},
		Action: routing.Action{Type: "drop"},
	}}}})
	spans := b.trace(t)
	var messages []message
	for _, payload := range []string{
		event("1", "photo.uploaded", `"photoId":"secret-payload"`, ``), event("1", "photo.uploaded", `"photoId":"secret-payload"`, ``),
		event("2", "photo.deleted", `"photoId":"secret-payload"`, ``), `{"id":"3","secret-payload":1}`,
	} {
		messages = append(messages, message{payload: []byte(payload)})
	}
	for _, m := range messages { // one by one, as the fake log takes each id once
		must(t, b.ingest(t.Context(), adapter.Lease{Channel: "photo:upload"}, []message{m}))
	}
	log := b.Log.(*fakeLog)
	log.appendFault <- adapter.ErrDeposed
	if err := b.ingest(t.Context(), adapter.Lease{Channel: "photo:upload"}, []message{{payload: []byte(event("4", "photo.uploaded", ``, ``))}}); !errors.Is(err, adapter.ErrDeposed) {
		t.Fatal(err)
	}
	all := spans.of(t, "event-bus.consume.photo:upload", 5)
	for i, want := range []struct {
		outcome string
		code    codes.Code
	}{{"routed", codes.Ok}, {"duplicate", codes.Ok}, {"dropped", codes.Ok}, {"refused", codes.Error}, {"abandoned", codes.Error}} {
		a := attributes(all[i])
		if a["event.outcome"] != want.outcome || all[i].Status().Code != want.code || (a["event.filter"] == "no-deleted") != (want.outcome == "dropped") {
			t.Errorf("got %v, %v, want %v", all[i].Status(), a, want)
		}
		if want.code == codes.Error && (all[i].Status().Description == "" || len(all[i].Events()) != 1) {
			t.Errorf("%s: got %v, %v", want.outcome, all[i].Status(), all[i].Events())
		}
		text := all[i].Status().Description
		for _, e := range all[i].Events() {
			for _, x := range e.Attributes {
				text += x.Value.String()
			}
		}
		if strings.Contains(text, "secret-payload") {
			t.Errorf("the payload is in %s", text)
		}
	}
}

// A trace that is not sampled here does not change the event.
func TestTracesNotSampled(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	spans := b.trace(t, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0))))
	payload := event("1", "photo.uploaded", `"photoId":"p"`, ``)
	must(t, b.ingest(t.Context(), adapter.Lease{Channel: "photo:upload"}, []message{{payload: []byte(payload)}}))
	if got := len(spans.Started()); got != 0 {
		t.Errorf("%d spans", got)
	}
	must(t, b.ingest(t.Context(), adapter.Lease{Channel: "photo:upload"}, []message{{payload: []byte(event("2", "photo.uploaded", ``, `,"traceparent":"`+upstream+`"`))}}))
	spans.of(t, "event-bus.consume.photo:upload", 1) // the publisher's decision counts
}

// An event as long as may be goes on as it is.
func TestTraceDoesNotMakeTooLong(t *testing.T) {
	t.Parallel()
	payload := event("1", "photo.processing.started", `"photoId":"p"`, ``)
	b := newBus(t, setup{config: Config{MaxEvent: len(payload) + 10}})
	b.trace(t)
	must(t, b.ingest(t.Context(), adapter.Lease{Channel: "photo:processing"}, []message{{payload: []byte(payload)}}))
	if got := b.Log.(*fakeLog).pending; len(got) != 1 || !strings.HasSuffix(string(got[0].Args), payload) {
		t.Errorf("got %v", got)
	}
}

// What was in the log before the replica was is not delivered anew.
func TestTracesOfThePast(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	spans := b.trace(t)
	open := make(chan struct{})
	b.tracing.caughtUp = open
	payload := event("1", "photo.processing.started", `"photoId":"p"`, `,"traceparent":"`+upstream+`"`)
	entry := []adapter.Entry{{Message: adapter.Message{Args: []byte(`"processing.event",` + payload)}, Key: adapter.Key("photo:processing", "1")}}
	b.tracing.delivered(entry, time.Now())
	close(open)
	for _, e := range []adapter.Entry{
		{Message: entry[0].Message},                                                          // written by somebody else
		{Message: entry[0].Message, Key: adapter.Key("elsewhere", "1")},                      // of a channel that there is not
		{Message: entry[0].Message, Key: entry[0].Key + ".2"},                                // the second message of the event
		{Message: adapter.Message{Args: []byte(`"x",` + payload + `,1`)}, Key: entry[0].Key}, // no event
		{Message: adapter.Message{Kind: adapter.Join, Args: entry[0].Args}, Key: entry[0].Key},
		{Message: adapter.Message{Args: []byte(`"x",` + event("1", "t", `"traceparent":"`+upstream+`"`, ``))}, Key: entry[0].Key}, // in the data
	} {
		b.tracing.delivered([]adapter.Entry{e}, time.Now())
	}
	if n := len(spans.Ended()); n != 0 {
		t.Fatalf("%d spans", n)
	}
	b.tracing.delivered(entry, time.Now())
	spans.of(t, "event-bus.deliver.photo:processing", 1)
}

func TestSampled(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"traceparent":"` + upstream + `"}`:                                                     true,
		`{"traceparent" :` + "\n\t" + `"` + upstream + `"}`:                                      true,
		`{"traceparent":"` + strings.TrimSuffix(upstream, "01") + `03"}`:                         true,
		`{"traceparent":"` + strings.TrimSuffix(upstream, "1") + `0"}`:                           false,
		`{"traceparent":"` + strings.TrimSuffix(upstream, "1") + `0","traceparent":"` + upstream: true,
		`{"traceparent":"` + upstream[:len(upstream)-1]:                                          false,
		`{"traceparent":`: false,
		`{"traceparent":null,"x":"` + upstream + `"}`: false,
		``: false,
	} {
		if got := sampled([]byte(text)); got != want {
			t.Errorf("%s: got %t", text, got)
		}
	}
	for i := range 256 {
		digit := strings.IndexByte("0123456789abcdef", byte(i))
		if got := isOdd(byte(i)); got != (digit >= 0 && digit%2 == 1) {
			t.Errorf("%d: got %t", i, got)
		}
	}
}

// Without a provider tracing costs nothing. The test runs alone: others would allocate.
func TestTracingOff(t *testing.T) {
	var off *tracing
	batch := []arrival{{event: decoded(t, event("1", "photo.uploaded", ``, `,"traceparent":"`+upstream+`"`))}}
	entries := []adapter.Entry{{Message: adapter.Message{Args: batch[0].event.Raw()}, Key: adapter.Key("photo:upload", "1")}}
	start := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		off.consumed(off.consume(t.Context(), "photo:upload", batch), batch, nil)
		off.delivered(entries, start)
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	if b := newBus(t, setup{}); b.tracing != nil {
		t.Error("there is tracing without a provider")
	}
}

// BenchmarkTracing is what tracing adds to the way of one event: to the leader, and to the tail of each replica.
func BenchmarkTracing(b *testing.B) {
	payload := event("1", "photo.processing.started", `"photoId":"p","pad":"`+strings.Repeat("x", 100)+`"`, ``)
	first := decoded(b, payload)
	for _, bb := range []struct {
		name     string
		provider trace.TracerProvider
	}{
		{"off", nil},
		{"unsampled", sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))},
		{"sampled", sdktrace.NewTracerProvider()},
	} {
		t := newTracing(bb.provider, []string{"photo:upload", "photo:processing"}, newFakeLog(), events.DefaultMaxBytes)
		b.Run("consume/"+bb.name, func(b *testing.B) {
			b.ReportAllocs()
			batch := make([]arrival, 1)
			for b.Loop() {
				batch[0].event = first
				t.consumed(t.consume(b.Context(), "photo:processing", batch), batch, nil)
			}
		})
		b.Run("deliver/"+bb.name, func(b *testing.B) {
			batch := []arrival{{event: first}}
			t.consumed(t.consume(b.Context(), "photo:processing", batch), batch, nil)
			entries := []adapter.Entry{{Message: adapter.Message{Args: []byte(`"processing.event",` + string(batch[0].event.Raw()))}, Key: adapter.Key("photo:processing", "1")}}
			b.ReportAllocs()
			for b.Loop() {
				t.delivered(entries, time.Time{})
			}
		})
	}
}
