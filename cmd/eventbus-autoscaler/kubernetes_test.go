package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func TestScale(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 0} {
		api := newFakeAPI(t, n)
		if got, err := api.client(t).Scale(t.Context()); err != nil || got != (scale{n, n}) {
			t.Errorf("%d replicas: got %+v, %v", n, got, err)
		}
	}
}

func TestResize(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from, to  int
		conflicts int
		want      int // replicas afterwards
		puts      int
		fail      error
	}{
		"up":                    {3, 4, 0, 4, 1, nil},
		"down to one":           {3, 1, 0, 1, 1, nil},
		"conflicts":             {3, 4, 3, 4, 4, nil},
		"conflicts all the way": {3, 4, 100, 3, conflicts + 1, errors.New("409 Conflict: Operation cannot be fulfilled")},
		"changed meanwhile":     {2, 3, 0, 3, 0, errMoved},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, 3)
			api.conflicts = test.conflicts
			err := api.client(t).Resize(t.Context(), test.from, test.to)
			if (err == nil) != (test.fail == nil) || test.fail != nil && !errors.Is(err, test.fail) && !strings.Contains(err.Error(), test.fail.Error()) {
				t.Errorf("got error %v, want %v", err, test.fail)
			}
			api.with(func() {
				if api.wanted != test.want || api.puts != test.puts {
					t.Errorf("%d replicas after %d PUTs, want %d after %d", api.wanted, api.puts, test.want, test.puts)
				}
			})
		})
	}
}

// The count that a conflict turns up decides whether there is anything left to do.
func TestResizeConflictWithAnother(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, 3)
	k := api.client(t)
	var puts atomic.Int32
	api.override = func(w http.ResponseWriter, r *http.Request) {
		api.with(func() {
			if r.Method == http.MethodPut {
				puts.Add(1)
				api.wanted, api.version = 7, api.version+1
				refuse(w, http.StatusConflict, "Conflict", "the object has been modified")
				return
			}
			api.answerScale(w)
		})
	}
	if err := k.Resize(t.Context(), 3, 4); !errors.Is(err, errMoved) || !strings.Contains(err.Error(), "it was 3 and is 7") || puts.Load() != 1 {
		t.Errorf("got %v after %d PUTs", err, puts.Load())
	}
}

// A token that Kubernetes has replaced is read anew.
func TestTokenRotation(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, 3)
	k := api.client(t)
	if _, err := k.Scale(t.Context()); err != nil {
		t.Fatal(err)
	}
	api.with(func() { api.token = "second-token" })
	_, err := k.Scale(t.Context())
	wantError(t, err, "401 Unauthorized")
	api.write(t, "token", "second-token")
	if _, err := k.Scale(t.Context()); err != nil {
		t.Errorf("with the new token: %v", err)
	}
	api.write(t, "token", " \n")
	_, err = k.Scale(t.Context())
	wantError(t, err, "kubernetes-token-file: ", "token is empty")
	api.write(t, "token", "first-token\r\nX-Other: header")
	_, err = k.Scale(t.Context())
	wantError(t, err, "Authorization")
}

