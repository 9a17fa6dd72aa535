package web

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ask sends one request to h; header holds names and values in turn.
func ask(h http.Handler, method, target, body string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// askWith sends a request without a body, with as many Authorization headers as are given.
func askWith(h http.Handler, method, target string, authorization []string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantProblem checks an application/problem+json answer and returns its detail.
func wantProblem(t *testing.T, res *http.Response, status int, field string) string {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(bodyOf(t, res)), &p); err != nil {
		t.Fatalf("status %d, body is no problem: %v", res.StatusCode, err)
	}
	if res.StatusCode != status || p.Status != status || p.Title != http.StatusText(status) {
		t.Errorf("got status %d, body %+v, want status %d", res.StatusCode, p, status)
	}
	got := ""
	if len(p.Errors) > 0 {
		got = p.Errors[0].Field
	}
	if got != field {
		t.Errorf("got field %q, want %q", got, field)
	}
	if got := res.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("got content type %q", got)
	}
	return p.Detail
}
