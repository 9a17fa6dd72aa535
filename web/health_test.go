package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func healthy(context.Context) (CheckResult, error) {
	return CheckResult{Healthy: true, Message: "Fine", Details: map[string]any{"latency": 1}}, nil
}

func ill(context.Context) (CheckResult, error) { return CheckResult{Message: "Slow"}, nil }

func broken(context.Context) (CheckResult, error) { return CheckResult{}, errors.New("no connection") }

func TestOverallHealth(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		healthy, ill    int
		status, message string
	}{
		{0, 0, "healthy", "0/0 checks passing"},
		{4, 0, "healthy", "4/4 checks passing"},
		{3, 1, "degraded", "3/4 checks passing"},
		{7, 3, "degraded", "7/10 checks passing"},
		{2, 1, "unhealthy", "2/3 checks passing"},
		{6, 3, "unhealthy", "6/9 checks passing"},
		{0, 1, "unhealthy", "0/1 checks passing"},
	} {
		var results []HealthCheckResult
		for range c.healthy {
			results = append(results, HealthCheckResult{Status: statusHealthy})
		}
		for range c.ill {
			results = append(results, HealthCheckResult{Status: statusUnhealthy})
		}
		if got := overall(results, time.Now()); got.Status != c.status || got.Message != c.message {
			t.Errorf("%d healthy, %d ill: got %s, %q", c.healthy, c.ill, got.Status, got.Message)
		}
	}
}

// The answer has the members of the design, and no others.
func TestHealthAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		h := runHealth(t, HealthConfig{Metrics: registry, Checks: []Check{
			{ID: "redis-connection", Name: "Redis Connection", Run: healthy},
			{ID: "slow", Run: ill},
			{ID: "broken", Name: "Broken", Run: broken},
		}})
		admin := NewAdmin(AdminConfig{Health: h})
		const results = `"checks":[` +
			`{"name":"Redis Connection","status":"healthy","message":"Fine","details":{"latency":1},"duration":0,"timestamp":"2000-01-01T00:00:00.000Z"},` +
			`{"name":"slow","status":"unhealthy","message":"Slow","duration":0,"timestamp":"2000-01-01T00:00:00.000Z"},` +
			`{"name":"Broken","status":"unhealthy","message":"no connection","duration":0,"timestamp":"2000-01-01T00:00:00.000Z"}]`
		want := `{"status":"unhealthy","message":"1/3 checks passing",` + results + `,"timestamp":"2000-01-01T00:00:00.000Z"}` + "\n"
		for target, status := range map[string]int{"/health": 200, "/health?strict=true": 503, "/health?strict=false&x=y": 200} {
			res := ask(admin, "GET", target, "")
			body := bodyOf(t, res)
			if res.StatusCode != status || body != want {
				t.Errorf("%s: got status %d, want %d: %s, want %s", target, res.StatusCode, status, body, want)
			}
			theDocument().verify(t, "GET", target, "", "", res, []byte(body))
		}
		shown := bodyOf(t, ask(NewAdmin(AdminConfig{Metrics: registry}), "GET", "/metrics", ""))
		for _, want := range []string{
			`eventbus_health_check_failures_total{check_id="broken"} 1`,
			`eventbus_health_check_failures_total{check_id="redis-connection"} 0`,
			`eventbus_health_check_failures_total{check_id="slow"} 1`,
			`eventbus_health_check_duration_milliseconds_count{check_id="redis-connection"} 1`,
		} {
			if !strings.Contains(shown, want+"\n") {
				t.Errorf("metrics lack %s:\n%s", want, shown)
			}
		}
	})
}

// runHealth runs until the test ends.
func runHealth(t *testing.T, cfg HealthConfig) *Health {
	t.Helper()
	h, err := NewHealth(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// However often health is asked for, a check runs once per interval.
func TestHealthChecksAtIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		h := runHealth(t, HealthConfig{Checks: []Check{{ID: "a", Interval: 10 * time.Second, Run: func(context.Context) (CheckResult, error) {
			runs.Add(1)
			time.Sleep(firstWait / 2)
			return CheckResult{Healthy: runs.Load() != 2}, nil
		}}}})
		for second := range 23 {
			for range 5 {
				got, want := h.Report(t.Context()).Status, statusHealthy // the first waits for the first run
				if second >= 11 && second < 21 {
					want = statusUnhealthy
				}
				if got != want {
					t.Errorf("after %d s: got %s, want %s", second, got, want)
				}
			}
			time.Sleep(time.Second)
		}
		if got := runs.Load(); got != 3 {
			t.Errorf("got %d runs, want 3", got)
		}
	})
}

