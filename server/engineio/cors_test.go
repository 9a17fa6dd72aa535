package engineio

import (
	"net/http"
	"testing"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	const app = "https://app.example"
	preflight := http.Header{"Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"x-tenant"}}
	type headers map[string]string
	for _, test := range []struct {
		name    string
		origins []string
		origin  string
		method  string
		status  int
		want    headers
	}{
		{"none allowed", nil, app, "GET", 200, headers{"Allow-Origin": "", "Allow-Credentials": ""}},
		{"none allowed, preflight", nil, app, "OPTIONS", 204, headers{"Allow-Origin": "", "Allow-Methods": ""}},
		{"listed", []string{"https://b.example", app}, app, "GET", 200,
			headers{"Allow-Origin": app, "Allow-Credentials": "true"}},
		{"listed, preflight", []string{app}, app, "OPTIONS", 204, headers{"Allow-Origin": app,
			"Allow-Credentials": "true", "Allow-Methods": "GET,POST", "Allow-Headers": "x-tenant"}},
		{"another", []string{app}, "https://evil.example", "GET", 200, headers{"Allow-Origin": "", "Allow-Credentials": ""}},
		{"another, preflight", []string{app}, "https://evil.example", "OPTIONS", 204, headers{"Allow-Origin": ""}},
		{"no origin", []string{app}, "", "GET", 200, headers{"Allow-Origin": ""}},
		{"any", []string{"*"}, app, "GET", 200, headers{"Allow-Origin": "*", "Allow-Credentials": ""}},
		{"any, preflight", []string{"*"}, app, "OPTIONS", 204,
			headers{"Allow-Origin": "*", "Allow-Credentials": "", "Allow-Headers": "x-tenant"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := serve(t, Options{CORSOrigins: test.origins}, nil)
			header := http.Header{}
			if test.origin != "" {
				header.Set("Origin", test.origin)
			}
			if test.method == "OPTIONS" {
				for k, v := range preflight {
					header[k] = v
				}
			}
			got := h.do(test.method, "EIO=4&transport=polling", "", header)
			if got.status != test.status {
				t.Errorf("got %d, want %d", got.status, test.status)
			}
			for name, want := range test.want {
				if got := got.header.Get("Access-Control-" + name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			listed := test.origins != nil && test.origins[0] != "*"
			if got := got.header.Get("Vary") == "Origin"; got != listed {
				t.Errorf("Vary: Origin: got %v, want %v", got, listed)
			}
		})
	}
}

func TestCORSOfErrors(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{CORSOrigins: []string{"*"}}, nil)
	got := h.do("GET", "EIO=4&transport=polling&sid=gone", "", http.Header{"Origin": {"https://app.example"}})
	if got.status != 400 || got.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %d %v, want 400 that a browser may read", got.status, got.header)
	}
}

func TestCORSOriginsChange(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{CORSOrigins: []string{"https://old.example"}}, nil)
	allowed := func(origin string) string {
		return h.do("GET", "EIO=4&transport=polling", "", http.Header{"Origin": {origin}}).header.Get("Access-Control-Allow-Origin")
	}
	if got := allowed("https://old.example"); got != "https://old.example" {
		t.Errorf("before: got %q", got)
	}
	h.SetCORSOrigins([]string{"https://new.example"})
	if got := allowed("https://old.example"); got != "" {
		t.Errorf("the old origin is allowed: %q", got)
	}
	if got := allowed("https://new.example"); got != "https://new.example" {
		t.Errorf("the new origin: got %q", got)
	}
}
