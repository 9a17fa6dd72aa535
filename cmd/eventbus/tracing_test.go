package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/server"
)

// spanCollector takes spans by OTLP, over HTTP and gRPC.
type spanCollector struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	spans    []*otlp.Span
	resource map[string]string
}

func (c *spanCollector) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		c.resource = keyValues(r.GetResource().GetAttributes())
		for _, s := range r.GetScopeSpans() {
			c.spans = append(c.spans, s.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (c *spanCollector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body io.Reader = http.MaxBytesReader(w, r.Body, 1<<20)
	var req collector.ExportTraceServiceRequest
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	text, err := io.ReadAll(body)
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(text, &req) != nil {
		http.Error(w, "want OTLP", http.StatusBadRequest)
		return
	}
	_, _ = c.Export(r.Context(), &req)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func keyValues(all []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range all {
		m[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return m
}

// of is the span of that name that is about an event.
func (c *spanCollector) of(t *testing.T, name, id string) *otlp.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var found *otlp.Span
	for _, s := range c.spans {
		if s.GetName() == name && keyValues(s.GetAttributes())["event.id"] == id {
			if found != nil {
				t.Errorf("there are two spans %s of %s", name, id)
			}
			found = s
		}
	}
	if found == nil {
		t.Fatalf("there is no span %s of %s among %d", name, id, len(c.spans))
	}
	return found
}

// overHTTP and overGRPC serve a collector, and return its address as serve takes it.
func (c *spanCollector) overHTTP(t *testing.T) string {
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	return srv.URL
}

func (c *spanCollector) overGRPC(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	collector.RegisterTraceServiceServer(srv, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		serving.Wait()
	})
	return "grpc://" + l.Addr().String()
}

// hook is a webhook's receiver, which notes the traceparent by event.
type hook struct {
	mu   sync.Mutex
	seen map[string]string
}

func (h *hook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	_, id, _ := strings.Cut(r.Header.Get("Webhook-Id"), ":")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[id] = r.Header.Get("Traceparent")
}

func (h *hook) got(id string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	traceparent, ok := h.seen[id]
	return traceparent, ok
}

func (h *hook) wait(t *testing.T, id string) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		if traceparent, ok := h.got(id); ok {
			return traceparent
		}
		if time.Now().After(deadline) {
			t.Fatalf("the webhook does not hear of %s", id)
		}
	}
}

func photoEvent(id, metadata string) string {
	return fmt.Sprintf(`{"id":%q,"type":"photo.deleted","data":{"photoId":"p"},"metadata":{"source":"test","version":"1.0","clientId":"c"%s},"timestamp":"2026-01-31T12:00:00.000Z"}`, id, metadata)
}

// One event over the API, one over Redis, with a webhook that hears of both: each is one trace, from who publishes it to
// who receives it, as a collector gets it.
func TestTracing(t *testing.T) {
	t.Parallel()
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, protocol := range []string{"http", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			c, h := &spanCollector{}, &hook{seen: map[string]string{}}
			address := c.overHTTP
			if protocol == "grpc" {
				address = c.overGRPC
			}
			receiver := httptest.NewServer(h)
			t.Cleanup(receiver.Close)
			file := write(t, `
monitoring: {tracing: {enabled: true, serviceName: bus-under-test, endpoint: "`+address(t)+`"}}
delivery: {webhooks: {allowHTTP: true, allowPrivate: [127.0.0.0/8]}}
subscriptions: [{id: hook, channel: "photo:upload", webhook: {url: "`+receiver.URL+`"}}]
`)
			s := startService(t, "--config-file", file)
			client := redis.NewClient(&redis.Options{Addr: s.redis})
			t.Cleanup(func() { _ = client.Close() })
			publish := func(payload string) {
				t.Helper()
				if err := client.Publish(t.Context(), "photo:upload", payload).Err(); err != nil {
					t.Fatal(err)
				}
			}
			// Until the webhook hears of them, events that nobody samples: of those there must be nothing.
			quiet := `,"traceparent":"00-` + trace + `-` + span + `-00"`
			deadline := time.Now().Add(patience)
			for i, heard := 0, false; !heard; i++ {
				if time.Now().After(deadline) {
					t.Fatalf("the webhook hears nothing:\n%s", &s.err)
				}
				publish(photoEvent(fmt.Sprint("quiet-", i), quiet))
				time.Sleep(10 * time.Millisecond)
				h.mu.Lock()
				heard = len(h.seen) > 0
				h.mu.Unlock()
			}

			front := startTail(t, s.websocket, "--user", "u", "--client", "c")
			front.err.wait(t, 1, "subscribed to user u\n")
			post(t, s, "api", "00-"+trace+"-"+span+"-01")
			publish(photoEvent("redis", `,"traceparent":"00-nonsense","traceId":"mine"`))
			fromAPI, fromRedis := h.wait(t, "api"), h.wait(t, "redis")
			front.out.wait(t, 1, `"id":"redis"`) // the webhook may hear of it before the sockets do
			s.stop()
			if code := s.wait(t); code != 0 {
				t.Fatalf("exit code %d\n%s", code, &s.err)
			}

			published, consumed := c.of(t, "event-bus.publish.photo:upload", "api"), c.of(t, "event-bus.consume.photo:upload", "api")
			delivered, sent := c.of(t, "event-bus.deliver.photo:upload", "api"), c.of(t, "event-bus.webhook.photo:upload", "api")
			for _, x := range []struct {
				span   *otlp.Span
				parent string
				kind   otlp.Span_SpanKind
			}{
				{published, span, otlp.Span_SPAN_KIND_PRODUCER},
				{consumed, hex.EncodeToString(published.GetSpanId()), otlp.Span_SPAN_KIND_CONSUMER},
				{delivered, hex.EncodeToString(consumed.GetSpanId()), otlp.Span_SPAN_KIND_CONSUMER},
				{sent, hex.EncodeToString(consumed.GetSpanId()), otlp.Span_SPAN_KIND_CLIENT},
			} {
				if got := hex.EncodeToString(x.span.GetTraceId()); got != trace || hex.EncodeToString(x.span.GetParentSpanId()) != x.parent || x.span.GetKind() != x.kind {
					t.Errorf("%s is %s of %s below %x, want %s of %s below %s", x.span.GetName(), x.span.GetKind(), got, x.span.GetParentSpanId(), x.kind, trace, x.parent)
				}
				if a := keyValues(x.span.GetAttributes()); a["event.type"] != "photo.deleted" || a["event.channel"] != "photo:upload" || x.span.GetStatus().GetCode() != otlp.Status_STATUS_CODE_OK {
					t.Errorf("%s has %v, %v", x.span.GetName(), a, x.span.GetStatus())
				}
			}
			if want := "00-" + trace + "-" + hex.EncodeToString(sent.GetSpanId()) + "-01"; fromAPI != want {
				t.Errorf("the webhook has got the traceparent %s, want %s", fromAPI, want)
			}

			// A traceparent that is malformed counts as none: the trace begins where the event was taken in.
			begun, sent := c.of(t, "event-bus.consume.photo:upload", "redis"), c.of(t, "event-bus.webhook.photo:upload", "redis")
			if len(begun.GetParentSpanId()) != 0 || !bytes.Equal(sent.GetTraceId(), begun.GetTraceId()) || !bytes.Equal(sent.GetParentSpanId(), begun.GetSpanId()) {
				t.Errorf("the event over Redis: %v, %v", begun, sent)
			}
			if keyValues(begun.GetAttributes())["event.trace_id"] != "mine" || !strings.Contains(fromRedis, hex.EncodeToString(begun.GetTraceId())) {
				t.Errorf("%v, and the webhook has got %s", keyValues(begun.GetAttributes()), fromRedis)
			}
			if len(c.spans) != 7 {
				t.Errorf("got %d spans, want 7: some must be of what is not sampled", len(c.spans))
			}
			if c.resource["service.name"] != "bus-under-test" || c.resource["telemetry.sdk.name"] != "opentelemetry" || c.resource["service.instance.id"] == "" {
				t.Errorf("the resource is %v", c.resource)
			}
		})
	}
}

