package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/photo-management/event-bus/scaling"
)

// fakeDeployment is one that takes some time to follow. Times are since it was made.
type fakeDeployment struct {
	mu       sync.Mutex
	began    time.Time
	now      scale
	follows  time.Duration // after a change; negative: never
	due      time.Time
	changes  []change
	looks    int
	rival    string
	rivalErr error
	err      error
}

type change struct {
	after    time.Duration
	from, to int
}

func (f *fakeDeployment) Scale(context.Context) (scale, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	if f.follows >= 0 && !time.Now().Before(f.due) {
		f.now.present = f.now.wanted
	}
	return f.now, f.err
}

func (f *fakeDeployment) Resize(_ context.Context, from, to int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	if f.now.wanted != from {
		return errMoved
	}
	f.changes = append(f.changes, change{time.Since(f.began), from, to})
	f.now.wanted, f.due = to, time.Now().Add(f.follows)
	return nil
}

func (f *fakeDeployment) Rival(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rival, f.rivalErr
}

func (f *fakeDeployment) with(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
}

// bench runs an autoscaler on virtual time.
type bench struct {
	*fakeDeployment
	t       *testing.T
	metrics *metrics
	logs    *observer.ObservedLogs
	end     func() error // ends the run
	mu      sync.Mutex
	each    scaling.Replica // what each replica bears
	reached int             // replicas that answer; -1: all
}

func (b *bench) load(context.Context) ([]scaling.Replica, error) {
	b.mu.Lock()
	each, reached := b.each, b.reached
	b.mu.Unlock()
	if reached < 0 {
		b.fakeDeployment.with(func() { reached = b.now.present })
		return slices.Repeat([]scaling.Replica{each}, reached), nil
	}
	return slices.Repeat([]scaling.Replica{each}, reached), errors.New("metrics of 10.0.0.1:3004: connection refused")
}

func (b *bench) bears(cpu, memory, connections float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.each = scaling.Replica{CPU: scaling.Known(cpu), Memory: scaling.Known(memory), Connections: scaling.Known(connections)}
}

// sleep is virtual; what is due by then has been done.
func (b *bench) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) wantChanges(want ...change) {
	b.t.Helper()
	b.with(func() {
		if !slices.Equal(b.changes, want) {
			b.t.Errorf("changes %v, want %v", b.changes, want)
		}
	})
}

func (b *bench) wantLog(part string, times int) {
	b.t.Helper()
	n := 0
	for _, e := range b.logs.All() {
		err, _ := e.ContextMap()["error"].(string)
		if strings.Contains(e.Message+": "+err, part) {
			n++
		}
	}
	if n != times {
		b.t.Errorf("%q was told %d times, want %d: %v", part, n, times, b.logs.All())
	}
}

// value is that of a counter or a gauge.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

func testConfig() config {
	return config{
		kubernetes: kubernetesConfig{deployment: "event-bus-service"},
		limits:     scaling.Limits{MinReplicas: 2, MaxReplicas: 5, ScaleUp: scaling.Usage{CPU: 70, Memory: 80, ConnectionsPerPod: 1000}},
		damping:    scaling.Damping{DownAfter: 3, UpCooldown: time.Minute, DownCooldown: 2 * time.Minute},
		interval:   30 * time.Second, wait: 5 * time.Minute, poll: 10 * time.Second,
	}
}

// scalingBy runs test beside an autoscaler.
func scalingBy(t *testing.T, cfg config, d *fakeDeployment, prepare func(*bench), test func(*bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		d.began = time.Now()
		d.now.present = d.now.wanted
		b := &bench{fakeDeployment: d, t: t, metrics: newMetrics(prometheus.NewRegistry()), logs: logs, reached: -1}
		b.bears(50, 60, 600)
		if prepare != nil {
			prepare(b)
		}
		a := newAutoscaler(cfg, d, b.load, b.metrics, zap.New(core))
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.run(ctx) }()
		b.end = sync.OnceValue(func() error { stop(); return <-ended })
		synctest.Wait()
		test(b)
		_ = b.end()
	})
}

