package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/photo-management/event-bus/events"
)

// loopback is a configuration for servers of tests.
var loopback = WebhookConfig{AllowHTTP: true, AllowPrivate: prefixes("127.0.0.0/8")}

func testSender(t *testing.T, cfg WebhookConfig) *sender {
	t.Helper()
	s := newSender(cfg)
	t.Cleanup(s.close)
	return s
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func TestPost(t *testing.T) {
	t.Parallel()
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	ev, err := events.Decode([]byte(`{"id":"e-1","type":"photo.deleted","data":{"photoId":"p"},"metadata":{"source":"t","version":"1.0","traceparent":"`+trace+`"},"extra":1}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *http.Request, 1)
	body := make(chan string, 1)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r
		body <- string(b)
		w.WriteHeader(http.StatusNoContent)
	})
	hook := &Webhook{URL: srv.URL + "/in?token=x", Secret: secret, Headers: map[string]string{"Authorization": "Bearer t"}}
	if err := testSender(t, loopback).post(t.Context(), hook, "thumbs", ev); err != nil {
		t.Fatal(err)
	}
	r, b := <-got, <-body
	if b != string(ev.Raw()) {
		t.Errorf("body %s", b)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Webhook-Id": "thumbs:e-1", "Traceparent": trace, "Authorization": "Bearer t", "User-Agent": "eventbus-webhooks/1",
	} {
		if r.Header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, r.Header.Get(name), want)
		}
	}
	// As a receiver checks it, by the text of Standard Webhooks.
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(r.Header.Get("Webhook-Id") + "." + r.Header.Get("Webhook-Timestamp") + "." + b))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("Webhook-Signature") != want {
		t.Errorf("signature %q, want %q", r.Header.Get("Webhook-Signature"), want)
	}
	if r.Method != http.MethodPost || r.URL.RawQuery != "token=x" {
		t.Errorf("%s %s", r.Method, r.URL)
	}
}

// The example of the Standard Webhooks specification's libraries.
func TestSignIsStandardWebhooks(t *testing.T) {
	t.Parallel()
	key, err := signingKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestMessageID(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, id := range []string{"e-1", "e.1", "e:1", "~1", "a\nb", "ü", strings.Repeat("x", 129), `"`, " "} {
		got := messageID("sub", id)
		if strings.ContainsAny(got, ".\n \"ü") || len(got) > 200 || seen[got] != "" {
			t.Errorf("%q has %q, as %q", id, got, seen[got])
		}
		seen[got] = id
	}
	if messageID("sub", "e-1") != "sub:e-1" {
		t.Error("an ordinary id is not kept")
	}
}

func TestPostFailures(t *testing.T) {
	t.Parallel()
	var elsewhere atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	release := make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/301", "/302", "/307", "/308":
			w.Header().Set("Location", other.URL)
			w.WriteHeader(map[string]int{"/301": 301, "/302": 302, "/307": 307, "/308": 308}[r.URL.Path])
		case "/429":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		case "/429date":
			w.Header().Set("Retry-After", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
			w.WriteHeader(429)
		case "/503after":
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(503)
		case "/hang":
			select {
			case <-r.Context().Done():
			case <-release:
			}
		case "/cut":
			conn, _, _ := w.(http.Hijacker).Hijack()
			conn.Close()
		case "/junk": // quotes what it was sent
			conn, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(conn, "hush hush hush\r\n\r\n")
			conn.Close()
		case "/large":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 100<<20))
		case "/trickle":
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
				time.Sleep(time.Millisecond)
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("hush", 100<<10))
		default:
			var status int
			for _, c := range r.URL.Path[1:] {
				status = status*10 + int(c-'0')
			}
			w.WriteHeader(status)
		}
	})
	t.Cleanup(func() { close(release) })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	tls := httptest.NewUnstartedServer(http.NotFoundHandler())
	tls.Config.ErrorLog = log.New(io.Discard, "", 0)
	tls.StartTLS()
	t.Cleanup(tls.Close)

	s := testSender(t, loopback)
	for path, want := range map[string]struct {
		category  Category
		permanent bool
		after     time.Duration
		ok        bool
	}{
		"/200": {ok: true}, "/201": {ok: true}, "/299": {ok: true}, "/large": {ok: true}, "/trickle": {ok: true},
		"/301": {CategoryUnknown, true, 0, false}, "/302": {CategoryUnknown, true, 0, false},
		"/307": {CategoryUnknown, true, 0, false}, "/308": {CategoryUnknown, true, 0, false},
		"/400": {CategoryUnknown, true, 0, false}, "/401": {CategoryUnknown, true, 0, false}, "/404": {CategoryUnknown, true, 0, false},
		"/410": {CategoryUnknown, true, 0, false},
		"/408": {CategoryTimeout, false, 0, false}, "/425": {CategoryUnknown, false, 0, false},
		"/429": {CategoryRateLimit, false, 7 * time.Second, false}, "/429date": {CategoryRateLimit, false, time.Hour, false},
		"/500": {CategoryUnknown, false, 0, false}, "/502": {CategoryNetwork, false, 0, false}, "/503": {CategoryNetwork, false, 0, false},
		"/503after": {CategoryRateLimit, false, 3 * time.Second, false}, "/504": {CategoryTimeout, false, 0, false},
		"/hang": {CategoryTimeout, false, 0, false}, "/cut": {CategoryNetwork, false, 0, false}, "/junk": {CategoryUnknown, false, 0, false},
		"/headers": {CategoryUnknown, false, 0, false},
		"refused":  {CategoryNetwork, false, 0, false}, "untrusted": {CategoryNetwork, false, 0, false},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			hook := &Webhook{URL: srv.URL + path + "?token=hush", Secret: "hushhushhushhush", Headers: map[string]string{"X-Key": "hush"}}
			switch path {
			case "/hang", "/trickle":
				hook.Timeout = 50
			case "refused":
				hook.URL = "http://" + closed.Addr().String() + "/?token=hush"
			case "untrusted":
				hook.URL = tls.URL + "/?token=hush"
			}
			err := s.post(context.Background(), hook, "s", eventOf(t, "e", "p"))
			if (err == nil) != want.ok {
				t.Fatalf("error %v, want success %v", err, want.ok)
			}
			if err == nil {
				return
			}
			limited, _ := errors.AsType[RateLimited](err)
			if CategoryOf(err) != want.category || isPermanent(err) != want.permanent || (want.after-limited.RetryAfter).Abs() > 2*time.Second {
				t.Errorf("%v is %s, permanent %v, after %s; want %+v", err, CategoryOf(err), isPermanent(err), limited.RetryAfter, want)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
	t.Cleanup(func() {
		if n := elsewhere.Load(); n != 0 {
			t.Errorf("%d redirects were followed", n)
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// What HTTP_PROXY names is not asked: it would connect for us, and look no address up.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	s := testSender(t, loopback)
	if s.transport.Proxy != nil {
		t.Error("a proxy is used")
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "5": 5 * time.Second, "-5": 0, "x": 0, "99999999999": 0, "4294967295": maxDelay,
		now.Add(time.Minute).UTC().Format(http.TimeFormat): time.Minute, now.Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
	} {
		if got := parseRetryAfter(text, now); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
