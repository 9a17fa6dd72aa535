package scaling

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// registry has the metrics of a server, with the names and labels that they have there.
func registry(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	counter := func(name string, labels []string, series map[string]float64) {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "h"}, labels)
		reg.MustRegister(c)
		for values, v := range series {
			c.WithLabelValues(strings.Split(values, ",")...).Add(v)
		}
	}
	gauge := func(name string, v float64) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "h"})
		reg.MustRegister(g)
		g.Set(v)
	}
	histogram := func(name string, labels []string, series map[string][]float64) {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: "h", Buckets: []float64{1, 10}}, labels)
		reg.MustRegister(h)
		for values, observed := range series {
			for _, v := range observed {
				if len(labels) == 0 {
					h.WithLabelValues().Observe(v)
				} else {
					h.WithLabelValues(values).Observe(v)
				}
			}
		}
	}
	counter("eventbus_events_received_total", []string{"channel", "event_type"}, map[string]float64{"photo:upload,photo.uploaded": 3, "photo:completion,other": 4})
	counter("eventbus_events_published_total", []string{"channel", "event_type"}, map[string]float64{"photo:upload,photo.uploaded": 2})
	counter("eventbus_event_errors_total", []string{"channel", "error_type", "category"}, nil)
	counter("eventbus_websocket_connections_total", []string{"transport"}, map[string]float64{"websocket": 9, "polling": 1})
	counter("eventbus_websocket_disconnections_total", []string{"reason"}, map[string]float64{"slow client": 2, "transport close": 5})
	counter("eventbus_connections_refused_total", []string{"reason"}, map[string]float64{"no_token": 1})
	counter("eventbus_subscription_messages_processed_total", []string{"channel"}, map[string]float64{"photo:upload": 11})
	counter("eventbus_subscription_handler_errors_total", []string{"channel", "error_type"}, map[string]float64{"photo:upload,timeout": 1})
	counter("eventbus_dead_letters_total", []string{"channel", "reason"}, map[string]float64{"photo:upload,expired": 1})
	gauge("eventbus_websocket_active_connections", 3)
	gauge("eventbus_active_subscriptions_total", 4)
	gauge("eventbus_active_rooms_total", 5)
	histogram("eventbus_room_broadcast_duration_milliseconds", nil, map[string][]float64{"": {0.5, 2, 20}})
	histogram("eventbus_subscription_handler_duration_milliseconds", []string{"channel"}, map[string][]float64{"photo:upload": {2}, "photo:completion": {0.5, 50}})
	return reg
}

func TestRead(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s, err := Read(registry(t))
	if err != nil {
		t.Fatal(err)
	}
	if s.Time.Before(began) || time.Since(s.Time) < 0 {
		t.Errorf("it is of %s", s.Time)
	}
	for name, test := range map[string]struct{ got, want Figure }{
		"received, of all labels": {s.Events.Received, Known(7)},
		"published":               {s.Events.Published, Known(2)},
		"errors, never used":      {s.Events.Errors, Figure{}},
		"publish, not there":      {s.Events.Publish.Count(), Figure{}},
		"active":                  {s.WebSockets.Active, Known(3)},
		"connections":             {s.WebSockets.Connections, Known(10)},
		"disconnections":          {s.WebSockets.Disconnections, Known(7)},
		"slow clients":            {s.WebSockets.SlowClients, Known(2)},
		"refused":                 {s.WebSockets.Refused, Known(1)},
		"subscriptions":           {s.Subscriptions.Active, Known(4)},
		"processed":               {s.Subscriptions.Processed, Known(11)},
		"handler errors":          {s.Subscriptions.HandlerErrors, Known(1)},
		"dead letters":            {s.Subscriptions.DeadLetters, Known(1)},
		"rooms":                   {s.Rooms.Active, Known(5)},
		"broadcasts":              {s.Rooms.Broadcast.Count(), Known(3)},
		"broadcasts' average":     {s.Rooms.Broadcast.Average(), Known(7.5)},
		"attempts, of all labels": {s.Subscriptions.Handling.Count(), Known(3)},
		"attempts up to 1 ms":     {Known(s.Subscriptions.Handling.Buckets[0].Count), Known(1)},
		"CPU, not there":          {s.Process.CPUSeconds, Figure{}},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", name, test.got, test.want)
		}
	}
}

// The collectors of client_golang have the names that Read goes by.
func TestReadProcess(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	s, err := Read(reg)
	if err != nil {
		t.Fatal(err)
	}
	p := s.Process
	if !p.CPUs.Known || p.CPUs.Value < 1 || p.Goroutines.Value < 1 {
		t.Errorf("got %+v", p)
	}
	if !p.CPUSeconds.Known || p.ResidentBytes.Value < 1<<20 {
		t.Skipf("this system tells nothing of a process: %+v", p)
	}
}

func TestReadMemoryLimit(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]Figure{math.MaxInt64: {}, 460 << 20: Known(460 << 20)} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_gc_gomemlimit_bytes", Help: "h"})
		g.Set(value)
		reg := prometheus.NewRegistry()
		reg.MustRegister(g)
		if s, err := Read(reg); err != nil || s.Process.MemoryLimit != want {
			t.Errorf("%g: got %v, %v, want %v", value, s.Process.MemoryLimit, err, want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	wrong := prometheus.NewRegistry()
	wrong.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "eventbus_room_broadcast_duration_milliseconds", Help: "h"}))
	other := prometheus.NewRegistry()
	other.MustRegister(prometheus.NewSummary(prometheus.SummaryOpts{Name: "eventbus_active_rooms_total", Help: "h"}))
	differ := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		name, one, two, n := "eventbus_event_publish_duration_milliseconds", 1.0, 2.0, uint64(1)
		return []*dto.MetricFamily{{Name: &name, Metric: []*dto.Metric{
			{Histogram: &dto.Histogram{SampleCount: &n, Bucket: []*dto.Bucket{{UpperBound: &one, CumulativeCount: &n}}}},
			{Histogram: &dto.Histogram{SampleCount: &n, Bucket: []*dto.Bucket{{UpperBound: &two, CumulativeCount: &n}}}},
		}}}, nil
	})
	for name, test := range map[string]struct {
		from prometheus.Gatherer
		want string
	}{
		"a gauge for a histogram": {wrong, "metric eventbus_room_broadcast_duration_milliseconds: it has no histogram"},
		"a summary for a gauge":   {other, "metric eventbus_active_rooms_total: it is neither"},
		"buckets differ":          {differ, "different buckets"},
		"a collector fails":       {prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return nil, errors.New("broken") }), "gather metrics: broken"},
	} {
		if s, err := Read(test.from); err == nil || !strings.Contains(err.Error(), test.want) || !s.Time.IsZero() {
			t.Errorf("%s: got %v, %v, want %q", name, s, err, test.want)
		}
	}
}