func TestScalesUpAndDown(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 2}, follows: 15 * time.Second}, nil, func(b *bench) {
		b.wantChanges()
		b.bears(85, 60, 600)
		b.sleep(30 * time.Second)
		b.wantChanges(change{30 * time.Second, 2, 3})
		b.sleep(20 * time.Second) // it looked at 0, 10 and 20 s
		b.wantLog("scaling is complete", 1)
		// From there the next evaluation is in 30 s, 50 s after the change: too soon. The one after that is not.
		b.sleep(30 * time.Second)
		b.wantChanges(change{30 * time.Second, 2, 3})
		b.sleep(30 * time.Second)
		b.wantChanges(change{30 * time.Second, 2, 3}, change{110 * time.Second, 3, 4})

		b.bears(10, 10, 10)
		b.sleep(20 * time.Second) // it is there, at 130 s
		b.sleep(60 * time.Second)
		b.wantChanges(change{30 * time.Second, 2, 3}, change{110 * time.Second, 3, 4})
		b.sleep(30 * time.Second) // the third time in a row, but only 110 s after the change
		b.wantChanges(change{30 * time.Second, 2, 3}, change{110 * time.Second, 3, 4})
		b.sleep(30 * time.Second)
		b.wantChanges(change{30 * time.Second, 2, 3}, change{110 * time.Second, 3, 4}, change{250 * time.Second, 4, 3})
		b.sleep(time.Hour) // to the minimum, and no further
		b.with(func() {
			if len(b.changes) != 4 || b.now != (scale{2, 2}) {
				b.t.Errorf("%+v after %v", b.now, b.changes)
			}
		})
		if up, down := value(b.t, b.metrics.changes.WithLabelValues("scale_up")), value(b.t, b.metrics.changes.WithLabelValues("scale_down")); up != 2 || down != 2 {
			b.t.Errorf("counts %g up and %g down", up, down)
		}
		if err := b.end(); err != nil {
			b.t.Errorf("ends with %v", err)
		}
	})
}

func TestWaitGivesUp(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 2}, follows: -1}, func(b *bench) { b.bears(85, 60, 600) }, func(b *bench) {
		b.wantChanges(change{0, 2, 3})
		b.sleep(5*time.Minute - time.Second)
		b.wantLog("scaling takes long", 0)
		b.sleep(time.Second)
		b.wantLog("scaling timeout: failed to reach 3 replicas within 5m0s", 1)
		// One of three is not there, and counts as idle: its like does not help.
		b.sleep(time.Hour)
		b.wantChanges(change{0, 2, 3})
		b.with(func() {
			if b.looks > 31+2+120 {
				b.t.Errorf("looked %d times", b.looks)
			}
		})
	})
}

func TestEndsAtOnce(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 2}, follows: -1}, func(b *bench) { b.bears(85, 60, 600) }, func(b *bench) {
		b.sleep(25 * time.Second) // it waits for the new replica
		before := time.Now()
		if err := b.end(); err != nil || time.Since(before) != 0 {
			b.t.Errorf("ends with %v after %s", err, time.Since(before))
		}
		b.wantLog("scaling takes long", 0)
	})
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	cfg := testConfig()
	cfg.dryRun = true
	scalingBy(t, cfg, &fakeDeployment{now: scale{wanted: 2}, rival: "event-bus-hpa"}, func(b *bench) { b.bears(85, 60, 600) }, func(b *bench) {
		b.sleep(5 * time.Minute)
		b.wantChanges()
		b.wantLog("this one only says what it would do", 1)
		for _, e := range b.logs.FilterMessage("evaluated").All() {
			if m := e.ContextMap(); m["action"] != "scale_up" || m["reason"] != "High CPU: 85.0%" || m["target"] != int64(3) || m["dryRun"] != true || m["cpu"] != 85.0 || e.Level != zap.InfoLevel {
				b.t.Errorf("told %v", m)
			}
		}
		if n := value(b.t, b.metrics.decisions.WithLabelValues("scale_up")); n != 11 {
			b.t.Errorf("%g evaluations", n)
		}
	})
}

