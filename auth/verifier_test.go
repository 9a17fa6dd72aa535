package auth

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestVerifyAlgorithms signs with every algorithm, and checks each token with the keys of every other.
func TestVerifyAlgorithms(t *testing.T) {
	t.Parallel()
	k := keys()
	private := func(alg string) any {
		switch {
		case alg[:2] == "HS":
			return testSecret
		case alg == "ES256":
			return k.p256
		case alg == "ES384":
			return k.p384
		case alg == "ES512":
			return k.p521
		case alg == "EdDSA":
			return k.ed25519
		}
		return k.rsa
	}
	for _, alg := range supported {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Algorithms: []string{alg}, Secret: testSecret}
			if alg[:2] != "HS" {
				cfg = Config{Algorithms: []string{alg}, KeyFile: writeFile(t, publicPEM(t, private(alg).(crypto.Signer)))}
			}
			v := newVerifier(t, cfg)
			for _, signed := range supported {
				id, err := v.Verify(t.Context(), sign(t, signed, private(signed), nil, alice()))
				if signed == alg && (err != nil || id.UserID != "alice") {
					t.Errorf("own token: got %q, %v, want alice", id.UserID, err)
				}
				if signed != alg && !errors.Is(err, ErrInvalid) {
					t.Errorf("token signed with %s: got %v, want ErrInvalid", signed, err)
				}
			}
		})
	}
}

func TestVerifyForgeries(t *testing.T) {
	t.Parallel()
	k := keys()
	public := publicPEM(t, k.rsa)
	hmac, rsa := newVerifier(t, Config{Secret: testSecret}), newVerifier(t, Config{KeyFile: writeFile(t, public)})
	good := sign(t, "HS256", testSecret, nil, alice())
	head, rest, _ := strings.Cut(good, ".")
	body, sig, _ := strings.Cut(rest, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	other := b64([]byte(`{"userId":"mallory"}`))
	// A signature of 32 bytes leaves two bits of its last character unused, and zero.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	respelled := good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, good[len(good)-1])+1])
	for _, tt := range []struct {
		name  string
		v     *Verifier
		token string
	}{
		{"none", hmac, sign(t, "none", jwt.UnsafeAllowNoneSignatureType, nil, alice())},
		{"none for public keys", rsa, sign(t, "none", jwt.UnsafeAllowNoneSignatureType, nil, alice())},
		{"none with a signature", hmac, b64([]byte(`{"alg":"none"}`)) + "." + body + "." + sig},
		{"public key as secret", rsa, sign(t, "HS256", public, nil, alice())},
		{"public key of its own in the header", rsa, sign(t, "ES256", k.p256, map[string]any{"jwk": "{}"}, alice())},
		{"another secret", hmac, sign(t, "HS256", []byte("another"), nil, alice())},
		{"another algorithm of the secret", hmac, sign(t, "HS512", testSecret, nil, alice())},
		{"critical extension", hmac, sign(t, "HS256", testSecret, map[string]any{"crit": []string{"b64"}, "b64": false}, alice())},
		{"unknown algorithm", hmac, b64([]byte(`{"alg":"XS1"}`)) + "." + body + "." + sig},
		{"no algorithm", hmac, b64([]byte(`{}`)) + "." + body + "." + sig},
		{"algorithm a number", hmac, b64([]byte(`{"alg":256}`)) + "." + body + "." + sig},
		{"null header", hmac, b64([]byte(`null`)) + "." + body + "." + sig},
		{"other claims", hmac, head + "." + other + "." + sig},
		{"no signature", hmac, head + "." + body + "."},
		{"cut signature", hmac, good[:len(good)-1]},
		{"two parts", hmac, head + "." + body},
		{"four parts", hmac, good + ".x"},
		{"no parts", hmac, "token"},
		{"dots", hmac, ".."},
		{"bad base64", hmac, head + ".!." + sig},
		{"another spelling", hmac, respelled},
		{"padding", hmac, good + "="},
		{"other scheme", hmac, "Basic " + good},
		{"oversized", hmac, strings.Repeat("x", maxToken+1)},
		{"oversized, well signed", hmac, sign(t, "HS256", testSecret, nil, jwt.MapClaims{"userId": "a", "x": strings.Repeat("x", maxToken)})},
		{"deeply nested", hmac, b64([]byte(strings.Repeat("[", 5000))) + "." + body + "." + sig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, err := tt.v.Verify(t.Context(), tt.token)
			if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrExpired) || id.UserID != "" {
				t.Errorf("got %+v, %v, want ErrInvalid", id, err)
			}
			if got := Message(err); got != "Invalid token" {
				t.Errorf("got message %q", got)
			}
		})
	}
}

