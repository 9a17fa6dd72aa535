package web

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
)

func TestAPINeedsAToken(t *testing.T) {
	t.Parallel()
	for _, op := range newAPI(newWorld().config()).operations() {
		path := strings.NewReplacer("{id}", "x", "{room}", "r", "{socketId}", "s", "{profile}", "heap", "{$}", "").Replace(op.path)
		for _, c := range []struct {
			authorization []string
			status        int
			challenge     string
		}{
			{nil, 401, "Bearer"},
			{[]string{""}, 401, "Bearer"},
			{[]string{"admin"}, 401, "Bearer"},
			{[]string{"Basic admin"}, 401, "Bearer"},
			{[]string{"Bearer "}, 401, "Bearer"},
			{[]string{"Bearer admin", "Bearer admin"}, 401, "Bearer"},
			{[]string{"Bearer wrong"}, 401, `Bearer error="invalid_token"`},
			{[]string{"Bearer expired"}, 401, `Bearer error="invalid_token"`},
			{[]string{"Bearer jwks-down"}, 503, ""},
			{[]string{"Bearer publisher"}, 403, ""},
		} {
			if op.access != admins && c.status == 403 {
				continue
			}
			w := newWorld()
			h := w.handler()
			req := func() *http.Response { return askWith(h, op.method, path, c.authorization) }
			res := req()
			body := bodyOf(t, res)
			theDocument().verify(t, op.method, path, "", "", res, []byte(body))
			if res.StatusCode != c.status || res.Header.Get("WWW-Authenticate") != c.challenge {
				t.Errorf("%s %v: got status %d, challenge %q: %s", op.id, c.authorization, res.StatusCode, res.Header.Get("WWW-Authenticate"), body)
			}
			if done := w.done(); len(done) != 0 {
				t.Errorf("%s %v: it did %v", op.id, c.authorization, done)
			}
			if strings.Contains(body, "no route") {
				t.Errorf("%s: tells %s", op.id, body)
			}
		}
	}
	if body := bodyOf(t, askWith(newWorld().handler(), "GET", "/api/v1/stats", []string{"Bearer expired"})); !strings.Contains(body, "has expired") {
		t.Errorf("got %s", body)
	}
}

func TestAPILimits(t *testing.T) {
	t.Parallel()
	w := newWorld()
	var asked []string
	refuse := Limit("")
	cfg := w.config()
	cfg.Allow = func(_ context.Context, what Limit, caller string, n int) (bool, time.Duration) {
		asked = append(asked, fmt.Sprint(what, " ", caller, " ", n))
		return what != refuse, 2500 * time.Millisecond
	}
	h := admin(cfg)
	batch := `{"events":[{"event":` + goodEvent + `},{"event":` + goodEvent + `},{"event":1}]}`
	for _, c := range []struct {
		method, path, body, token string
		want                      []string
	}{
		{"GET", "/api/v1/stats", "", "admin", []string{"requests root 1"}},
		{"GET", "/api/v1/stats", "", "publisher", []string{"requests pat 1"}},
		{"POST", eventsPath, goodEvent, "publisher", []string{"events pat 1"}},
		{"POST", batchPath, batch, "publisher", []string{"events pat 1", "events pat 2"}},
		{"GET", "/api/v1/stats", "", "wrong", []string{"refused 192.0.2.1 1"}},
	} {
		asked = nil
		exchange(t, h, c.method, c.path, c.body, "Authorization", "Bearer "+c.token)
		if !slices.Equal(asked, c.want) {
			t.Errorf("%s %s: counted %v, want %v", c.path, c.token, asked, c.want)
		}
		refuse = Limit(strings.Fields(c.want[0])[0])
		before := len(w.done())
		res, body := exchange(t, h, c.method, c.path, c.body, "Authorization", "Bearer "+c.token)
		if res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "3" {
			t.Errorf("%s %s: got status %d, Retry-After %q: %s", c.path, c.token, res.StatusCode, res.Header.Get("Retry-After"), body)
		}
		if len(w.done()) != before {
			t.Errorf("%s %s: it did something", c.path, c.token)
		}
		refuse = ""
	}
}

func TestAPIBoundsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld()
	begun, release := make(chan struct{}), make(chan struct{})
	cfg := w.config()
	cfg.MaxInFlight = 1
	cfg.Stats = func(context.Context) (Stats, error) {
		close(begun)
		<-release
		return Stats{}, nil
	}
	h := admin(cfg)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ask(h, "GET", "/api/v1/stats", "", "Authorization", "Bearer admin")
	}()
	<-begun
	res, _ := exchange(t, h, "GET", "/api/v1/rules", "")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") != "1" {
		t.Errorf("got status %d", res.StatusCode)
	}
	close(release)
	<-done
	if res, _ := exchange(t, h, "GET", "/api/v1/rules", ""); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: got status %d", res.StatusCode)
	}
}

func TestAPIGivesEachCallADeadline(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := w.config()
	for _, op := range newAPI(cfg).operations() {
		if (op.timeout > 0 && op.timeout <= time.Minute) == op.profile {
			t.Errorf("%s: has a timeout of %v", op.id, op.timeout)
		}
	}
	var left time.Duration
	cfg.Stats = func(ctx context.Context) (Stats, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return Stats{}, nil
	}
	exchange(t, admin(cfg), "GET", "/api/v1/stats", "")
	if left <= 0 || left > callTimeout {
		t.Errorf("got %v", left)
	}
}

// Everything an admin changes is recorded, and everybody who was turned away; what is read is not.
func TestAudit(t *testing.T) {
	t.Parallel()
	for _, g := range good {
		w := newWorld()
		res, _ := exchange(t, w.handler(), g.method, "/api/v1"+g.path, g.body, "X-Request-Id", "r1")
		op, _ := theDocument().find(g.method, "/api/v1"+strings.Split(g.path, "?")[0])
		id, _ := theDocument().at(op.pointer + "/operationId")
		if g.method == "GET" || strings.HasPrefix(g.path, "/events") {
			if len(w.audit) != 0 {
				t.Errorf("%s: recorded %+v", id, w.audit)
			}
			continue
		}
		if len(w.audit) != 1 {
			t.Errorf("%s: recorded %+v", id, w.audit)
			continue
		}
		outcome, event := auth.Succeeded, auth.AdminAction
		if g.status >= 400 {
			outcome = auth.Failed
		}
		switch {
		case strings.HasSuffix(g.path, "/replay"):
			event = auth.DeadLetterReplayed
		case strings.HasPrefix(g.path, "/subscriptions"):
			event = auth.SubscriptionChanged
		case g.method == "POST" && g.path == "/revocations":
			event = auth.TokenRevoked
		}
		got := w.audit[0]
		path, _, _ := strings.Cut(g.path, "?")
		if got.Reason == "" && g.status >= 400 {
			t.Errorf("%s: has no reason", id)
		}
		got.Reason = ""
		want := auth.Record{Event: event, UserID: "root", TokenID: "t1", IP: "192.0.2.1", RequestID: "r1", Action: id.(string),
			Target: g.method + " /api/v1" + path, Status: res.StatusCode, Outcome: outcome}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}

	for _, c := range []struct {
		name, method, path, body, token string
		event                           auth.AuditEvent
		outcome, channel                string
	}{
		{"no token", "GET", "/stats", "", "", auth.AuthenticationFailed, "", ""},
		{"no admin", "GET", "/stats", "", "publisher", auth.AdminAction, auth.Denied, ""},
		{"channel", "POST", "/events?channel=c", goodEvent, "publisher", auth.ChannelAccessDenied, "", "c"},
		{"channel of a batch", "POST", "/events/batch", `{"events":[{"channel":"c","event":` + goodEvent + `}]}`, "publisher", auth.ChannelAccessDenied, "", "c"},
	} {
		w := newWorld()
		exchange(t, w.handler(), c.method, "/api/v1"+c.path, c.body, "Authorization", "Bearer "+c.token)
		if len(w.audit) != 1 || w.audit[0].Event != c.event || w.audit[0].Outcome != c.outcome || w.audit[0].Channel != c.channel {
			t.Errorf("%s: got %+v", c.name, w.audit)
		}
	}

	w := newWorld()
	cfg := w.config()
	cfg.Allow = func(context.Context, Limit, string, int) (bool, time.Duration) { return false, time.Second }
	exchange(t, admin(cfg), "GET", "/api/v1/stats", "")
	if len(w.audit) != 1 || w.audit[0].Event != auth.RateLimitExceeded {
		t.Errorf("got %+v", w.audit)
	}
}