func TestRivalAtTheStart(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		deployment *fakeDeployment
		want       string
	}{
		"an HPA":          {&fakeDeployment{now: scale{wanted: 2}, rival: "event-bus-hpa"}, `HorizontalPodAutoscaler "event-bus-hpa" scales deployment "event-bus-service" already`},
		"no API":          {&fakeDeployment{now: scale{wanted: 2}, rivalErr: errors.New("connection refused")}, "look for a HorizontalPodAutoscaler: connection refused"},
		"may not be seen": {&fakeDeployment{now: scale{wanted: 2}, rivalErr: errors.Join(errUnseen, errors.New("403"))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scalingBy(t, testConfig(), test.deployment, func(b *bench) { b.bears(85, 60, 600) }, func(b *bench) {
				if test.want == "" {
					b.wantLog("make sure that none does", 1)
					b.wantChanges(change{0, 2, 3})
					return
				}
				if err := b.end(); err == nil || !strings.Contains(err.Error(), test.want) {
					b.t.Errorf("ends with %v", err)
				}
				b.wantChanges()
			})
		})
	}
}

// An HPA that comes later, or an API that does not say, keeps it from acting.
func TestRivalLater(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 2}}, nil, func(b *bench) {
		b.bears(85, 60, 600)
		b.with(func() { b.rival = "keda-hpa" })
		b.sleep(time.Minute)
		b.with(func() { b.rival, b.rivalErr = "", errors.New("connection refused") })
		b.sleep(time.Minute)
		b.wantChanges()
		b.wantLog(`HorizontalPodAutoscaler "keda-hpa" scales the deployment`, 2)
		b.wantLog("whether a HorizontalPodAutoscaler does is not known", 2)
		b.with(func() { b.rivalErr = nil })
		b.sleep(30 * time.Second)
		b.wantChanges(change{150 * time.Second, 2, 3})
	})
}

func TestReplicasThatCannotBeReached(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 4}}, func(b *bench) { b.bears(1, 1, 1); b.reached = 3 }, func(b *bench) {
		b.sleep(time.Hour)
		b.wantChanges()
		b.wantLog("the load of some replicas is not known: metrics of 10.0.0.1:3004: connection refused", 121)
		if n := value(b.t, b.metrics.missing); n != 1 {
			b.t.Errorf("%g are missing", n)
		}
		b.mu.Lock()
		b.reached = 0
		b.mu.Unlock()
		b.sleep(time.Hour)
		b.wantChanges()
		b.mu.Lock()
		b.reached = -1
		b.mu.Unlock()
		b.sleep(90 * time.Second)
		b.wantChanges(change{2*time.Hour + 90*time.Second, 4, 3})
	})
}

// Whoever changes the count by hand is left in peace for the cooldown.
func TestChangedByHand(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 4}}, nil, func(b *bench) {
		b.bears(85, 60, 600)
		b.with(func() { b.now.wanted = 3 })
		b.sleep(time.Minute)
		b.wantLog("the number of replicas has been changed meanwhile", 1)
		b.wantChanges()
		b.sleep(30 * time.Second)
		b.wantChanges(change{90 * time.Second, 3, 4})
	})
}

func TestAPIAway(t *testing.T) {
	t.Parallel()
	scalingBy(t, testConfig(), &fakeDeployment{now: scale{wanted: 2}}, nil, func(b *bench) {
		b.bears(85, 60, 600)
		b.with(func() { b.err = errors.New("connection refused") })
		b.sleep(time.Minute)
		b.wantChanges()
		b.wantLog("the scale of the deployment is not known: connection refused", 2)
		b.with(func() { b.err = nil })
		b.sleep(30 * time.Second)
		b.wantChanges(change{90 * time.Second, 2, 3})
		if n := value(b.t, b.metrics.failures.WithLabelValues("scale")); n != 2 {
			b.t.Errorf("%g failures", n)
		}
	})
}
