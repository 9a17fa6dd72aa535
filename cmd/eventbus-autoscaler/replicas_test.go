package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/photo-management/event-bus/scaling"
)

// fakeReplica has the metrics of a replica.
type fakeReplica struct {
	*httptest.Server
	mu          sync.Mutex
	cpuSeconds  float64
	memory      float64
	connections float64
	override    http.HandlerFunc
}

func newFakeReplica(t *testing.T, connections float64) *fakeReplica {
	t.Helper()
	f := &fakeReplica{memory: 128 << 20, connections: connections}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeReplica) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.override != nil:
		f.override(w, r)
	case r.URL.Path != "/metrics":
		http.NotFound(w, r)
	default:
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
		fmt.Fprint(w, f.text())
	}
}

// text is what promhttp makes.
func (f *fakeReplica) text() string {
	return fmt.Sprintf(`# HELP eventbus_websocket_active_connections Open connections, whatever their transport.
# TYPE eventbus_websocket_active_connections gauge
eventbus_websocket_active_connections %g
# HELP eventbus_room_broadcast_duration_milliseconds Time to hand a batch of broadcasts to the sockets of this replica.
# TYPE eventbus_room_broadcast_duration_milliseconds histogram
eventbus_room_broadcast_duration_milliseconds_bucket{le="0.1"} 5
eventbus_room_broadcast_duration_milliseconds_bucket{le="+Inf"} 6
eventbus_room_broadcast_duration_milliseconds_sum 0.9
eventbus_room_broadcast_duration_milliseconds_count 6
# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total %g
# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes %g
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79588e+09
# HELP go_gc_duration_seconds A summary of the wall-time pause (stop-the-world) duration in garbage collection cycles.
# TYPE go_gc_duration_seconds summary
go_gc_duration_seconds{quantile="0"} 1.4e-05
go_gc_duration_seconds_sum 0.0003
go_gc_duration_seconds_count 9
`, f.connections, f.cpuSeconds, f.memory)
}

func testMetrics(urls ...string) metricsConfig {
	return metricsConfig{urls: urls, cpuLimit: 0.5, memoryLimit: 512 << 20}
}