func TestVerifyPrefix(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{Secret: testSecret})
	good := sign(t, "HS256", testSecret, nil, alice())
	for _, prefix := range []string{"", "Bearer ", "bearer ", "BEARER ", " Bearer   "} {
		if id, err := v.Verify(t.Context(), prefix+good); err != nil || id.UserID != "alice" {
			t.Errorf("prefix %q: got %q, %v", prefix, id.UserID, err)
		}
	}
	for _, token := range []string{"", " ", "Bearer", "Bearer ", "bearer   "} {
		_, err := v.Verify(t.Context(), token)
		if !errors.Is(err, ErrMissing) || Message(err) != "Authentication required" {
			t.Errorf("token %q: got %v, want ErrMissing", token, err)
		}
	}
}

func TestVerifyRules(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		strict := Config{Secret: testSecret, Issuer: "https://issuer.example", Audience: "bus", RequireExpiry: true}
		for _, tt := range []struct {
			name   string
			cfg    Config // the secret is filled in
			claims jwt.MapClaims
			want   error
		}{
			{"no exp", Config{}, jwt.MapClaims{}, nil},
			{"no exp, but required", Config{RequireExpiry: true}, jwt.MapClaims{}, ErrInvalid},
			{"null exp, but required", Config{RequireExpiry: true}, jwt.MapClaims{"exp": nil}, ErrInvalid},
			{"not expired", Config{}, jwt.MapClaims{"exp": in(time.Second)}, nil},
			{"expired within the leeway", Config{}, jwt.MapClaims{"exp": in(-4 * time.Second)}, nil},
			{"expired", Config{}, jwt.MapClaims{"exp": in(-5 * time.Second)}, ErrExpired},
			{"expired with another leeway", Config{Leeway: time.Second}, jwt.MapClaims{"exp": in(-time.Second)}, ErrExpired},
			{"expired at zero", Config{}, jwt.MapClaims{"exp": 0}, ErrExpired},
			{"expired before 1970", Config{}, jwt.MapClaims{"exp": -1}, ErrExpired},
			{"exp in milliseconds", Config{}, jwt.MapClaims{"exp": in(0) * 1000}, nil},
			{"exp a fraction", Config{}, jwt.MapClaims{"exp": float64(in(1)) + 0.5}, nil},
			{"exp no date", Config{}, jwt.MapClaims{"exp": 1e300}, ErrInvalid},
			{"exp a string", Config{}, jwt.MapClaims{"exp": "never"}, ErrInvalid},
			{"nbf past", Config{}, jwt.MapClaims{"nbf": in(-time.Second)}, nil},
			{"nbf within the leeway", Config{}, jwt.MapClaims{"nbf": in(5 * time.Second)}, nil},
			{"nbf in the future", Config{}, jwt.MapClaims{"nbf": in(6 * time.Second)}, ErrInvalid},
			{"nbf a string", Config{}, jwt.MapClaims{"nbf": "0"}, ErrInvalid},
			{"strict", strict, jwt.MapClaims{"iss": strict.Issuer, "aud": "bus", "exp": in(1e9)}, nil},
			{"one audience of many", strict, jwt.MapClaims{"iss": strict.Issuer, "aud": []string{"a", "bus"}, "exp": in(1e9)}, nil},
			{"no issuer", strict, jwt.MapClaims{"aud": "bus", "exp": in(1e9)}, ErrInvalid},
			{"other issuer", strict, jwt.MapClaims{"iss": strict.Issuer + "/", "aud": "bus", "exp": in(1e9)}, ErrInvalid},
			{"issuer a list", strict, jwt.MapClaims{"iss": []string{strict.Issuer}, "aud": "bus", "exp": in(1e9)}, ErrInvalid},
			{"no audience", strict, jwt.MapClaims{"iss": strict.Issuer, "exp": in(1e9)}, ErrInvalid},
			{"empty audience", strict, jwt.MapClaims{"iss": strict.Issuer, "aud": []string{}, "exp": in(1e9)}, ErrInvalid},
			{"other audience", strict, jwt.MapClaims{"iss": strict.Issuer, "aud": "busses", "exp": in(1e9)}, ErrInvalid},
			{"audience a number", strict, jwt.MapClaims{"iss": strict.Issuer, "aud": 1, "exp": in(1e9)}, ErrInvalid},
			{"issuer and audience nobody asked for", Config{}, jwt.MapClaims{"iss": "x", "aud": "y"}, nil},
		} {
			tt.cfg.Secret = testSecret
			tt.claims["sub"] = "alice"
			_, err := newVerifier(t, tt.cfg).Verify(t.Context(), sign(t, "HS256", testSecret, nil, tt.claims))
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
			if tt.want == ErrInvalid && errors.Is(err, ErrExpired) {
				t.Errorf("%s: got ErrExpired", tt.name)
			}
		}
		// Expired is what a fresh token would mend. This one has the wrong issuer too.
		_, err := newVerifier(t, strict).Verify(t.Context(), sign(t, "HS256", testSecret, nil,
			jwt.MapClaims{"sub": "alice", "iss": "x", "aud": "bus", "exp": in(-time.Hour)}))
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrExpired) {
			t.Errorf("expired with the wrong issuer: got %v, want ErrInvalid alone", err)
		}
	})
}

