package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
)

const (
	goodEvent  = `{"id":"e1","type":"photo.uploaded","data":{"photoId":"p"},"metadata":{"source":"s","version":"1.0"},"timestamp":"2026-01-02T15:04:05Z"}`
	goodFilter = `{"type":"exclude","conditions":[{"field":"data.a","operator":"eq","value":1}],"action":{"type":"drop"}}`
	goodSub    = `{"channel":"photo:upload","webhook":{"url":"https://a.example/"}}`
)

// good is a request to each operation, with what is done and answered.
var good = []struct {
	method, path, body string
	status             int
	change             string // "": none
	contains           string
}{
	{"POST", "/events", goodEvent, 202, "publish photo:upload e1", `{"id":"e1","channel":"photo:upload","status":"accepted"}`},
	{"POST", "/events?channel=other&durable=false", goodEvent, 202, "publish other e1", `"channel":"other"`},
	{"POST", "/events/batch", `{"events":[{"event":` + goodEvent + `}]}`, 202, "publish photo:upload e1", `{"results":[{"id":"e1","channel":"photo:upload","status":"accepted"}]}`},
	{"GET", "/metrics/events", "", 200, "", `"published":3`},
	{"GET", "/stats", "", 200, "", `"replicas":2`},
	{"GET", "/analysis", "", 200, "", `"eventsPerSecond":1`},
	{"GET", "/log-level", "", 200, "", `{"level":"info"}`},
	{"PUT", "/log-level", `{"level":"debug"}`, 200, "level debug", `{"level":"debug"}`},
	{"GET", "/connections", "", 200, "", `{"socketId":"s1","rooms":[]}`},
	{"GET", "/connections?userId=u&room=r&limit=5&cursor=next", "", 200, "", `{"socketId":"s1","userId":"u","rooms":[]}`},
	{"DELETE", "/connections/s1", "", 204, "disconnect s1", ""},
	{"DELETE", "/connections/nobody", "", 404, "", "There is no socket of this id."},
	{"GET", "/rooms", "", 200, "", `{"rooms":[{"room":"photo:1","count":2}],"next":"end"}`},
	{"GET", "/rooms?cursor=end", "", 200, "", `{"rooms":[]}`},
	{"GET", "/rooms/photo:1?limit=1", "", 200, "", `{"room":"photo:1","count":1,"members":["s1"]}`},
	{"GET", "/rooms/a%2Fb%20c", "", 200, "", `{"room":"a/b c","count":0,"members":[]}`},
	{"POST", "/rooms/photo:1/emit", `{"event":"notice","data":[1,"<b>"]}`, 202, `broadcast photo:1 notice [1,"<b>"]`, `{"status":"accepted"}`},
	{"POST", "/rooms/photo:1/emit", ` { "event" : "notice" , "data" : null } `, 202, `broadcast photo:1 notice null`, `{"status":"accepted"}`},
	{"PUT", "/rooms/photo:1/members/s1", "", 204, "join s1 photo:1", ""},
	{"PUT", "/rooms/photo:1/members/s2", "", 404, "", "no socket"},
	{"DELETE", "/rooms/photo:1/members/s1", "", 204, "leave s1 photo:1", ""},
	{"GET", "/filters", "", 200, "", `"source":"configuration"`},
	{"PUT", "/filters", `{"filters":[` + goodFilter[:1] + `"id":"a",` + goodFilter[1:] + `]}`, 200, "replace filters 1", `"filters":[`},
	{"DELETE", "/filters", "", 204, "replace filters 0", ""},
	{"GET", "/filters/built-in", "", 200, "", `{"id":"built-in","source":"configuration","spec":{"id":"built-in"`},
	{"GET", "/filters/none", "", 404, "", "There is no filter of this id."},
	{"PUT", "/filters/f1", goodFilter, 201, "put filter f1", `"source":"api"`},
	{"PUT", "/filters/built-in", goodFilter, 409, "", "from the configuration"},
	{"DELETE", "/filters/built-in", "", 204, "delete filter built-in", ""},
	{"DELETE", "/filters/none", "", 404, "", "There is no filter of this id."},
	{"GET", "/rules", "", 200, "", `"source":"configuration"`},
	{"PUT", "/rules", `{"rules":{"photo:upload":[{"type":"broadcast","eventName":"x"}]}}`, 200, "replace rules", `"rules":{"photo:upload"`},
	{"DELETE", "/rules", "", 204, "reset rules", ""},
	{"GET", "/subscriptions", "", 200, "", `{"subscriptions":[]}`},
	{"POST", "/subscriptions", goodSub, 201, "put subscription made-up", `"spec":{"masked":true}`},
	{"GET", "/subscriptions/none", "", 404, "", "There is no subscription of this id."},
	{"PUT", "/subscriptions/s1", goodSub, 201, "put subscription s1", `"state":"active"`},
	{"DELETE", "/subscriptions/none", "", 404, "", "There is no subscription of this id."},
	{"GET", "/dead-letters?channel=c&subscription=s&reason=r&limit=1000", "", 200, "", `"next":"c"`},
	{"DELETE", "/dead-letters?all=true", "", 200, "purge {  }", `{"removed":4}`},
	{"DELETE", "/dead-letters?reason=expired", "", 200, "purge {  expired}", `{"removed":4}`},
	{"POST", "/dead-letters/replay", `{"channel":"c","browsers":true}`, 200, "replay all {c  } true", `{"replayed":2,"failed":1}`},
	{"POST", "/dead-letters/replay", `{"all":true}`, 200, "replay all {  } false", `{"replayed":2,"failed":1}`},
	{"GET", "/dead-letters/1-0", "", 200, "", `"event":"{broken"`},
	{"GET", "/dead-letters/2-0", "", 404, "", "no dead letter"},
	{"POST", "/dead-letters/1-0/replay", "", 200, "replay 1-0 false", `{"replayed":1,"failed":0}`},
	{"POST", "/dead-letters/1-0/replay", `{"browsers":true}`, 200, "replay 1-0 true", `{"replayed":1,"failed":0}`},
	{"DELETE", "/dead-letters/1-0", "", 204, "remove 1-0", ""},
	{"GET", "/revocations", "", 200, "", `{"revocations":[]}`},
	{"POST", "/revocations", `{"userId":"mallory","reason":"gone"}`, 201, "revoke user:mallory", `"id":"user:mallory"`},
	{"POST", "/revocations", `{"tokenId":"t9"}`, 201, "revoke token:t9", `"id":"token:t9"`},
	{"DELETE", "/revocations/user:mallory", "", 204, "unrevoke user:mallory", ""},
	{"DELETE", "/revocations/user:eve", "", 404, "", "no revocation"},
}

