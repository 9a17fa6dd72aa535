package scaling

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// running has a window fill until the test ends.
func running(t *testing.T, cfg Config, from prometheus.Gatherer, log *zap.Logger) *Window {
	t.Helper()
	w := NewWindow(cfg, from, log)
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() { stop(); run.Wait() })
	return w
}

func TestWindow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		events := prometheus.NewCounter(prometheus.CounterOpts{Name: "eventbus_events_received_total", Help: "h"})
		reg := prometheus.NewRegistry()
		reg.MustRegister(events)
		w := NewWindow(Config{}, reg, zap.NewNop())
		if _, ok := w.Latest(); ok {
			t.Error("there is a snapshot before the first")
		}
		w = running(t, Config{}, reg, zap.NewNop())
		began := time.Now()
		synctest.Wait()
		if s, ok := w.Latest(); !ok || !s.Time.Equal(began) || s.Events.Received != Known(0) {
			t.Errorf("the first is %+v, %t", s, ok)
		}
		if a := w.Analysis(); a.EventThroughput.EventsPerSecond.Known || a.Recommendations == nil {
			t.Errorf("of one snapshot: %+v", a)
		}

		events.Add(40)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a := w.Analysis(); a.Window.Seconds != 10 || a.EventThroughput.EventsPerSecond != Known(4) {
			t.Errorf("after 10 s: %+v", a)
		}

		time.Sleep(time.Hour)
		synctest.Wait()
		if a := w.Analysis(); a.Window.Seconds != 900 || !a.Window.To.Equal(began.Add(time.Hour+10*time.Second)) || a.EventThroughput.EventsPerSecond != Known(0) {
			t.Errorf("after an hour: %+v", a)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.kept) != 91 || cap(w.kept) > 256 {
			t.Errorf("%d snapshots are kept, in room for %d", len(w.kept), cap(w.kept))
		}
	})
}

// What cannot be read leaves a hole, is told once, and does not end the window.
func TestWindowHole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		broken := false
		setBroken := func(b bool) { mu.Lock(); broken = b; mu.Unlock() }
		from := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return nil, errors.New("no figures")
			}
			return nil, nil
		})
		core, logs := observer.New(zap.DebugLevel)
		w := running(t, Config{Interval: time.Second, Keep: 5 * time.Second}, from, zap.New(core))
		synctest.Wait()
		setBroken(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := logs.Len(); n != 1 || !strings.Contains(logs.All()[0].ContextMap()["error"].(string), "no figures") {
			t.Errorf("%d lines: %v", n, logs.All())
		}
		setBroken(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if a := w.Analysis(); a.Window.Seconds != 0 {
			t.Errorf("what is too old is kept: %+v", a.Window)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a := w.Analysis(); a.Window.Seconds != 2 {
			t.Errorf("it does not go on: %+v", a.Window)
		}
		setBroken(true)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := logs.Len(); n != 2 {
			t.Errorf("a second time is told in %d lines", n)
		}
	})
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]Config{
		"": {},
		"scaling.interval is 1ms: want 1s to 1h, or 0 for 10s":                                                                   {Interval: time.Millisecond},
		"scaling.keep is 5s: want scaling.interval (10s) to 1000 times as much, or 0 for 15m":                                    {Keep: 5 * time.Second},
		"scaling.keep is 24h0m0s: want scaling.interval (1s) to 1000 times as much, or 0 for 15m":                                {Interval: time.Second, Keep: 24 * time.Hour},
		"scaling.thresholds.minSamples is -1: want 1 or more, or 0 for 20\nscaling.interval is -1s: want 1s to 1h, or 0 for 10s": {Interval: -time.Second, Thresholds: Thresholds{MinSamples: -1}},
	} {
		got := ""
		if err := cfg.Validate(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%+v:\ngot  %s\nwant %s", cfg, got, want)
		}
	}
}
