package engineio

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestHandshake(t *testing.T) {
	opts := Options{PingInterval: 7 * time.Second, PingTimeout: 3 * time.Second, MaxPayload: 12345}
	check := func(t *testing.T, got open, conn *Conn, transport string, upgrades []string) {
		t.Helper()
		if got.PingInterval != 7000 || got.PingTimeout != 3000 || got.MaxPayload != 12345 {
			t.Errorf("OPEN: got %+v, want 7000 ms, 3000 ms and 12345 bytes", got)
		}
		if got.Upgrades == nil || !slices.Equal(got.Upgrades, upgrades) {
			t.Errorf("upgrades: got %#v, want %#v", got.Upgrades, upgrades)
		}
		if len(got.SID) < 20 || conn.ID() != got.SID {
			t.Errorf("sid: got %q, and %q at the server, want the same 20 characters", got.SID, conn.ID())
		}
		if got := conn.Transport(); got != transport {
			t.Errorf("transport: got %q, want %q", got, transport)
		}
	}
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, opts, nil)
		got := h.do("GET", "EIO=4&transport=polling", "", nil)
		if ct := got.header.Get("Content-Type"); got.status != 200 || ct != "text/plain; charset=UTF-8" {
			t.Errorf("got %d %s, want 200 text/plain; charset=UTF-8", got.status, ct)
		}
		o := parseOpen(t, got.body)
		check(t, o, h.recorder(o.SID).conn, Polling, []string{WebSocket})

		c := h.connect("EIO=4&transport=websocket")
		o = parseOpen(t, c.readText())
		check(t, o, h.recorder(o.SID).conn, WebSocket, []string{})
		if got := h.Len(); got != 2 {
			t.Errorf("Len: got %d, want 2", got)
		}
	})
}

func TestHandshakeIsTurnedAwayWhenFull(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{MaxConnections: 2}, nil)
	first := h.connect("EIO=4&transport=websocket")
	first.readText()
	o := parseOpen(t, h.do("GET", "EIO=4&transport=polling", "", nil).body)
	got := h.do("GET", "EIO=4&transport=polling", "", nil)
	if got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("one too many polls: got %d, want 503 with Retry-After", got.status)
	}
	if _, err := h.tryConnect("EIO=4&transport=websocket"); err != ws.StatusError(503) {
		t.Errorf("one too many websockets: got %v, want status 503", err)
	}
	if n := h.TurnedAway(); n != 2 {
		t.Errorf("TurnedAway: got %d, want 2", n)
	}
	if got := h.do("POST", "EIO=4&transport=polling&sid="+o.SID, "4still here", nil); got.status != 200 {
		t.Errorf("one of those who are in: got %d, want 200", got.status)
	}
	h.recorder(o.SID).conn.Close()
	eventually(t, "there is room again", func() bool { return h.Len() < 2 })
	if got := h.do("GET", "EIO=4&transport=polling", "", nil); got.status != 200 {
		t.Errorf("when there is room again: got %d, want 200", got.status)
	}
}

func TestHandshakeOffersOnlyListedTransports(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{Transports: []string{Polling}}, nil)
	if o := parseOpen(t, h.do("GET", "EIO=4&transport=polling", "", nil).body); len(o.Upgrades) != 0 {
		t.Errorf("upgrades: got %v, want none", o.Upgrades)
	}
	if _, err := h.tryConnect("EIO=4&transport=websocket"); err != ws.StatusError(400) {
		t.Errorf("websocket: got %v, want status 400", err)
	}
	h = serve(t, Options{Transports: []string{WebSocket}}, nil)
	got := h.do("GET", "EIO=4&transport=polling", "", nil)
	if want := `{"code":0,"message":"Transport unknown"}`; got.status != 400 || got.body != want {
		t.Errorf("polling: got %d %s, want 400 %s", got.status, got.body, want)
	}
}

// upgradeHeader asks for a websocket.
var upgradeHeader = http.Header{
	"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
	"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Version": {"13"},
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{AllowRequest: func(r *http.Request) error {
		if r.Header.Get("Origin") == "https://evil.example" {
			return errors.New("no \"evil\" here")
		}
		return nil
	}}, nil)
	session := "&sid=" + h.polling().conn.ID()
	forbidden := http.Header{"Origin": {"https://evil.example"}}
	const (
		unknownTransport = `{"code":0,"message":"Transport unknown"}`
		unknownSID       = `{"code":1,"message":"Session ID unknown"}`
		badMethod        = `{"code":2,"message":"Bad handshake method"}`
		badRequest       = `{"code":3,"message":"Bad request"}`
		refused          = `{"code":4,"message":"no \"evil\" here"}`
		unsupported      = `{"code":5,"message":"Unsupported protocol version"}`
	)
	for _, test := range []struct {
		name, method, query string
		header              http.Header
		status              int
		body                string
	}{
		{"no transport", "GET", "EIO=4", nil, 400, unknownTransport},
		{"unknown transport", "GET", "EIO=4&transport=abc", nil, 400, unknownTransport},
		{"unknown transport, websocket", "GET", "EIO=4&transport=abc", upgradeHeader, 400, unknownTransport},
		{"webtransport", "GET", "EIO=4&transport=webtransport", nil, 400, unknownTransport},
		{"unknown sid", "GET", "EIO=4&transport=polling&sid=x", nil, 400, unknownSID},
		{"unknown sid, post", "POST", "EIO=4&transport=polling&sid=x", nil, 400, unknownSID},
		{"unknown sid, upgrade", "GET", "EIO=4&transport=websocket&sid=x", upgradeHeader, 400, unknownSID},
		{"POST", "POST", "EIO=4&transport=polling", nil, 400, badMethod},
		{"PUT", "PUT", "EIO=4&transport=polling", nil, 400, badMethod},
		{"websocket without upgrade", "GET", "EIO=4&transport=websocket", nil, 400, badRequest},
		{"polling with upgrade", "GET", "EIO=4&transport=polling", upgradeHeader, 400, badRequest},
		{"other transport than the session's", "GET", "EIO=4&transport=websocket" + session, nil, 400, badRequest},
		{"session upgrade to polling", "GET", "EIO=4&transport=polling" + session, upgradeHeader, 400, badRequest},
		{"session with another protocol", "GET", "EIO=3&transport=polling" + session, nil, 400, badRequest},
		{"session without protocol", "GET", "transport=polling" + session, nil, 400, badRequest},
		{"no protocol", "GET", "transport=polling", nil, 400, unsupported},
		{"protocol 3", "GET", "EIO=3&transport=polling", nil, 400, unsupported},
		{"protocol abc, websocket", "GET", "EIO=abc&transport=websocket", upgradeHeader, 400, unsupported},
		{"not allowed", "GET", "EIO=4&transport=polling", forbidden, 403, refused},
		{"not allowed, and protocol 3", "GET", "EIO=3&transport=polling", forbidden, 403, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := h.do(test.method, test.query, "", test.header)
			if got.status != test.status || got.body != test.body {
				t.Errorf("got %d %s, want %d %s", got.status, got.body, test.status, test.body)
			}
			if ct := got.header.Get("Content-Type"); ct != "application/json" {
				t.Errorf("Content-Type: got %q, want application/json", ct)
			}
		})
	}
	if got := h.Len(); got != 1 {
		t.Errorf("Len: got %d, want 1: nothing but the session", got)
	}
}

