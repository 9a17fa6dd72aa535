package web

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// checkState is a check and what it found.
type checkState struct {
	Check
	duration prometheus.Observer
	failures prometheus.Counter
	looked   chan struct{} // closed after the first run

	mu      sync.Mutex
	started time.Time         // of the run under way; zero: none is
	last    HealthCheckResult // of the run before; no Name: there was none
}

func (c *checkState) run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		c.once(ctx)
		next.Reset(c.Interval)
	}
}

// once runs the check in the caller's goroutine. A run that hangs is told by its start, so nothing needs to wait beside it.
func (c *checkState) once(ctx context.Context) {
	begun := time.Now()
	c.mu.Lock()
	c.started = begun
	c.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	slow := context.AfterFunc(limited, func() {
		if errors.Is(limited.Err(), context.DeadlineExceeded) {
			c.failures.Inc() // now, not when it returns: it may never do
		}
	})
	result, err := c.Run(limited)
	uncounted, late := slow(), limited.Err() != nil // in this order: what was not counted in time is counted here
	took := time.Since(begun)
	if ctx.Err() != nil { // stopped: what it says is about that
		c.mu.Lock()
		c.started = time.Time{}
		c.mu.Unlock()
		return
	}
	switch {
	case late:
		result = CheckResult{Message: checkTimeout}
	case err != nil:
		result = CheckResult{Message: err.Error()}
	}
	c.duration.Observe(float64(took) / float64(time.Millisecond))
	status := statusHealthy
	if !result.Healthy {
		status = statusUnhealthy
		if uncounted {
			c.failures.Inc()
		}
	}
	c.mu.Lock()
	c.started = time.Time{}
	first := c.last.Name == ""
	c.last = HealthCheckResult{c.Name, status, result.Message, result.Details, took.Milliseconds(), iso(time.Now())}
	c.mu.Unlock()
	if first {
		close(c.looked)
	}
}

const checkTimeout = "Health check timeout"

// report is what is known of the check. It waits for the first run to end, or for ctx.
func (c *checkState) report(ctx context.Context) HealthCheckResult {
	select {
	case <-c.looked:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	running := time.Duration(0)
	if !c.started.IsZero() {
		running = time.Since(c.started)
	}
	switch {
	case running >= c.Timeout:
		return HealthCheckResult{c.Name, statusUnhealthy, checkTimeout, nil, running.Milliseconds(), iso(time.Now())}
	case c.last.Name == "":
		return HealthCheckResult{c.Name, statusUnhealthy, "Not checked yet", nil, running.Milliseconds(), iso(time.Now())}
	}
	return c.last
}
