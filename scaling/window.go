package scaling

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config is how a Window measures and what its analysis recommends.
type Config struct {
	// Interval is the time between snapshots, and Keep how long they are kept: an analysis covers so much. In the
	// configuration file they are scaling.interval and scaling.keep. Zero means 10 s and 15 min.
	Interval, Keep time.Duration
	Thresholds     Thresholds // scaling.thresholds
}

// maxSnapshots bounds a window's memory: a snapshot has about 1.5 KB.
const maxSnapshots = 1000

func (c Config) withDefaults() Config {
	c.Interval = cmp.Or(c.Interval, 10*time.Second)
	c.Keep = cmp.Or(c.Keep, 15*time.Minute)
	return c
}

// Validate reports all problems at once, by key.
func (c Config) Validate() error {
	errs := []error{c.Thresholds.Validate()}
	c = c.withDefaults()
	if c.Interval < time.Second || c.Interval > time.Hour {
		errs = append(errs, fmt.Errorf("scaling.interval is %s: want 1s to 1h, or 0 for 10s", c.Interval))
	} else if c.Keep < c.Interval || c.Keep > maxSnapshots*c.Interval {
		errs = append(errs, fmt.Errorf("scaling.keep is %s: want scaling.interval (%s) to %d times as much, or 0 for 15m", c.Keep, c.Interval, maxSnapshots))
	}
	return errors.Join(errs...)
}

// Window keeps the snapshots of the last minutes. Its methods may be called at the same time.
type Window struct {
	cfg  Config
	from prometheus.Gatherer
	log  *zap.Logger

	mu   sync.Mutex
	kept []Snapshot // by time; the last is the newest
}

// NewWindow makes an empty window on the metrics that from gathers. Run fills it.
func NewWindow(cfg Config, from prometheus.Gatherer, log *zap.Logger) *Window {
	return &Window{cfg: cfg.withDefaults(), from: from, log: log}
}

// Run takes a snapshot at once and at each interval, until ctx ends; then it returns nil. Metrics that cannot be read leave
// a hole, and a line in the log when that begins.
func (w *Window) Run(ctx context.Context) error {
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	failing := false
	for {
		s, err := Read(w.from)
		switch {
		case err == nil:
			w.add(s)
		case !failing:
			w.log.Warn("the metrics could not be read for analysis", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Window) add(s Snapshot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = append(w.kept, s)
	young := slices.IndexFunc(w.kept, func(k Snapshot) bool { return s.Time.Sub(k.Time) <= w.cfg.Keep }) // s itself at the latest
	w.kept = slices.Delete(w.kept, 0, max(young, len(w.kept)-maxSnapshots-1, 0))
}

// Latest is the newest snapshot, if there is one.
func (w *Window) Latest() (Snapshot, bool) {
	_, to, n := w.ends()
	return to, n > 0
}

// Analysis is what the snapshots say that are kept. Before there are two, most of it is not known.
func (w *Window) Analysis() Analysis {
	from, to, _ := w.ends()
	return Analyse(from, to, w.cfg.Thresholds)
}

func (w *Window) ends() (oldest, newest Snapshot, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n = len(w.kept); n > 0 {
		oldest, newest = w.kept[0], w.kept[n-1]
	}
	return oldest, newest, n
}