// post publishes an event over the API, in a trace.
func post(t *testing.T, s *service, id, traceparent string) {
	t.Helper()
	token, err := auth.Sign([]byte(testSecret), auth.Identity{UserID: "u", Roles: []string{server.AdminRole}}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.health+"/api/v1/events", strings.NewReader(photoEvent(id, "")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", traceparent)
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("got %s: %s", resp.Status, body)
	}
}

// A collector that is away, or does not answer, costs the spans and no more.
func TestTracingWithoutCollector(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, in the kernel, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	for name, endpoint := range map[string]string{
		"refuses over HTTP": "http://127.0.0.1:1", "refuses over gRPC": "grpc://127.0.0.1:1",
		"silent over HTTP": "http://" + silent.Addr().String(), "silent over gRPC": "grpc://" + silent.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startService(t, "--tracing", "--tracing-endpoint", endpoint)
			post(t, s, "1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			s.stop()
			began := time.Now()
			if code := s.wait(t); code != 0 || !strings.Contains(s.err.String(), "spans were not sent") {
				t.Errorf("exit code %d\n%s", code, &s.err)
			}
			if took := time.Since(began); took > flushTime+10*time.Second { // the machine may be busy
				t.Errorf("it took %s to stop", took)
			}
		})
	}
}

func TestTracingConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ settings, want string }{
		{`endpoint: "collector:4318"`, "tracing-endpoint (TRACING_ENDPOINT): want a URL such as http://collector:4318"},
		{`endpoint: "ftp://collector"`, "want a URL such as"},
		{`endpoint: "http://"`, "want a URL such as"},
		{`endpoint: "http://user:hunter2@collector:4318"`, "OTEL_EXPORTER_OTLP_HEADERS"},
		{`endpoint: "http://user:hunter2@collector:43 18"`, "want a URL such as"},
		{`endpoint: "https://collector/?key=hunter2"`, "without user, query and fragment"},
		{`endpoint: "grpc://collector:4317/v1/traces"`, "without a path"},
		{`jaegerEndpoint: "http://jaeger:14268/api/traces"`, "tracing-jaeger-endpoint (TRACING_JAEGER_ENDPOINT): http://jaeger:14268/api/traces is not for OTLP; want the OTLP port of Jaeger or your collector, such as http://jaeger:4318"},
		{`jaegerEndpoint: "http://jaeger:4318", endpoint: "http://other:4318"`, "differ; want one of them"},
		{`sampleRatio: 1.5`, "tracing-sample-ratio (TRACING_SAMPLE_RATIO): 1.5: want 0 to 1"},
		{`sampleRatio: .nan`, "want 0 to 1"},
		{`sampleRatio: -0.1`, "want 0 to 1"},
		{`sampleRatio: often`, "monitoring.tracing.sampleRatio"},
		{`serviceName: ` + strings.Repeat("x", 256), "at most 255 bytes"},
		{`enabled: perhaps`, "monitoring.tracing.enabled"},
		{`sampler: always`, "monitoring.tracing.sampler: is not known"},
		{`enabled: true, endpoint: "https://otlp.example.com/otlp/", sampleRatio: 0.01`, ""},
		{`enabled: true, jaegerEndpoint: "grpc://jaeger"`, ""},
	} {
		name := write(t, "redis: {host: redis.example}\nsecurity: {jwt: {secret: "+testSecret+"}}\nmonitoring: {tracing: {"+tt.settings+"}}\n")
		code, out, err := runToEnd(t, "", "check-config", "--config-file", name)
		if tt.want == "" {
			if code != 0 {
				t.Errorf("%s: got %d, %s", tt.settings, code, err)
			}
		} else if code != 2 || out != "" || !strings.Contains(err, tt.want) || strings.Contains(err, "hunter2") {
			t.Errorf("%s: got %d, %s, want 2 and %q", tt.settings, code, err, tt.want)
		}
	}
	for text, want := range map[string]string{
		"http://c": "http://c/v1/traces", "http://c:4318/": "http://c:4318/v1/traces", "https://c/otlp": "https://c/otlp/v1/traces",
		"https://c/v1/traces": "https://c/v1/traces", "grpc://c": "grpc://c:4317", "grpcs://[::1]:1/": "grpcs://[::1]:1",
	} {
		if got, err := otlpTarget(text); err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v, want %s", text, got, err, want)
		}
	}
}