func TestMalformedUpgrade(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	for name, want := range map[string]struct {
		key, version string
		status       int
	}{
		"short key":     {"AAAA", "13", 400},
		"other version": {"AAAAAAAAAAAAAAAAAAAAAA==", "8", 426},
	} {
		header := upgradeHeader.Clone()
		header.Set("Sec-WebSocket-Key", want.key)
		header.Set("Sec-WebSocket-Version", want.version)
		if got := h.do("GET", "EIO=4&transport=websocket", "", header); got.status != want.status {
			t.Errorf("%s: got %d, want %d", name, got.status, want.status)
		}
	}
	if got := h.Len(); got != 0 {
		t.Errorf("Len: got %d, want 0", got)
	}
}

func TestHandshakeIsKept(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{Headers: []string{"x-tenant", "Cookie"}}, nil)
	header := http.Header{"X-Tenant": {"a", "b"}, "Authorization": {"Bearer secret"}}
	got := h.do("GET", "EIO=4&transport=polling&room=7", "", header)
	hs := h.recorder(parseOpen(t, got.body).SID).conn.Handshake()
	if want := []string{"a", "b"}; len(hs.Header) != 1 || !slices.Equal(hs.Header.Values("X-Tenant"), want) {
		t.Errorf("Header: got %v, want X-Tenant %v alone", hs.Header, want)
	}
	if want := "EIO=4&transport=polling&room=7"; hs.Query != want {
		t.Errorf("Query: got %q, want %q", hs.Query, want)
	}
	if !strings.HasPrefix(hs.RemoteAddr, "127.0.0.1:") {
		t.Errorf("RemoteAddr: got %q, want 127.0.0.1:port", hs.RemoteAddr)
	}
}

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("zero options: got %v, want nil", err)
	}
	bad := Options{PingInterval: -1, PingTimeout: -1, UpgradeTimeout: -1, MaxPayload: -1, MaxQueue: -1, MaxConnections: -1,
		Transports: []string{Polling, "smoke"}, CORSOrigins: []string{"*", "null", "https://a.example:8443", "capacitor://localhost", "https://b.example/", "c.example", "https://*.d.example"}}
	_, err := New(bad, nil)
	if err == nil {
		t.Fatal("got nil, want an error")
	}
	for _, want := range []string{"websocket.pingInterval", "websocket.pingTimeout", "UpgradeTimeout", "websocket.maxPayload", "websocket.maxQueue", "performance.connectionLimit", `"smoke"`, `"https://b.example/"`, `"c.example"`, `"https://*.d.example"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want a word on %s", err, want)
		}
	}
	if n := strings.Count(err.Error(), "corsOrigins"); n != 3 {
		t.Errorf("%d origins are refused, want 3: %v", n, err)
	}
}

func TestNotRunning(t *testing.T) {
	t.Parallel()
	s, err := New(Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(s)
	defer web.Close()
	refused := func(when string) {
		t.Helper()
		for query, header := range map[string]http.Header{
			"EIO=4&transport=polling": nil, "EIO=4&transport=websocket": upgradeHeader,
		} {
			got := (&harness{t: t, web: web}).do("GET", query, "", header)
			if got.status != 503 || got.header.Get("Retry-After") == "" {
				t.Errorf("%s, %s: got %d, want 503 with Retry-After", when, query, got.status)
			}
		}
	}
	refused("before Run")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	refused("after Run")
}

// Handlers of a Server that was never mounted behind a real listener are refused rather than half served.
func TestWebSocketNeedsHijacking(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	r := httptest.NewRequest("GET", "/?EIO=4&transport=websocket", nil)
	r.Header = upgradeHeader.Clone()
	w := httptest.NewRecorder() // cannot be hijacked, like HTTP/2
	h.ServeHTTP(w, r)
	if w.Code != 500 || h.Len() != 0 {
		t.Errorf("got %d and %d connections, want 500 and 0", w.Code, h.Len())
	}
}
