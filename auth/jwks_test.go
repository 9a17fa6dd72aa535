package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// named is a key with its id in the set.
type named struct {
	id  string
	key crypto.Signer
}

func keySet(t testing.TB, keys ...named) string {
	t.Helper()
	var set jwkset.JWKSMarshal
	for _, k := range keys {
		jwk, err := jwkset.NewJWKFromKey(k.key.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: k.id}})
		if err != nil {
			t.Fatal(err)
		}
		set.Keys = append(set.Keys, jwk.Marshal())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// issuer is a key set that needs no network, so that its tests can run on virtual time.
type issuer func(*http.Request) (*http.Response, error)

func (f issuer) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) issuer {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
}

func newJWKSVerifier(t testing.TB, cfg Config, from http.RoundTripper) *Verifier {
	t.Helper()
	v := newVerifier(t, cfg)
	v.jwks.client.Transport = from
	return v
}

// start runs the verifier until the function it returns is called, which waits for its end.
func start(t testing.TB, v *Verifier) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
}

// TestJWKSOverHTTP goes through a life: the server is down, comes up, rotates its key, withdraws the old one.
func TestJWKSOverHTTP(t *testing.T) {
	t.Parallel()
	k := keys()
	var set atomic.Value
	set.Store("") // down
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := set.Load().(string)
		if body == "" {
			panic(http.ErrAbortHandler) // closes the connection unanswered
		}
		io.WriteString(w, body)
	}))
	defer srv.Close()
	v := newVerifier(t, Config{JWKSURL: srv.URL + "/jwks.json"})
	v.jwks.gap = 10 * time.Millisecond
	stop := start(t, v)
	defer stop()
	first := sign(t, "RS256", k.rsa, map[string]any{"kid": "1"}, alice())
	second := sign(t, "ES256", k.p256, map[string]any{"kid": "2"}, alice())
	if _, err := v.Verify(t.Context(), first); !errors.Is(err, ErrUnavailable) || Message(err) != "Authentication failed" {
		t.Fatalf("server down: got %v, want ErrUnavailable", err)
	}

	set.Store(keySet(t, named{"1", k.rsa}))
	eventually(t, "server up", func() error { return verify(t, v, first, nil) })
	eventually(t, "second key not yet published", func() error { return verify(t, v, second, ErrInvalid) })

	set.Store(keySet(t, named{"1", k.rsa}, named{"2", k.p256}))
	eventually(t, "second key published", func() error { return verify(t, v, second, nil) })
	if err := verify(t, v, first, nil); err != nil {
		t.Errorf("first key still published: %v", err)
	}

	set.Store(keySet(t, named{"2", k.p256}))
	unknown := sign(t, "ES256", k.p256, map[string]any{"kid": "3"}, alice())
	eventually(t, "first key withdrawn", func() error {
		return errors.Join(verify(t, v, unknown, ErrInvalid), verify(t, v, first, ErrInvalid))
	})
	stop()
	if err := verify(t, v, second, nil); err != nil {
		t.Errorf("stopped, known key: %v", err)
	}
}

func verify(t *testing.T, v *Verifier, token string, want error) error {
	if _, err := v.Verify(t.Context(), token); !errors.Is(err, want) {
		return fmt.Errorf("got %v, want %v", err, want)
	}
	return nil
}

