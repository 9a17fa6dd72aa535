package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/photo-management/event-bus/auth"
)

func TestAuthentication(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	good := token(t, "alice")
	stranger, err := auth.Sign([]byte("another secret of thirty-two bytes"), auth.Identity{UserID: "alice"}, 0)
	must(t, err)
	const required, invalid = `4{"message":"Authentication required"}`, `4{"message":"Invalid token"}`
	tests := []struct {
		name, header, auth string
		want               string // nothing means that the client is let in
	}{
		{"token", "", `{"token":"` + good + `"}`, ""},
		{"token with Bearer", "", `{"token":"bearer ` + good + `"}`, ""},
		{"header", good, ``, ""},
		{"header with Bearer", "Bearer " + good, ``, ""},
		{"header beside an empty auth", "Bearer " + good, `{}`, ""},
		{"header beside an empty token", "Bearer " + good, `{"token":""}`, ""},
		{"header beside a token that is null", "Bearer " + good, `{"token":null}`, ""},
		{"token wins over a bad header", "Bearer " + stranger, `{"token":"` + good + `"}`, ""},
		{"bad token wins over the header", "Bearer " + good, `{"token":"` + stranger + `"}`, invalid},
		{"nothing", "", ``, required},
		{"no token", "", `{"user":"alice"}`, required},
		{"empty token", "", `{"token":""}`, required},
		{"only Bearer", "Bearer ", ``, required},
		{"garbage", "", `{"token":"garbage"}`, invalid},
		{"foreign signature", "", `{"token":"` + stranger + `"}`, invalid},
		{"expired", "", `{"token":"` + tokenUntil(t, time.Now().Add(-time.Hour)) + `"}`, invalid},
		{"number", "", `{"token":5}`, invalid},
		{"huge number", "", `{"token":1e999}`, invalid},
		{"object", "Bearer " + good, `{"token":{"a":1}}`, invalid},
		{"100,000 characters", "", `{"token":"` + strings.Repeat("x", 100_000) + `"}`, invalid},
	}
	refused := map[string]float64{}
	for _, tt := range tests {
		refused[tt.want]++
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.header != "" {
				header.Set("Authorization", tt.header)
			}
			c := b.dial(t, header)
			if tt.want == "" {
				c.enter(tt.auth)
				c.quiet()
				return
			}
			c.send("0" + tt.auth)
			if got := c.next(); got != tt.want {
				t.Errorf("answered with %s, want %s", got, tt.want)
			}
			c.enter(`{"token":"` + good + `"}`) // the connection stays, for a better token
		})
	}
	b.wantMetric(refused[required], "connections_refused_total", "reason", "no_token")
	b.wantMetric(refused[invalid], "connections_refused_total", "reason", "invalid_token")
	b.wantMetric(0, "connections_refused_total", "reason", "unavailable")
	if n := b.logs.Len(); n > 0 {
		t.Errorf("%d lines in the log about clients' tokens, want none: %v", n, b.logs.All())
	}
}

// That keys cannot be fetched is our own fault, and reads so.
func TestVerifierUnavailable(t *testing.T) {
	t.Parallel()
	issuer := httptest.NewServer(http.NotFoundHandler())
	defer issuer.Close()
	b := start(t, setup{jwt: auth.Config{JWKSURL: issuer.URL + "/keys?secret=hidden"}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": "alice"}).SignedString(key)
	must(t, err)
	c := b.dial(t, nil)
	for range 3 {
		c.send(`0{"token":"` + signed + `"}`)
		if got, want := c.next(), `4{"message":"Authentication failed"}`; got != want {
			t.Errorf("answered with %s, want %s", got, want)
		}
	}
	b.wantMetric(3, "connections_refused_total", "reason", "unavailable")
	lines := b.logs.FilterMessage("token not verified").All()
	if len(lines) != 1 {
		t.Fatalf("%d log lines, want one a burst", len(lines))
	}
	if text, _ := json.Marshal(lines[0].ContextMap()); strings.Contains(string(text), "hidden") || strings.Contains(string(text), signed) {
		t.Errorf("the log tells a secret: %s", text)
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	b := start(t, setup{limit: auth.LimitConfig{Enabled: true, Max: 2, Window: time.Hour}})
	alice := token(t, "alice")
	b.connect(t, alice)
	b.connect(t, alice)
	c := b.dial(t, nil)
	c.send(`0{"token":"` + alice + `"}`)
	var refusal struct {
		Message string
		Data    map[string]any
	}
	got := c.next()
	if !strings.HasPrefix(got, "4{") || json.Unmarshal([]byte(got[1:]), &refusal) != nil {
		t.Fatalf("answered with %s, want a connect_error", got)
	}
	// Half of the hour restores one of the two; nobody is that slow.
	seconds, ok := refusal.Data["retryAfter"].(float64)
	if refusal.Message != "Rate limit exceeded" || !ok || seconds < 1700 || seconds > 1800 || seconds != float64(int(seconds)) {
		t.Errorf("answered with %s, want Rate limit exceeded and a retryAfter of up to 1800 s", got)
	}
	b.connect(t, token(t, "bob")).quiet() // others are not to blame
	b.wantMetric(1, "connections_refused_total", "reason", "rate_limit")

	c.send(`0{"token":"garbage"}`) // what is no token does not count against anybody
	if got, want := c.next(), `4{"message":"Invalid token"}`; got != want {
		t.Errorf("answered with %s, want %s", got, want)
	}
}

// Nobody gets at anything without a token.
func TestEventsBeforeConnect(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.dial(t, nil)
	c.send(`20["subscribe:photo",{"photoId":"p"}]`)
	c.wantClosed()
	refused := b.dial(t, nil)
	refused.send(`0{"token":"garbage"}`)
	refused.next()
	refused.send(`20["subscribe:photo",{"photoId":"p"}]`)
	refused.wantClosed()
	b.wantMetric(0, "active_rooms_total")
}