func TestAPI(t *testing.T) {
	t.Parallel()
	for _, c := range good {
		t.Run(c.method+c.path, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			res, body := exchange(t, w.handler(), c.method, "/api/v1"+c.path, c.body)
			if res.StatusCode != c.status || !strings.Contains(body, c.contains) {
				t.Errorf("got status %d, body %s, want %d with %s", res.StatusCode, body, c.status, c.contains)
			}
			if got := strings.Join(w.done(), "; "); got != c.change {
				t.Errorf("it did %q, want %q", got, c.change)
			}
			for header, want := range map[string]string{
				"Cache-Control":           "no-store",
				"X-Content-Type-Options":  "nosniff",
				"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
				"Referrer-Policy":         "no-referrer",
			} {
				if got := res.Header.Get(header); got != want {
					t.Errorf("%s: got %q, want %q", header, got, want)
				}
			}
		})
	}
}

// Every operation has a good request here.
func TestAPIIsTestedWhole(t *testing.T) {
	t.Parallel()
	d := theDocument()
	seen := map[string]bool{}
	for _, c := range good {
		path, _, _ := strings.Cut(c.path, "?")
		op, ok := d.find(c.method, "/api/v1"+path)
		if !ok {
			t.Errorf("%s %s is not documented", c.method, path)
		}
		seen[op.method+" "+op.path] = true
	}
	for _, op := range newAPI(APIConfig{}).operations() {
		if !op.profile && !seen[op.method+" "+op.path] {
			t.Errorf("%s has no test", op.id)
		}
	}
}

// Two calls where the second sees what the first has done.
func TestAPIReplacesWhatIsThere(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := w.config()
	subs := &w.subs
	*subs = []Subscription{{ID: "s1", Channel: "c", Source: SourceAPI, Spec: json.RawMessage(`{}`), State: StatePaused,
		CreatedAt: time.Unix(1, 0), LastMessageAt: time.Unix(2, 0), MessageCount: 1, ErrorCount: 2, Pending: 3, Lag: 4}}
	w.filters = append(w.filters, Filter{"f1", SourceAPI, json.RawMessage(goodFilter)})
	h := admin(cfg)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", "/filters/f1", goodFilter, 200},
		{"PUT", "/subscriptions/s1", goodSub, 200},
		{"GET", "/subscriptions/s1", "", 200},
		{"GET", "/subscriptions", "", 200},
		{"POST", "/subscriptions", goodSub[:1] + `"id":"s1",` + goodSub[1:], 409},
		{"DELETE", "/subscriptions/s1", "", 204},
	} {
		if res, body := exchange(t, h, c.method, "/api/v1"+c.path, c.body); res.StatusCode != c.status {
			t.Errorf("%s %s: got status %d, want %d: %s", c.method, c.path, res.StatusCode, c.status, body)
		}
	}
}