// eventually polls, since the other side of a socket has its own time.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestJWKSRefresh counts fetches on virtual time.
func TestJWKSRefresh(t *testing.T) {
	t.Parallel()
	k := keys()
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		var from atomic.Pointer[issuer]
		answer := func(i issuer) { from.Store(&i) }
		answer(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })
		core, logs := observer.New(zapcore.InfoLevel)
		v, err := NewVerifier(Config{JWKSURL: "https://user:hunter2@issuer.example/?key=hunter2", JWKSRefresh: time.Hour}, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		v.jwks.client.Transport = issuer(func(r *http.Request) (*http.Response, error) {
			fetches.Add(1)
			return (*from.Load())(r)
		})
		expect := func(what string, want int32) {
			t.Helper()
			synctest.Wait()
			if got := fetches.Swap(0); got != want {
				t.Errorf("%s: got %d fetches, want %d", what, got, want)
			}
		}
		check := func(what, kid string, want error) {
			t.Helper()
			if err := verify(t, v, sign(t, "ES256", k.p256, map[string]any{"kid": kid}, alice()), want); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		stop := start(t, v)
		defer stop()
		expect("at start", 1)
		time.Sleep(35 * time.Second)
		expect("down for 35 s", 3)
		check("down", "1", ErrUnavailable)
		expect("token while down, just tried", 0)

		answer(respond(200, keySet(t, named{"1", k.p256})))
		time.Sleep(jwksGap)
		expect("up", 1)
		check("up", "1", nil)
		for range 100 {
			check("unknown key, just fetched", "2", ErrInvalid)
		}
		expect("unknown key, just fetched", 0)
		time.Sleep(jwksGap)
		answer(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second) // in which all of them ask
			return respond(200, keySet(t, named{"1", k.p256}))(r)
		})
		var many sync.WaitGroup
		for range 100 {
			many.Go(func() { check("unknown key", "2", ErrInvalid) })
		}
		many.Wait()
		expect("100 tokens with an unknown key at once", 1)

		time.Sleep(jwksGap)
		answer(respond(200, keySet(t, named{"2", k.p256})))
		check("rotated", "2", nil)
		expect("rotated", 1)
		check("withdrawn", "1", ErrInvalid)
		time.Sleep(time.Hour)
		expect("an hour later", 1)

		answer(respond(503, ""))
		time.Sleep(time.Hour)
		expect("down at the next refresh", 1)
		check("known key while down", "2", nil)
		check("unknown key while down", "3", ErrUnavailable)
		time.Sleep(time.Minute)
		expect("down for a minute", 6)
		answer(respond(200, keySet(t, named{"2", k.p256})))
		time.Sleep(time.Minute)
		expect("up again", 1)

		// An answer that never comes ends with the timeout, and so does waiting for it.
		answer(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		time.Sleep(jwksGap)
		began := time.Now()
		check("endpoint hangs", "3", ErrUnavailable)
		if got := time.Since(began); got > jwksTimeout {
			t.Errorf("endpoint hangs: waited %v", got)
		}
		synctest.Wait() // the fetch ends at the same moment as the waiting for it, and is to be logged
		stop()

		var got []string
		for _, e := range logs.All() {
			got = append(got, e.Level.String())
			if text := fmt.Sprint(e.Message, e.ContextMap()); strings.Contains(text, "hunter2") {
				t.Errorf("log shows the address's secrets: %s", text)
			}
		}
		if want := "warn info warn info warn"; strings.Join(got, " ") != want { // one line for each change
			t.Errorf("got log levels %v, want %s", got, want)
		}
	})
}

// TestJWKSBeforeRun: a verifier nobody runs says so, after a wait that is bounded, and by the caller too.
func TestJWKSBeforeRun(t *testing.T) {
	t.Parallel()
	token := sign(t, "ES256", keys().p256, nil, alice())
	synctest.Test(t, func(t *testing.T) {
		v := newVerifier(t, Config{JWKSURL: "https://issuer.example/"})
		began := time.Now()
		if err := verify(t, v, token, ErrUnavailable); err != nil {
			t.Error(err)
		}
		if got := time.Since(began); got != jwksTimeout {
			t.Errorf("waited %v, want %v", got, jwksTimeout)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := v.Verify(ctx, token); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient caller: got %v, want ErrUnavailable", err)
		}
		if got := time.Since(began); got != time.Second {
			t.Errorf("impatient caller waited %v, want 1s", got)
		}
	})
}

func TestJWKSLookUp(t *testing.T) {
	t.Parallel()
	k := keys()
	public := keySet(t, named{"rsa", k.rsa}, named{"p256", k.p256}, named{"p384", k.p384}, named{"ed", k.ed25519})
	v := newJWKSVerifier(t, Config{JWKSURL: "https://issuer.example/"}, respond(200, public))
	stop := start(t, v)
	defer stop()
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, alg string
		key       any
		kid       any // nil means none
		want      error
	}{
		{"by id", "RS256", k.rsa, "rsa", nil},
		{"by id", "ES256", k.p256, "p256", nil},
		{"by id", "ES384", k.p384, "p384", nil},
		{"by id", "EdDSA", k.ed25519, "ed", nil},
		{"without an id", "ES384", k.p384, nil, nil},
		{"without an id, not in the set", "EdDSA", stranger, nil, ErrInvalid},
		{"id of another key", "EdDSA", stranger, "ed", ErrInvalid},
		{"id of another type", "ES256", k.p256, "rsa", ErrInvalid},
		{"id of another curve", "ES256", k.p256, "p384", ErrInvalid},
		{"unknown id", "ES256", k.p256, "x", ErrInvalid},
		{"id not a string", "ES256", k.p256, 1, ErrInvalid},
		{"algorithm not configured", "PS256", k.rsa, "rsa", ErrInvalid},
		{"HMAC", "HS256", []byte(public), "rsa", ErrInvalid},
	} {
		header := map[string]any{}
		if tt.kid != nil {
			header["kid"] = tt.kid
		}
		if err := verify(t, v, sign(t, tt.alg, tt.key, header, alice()), tt.want); err != nil {
			t.Errorf("%s %s: %v", tt.alg, tt.name, err)
		}
	}
	for _, header := range []string{`{"alg":"ES512","kid":"p256"}`, `{"alg":"ES512"}`} {
		if err := verify(t, v, signES512(t, k.p256, header), ErrInvalid); err != nil {
			t.Errorf("%s signed with P-256: %v", header, err)
		}
	}
}