func TestVerifyClaims(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{Secret: testSecret})
	long := strings.Repeat("x", maxID)
	many := `"a"` + strings.Repeat(`,"a"`, maxEntries-1)
	for _, tt := range []struct {
		claims string
		want   Identity // no UserID means ErrInvalid
	}{
		{`{"userId":"alice"}`, Identity{UserID: "alice"}},
		{`{"sub":"alice"}`, Identity{UserID: "alice"}},
		{`{"userId":"alice","sub":"bob"}`, Identity{UserID: "alice"}},
		{`{"userId":"","sub":"bob"}`, Identity{UserID: "bob"}},
		{`{"userId":null,"sub":"bob"}`, Identity{UserID: "bob"}},
		{`{"userId":42}`, Identity{UserID: "42"}},
		{`{"userId":"` + long + `"}`, Identity{UserID: long}},
		{`{"user\u0049d":"al\u0069ce"}`, Identity{UserID: "alice"}},
		{`{"userId":"alice","USERID":"mallory","UserId":"mallory"}`, Identity{UserID: "alice"}},
		{`{"userId":"mallory","userId":"alice"}`, Identity{UserID: "alice"}},
		{`{"userId":"alice","jti":"t-1"}`, Identity{UserID: "alice", TokenID: "t-1"}},
		{`{"userId":"alice","exp":4102444800}`, Identity{UserID: "alice", Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{`{"userId":"alice","iat":4102444800}`, Identity{UserID: "alice", Issued: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}},
		{`{"userId":"alice","iat":"2100-01-01"}`, Identity{UserID: "alice"}},
		{`{"userId":"a","roles":["x","y"],"permissions":["p","q\"r"]}`, Identity{UserID: "a", Roles: []string{"x", "y"}, Permissions: []string{"p", `q"r`}}},
		{`{"userId":"a","roles":"x","permissions":"p"}`, Identity{UserID: "a", Roles: []string{"x"}, Permissions: []string{"p"}}},
		{`{"userId":"a","roles":[],"permissions":null}`, Identity{UserID: "a", Roles: []string{}}},
		{`{"userId":"a","roles":["` + long + `"]}`, Identity{UserID: "a", Roles: []string{long}}},
		{`{"userId":"a","roles":[` + many + `]}`, Identity{UserID: "a", Roles: slices.Repeat([]string{"a"}, maxEntries)}},
		{`{}`, Identity{}},
		{`{"userId":""}`, Identity{}},
		{`{"userId":"` + long + `x"}`, Identity{}},
		{`{"userId":4.2}`, Identity{}},
		{`{"userId":-4}`, Identity{}},
		{`{"userId":["alice"]}`, Identity{}},
		{`{"userId":{"id":"alice"},"sub":"alice"}`, Identity{}},
		{`{"userId":true,"sub":"alice"}`, Identity{}},
		{"{\"userId\":\"\xff\"}", Identity{}},
		{`{"userId":"a","jti":"` + long + `x"}`, Identity{}},
		{`{"userId":"a","roles":["` + long + `x"]}`, Identity{}},
		{`{"userId":"a","roles":[` + many + `,"a"]}`, Identity{}},
		{`{"userId":"a","roles":[1]}`, Identity{}},
		{`{"userId":"a","roles":[["x"]]}`, Identity{}},
		{`{"userId":"a","permissions":{"p":true}}`, Identity{}},
		{`{"userId":"a","permissions":true}`, Identity{}},
		{`["userId","a"]`, Identity{}},
		{`"userId"`, Identity{}},
		{`null`, Identity{}},
		{`{"userId":"a"} x`, Identity{}},
		{``, Identity{}},
	} {
		got, err := v.Verify(t.Context(), signText(t, tt.claims))
		if tt.want.UserID == "" && !errors.Is(err, ErrInvalid) || tt.want.UserID != "" && err != nil {
			t.Errorf("%.80s: got error %v", tt.claims, err)
		}
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", tt.want) {
			t.Errorf("%.80s: got %+v, want %+v", tt.claims, got, tt.want)
		}
	}
}