func ask(t *testing.T, cfg metricsConfig) *replicas {
	t.Helper()
	r, err := newReplicas(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAsk(t *testing.T) {
	t.Parallel()
	a, b := newFakeReplica(t, 100), newFakeReplica(t, 200)
	r := ask(t, testMetrics(a.URL+"/metrics", b.URL+"/metrics"))
	got, err := r.Ask(t.Context())
	if err != nil || !slices.Equal(got, []scaling.Replica{{Memory: scaling.Known(25), Connections: scaling.Known(100)}, {Memory: scaling.Known(25), Connections: scaling.Known(200)}}) {
		t.Fatalf("the first time: got %+v, %v", got, err)
	}
	a.mu.Lock()
	a.cpuSeconds = 1
	a.mu.Unlock()
	got, err = r.Ask(t.Context())
	if err != nil || len(got) != 2 || !got[0].CPU.Known || got[0].CPU.Value <= 0 || got[1].CPU != scaling.Known(0) {
		t.Errorf("the second time: got %+v, %v", got, err)
	}
	b.Close()
	got, err = r.Ask(t.Context())
	if len(got) != 1 || got[0].Connections != scaling.Known(100) {
		t.Errorf("with one gone: got %+v", got)
	}
	wantError(t, err, "metrics of "+strings.TrimPrefix(b.URL, "http://"))
	if len(r.used) != 1 {
		t.Errorf("%d replicas are remembered", len(r.used))
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	first := cpuTime{noon, 10, scaling.Known(1000)}
	process := func(seconds, began float64) scaling.ProcessFigures {
		return scaling.ProcessFigures{CPUSeconds: scaling.Known(seconds), Started: scaling.Known(began)}
	}
	for name, test := range map[string]struct {
		last    cpuTime
		after   time.Duration
		process scaling.ProcessFigures
		want    scaling.Figure
	}{
		"half of the limit":       {first, 20 * time.Second, process(15, 1000), scaling.Known(50)},
		"over it, for a burst":    {first, 20 * time.Second, process(30, 1000), scaling.Known(200)},
		"another process":         {first, 20 * time.Second, process(15, 1001), scaling.Figure{}},
		"it went back":            {first, 20 * time.Second, process(5, 1000), scaling.Figure{}},
		"no time has passed":      {first, 0, process(15, 1000), scaling.Figure{}},
		"seen for the first time": {cpuTime{}, 20 * time.Second, process(15, 1000), scaling.Figure{}},
		"it tells no CPU":         {first, 20 * time.Second, scaling.ProcessFigures{}, scaling.Figure{}},
	} {
		r := &replicas{cfg: testMetrics(), used: map[string]cpuTime{}}
		at := target{"http://replicas:3004/metrics", "10.0.0.1:3004"}
		if test.last != (cpuTime{}) {
			r.used[at.url+" "+at.addr] = test.last
		}
		used := map[string]cpuTime{}
		if got := r.measure(at, scaling.Snapshot{Time: noon.Add(test.after), Process: test.process}, used); got.CPU != test.want {
			t.Errorf("%s: got %v, want %v", name, got.CPU, test.want)
		}
		if test.process.CPUSeconds.Known != (len(used) == 1) {
			t.Errorf("%s: remembers %v", name, used)
		}
	}
}

// A headless Service's name stands for all its pods, each of which is asked under that name.
func TestAskByName(t *testing.T) {
	t.Parallel()
	a := newFakeReplica(t, 100)
	a.override = func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Host, "event-bus-replicas:") {
			t.Errorf("asked for %q", r.Host)
		}
		fmt.Fprint(w, a.text())
	}
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(a.URL, "http://"))
	ip := netip.MustParseAddr
	for name, test := range map[string]struct {
		v4, v6  []netip.Addr
		reached int
		fail    string
	}{
		"one twice":             {[]netip.Addr{ip("127.0.0.1"), ip("127.0.0.1")}, nil, 1, ""},
		"both of IP's versions": {[]netip.Addr{ip("127.0.0.1")}, []netip.Addr{ip("::1")}, 1, ""},
		"mapped":                {[]netip.Addr{ip("::ffff:127.0.0.1")}, nil, 1, ""},
		"IPv6 only":             {nil, []netip.Addr{ip("::ffff:127.0.0.1")}, 1, ""},
		"none":                  {nil, nil, 0, "no such host"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := ask(t, testMetrics("http://event-bus-replicas:"+port+"/metrics"))
			r.lookup = func(_ context.Context, network, host string) ([]netip.Addr, error) {
				addrs := map[string][]netip.Addr{"ip4": test.v4, "ip6": test.v6}[network]
				if host != "event-bus-replicas" || len(addrs) == 0 {
					return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
				}
				return addrs, nil
			}
			got, err := r.Ask(t.Context())
			if len(got) != test.reached {
				t.Errorf("reached %+v", got)
			}
			if test.fail != "" {
				wantError(t, err, "addresses of the replicas: ", test.fail)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTargetsBound(t *testing.T) {
	t.Parallel()
	r := ask(t, testMetrics("http://replicas/metrics"))
	r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		var all []netip.Addr
		for a := netip.MustParseAddr("10.0.0.1"); len(all) < maxReplicas+1; a = a.Next() {
			all = append(all, a)
		}
		return all, nil
	}
	targets, err := r.targets(t.Context())
	if len(targets) != maxReplicas || targets[0].addr != "10.0.0.1:80" {
		t.Errorf("%d targets, the first %v", len(targets), targets[0])
	}
	wantError(t, err, "more than 500 replicas")
}

func TestAskBad(t *testing.T) {
	t.Parallel()
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"draining":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "503 Service Unavailable"},
		"redirects":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "302 Found"},
		"no metrics":  {text("<html>\n"), "text format of Prometheus"},
		"cut off":     {text("# TYPE eventbus_websocket_active_connections gauge\neventbus_websocket_active_connections"), "text format of Prometheus"},
		"wrong type":  {text("# TYPE eventbus_websocket_active_connections summary\neventbus_websocket_active_connections_sum 1\n"), "metric eventbus_websocket_active_connections: it is neither"},
		"far too big": {text(strings.Repeat("# comment\n", maxMetrics/10+1)), "larger than 2097152 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeReplica(t, 1)
			f.override = test.handler
			got, err := ask(t, testMetrics(f.URL+"/metrics")).Ask(t.Context())
			if len(got) != 0 {
				t.Errorf("got %+v", got)
			}
			wantError(t, err, "metrics of "+strings.TrimPrefix(f.URL, "http://")+": ", test.want)
		})
	}
}

