package web

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestAdmin(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	events := prometheus.NewCounter(prometheus.CounterOpts{Name: "events_published_total", Help: "Events published."})
	registry.MustRegister(events)
	events.Add(3)
	ready := NewAdmin(AdminConfig{Ready: func() error { return nil }, Metrics: registry})
	starting := NewAdmin(AdminConfig{Ready: func() error { return errors.New("loading the recovery window") }, Metrics: registry})

	for _, c := range []struct {
		name   string
		h      http.Handler
		path   string
		status int
		body   string
	}{
		{"live", ready, "/health/live", 200, `{"status":"live"}` + "\n"},
		{"live while not ready", starting, "/health/live", 200, `{"status":"live"}` + "\n"},
		{"ready", ready, "/health/ready", 200, `{"status":"ready"}` + "\n"},
		{"not ready", starting, "/health/ready", 503, `{"status":"not ready","reason":"loading the recovery window"}` + "\n"},
		{"metrics", ready, "/metrics", 200, "events_published_total 3\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				res := ask(c.h, method, c.path, "")
				if res.StatusCode != c.status {
					t.Errorf("%s: got status %d, want %d", method, res.StatusCode, c.status)
				}
				if got := bodyOf(t, res); method == "GET" && !strings.HasSuffix(got, c.body) {
					t.Errorf("got body %q, want %q", got, c.body)
				}
			}
			res := ask(c.h, "POST", c.path, "")
			wantProblem(t, res, http.StatusMethodNotAllowed, "")
			if got, want := res.Header.Get("Allow"), "GET, HEAD"; got != want {
				t.Errorf("got Allow %q, want %q", got, want)
			}
		})
	}
	wantProblem(t, ask(ready, "GET", "/health/unknown", ""), http.StatusNotFound, "")
}
