package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines hears a log, and hands over what it says to whoever waits for a message.
type lines struct {
	mu   sync.Mutex
	all  []map[string]any
	more chan struct{} // closed and made anew with each line
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := map[string]any{}
	if err := json.Unmarshal(p, &line); err != nil {
		line["msg"] = string(p) // of main, not of the log
	}
	l.all = append(l.all, line)
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

// wait is the first line with the message.
func (l *lines) wait(t *testing.T, message string) map[string]any {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		all, more := l.all, l.more
		l.mu.Unlock()
		for _, line := range all {
			if strings.Contains(fmt.Sprint(line["msg"]), message) {
				return line
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("%q is not said in %v", message, all)
		}
	}
}

// The whole program, between a cluster and replicas over HTTP: it scales up by connections, is seen in its metrics, and
// ends at once.
func TestRun(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, 2)
	api.hpas = []string{hpa("gateway", "Deployment", "gateway")}
	a, b := newFakeReplica(t, 6000), newFakeReplica(t, 5000)
	ctx, end := context.WithCancel(t.Context())
	defer end()
	log := &lines{more: make(chan struct{})}
	ended := make(chan int, 1)
	cfg := api.config()
	go func() {
		ended <- run(ctx, []string{
			"--kubernetes-url=" + cfg.url, "--kubernetes-ca-file=" + cfg.caFile, "--kubernetes-token-file=" + cfg.tokenFile, "--namespace=photos",
			"--metrics-url=" + a.URL + "/metrics," + b.URL + "/metrics", "--cpu-limit=500m", "--memory-limit=512Mi",
			"--interval=1s", "--poll=1s", "--listen=127.0.0.1:0",
		}, stdio{io.Discard, log})
	}()
	address := log.wait(t, "listening")["address"]
	scaled := log.wait(t, "scaled")
	if scaled["from"] != 2.0 || scaled["to"] != 3.0 || scaled["reason"] != "High Connection Load: 5500 per pod" {
		t.Errorf("told %v", scaled)
	}
	log.wait(t, "scaling is complete")
	api.with(func() {
		if api.wanted != 3 || api.puts != 1 {
			t.Errorf("%d replicas after %d PUTs", api.wanted, api.puts)
		}
	})
	for path, want := range map[string]string{"/health/live": "ok", "/metrics": `eventbus_autoscaler_changes_total{action="scale_up"} 1`} {
		res, err := http.Get(fmt.Sprintf("http://%s%s", address, path))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 200 || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: %d, %v, no %q in\n%s", path, res.StatusCode, err, want, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	end()
	if code := <-ended; code != 0 {
		t.Errorf("ends with %d: %v", code, log.all)
	}
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(*fakeAPI, *[]string)
		want    string
	}{
		"beside an HPA": {func(f *fakeAPI, _ *[]string) {
			f.hpas = []string{hpa("event-bus-hpa", "Deployment", "event-bus-service")}
		},
			`eventbus-autoscaler: HorizontalPodAutoscaler "event-bus-hpa" scales deployment "event-bus-service" already`},
		"no certificates":             {func(_ *fakeAPI, args *[]string) { *args = append(*args, "--kubernetes-ca-file=none") }, "eventbus-autoscaler: kubernetes-ca-file: open none"},
		"no port":                     {func(_ *fakeAPI, args *[]string) { *args = append(*args, "--listen=127.0.0.1:none") }, "eventbus-autoscaler: listen: "},
		"no certificates of replicas": {func(_ *fakeAPI, args *[]string) { *args = append(*args, "--metrics-ca-file=none") }, "eventbus-autoscaler: metrics-ca-file: open none"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, 2)
			cfg := api.config()
			args := []string{
				"--kubernetes-url=" + cfg.url, "--kubernetes-ca-file=" + cfg.caFile, "--kubernetes-token-file=" + cfg.tokenFile, "--namespace=photos",
				"--metrics-url=http://127.0.0.1:1/metrics", "--cpu-limit=1", "--memory-limit=1Gi", "--listen=127.0.0.1:0",
			}
			test.prepare(api, &args)
			log := &lines{more: make(chan struct{})}
			if code := run(t.Context(), args, stdio{io.Discard, log}); code != 1 {
				t.Errorf("code %d", code)
			}
			log.wait(t, test.want)
			if n := api.puts; n != 0 {
				t.Errorf("%d PUTs", n)
			}
		})
	}
}