// What a replica does not tell is not known; that is no error.
func TestAskForeign(t *testing.T) {
	t.Parallel()
	f := newFakeReplica(t, 1)
	f.override = func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "eventbus_websocket_active_connections NaN\nother_metric{a=\"b\"} 1\n")
	}
	if got, err := ask(t, testMetrics(f.URL+"/metrics")).Ask(t.Context()); err != nil || !slices.Equal(got, []scaling.Replica{{}}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestAskTLS(t *testing.T) {
	t.Parallel()
	f := &fakeReplica{connections: 7}
	f.Server = httptest.NewTLSServer(f)
	t.Cleanup(f.Close)
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	u, _ := url.Parse(f.URL)
	cfg := testMetrics("https://example.com:" + u.Port() + "/metrics") // a name in httptest's certificate
	cfg.caFile = path
	r := ask(t, cfg)
	r.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	if got, err := r.Ask(t.Context()); err != nil || len(got) != 1 || got[0].Connections != scaling.Known(7) {
		t.Errorf("got %+v, %v", got, err)
	}
	cfg.caFile = "none.crt"
	_, err := newReplicas(cfg)
	wantError(t, err, "metrics-ca-file: ")
}

// All are asked at once, more or less: one that hangs takes no longer than it may, and the end comes at once.
func TestAskHanging(t *testing.T) {
	t.Parallel()
	f := newFakeReplica(t, 1)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	f.override = func(_ http.ResponseWriter, r *http.Request) {
		stop()
		<-r.Context().Done()
	}
	if got, err := ask(t, testMetrics(f.URL+"/metrics")).Ask(ctx); len(got) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSummary(t *testing.T) {
	t.Parallel()
	var errs []error
	for i := range 10 {
		errs = append(errs, fmt.Errorf("error %d", i), nil)
	}
	if got := summary(errs).Error(); got != "error 0\nerror 1\nerror 2\nand 7 more" {
		t.Errorf("got %q", got)
	}
	if summary([]error{nil}) != nil {
		t.Error("no errors are an error")
	}
}

// Whatever a replica says, the answer is a snapshot of finite numbers or an error.
func FuzzParseMetrics(f *testing.F) {
	f.Add((&fakeReplica{connections: 3}).text())
	f.Add("eventbus_active_rooms_total{a=\"b\",} 1 2\neventbus_active_rooms_total -Inf\n")
	f.Add("# TYPE eventbus_event_publish_duration_milliseconds histogram\neventbus_event_publish_duration_milliseconds_bucket{le=\"NaN\"} 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := scaling.Read(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return parseMetrics([]byte(text)) }))
		if err != nil {
			return
		}
		for _, figure := range []scaling.Figure{s.WebSockets.Active, s.Process.CPUSeconds, s.Rooms.Active, s.Rooms.Broadcast.Quantile(0.9), s.Events.Publish.Average()} {
			if !figure.Known && figure.Value != 0 || math.IsNaN(figure.Value) || math.IsInf(figure.Value, 0) {
				t.Errorf("%v is neither known nor unknown", figure)
			}
		}
	})
}