// signText signs claims that need not be JSON.
func signText(t testing.TB, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(claims))
	sig, err := jwt.SigningMethodHS256.Sign(text, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// TestErrorsHoldNoToken feeds marks through all parts of a token and looks for them in the errors.
func TestErrorsHoldNoToken(t *testing.T) {
	t.Parallel()
	const mark = "MARKMARK"
	k := keys()
	set := newJWKSVerifier(t, Config{JWKSURL: "https://issuer.example/"}, respond(200, keySet(t, named{"k", k.p256})))
	stop := start(t, set)
	defer stop()
	hmac := newVerifier(t, Config{Secret: testSecret})
	for _, token := range []string{
		mark, mark + ".x.y", "Bearer " + mark,
		signText(t, `{"userId":["`+mark+`"]}`),
		signText(t, `{"userId":"`+strings.Repeat(mark, 99)+`"}`),
		signText(t, `{"userId":"`+mark+`","exp":1}`),
		signText(t, `{"userId":"`+mark+`","roles":[0]}`),
		sign(t, "HS256", []byte("x"), map[string]any{"kid": mark}, jwt.MapClaims{"sub": mark}),
		sign(t, "ES256", k.p256, map[string]any{"kid": mark}, jwt.MapClaims{"sub": mark}),
		sign(t, "ES256", k.p256, map[string]any{"kid": []string{mark}}, jwt.MapClaims{"sub": mark}),
	} {
		for _, v := range []*Verifier{hmac, set} {
			_, err := v.Verify(t.Context(), token)
			if err == nil || strings.Contains(err.Error(), mark) || strings.Contains(err.Error(), token) {
				t.Errorf("%.40s: got %v, want an error that does not quote it", token, err)
			}
		}
	}
}

// TestSharedListsAreSafe: an append to one identity's list must not be seen in another's.
func TestSharedListsAreSafe(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{Secret: testSecret})
	one, err1 := v.Verify(t.Context(), signText(t, `{"userId":"a","roles":["x","y","z"]}`))
	two, err2 := v.Verify(t.Context(), signText(t, `{"userId":"b","roles":["x","y","z"]}`))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if &one.Roles[0] != &two.Roles[0] {
		t.Error("equal lists are kept twice")
	}
	one.Roles = append(one.Roles, "admin")
	if two.Roles = append(two.Roles, "user"); one.HasRole("user") || two.HasRole("admin") {
		t.Errorf("got %v and %v", one.Roles, two.Roles)
	}
}

func TestListsAreBounded(t *testing.T) {
	t.Parallel()
	var l lists
	for i := range 3 * maxShared {
		list, ok := l.parse(fmt.Sprintf(`["photo:read:%d","common"]`, i))
		if !ok || list[1] != "common" {
			t.Fatalf("got %v, %v", list, ok)
		}
	}
	if long, ok := l.parse(`["` + strings.Repeat(`x`, 200) + strings.Repeat(`","y`, 400)[:1000] + `"]`); !ok || len(long) < 2 {
		t.Fatalf("got %v, %v", long, ok)
	}
	if len(l.shared) > maxShared {
		t.Errorf("got %d lists, want at most %d", len(l.shared), maxShared)
	}
	for text := range l.shared {
		if len(text) > maxSharedText {
			t.Errorf("a list of %d bytes is shared", len(text))
		}
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{Secret: testSecret, RequireExpiry: true})
	want := Identity{UserID: "alice", Roles: []string{"admin"}, Permissions: []string{"photo:read:*"}, TokenID: "t-1"}
	synctest.Test(t, func(t *testing.T) { // whose clock begins at a whole second
		token, err := Sign(testSecret, want, 1500*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		want.Issued, want.Expires = time.Now().UTC(), time.Now().Add(2*time.Second).UTC()
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		time.Sleep(7 * time.Second)
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, ErrExpired) || Message(err) != "Invalid token" {
			t.Errorf("after expiry and leeway: got %v, want ErrExpired", err)
		}
	})
	forever, err := Sign(testSecret, want, 0)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := newVerifier(t, Config{Secret: testSecret}).Verify(t.Context(), forever); err != nil || !id.Expires.IsZero() {
		t.Errorf("without a lifetime: got %v, %v", id.Expires, err)
	}
	for _, bad := range []func() (string, error){
		func() (string, error) { return Sign(nil, want, time.Hour) },
		func() (string, error) { return Sign(testSecret, Identity{}, time.Hour) },
		func() (string, error) { return Sign(testSecret, want, -1) },
	} {
		if token, err := bad(); err == nil {
			t.Errorf("got token %q, want an error", token)
		}
	}
}

func TestRunWithoutKeySet(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newVerifier(t, Config{Secret: testSecret}).Run(ctx); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

func TestMessage(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		ErrMissing:                          "Authentication required",
		ErrInvalid:                          "Invalid token",
		ErrExpired:                          "Invalid token",
		ErrUnavailable:                      "Authentication failed",
		context.Canceled:                    "Authentication failed",
		fmt.Errorf("x: %w", ErrMissing):     "Authentication required",
		fmt.Errorf("x: %w", ErrUnavailable): "Authentication failed",
	} {
		if got := Message(err); got != want {
			t.Errorf("%v: got %q, want %q", err, got, want)
		}
	}
}