// Who may subscribe to a channel may have its events posted, and has no say about those of others.
func TestSubscriptionsByPermission(t *testing.T) {
	t.Parallel()
	w := newWorld()
	h := admin(w.config())
	other := strings.Replace(goodSub, "photo:upload", "photo:processing", 1)
	w.subs = []Subscription{{ID: "theirs", Channel: "photo:processing", Source: SourceAPI, Spec: json.RawMessage(`{}`), State: StateActive}}
	for _, c := range []struct {
		who, method, path, body string
		status                  int
	}{
		{"publisher", "POST", "/subscriptions", goodSub, 403},
		{"listener", "POST", "/subscriptions", other, 403},
		{"listener", "PUT", "/subscriptions/theirs", goodSub, 403},
		{"listener", "PUT", "/subscriptions/mine", other, 403},
		{"listener", "GET", "/subscriptions/theirs", "", 403},
		{"listener", "DELETE", "/subscriptions/theirs", "", 403},
		{"listener", "PUT", "/subscriptions/mine", goodSub, 201},
		{"listener", "GET", "/subscriptions/mine", "", 200},
		{"publisher", "GET", "/subscriptions/mine", "", 403},
		{"publisher", "DELETE", "/subscriptions/mine", "", 403},
		{"listener", "PUT", "/subscriptions/mine", goodSub, 200},
		{"listener", "DELETE", "/subscriptions/mine", "", 204},
		{"listener", "POST", "/subscriptions", goodSub, 201},
	} {
		req := httptest.NewRequest(c.method, "/api/v1"+c.path, strings.NewReader(c.body))
		req.Header.Set("Authorization", "Bearer "+c.who)
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		if res.Code != c.status {
			t.Errorf("%s: %s %s: got status %d, want %d: %s", c.who, c.method, c.path, res.Code, c.status, res.Body)
		}
	}
	req := httptest.NewRequest("GET", "/api/v1/subscriptions", nil)
	req.Header.Set("Authorization", "Bearer listener")
	res := httptest.NewRecorder()
	h.ServeHTTP(res, req)
	if body := res.Body.String(); strings.Contains(body, "theirs") || !strings.Contains(body, "photo:upload") {
		t.Errorf("the list is %s, want those of photo:upload alone", body)
	}
}

func TestCreatedSubscriptionHasAnAddress(t *testing.T) {
	t.Parallel()
	res, _ := exchange(t, newWorld().handler(), "POST", "/api/v1/subscriptions", goodSub)
	if got, want := res.Header.Get("Location"), "/api/v1/subscriptions/made-up"; got != want {
		t.Errorf("got Location %q, want %q", got, want)
	}
}

func TestDeadLetterListLeavesTheEventsOut(t *testing.T) {
	t.Parallel()
	if _, body := exchange(t, newWorld().handler(), "GET", "/api/v1/dead-letters", ""); strings.Contains(body, "broken") {
		t.Errorf("got %s", body)
	}
}

// What this mode does not have says so, to those who may know.
func TestAPIWithoutParts(t *testing.T) {
	t.Parallel()
	w := newWorld()
	h := admin(APIConfig{Verify: verify})
	for _, c := range good {
		res, body := exchange(t, h, c.method, "/api/v1"+c.path, c.body)
		if res.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s %s: got status %d: %s", c.method, c.path, res.StatusCode, body)
		}
	}
	if done := w.done(); len(done) != 0 {
		t.Errorf("it did %v", done)
	}
}

// An error that is not for the caller stays with us.
func TestAPIHidesErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fail   error
		status int
	}{
		{errors.New("dial tcp 10.0.0.1:6379: secret"), 500},
		{fmt.Errorf("ask redis: %w", context.DeadlineExceeded), 503},
		{fmt.Errorf("ask redis: %w", context.Canceled), 503},
		{fmt.Errorf("secret: %w", Unavailable("Redis is away.", 1500*time.Millisecond)), 503},
		{fmt.Errorf("secret: %w", auth.ErrDenied), 403},
	} {
		for _, g := range good {
			if g.status > 299 || strings.HasPrefix(g.path, "/log-level") && g.method == "GET" {
				continue
			}
			w := newWorld()
			w.fail = c.fail
			res, body := exchange(t, w.handler(), g.method, "/api/v1"+g.path, g.body)
			if res.StatusCode != c.status || strings.Contains(body, "secret") {
				t.Errorf("%v: %s %s: got status %d, want %d: %s", c.fail, g.method, g.path, res.StatusCode, c.status, body)
			}
			var own *Error
			if logged := len(w.failures) > 0; logged != (c.status == 500 || errors.Is(c.fail, context.DeadlineExceeded)) && !errors.As(c.fail, &own) {
				t.Errorf("%v: logged: %t", c.fail, logged)
			}
			if errors.As(c.fail, &own) && res.Header.Get("Retry-After") != "2" {
				t.Errorf("got Retry-After %q, want 2", res.Header.Get("Retry-After"))
			}
		}
	}
}

