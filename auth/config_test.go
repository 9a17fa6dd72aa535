package auth

import (
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		cfg  Config
		want []string // in the error; none means valid
	}{
		{"secret", Config{Secret: testSecret}, nil},
		{"secret, all of its algorithms", Config{Secret: testSecret, Algorithms: []string{"HS256", "HS384", "HS512"}}, nil},
		{"key file", Config{KeyFile: "x", Algorithms: []string{"PS512", "EdDSA"}}, nil},
		{"key set", Config{JWKSURL: "https://issuer.example/jwks.json"}, nil},
		{"no source", Config{}, []string{"0 of secret, keyFile and jwksUrl"}},
		{"two sources", Config{Secret: testSecret, KeyFile: "x"}, []string{"2 of secret"}},
		{"none", Config{Secret: testSecret, Algorithms: []string{"none"}}, []string{`"none" is not supported`}},
		{"lower case", Config{Secret: testSecret, Algorithms: []string{"hs256"}}, []string{`"hs256" is not supported`}},
		{"HMAC with a key file", Config{KeyFile: "x", Algorithms: []string{"RS256", "HS256"}}, []string{"HS256 needs security.jwt.secret"}},
		{"HMAC with a key set", Config{JWKSURL: "https://a.example", Algorithms: []string{"HS512"}}, []string{"HS512 needs security.jwt.secret"}},
		{"public key algorithm with a secret", Config{Secret: testSecret, Algorithms: []string{"RS256"}}, []string{"RS256 needs public keys"}},
		{"relative address", Config{JWKSURL: "/jwks.json"}, []string{"jwt.jwksUrl"}},
		{"file address", Config{JWKSURL: "file:///etc/jwks.json"}, []string{"jwt.jwksUrl"}},
		{"times", Config{Secret: testSecret, Leeway: -1, JWKSRefresh: time.Second}, []string{"jwt.leeway", "jwt.jwksRefresh"}},
		{"all at once", Config{Algorithms: []string{"none", "HS256"}, Leeway: time.Hour},
			[]string{"set exactly one", `"none"`, "HS256", "jwt.leeway"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.cfg.Validate()
			if len(tt.want) == 0 && err != nil {
				t.Fatalf("got %v, want no error", err)
			}
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want it to say %q", err, want)
				}
			}
		})
	}
}

func TestConfigValidateHidesAddress(t *testing.T) {
	t.Parallel()
	err := Config{JWKSURL: "ftp://user:hunter2@issuer.example"}.Validate()
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the password", err)
	}
}

func TestConfigWeak(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  Config
		want string // empty means not weak
	}{
		{Config{Secret: testSecret}, ""},
		{Config{Secret: testSecret[:31]}, "use at least 32"},
		{Config{Secret: testSecret, Algorithms: []string{"HS256", "HS384"}}, "use at least 48"},
		{Config{Secret: testSecret, Algorithms: []string{"HS512"}}, "use at least 64"},
		{Config{KeyFile: "x"}, ""},
		{Config{JWKSURL: "https://issuer.example/"}, ""},
		{Config{JWKSURL: "http://127.0.0.1:8080/"}, ""},
		{Config{JWKSURL: "http://[::1]:8080/"}, ""},
		{Config{JWKSURL: "http://localhost/"}, ""},
		{Config{JWKSURL: "http://issuer.example/"}, "plain http"},
	} {
		got := tt.cfg.Weak()
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%v %s: got %q, want %q", tt.cfg.Algorithms, tt.cfg.JWKSURL, got, tt.want)
		}
		if strings.Contains(got, string(testSecret[:8])) {
			t.Errorf("got %q, which shows the secret", got)
		}
	}
}