// A check that hangs is unhealthy after its timeout, does not pile up, and holds up no other.
func TestHealthCheckThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		var runs atomic.Int32
		release := make(chan struct{})
		h := runHealth(t, HealthConfig{Metrics: registry, Checks: []Check{
			{ID: "deaf", Timeout: time.Second, Interval: 5 * time.Second, Run: func(context.Context) (CheckResult, error) {
				if runs.Add(1) == 2 {
					<-release // whatever its context says
				}
				return CheckResult{Healthy: true, Message: "Fine"}, nil
			}},
			{ID: "quick", Interval: time.Second, Run: healthy},
		}})
		synctest.Wait()
		if got := h.Report(t.Context()); got.Status != statusHealthy {
			t.Errorf("at first: got %+v", got)
		}
		time.Sleep(5*time.Second + 500*time.Millisecond) // the second run has been under way for half a second
		if got := h.Report(t.Context()); got.Status != statusHealthy {
			t.Errorf("within the timeout: got %+v", got)
		}
		time.Sleep(time.Hour)
		got := h.Report(t.Context())
		if c := got.Checks[0]; c.Status != statusUnhealthy || c.Message != "Health check timeout" || c.Duration < 3_600_000 {
			t.Errorf("got %+v", c)
		}
		if c := got.Checks[1]; c.Status != statusHealthy || c.Timestamp != "2000-01-01T01:00:05.000Z" {
			t.Errorf("got %+v", c)
		}
		if n := runs.Load(); n != 2 {
			t.Errorf("got %d runs, want 2", n)
		}
		close(release)
		synctest.Wait()
		if c := h.Report(t.Context()).Checks[0]; c.Status != statusUnhealthy { // what it says now came too late
			t.Errorf("got %+v", c)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c := h.Report(t.Context()).Checks[0]; c.Status != statusHealthy {
			t.Errorf("got %+v", c)
		}
		shown := bodyOf(t, ask(NewAdmin(AdminConfig{Metrics: registry}), "GET", "/metrics", ""))
		if !strings.Contains(shown, `eventbus_health_check_failures_total{check_id="deaf"} 1`+"\n") {
			t.Errorf("metrics lack one failure:\n%s", shown)
		}
	})
}

func TestHealthCheckThatHangsFromTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := runHealth(t, HealthConfig{Checks: []Check{{ID: "a", Timeout: 2 * time.Second, Run: func(ctx context.Context) (CheckResult, error) {
			<-ctx.Done()
			return CheckResult{}, ctx.Err()
		}}}})
		begun := time.Now()
		if c := h.Report(t.Context()).Checks[0]; c.Message != "Not checked yet" || time.Since(begun) != firstWait {
			t.Errorf("after %v got %+v", time.Since(begun), c)
		}
		time.Sleep(2*time.Second - firstWait)
		if c := h.Report(t.Context()).Checks[0]; c.Message != "Health check timeout" || c.Status != statusUnhealthy {
			t.Errorf("after %v got %+v", time.Since(begun), c)
		}
	})
}

func TestHealthThatDoesNotRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, err := NewHealth(HealthConfig{Checks: []Check{{ID: "a", Run: healthy}}})
		if err != nil {
			t.Fatal(err)
		}
		if c := h.Report(t.Context()).Checks[0]; c.Status != statusUnhealthy || c.Message != "Not checked yet" {
			t.Errorf("got %+v", c)
		}
	})
}

func TestHealthConfigValidate(t *testing.T) {
	t.Parallel()
	_, err := NewHealth(HealthConfig{Checks: []Check{{ID: "a", Run: healthy}, {ID: "a"}, {Run: healthy, Timeout: -1}}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{`checks[1]: ID "a" is there twice`, "checks[1]: has no Run", "checks[2]: has no ID", "checks[2]: Timeout"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestHealthWithoutChecks(t *testing.T) {
	t.Parallel()
	res := ask(NewAdmin(AdminConfig{}), "GET", "/health", "")
	var got OverallHealth
	if err := json.Unmarshal([]byte(bodyOf(t, res)), &got); err != nil || res.StatusCode != 200 || got.Status != "healthy" || got.Checks == nil {
		t.Errorf("got status %d, %+v, %v", res.StatusCode, got, err)
	}
}

func TestStartupProbe(t *testing.T) {
	t.Parallel()
	ready := errors.New("loading the recovery window")
	h := NewAdmin(AdminConfig{Ready: func() error { return ready }})
	probe := func() (int, string) {
		res := ask(h, "GET", "/health/startup", "")
		body := bodyOf(t, res)
		theDocument().verify(t, "GET", "/health/startup", "", "", res, []byte(body))
		return res.StatusCode, strings.TrimSpace(body)
	}
	if status, body := probe(); status != http.StatusServiceUnavailable || body != `{"status":"starting","reason":"loading the recovery window"}` {
		t.Errorf("got %d %s", status, body)
	}
	ready = nil
	if status, body := probe(); status != http.StatusOK || body != `{"status":"started"}` {
		t.Errorf("got %d %s", status, body)
	}
	ready = errors.New("draining") // which is no reason to start anew
	if status, body := probe(); status != http.StatusOK || body != `{"status":"started"}` {
		t.Errorf("got %d %s", status, body)
	}
}
