package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestJWKSRotatesUnderLoad: while an issuer goes from one key to the next and strangers send tokens of keys that do not
// exist, a token of a published key is refused at no time, and the issuer is asked no more often than it should be.
func TestJWKSRotatesUnderLoad(t *testing.T) {
	t.Parallel()
	_, next, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		one, two := named{"1", keys().ed25519}, named{"2", next}
		begun := time.Now()
		elapsed := func() time.Duration { return time.Since(begun) }
		const publishes, withdraws, ends = 30 * time.Second, 80 * time.Second, 2 * time.Minute
		var fetches atomic.Int32
		v := newJWKSVerifier(t, Config{JWKSURL: "https://issuer.example/"}, issuer(func(r *http.Request) (*http.Response, error) {
			fetches.Add(1)
			time.Sleep(200 * time.Millisecond)
			switch at := elapsed(); {
			case at < publishes:
				return respond(200, keySet(t, one))(r)
			case at < withdraws:
				return respond(200, keySet(t, one, two))(r)
			}
			return respond(200, keySet(t, two))(r)
		}))
		stop := start(t, v)
		defer stop()

		claims := alice()
		first := sign(t, "EdDSA", one.key, map[string]any{"kid": "1"}, claims)
		second := sign(t, "EdDSA", two.key, map[string]any{"kid": "2"}, claims)
		unknown := sign(t, "EdDSA", two.key, map[string]any{"kid": "x"}, claims)
		// An unknown key is looked for at once, unless that has been done in the last jwksGap.
		const seen = jwksGap + time.Second
		var load sync.WaitGroup
		for i := range 10 {
			load.Go(func() {
				time.Sleep(time.Duration(i) * 37 * time.Millisecond)
				for at := elapsed(); at < ends; at = elapsed() {
					_, err1 := v.Verify(t.Context(), first)
					if at < withdraws && err1 != nil || at > withdraws+seen && !errors.Is(err1, ErrInvalid) {
						t.Errorf("first key at %v: got %v", at, err1)
					}
					at = elapsed()
					_, err2 := v.Verify(t.Context(), second)
					if at < publishes-seen && !errors.Is(err2, ErrInvalid) || at > publishes+seen && err2 != nil {
						t.Errorf("second key at %v: got %v", at, err2)
					}
					if _, err := v.Verify(t.Context(), unknown); !errors.Is(err, ErrInvalid) {
						t.Errorf("unknown key at %v: got %v", elapsed(), err)
					}
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
		load.Wait()
		if got, most := int(fetches.Load()), int(ends/jwksGap)+1; got > most || got < 3 {
			t.Errorf("got %d fetches, want 3 to %d", got, most)
		}
	})
}