func TestAPIRefusals(t *testing.T) {
	t.Parallel()
	status := func(code int, reason, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { refuse(w, code, reason, message) }
	}
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			fmt.Fprint(w, body)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    []string
	}{
		"forbidden":        {status(403, "Forbidden", `deployments.apps "event-bus-service" is forbidden: cannot get resource "deployments/scale"`), []string{"GET " + scalePath + ": 403 Forbidden", "cannot get resource"}},
		"not found":        {status(404, "NotFound", `deployments.apps "event-bus-service" not found`), []string{"404", "not found"}},
		"overloaded":       {status(429, "TooManyRequests", "slow down"), []string{"429 Too Many Requests: slow down"}},
		"long message":     {status(500, "InternalError", strings.Repeat("x", 10_000)), []string{"500", "xx…"}},
		"not from the API": {answer(502, "<html>Bad Gateway</html>"), []string{"502 Bad Gateway"}},
		"no JSON":          {answer(200, "<html>"), []string{"not what the API of Kubernetes gives"}},
		"another object":   {answer(200, `{"kind":"Deployment","metadata":{"name":"event-bus-service","resourceVersion":"1"}}`), []string{"not the scale of a Deployment"}},
		"another's scale":  {answer(200, `{"kind":"Scale","metadata":{"name":"other","resourceVersion":"1"}}`), []string{"not the scale of a Deployment"}},
		"no version":       {answer(200, `{"kind":"Scale","metadata":{"name":"event-bus-service"}}`), []string{"not the scale of a Deployment"}},
		"negative":         {answer(200, `{"kind":"Scale","metadata":{"name":"event-bus-service","resourceVersion":"1"},"spec":{"replicas":-1}}`), []string{"not the scale of a Deployment"}},
		"a wrong type":     {answer(200, `{"kind":"Scale","spec":{"replicas":"3"}}`), []string{"not what the API of Kubernetes gives"}},
		"too large":        {answer(200, `{"kind":"`+strings.Repeat("x", maxAnswer)+`"}`), []string{"larger than 4194304 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, 3)
			api.override = test.handler
			_, err := api.client(t).Scale(t.Context())
			wantError(t, err, test.want...)
			if err != nil && len(err.Error()) > 800 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

// The token goes nowhere else.
func TestNoRedirect(t *testing.T) {
	t.Parallel()
	var asked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer other.Close()
	api := newFakeAPI(t, 3)
	api.override = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}
	_, err := api.client(t).Scale(t.Context())
	wantError(t, err, "307")
	if asked.Load() {
		t.Error("it followed")
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	api, other := newFakeAPI(t, 3), newFakeAPI(t, 3)
	// Servers of httptest share a certificate, so a stranger has to be made.
	cfg := api.config()
	cfg.caFile = other.dir + "/token"
	_, err := newKubernetes(cfg)
	wantError(t, err, "kubernetes-ca-file: ", "has no certificate in PEM")
	cfg.caFile = other.dir + "/none"
	_, err = newKubernetes(cfg)
	wantError(t, err, "kubernetes-ca-file: ", "no such file")

	cfg.caFile = strangersCA(t)
	k, err := newKubernetes(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	_, err = k.Scale(t.Context())
	wantError(t, err, "certificate")
}

// Whoever waits for an API that does not answer can be ended at once.
func TestHangingAPI(t *testing.T) {
	t.Parallel()
	api := newFakeAPI(t, 3)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	api.override = func(_ http.ResponseWriter, r *http.Request) {
		stop()
		<-r.Context().Done()
	}
	if _, err := api.client(t).Scale(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRival(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hpas   []string
		status int
		want   string
		fail   []string
		unseen bool
	}{
		"none":             {},
		"of others":        {hpas: []string{hpa("a", "Deployment", "gateway"), hpa("b", "StatefulSet", "event-bus-service")}},
		"ours":             {hpas: []string{hpa("event-bus-hpa", "Deployment", "event-bus-service")}, want: "event-bus-hpa"},
		"ours, third page": {hpas: []string{hpa("a", "Deployment", "x"), hpa("b", "Deployment", "y"), hpa("keda-hpa-event-bus-service", "Deployment", "event-bus-service")}, want: "keda-hpa-event-bus-service"},
		"may not look":     {status: 403, unseen: true, fail: []string{"not allowed to look", "cannot list resource"}},
		"no such API":      {status: 404, unseen: true, fail: []string{"there is no such API"}},
		"API is broken":    {status: 500, fail: []string{"500"}},
		"without an end":   {hpas: make([]string, maxPages+1), fail: []string{"too many"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api := newFakeAPI(t, 3)
			api.hpas, api.hpaStatus = test.hpas, test.status
			got, err := api.client(t).Rival(t.Context())
			if got != test.want || (err == nil) != (test.fail == nil) || errors.Is(err, errUnseen) != test.unseen {
				t.Errorf("got %q, %v", got, err)
			}
			wantError(t, err, test.fail...)
		})
	}
}
