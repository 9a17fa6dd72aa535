package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// tracingConfig says which traces there are, and where they go.
type tracingConfig struct {
	enabled     bool
	serviceName string
	endpoint    string
	jaeger      string // another name of endpoint, the design's
	ratio       float64
	target      *url.URL // of both, once checked
}

const (
	defaultService  = "event-bus-service"
	defaultEndpoint = "http://localhost:4318"
)

func (c *tracingConfig) flags(fs *flag.FlagSet) {
	fs.BoolVar(&c.enabled, "tracing", false, "make OpenTelemetry spans of events that are published, taken in and delivered, and send them by OTLP; OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS and the like are respected")
	fs.StringVar(&c.serviceName, "tracing-service-name", "", "name of the service in traces; by default OTEL_SERVICE_NAME, or "+defaultService)
	fs.StringVar(&c.endpoint, "tracing-endpoint", "", "where spans go: http:// or https:// for OTLP over HTTP, grpc:// or grpcs:// for gRPC; by default "+defaultEndpoint)
	fs.StringVar(&c.jaeger, "tracing-jaeger-endpoint", "", "another name of tracing-endpoint: Jaeger takes OTLP, on its ports 4318 and 4317")
	fs.Float64Var(&c.ratio, "tracing-sample-ratio", 1, "part of the traces begun here that are sampled, 0 to 1; those begun elsewhere are as their traceparent says")
}

func (c *tracingConfig) check() error {
	var errs []error
	if !(c.ratio >= 0 && c.ratio <= 1) { // NaN is neither
		errs = append(errs, fmt.Errorf("tracing-sample-ratio (TRACING_SAMPLE_RATIO): %v: want 0 to 1", c.ratio))
	}
	if len(c.serviceName) > 255 {
		errs = append(errs, fmt.Errorf("tracing-service-name (TRACING_SERVICE_NAME): want at most 255 bytes, not %d", len(c.serviceName)))
	}
	name := "tracing-endpoint"
	if c.endpoint == "" && c.jaeger != "" {
		name = "tracing-jaeger-endpoint"
	}
	if c.endpoint != "" && c.jaeger != "" && c.endpoint != c.jaeger {
		errs = append(errs, errors.New("tracing-endpoint (TRACING_ENDPOINT) and tracing-jaeger-endpoint (TRACING_JAEGER_ENDPOINT) differ; want one of them"))
	}
	var err error
	if c.target, err = otlpTarget(cmp.Or(c.endpoint, c.jaeger, defaultEndpoint)); err != nil {
		errs = append(errs, fmt.Errorf("%s (%s): %w", name, envName(name), err))
	}
	return errors.Join(errs...)
}

// Where Jaeger takes its own formats, and Zipkin's.
var notOTLP = []string{"5775", "6831", "6832", "9411", "14250", "14268"}

// otlpTarget reads the address of what takes spans. Over HTTP they go to /v1/traces below it.
func otlpTarget(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "grpc", "grpcs"}, u.Scheme) {
		return nil, errors.New("want a URL such as http://collector:4318 or grpc://collector:4317")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("want a URL without user, query and fragment; what authenticates goes into OTEL_EXPORTER_OTLP_HEADERS")
	}
	if slices.Contains(notOTLP, u.Port()) || strings.HasPrefix(u.Path, "/api/") {
		return nil, fmt.Errorf("%s is not for OTLP; want the OTLP port of Jaeger or your collector, such as http://%s", clip(u.String(), 128), net.JoinHostPort(u.Hostname(), "4318"))
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	if !strings.HasPrefix(u.Scheme, "grpc") {
		u.Path = strings.TrimSuffix(u.Path, "/v1/traces") + "/v1/traces"
		return u, nil
	}
	if u.Path != "" {
		return nil, errors.New("want a grpc URL without a path")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "4317")
	}
	return u, nil
}

// tracing makes spans and sends them. Nil makes none.
type tracing struct {
	provider *sdktrace.TracerProvider
	cut      context.CancelFunc // ends what is being sent
}

// startTracing makes it, or nil if it is not enabled. It waits for nobody: what takes the spans may be away.
func startTracing(ctx context.Context, cfg tracingConfig, replica string, log *zap.Logger) (*tracing, error) {
	if !cfg.enabled {
		return nil, nil
	}
	to, err := cfg.exporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing-endpoint (TRACING_ENDPOINT): %w", err)
	}
	options := []resource.Option{
		resource.WithAttributes(attribute.String("service.name", defaultService), attribute.String("service.instance.id", replica)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv(),
	}
	if cfg.serviceName != "" {
		options = append(options, resource.WithAttributes(attribute.String("service.name", cfg.serviceName)))
	}
	about, err := resource.New(ctx, options...)
	if err != nil { // what could be read is there
		log.Warn("not all is known about this process that traces may tell", zap.Error(err))
	}
	sending, cut := context.WithCancel(context.Background())
	e := &spanExporter{SpanExporter: to, sending: sending, log: log, told: rate.Sometimes{First: 1, Interval: time.Minute}}
	return &tracing{sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.ratio))),
		sdktrace.WithBatcher(e), // 2,048 spans wait at most; those over it are dropped
		sdktrace.WithResource(about),
	), cut}, nil
}

// exporter speaks OTLP, as the scheme says.
func (c tracingConfig) exporter(ctx context.Context) (sdktrace.SpanExporter, error) {
	u := *c.target
	switch c.target.Scheme {
	case "grpc":
		u.Scheme = "http"
	case "grpcs":
		u.Scheme = "https"
	default:
		return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	}
	return otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(u.String()))
}

// tracerProvider is what others make spans with.
func (t *tracing) tracerProvider() trace.TracerProvider {
	if t == nil {
		return nil
	}
	return t.provider
}

// flushTime is how long spans may take to be sent at the end.
const flushTime = 3 * time.Second

// stop sends what is left.
func (t *tracing) stop() {
	if t == nil {
		return
	}
	timer := time.AfterFunc(flushTime, t.cut)
	defer timer.Stop()
	_ = t.provider.Shutdown(context.Background()) // ends soon after flushTime, as everything that is sent then fails
	t.cut()
}

// traced has requests be part of the trace that their traceparent names: what they publish is below it.
func (t *tracing) traced(h http.Handler) http.Handler {
	if t == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			r = r.WithContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		h.ServeHTTP(w, r)
	})
}

// spanExporter sends spans, and tells once in a while that it cannot: those are lost.
type spanExporter struct {
	sdktrace.SpanExporter
	sending context.Context // until flushTime is over, whatever the contexts of single calls say
	log     *zap.Logger
	told    rate.Sometimes
}

func (e *spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.sending, cancel)()
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.told.Do(func() {
			e.log.Warn("spans were not sent and are lost; this is told once a minute", zap.Int("spans", len(spans)), zap.String("error", clip(err.Error(), 512)))
		})
	}
	return nil // nobody else need hear of it
}
