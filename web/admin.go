package web

import (
	"cmp"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminConfig says what the internal port asks. Ready is required.
type AdminConfig struct {
	// Ready returns nil while the service should get traffic, otherwise the reason why not. It is called for every
	// probe, from several goroutines, so it should answer from memory.
	Ready func() error

	// Metrics is what GET /metrics shows. Nil means that there is no such page.
	Metrics prometheus.Gatherer
	// MetricsPath is where it is. Empty means /metrics.
	MetricsPath string

	// Health is what GET /health shows. Nil means a health without checks.
	Health *Health

	// API is what /api/v1/ and /debug/pprof/ offer. Nil means neither is there.
	API *APIConfig
}

// probe is the answer of a probe.
type probe struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// NewAdmin returns the handler of the internal port.
//
// Without a token, for probes and scrapers, it answers
//   - GET /health with the OverallHealth: see overallHealth for its status,
//   - GET /health/live with 200 as long as the process serves,
//   - GET /health/ready with 200 {"status":"ready"} or 503 {"status":"not ready","reason":"…"},
//   - GET /health/startup with 200 {"status":"started"} once the service was ready for the first time, 503 before,
//   - GET /metrics with the Prometheus text format,
//   - GET /api/v1/openapi.json with the description of all this.
//
// The rest of the API and /debug/pprof/ need a token.
func NewAdmin(cfg AdminConfig) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/health", readOnly(overallHealth(cfg.Health)))
	mux.Handle("/health/live", readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, probe{Status: "live"})
	})))
	mux.Handle("/health/ready", readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := cfg.Ready(); err != nil {
			respond(w, http.StatusServiceUnavailable, probe{Status: "not ready", Reason: err.Error()})
			return
		}
		respond(w, http.StatusOK, probe{Status: "ready"})
	})))
	mux.Handle("/health/startup", readOnly(startup(cfg.Ready)))
	if cfg.Metrics != nil {
		mux.Handle(cmp.Or(cfg.MetricsPath, "/metrics"), metricsPage(cfg.Metrics))
	}
	if cfg.API != nil {
		newAPI(*cfg.API).mount(mux)
	}
	mux.Handle("/", notFound)
	return mux
}

// NewMetrics returns the handler of a port that shows metrics alone, at a path.
func NewMetrics(path string, from prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(path, metricsPage(from))
	mux.Handle("/", notFound)
	return mux
}

func metricsPage(from prometheus.Gatherer) http.Handler {
	return readOnly(promhttp.HandlerFor(from, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
}

// overallHealth answers 200 whatever it finds, because the probes that restart a container are pointed here: Redis being
// away must not have every replica restarted, which would throw off the clients that are waiting for it to come back.
// Those who want to be told by the status, such as an uptime monitor, ask for /health?strict=true, and get 503 when the
// status is unhealthy. Being degraded is 200 either way: the service is up.
func overallHealth(h *Health) http.Handler {
	if h == nil {
		h = &Health{}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		report := h.Report(r.Context())
		status := http.StatusOK
		if r.URL.Query().Get("strict") == "true" && report.Status == statusUnhealthy {
			status = http.StatusServiceUnavailable
		}
		respond(w, status, report)
	})
}

// startup remembers that the service has been ready. It asks when it is asked, and needs no more than a startup probe,
// which nobody sends once it has passed.
func startup(ready func() error) http.Handler {
	var started atomic.Bool
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !started.Load() {
			if err := ready(); err != nil {
				respond(w, http.StatusServiceUnavailable, probe{Status: "starting", Reason: err.Error()})
				return
			}
			started.Store(true)
		}
		respond(w, http.StatusOK, probe{Status: "started"})
	})
}
