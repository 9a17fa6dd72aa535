package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Check is one thing that can be well or not. ID and Run are required, IDs are distinct.
type Check struct {
	ID   string // label check_id of the metrics, such as redis-connection
	Name string // for people. Empty means the ID

	// Run looks. Its context ends after Timeout, and it must return then: until it does, it is not run again, the
	// check counts as unhealthy, and Health.Run cannot end. An error is an unhealthy result with its text.
	Run func(ctx context.Context) (CheckResult, error)

	Timeout  time.Duration // Zero means 5 s
	Interval time.Duration // from the end of one run to the next. Zero means 30 s
}

// CheckResult is what a check found. It is shown to whoever can reach the port, so it holds no secrets.
type CheckResult struct {
	Healthy bool
	Message string
	Details any // JSON; nil: none
}

// HealthConfig says what Health looks at.
type HealthConfig struct {
	Checks []Check
	// Metrics gets eventbus_health_check_duration_milliseconds and eventbus_health_check_failures_total. Nil means
	// nobody counts.
	Metrics prometheus.Registerer
}

// Validate reports all that is wrong with the checks.
func (c HealthConfig) Validate() error {
	var errs []error
	seen := map[string]bool{}
	for i, check := range c.Checks {
		switch {
		case check.ID == "":
			errs = append(errs, fmt.Errorf("health.checks[%d]: has no ID; give it one", i))
		case seen[check.ID]:
			errs = append(errs, fmt.Errorf("health.checks[%d]: ID %q is there twice; rename one", i, check.ID))
		}
		seen[check.ID] = true
		if check.Run == nil {
			errs = append(errs, fmt.Errorf("health.checks[%d]: has no Run; give it one", i))
		}
		if check.Timeout < 0 || check.Interval < 0 {
			errs = append(errs, fmt.Errorf("health.checks[%d]: Timeout and Interval must not be negative", i))
		}
	}
	return errors.Join(errs...)
}

// Health runs checks and knows what they found last. Asking it costs nothing, however often it is done.
type Health struct {
	checks []*checkState
}

// NewHealth makes a Health that has looked at nothing yet: Run does.
func NewHealth(cfg HealthConfig) (*Health, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	durations, failures := healthMetrics(cfg.Metrics)
	h := &Health{}
	for _, check := range cfg.Checks {
		check.Name = cmp.Or(check.Name, check.ID)
		check.Timeout = cmp.Or(check.Timeout, 5*time.Second)
		check.Interval = cmp.Or(check.Interval, 30*time.Second)
		h.checks = append(h.checks, &checkState{
			Check:    check,
			duration: durations.WithLabelValues(check.ID),
			failures: failures.WithLabelValues(check.ID),
			looked:   make(chan struct{}),
		})
	}
	return h, nil
}

func healthMetrics(registry prometheus.Registerer) (*prometheus.HistogramVec, *prometheus.CounterVec) {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "eventbus_health_check_duration_milliseconds",
		Help:    "How long health checks took.",
		Buckets: []float64{1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000},
	}, []string{"check_id"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eventbus_health_check_failures_total",
		Help: "Health checks that found something unhealthy, failed or took too long.",
	}, []string{"check_id"})
	if registry != nil {
		registry.MustRegister(durations, failures)
	}
	return durations, failures
}

// Run checks everything now and at its intervals until ctx ends, each check in a goroutine of its own, so that none waits
// for another and none runs twice at once. It returns when all have.
func (h *Health) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, c := range h.checks {
		running.Go(func() { c.run(ctx) })
	}
	running.Wait()
	return nil
}

// firstWait is how long Report waits for first results. A liveness probe waits a second by default.
const firstWait = 500 * time.Millisecond

// Report is the state of all checks, as they were found last. Right after the start it waits a moment for what has never
// been looked at, which then counts as unhealthy.
func (h *Health) Report(ctx context.Context) OverallHealth {
	ctx, cancel := context.WithTimeout(ctx, firstWait)
	defer cancel()
	results := make([]HealthCheckResult, len(h.checks))
	for i, c := range h.checks {
		results[i] = c.report(ctx)
	}
	return overall(results, time.Now())
}

// Overall states.
const (
	statusHealthy   = "healthy"
	statusDegraded  = "degraded"
	statusUnhealthy = "unhealthy"
)

// OverallHealth is the answer of GET /health.
type OverallHealth struct {
	Status    string              `json:"status"` // healthy: all are; degraded: at most 30 % are not; else unhealthy
	Message   string              `json:"message"`
	Checks    []HealthCheckResult `json:"checks"`
	Timestamp string              `json:"timestamp"` // ISO 8601
}

// HealthCheckResult is one of its checks.
type HealthCheckResult struct {
	Name      string `json:"name"`
	Status    string `json:"status"` // healthy or unhealthy
	Message   string `json:"message"`
	Details   any    `json:"details,omitempty"`
	Duration  int64  `json:"duration"`  // ms
	Timestamp string `json:"timestamp"` // when it ended; of a check that hangs, now
}

func overall(results []HealthCheckResult, now time.Time) OverallHealth {
	healthy := 0
	for _, r := range results {
		if r.Status == statusHealthy {
			healthy++
		}
	}
	status := statusUnhealthy
	switch unhealthy := len(results) - healthy; {
	case unhealthy == 0:
		status = statusHealthy
	case unhealthy*10 <= len(results)*3:
		status = statusDegraded
	}
	return OverallHealth{
		Status:    status,
		Message:   fmt.Sprintf("%d/%d checks passing", healthy, len(results)),
		Checks:    results,
		Timestamp: iso(now),
	}
}

func iso(t time.Time) string { return t.UTC().Format(timestampLayout) }
