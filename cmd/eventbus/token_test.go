package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// verify is what the service makes of a token.
func verify(t *testing.T, cfg auth.Config, token string) auth.Identity {
	t.Helper()
	verifier, err := auth.NewVerifier(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := verifier.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("%q: %v", token, err)
	}
	return id
}

func TestToken(t *testing.T) {
	t.Parallel()
	secret := auth.Config{Secret: []byte(testSecret)}
	for _, tt := range []struct {
		name string
		args []string
		cfg  auth.Config
		want auth.Identity // without Expires
		ttl  time.Duration
	}{
		{"user", nil, secret, auth.Identity{}, time.Hour},
		{
			"lists", []string{"--role", "admin,editor", "--role=x", "--permission", "photo:read:*, user:read:bob", "--permission", "event_bus:publish:*", "--ttl", "90m"},
			secret, auth.Identity{Roles: []string{"admin", "editor", "x"}, Permissions: []string{"photo:read:*", "user:read:bob", "event_bus:publish:*"}}, 90 * time.Minute,
		},
		{"for ever", []string{"--ttl=0"}, secret, auth.Identity{}, 0},
		{
			"what the service demands", []string{"--jwt-issuer", "studio", "--jwt-audience", "bus", "--jwt-algorithms", "HS512"},
			auth.Config{Secret: []byte(testSecret), Issuer: "studio", Audience: "bus", Algorithms: []string{"HS512"}}, auth.Identity{}, time.Hour,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, err := runToEnd(t, "", append([]string{"token", "--user", "alice", "--jwt-secret", testSecret}, tt.args...)...)
			token, isLine := strings.CutSuffix(out, "\n")
			if code != 0 || !isLine || strings.ContainsAny(token, " \n") {
				t.Fatalf("got %d, %q, %q, want a token alone", code, out, err)
			}
			id := verify(t, tt.cfg, token)
			if id.UserID != "alice" || !slices.Equal(id.Roles, tt.want.Roles) || !slices.Equal(id.Permissions, tt.want.Permissions) {
				t.Errorf("got %+v, want %+v", id, tt.want)
			}
			left := time.Until(id.Expires)
			if tt.ttl == 0 && !id.Expires.IsZero() || tt.ttl > 0 && (left > tt.ttl+time.Second || left < tt.ttl-time.Minute) {
				t.Errorf("expires %s, want in %s", id.Expires, tt.ttl)
			}
		})
	}
}

func TestTokenFromEnvironment(t *testing.T) {
	t.Setenv("JWT_SECRET", testSecret)
	t.Setenv("JWT_ISSUER", "studio")
	code, out, err := runToEnd(t, "", "token", "--user", "alice")
	if code != 0 || err != "" {
		t.Fatalf("got %d, %q", code, err)
	}
	verify(t, auth.Config{Secret: []byte(testSecret), Issuer: "studio"}, out)
}

func TestTokenProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		args string
		code int
		want []string
	}{
		{"everything", "--ttl=-1s", 2, []string{"user: none", "ttl: -1s", "JWT_SECRET"}},
		{"algorithm", "--user u --jwt-algorithms RS256 --jwt-secret " + testSecret, 2, []string{"RS256 needs public keys"}},
		{"long user", "--user " + strings.Repeat("u", 257) + " --jwt-secret " + testSecret, 1, []string{"the service would not take this token", "too long"}},
		{"large", "--user u --permission " + strings.Repeat("p", 256) + strings.Repeat(","+strings.Repeat("p", 255), 40) + " --jwt-secret " + testSecret, 1, []string{"the limit is"}},
		{"short secret", "--user u --jwt-secret short", 0, []string{"warning: jwt.secret has 5 bytes"}},
	} {
		code, out, err := runToEnd(t, "", append([]string{"token"}, strings.Fields(tt.args)...)...)
		if code != tt.code || (out == "") != (code != 0) {
			t.Errorf("%s: got %d, %q, want %d", tt.name, code, out, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(err, want) {
				t.Errorf("%s: got %q, want %q", tt.name, err, want)
			}
		}
	}
}
