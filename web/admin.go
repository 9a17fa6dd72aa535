package web

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminConfig says what the internal port asks. Both fields are required.
type AdminConfig struct {
	// Ready returns nil while the service should get traffic, otherwise the reason why not. It is called for every
	// probe, from several goroutines, so it should answer from memory.
	Ready func() error

	// Metrics is what GET /metrics shows.
	Metrics prometheus.Gatherer
}

type health struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// NewAdmin returns the handler of the internal port: GET /health/live is 200 as long as the process serves, GET
// /health/ready is 200 {"status":"ready"} or 503 {"status":"not ready","reason":"…"}, and GET /metrics is the Prometheus
// text format. It checks no token: the port is not for the public.
func NewAdmin(cfg AdminConfig) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/health/live", readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, health{Status: "live"})
	})))
	mux.Handle("/health/ready", readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if err := cfg.Ready(); err != nil {
			respond(w, http.StatusServiceUnavailable, health{Status: "not ready", Reason: err.Error()})
			return
		}
		respond(w, http.StatusOK, health{Status: "ready"})
	})))
	mux.Handle("/metrics", readOnly(promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4})))
	mux.Handle("/", notFound)
	return mux
}