func TestAPIMethods(t *testing.T) {
	t.Parallel()
	h := newWorld().handler()
	for path, want := range map[string]string{
		"/api/v1/events":               "POST",
		"/api/v1/filters":              "GET, HEAD, PUT, DELETE",
		"/api/v1/subscriptions":        "GET, HEAD, POST",
		"/api/v1/dead-letters/replay":  "POST",
		"/api/v1/rooms/r/members/s":    "PUT, DELETE",
		"/api/v1/openapi.json":         "GET, HEAD",
		"/debug/pprof/heap":            "GET, HEAD",
		"/health/startup":              "GET, HEAD",
		"/api/v1/dead-letters/1-0":     "GET, HEAD, DELETE",
		"/api/v1/log-level":            "GET, HEAD, PUT",
		"/api/v1/revocations/user:eve": "DELETE",
	} {
		res := ask(h, "PATCH", path, "{}")
		wantProblem(t, res, http.StatusMethodNotAllowed, "")
		if got := res.Header.Get("Allow"); got != want {
			t.Errorf("%s: got Allow %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{"/api/v1/", "/api/v1", "/api/v1/filters/", "/api/v1/filters/a/b", "/api/v2/events", "/debug/pprof/a/b", "/debug"} {
		wantProblem(t, ask(h, "GET", path, "", "Authorization", "Bearer admin"), http.StatusNotFound, "")
	}
	res := ask(h, "HEAD", "/api/v1/filters", "", "Authorization", "Bearer admin")
	if res.StatusCode != http.StatusOK {
		t.Errorf("HEAD: got status %d", res.StatusCode)
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	h := newWorld().handler()
	for given, kept := range map[string]bool{"abc-1.2:3": true, "": false, "a b": false, "-a": false, strings.Repeat("x", 129): false, "a\u00e9": false} {
		res, _ := exchange(t, h, "GET", "/api/v1/stats", "", "X-Request-Id", given)
		got := res.Header.Get("X-Request-Id")
		if got == "" || (got == given) != kept {
			t.Errorf("sent %q, got %q", given, got)
		}
	}
}

func TestOpenAPIIsServedToAll(t *testing.T) {
	t.Parallel()
	h := newWorld().handler()
	res := ask(h, "GET", "/api/v1/openapi.json", "")
	if res.StatusCode != http.StatusOK || bodyOf(t, res) != string(openAPI) {
		t.Errorf("got status %d", res.StatusCode)
	}
	wantProblem(t, ask(NewAdmin(AdminConfig{}), "GET", "/api/v1/openapi.json", ""), http.StatusNotFound, "")
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld()
	h := w.handler()
	for _, c := range []struct {
		path   string
		status int
	}{
		{"/debug/pprof/", 200},
		{"/debug/pprof/heap", 200},
		{"/debug/pprof/goroutine?debug=1", 200},
		{"/debug/pprof/symbol", 200},
		{"/debug/pprof/cmdline", 404}, // a command line may hold a secret
		{"/debug/pprof/none", 404},
		{"/debug/pprof/profile?seconds=61", 400},
		{"/debug/pprof/profile?seconds=NaN", 400},
		{"/debug/pprof/trace?seconds=1e9", 400},
		{"/debug/pprof/heap?seconds=-1", 400},
		{"/debug/pprof/profile?seconds=0.5", 400},
		{"/debug/pprof/profile?seconds=0", 400},
		{"/debug/pprof/trace?seconds=1", 200},
	} {
		if res, body := exchange(t, h, "GET", c.path, ""); res.StatusCode != c.status {
			t.Errorf("%s: got status %d, want %d: %.200s", c.path, res.StatusCode, c.status, body)
		}
		if res, _ := exchange(t, h, "GET", c.path, "", "Authorization", "Bearer publisher"); res.StatusCode != http.StatusForbidden {
			t.Errorf("%s: got status %d for no admin", c.path, res.StatusCode)
		}
	}
	if i := slices.IndexFunc(w.audit, func(r auth.Record) bool { return r.Action == "getProfile" && r.Outcome == auth.Succeeded }); i < 0 {
		t.Errorf("no profile in the audit: %v", w.audit)
	}
}
