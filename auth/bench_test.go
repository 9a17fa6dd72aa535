package auth

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"
)

func BenchmarkVerify(b *testing.B) {
	k := keys()
	claims := alice()
	claims["roles"] = []string{"user", "editor"}
	claims["permissions"] = []string{"photo:read:*", "user:read:bob", "event_bus:subscribe:photo:upload"}
	for _, bb := range []struct {
		alg         string
		signer      any
		cfg         Config
		viaEndpoint bool
	}{
		{alg: "HS256", signer: testSecret, cfg: Config{Secret: testSecret}},
		{alg: "RS256", signer: k.rsa, cfg: Config{KeyFile: writeFile(b, publicPEM(b, k.rsa))}},
		{alg: "ES256", signer: k.p256, cfg: Config{KeyFile: writeFile(b, publicPEM(b, k.p256))}},
		{alg: "EdDSA", signer: k.ed25519, cfg: Config{KeyFile: writeFile(b, publicPEM(b, k.ed25519))}},
		{alg: "ES256", signer: k.p256, cfg: Config{JWKSURL: "https://issuer.example/"}, viaEndpoint: true},
	} {
		name := bb.alg
		if bb.viaEndpoint {
			name += "-jwks"
		}
		b.Run(name, func(b *testing.B) {
			v := newVerifier(b, bb.cfg)
			if bb.viaEndpoint {
				v.jwks.client.Transport = respond(200, keySet(b, named{"1", k.p256}))
				defer start(b, v)()
			}
			token := sign(b, bb.alg, bb.signer, map[string]any{"kid": "1"}, claims)
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("forged", func(b *testing.B) {
		v, token := newVerifier(b, Config{Secret: testSecret}), sign(b, "HS256", []byte("x"), nil, claims)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(b.Context(), token); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// BenchmarkIdentity measures what a verified identity keeps alive, the struct itself included: with the roles and
// permissions of everybody else, and with permissions of its own.
func BenchmarkIdentity(b *testing.B) {
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("shared=%v", shared), func(b *testing.B) {
			const n = 10_000
			v := newVerifier(b, Config{Secret: testSecret})
			tokens := make([]string, n)
			for i := range tokens {
				var permissions []string
				for p := range 10 {
					if shared {
						permissions = append(permissions, fmt.Sprintf("photo:read:%08d", p))
					} else {
						permissions = append(permissions, fmt.Sprintf("photo:read:%08d", 10*i+p))
					}
				}
				tokens[i] = sign(b, "HS256", testSecret, nil, jwt.MapClaims{"userId": fmt.Sprintf("user-%032d", i),
					"roles": []string{"user", "editor"}, "permissions": permissions})
			}
			ids := make([]Identity, n)
			for b.Loop() {
				clear(ids)
				before := heap()
				for i, token := range tokens {
					var err error
					if ids[i], err = v.Verify(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(heap()-before)/n+float64(unsafe.Sizeof(Identity{})), "B/identity")
			}
			runtime.KeepAlive(ids)
			runtime.KeepAlive(v)
		})
	}
}

// BenchmarkLimiter also measures what a key costs.
func BenchmarkLimiter(b *testing.B) {
	const n = 100_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%032d", i)
	}
	l := newLimiter(b, LimitConfig{Keys: 2 * n})
	before := heap()
	for _, key := range keys {
		l.Allow(key)
	}
	perKey := float64(heap()-before) / n
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		l.Allow(keys[i%n])
		i++
	}
	b.ReportMetric(perKey, "B/key")
}

// heap is what is in use after a collection. Two, since what a finalizer or a weak pointer held goes with the second.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
