package auth

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConfigSign(t *testing.T) {
	t.Parallel()
	full := Config{Secret: testSecret, Algorithms: []string{"HS512", "HS256"}, Issuer: "studio", Audience: "bus", RequireExpiry: true}
	token, err := full.Sign(Identity{UserID: "alice"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := newVerifier(t, full).Verify(t.Context(), token)
	if err != nil || id.UserID != "alice" {
		t.Errorf("verified by the same Config: got %+v, %v", id, err)
	}
	for _, other := range []Config{
		{Secret: testSecret, Algorithms: []string{"HS256"}},
		{Secret: testSecret, Algorithms: []string{"HS512"}, Issuer: "other"},
		{Secret: testSecret, Algorithms: []string{"HS512"}, Audience: "other"},
	} {
		if _, err := newVerifier(t, other).Verify(t.Context(), token); !errors.Is(err, ErrInvalid) {
			t.Errorf("verified by %+v: got %v, want ErrInvalid", other, err)
		}
	}
	plain, err := Sign(testSecret, Identity{UserID: "alice"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newVerifier(t, full).Verify(t.Context(), plain); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token without iss and aud: got %v, want ErrInvalid", err)
	}
}

func TestConfigSignRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		ttl  time.Duration
		want string
	}{
		{"no secret", Config{JWKSURL: "https://issuer.example/keys"}, time.Hour, "needs a secret"},
		{"algorithm of public keys", Config{Secret: testSecret, Algorithms: []string{"RS256"}}, time.Hour, "RS256 needs public keys"},
		{"unknown algorithm", Config{Secret: testSecret, Algorithms: []string{"HS1"}}, time.Hour, `"HS1" is not supported`},
		{"no expiry where one is required", Config{Secret: testSecret, RequireExpiry: true}, 0, "needs a lifetime"},
	} {
		token, err := tt.cfg.Sign(Identity{UserID: "alice"}, tt.ttl)
		if err == nil || !strings.Contains(err.Error(), tt.want) || token != "" {
			t.Errorf("%s: got %q, %v, want an error with %q", tt.name, token, err, tt.want)
		}
	}
}