// signES512 signs with a key of any curve, which the library refuses to do but would verify.
func signES512(t *testing.T, key *ecdsa.PrivateKey, header string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	text := b64([]byte(header)) + "." + b64([]byte(`{"userId":"alice"}`))
	sum := sha512.Sum512([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(append(r.FillBytes(make([]byte, 66)), s.FillBytes(make([]byte, 66))...))
}

func TestParseJWKS(t *testing.T) {
	t.Parallel()
	k := keys()
	one := strings.TrimSuffix(strings.TrimPrefix(keySet(t, named{"ed", k.ed25519}), `{"keys":[`), `]}`)
	private, err := jwkset.NewJWKFromKey(k.p256, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}})
	if err != nil {
		t.Fatal(err)
	}
	leaked, err := json.Marshal(private.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	with := func(field string) string { return strings.Replace(one, "{", "{"+field+",", 1) }
	for _, tt := range []struct {
		name, keys string
		want       int // keys; zero means an error
	}{
		{"one", one, 1},
		{"for signatures", with(`"use":"sig","key_ops":["verify"]`), 1},
		{"private key published by mistake", string(leaked), 1},
		{"for encryption", with(`"use":"enc"`), 0},
		{"for other operations", with(`"key_ops":["deriveKey"]`), 0},
		{"shared secret", `{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`, 0},
		{"others are passed over", `{"kty":"oct","k":"c2VjcmV0"},{"kty":"OKP","crv":"Ed448","x":"AAAA"},{"kty":"AKP"},{"kty":1},7,null,` + one, 1},
		{"short RSA key", `{"kty":"RSA","n":"` + strings.Repeat("_", 171) + `","e":"AQAB"}`, 0},
		{"point not on the curve", `{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}`, 0},
		{"none", ``, 0},
		{"too many", strings.Repeat(one+",", maxKeys) + one, 0},
		{"not JSON", `<html>`, 0},
		{"too large", one + strings.Repeat(" ", maxJWKS), 0},
	} {
		keys, err := parseJWKS([]byte(`{"keys":[` + tt.keys + `]}`))
		if len(keys) != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%s: got %d keys, %v, want %d", tt.name, len(keys), err, tt.want)
		}
		for _, key := range keys {
			if usable(key.Key()) != nil {
				t.Errorf("%s: got a key of type %T", tt.name, key.Key())
			}
		}
	}
}

// endless never runs out, like an endpoint that wants our memory.
type endless struct{ read atomic.Int64 }

func (e *endless) Read(b []byte) (int, error) { e.read.Add(int64(len(b))); return len(b), nil }

func TestJWKSDownload(t *testing.T) {
	t.Parallel()
	v := newVerifier(t, Config{JWKSURL: "https://issuer.example/"})
	body := &endless{}
	v.jwks.client.Transport = issuer(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(body), Request: r}, nil
	})
	if _, err := v.jwks.download(t.Context()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("endless answer: got %v", err)
	}
	if got := body.read.Load(); got > 2*maxJWKS {
		t.Errorf("endless answer: read %d bytes", got)
	}
	v.jwks.client.Transport = issuer(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "http" {
			return respond(200, keySet(t, named{"mallory", keys().p256}))(r)
		}
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://issuer.example/"}}, Body: http.NoBody, Request: r}, nil
	})
	if _, err := v.jwks.download(t.Context()); err == nil || !strings.Contains(err.Error(), "another scheme") {
		t.Errorf("redirect to http: got %v", err)
	}
}
