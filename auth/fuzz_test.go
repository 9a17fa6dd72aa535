package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzVerify holds a verifier to its word on any text: no panic, one of the errors it names, and never yes to a
// token whose signature, computed here anew, is not that of the secret.
func FuzzVerify(f *testing.F) {
	good := sign(f, "HS256", testSecret, nil, alice())
	f.Add(good)
	f.Add("Bearer " + good)
	f.Add(good + "=")
	f.Add(good[:strings.LastIndex(good, ".")+1])
	f.Add(sign(f, "none", jwt.UnsafeAllowNoneSignatureType, nil, alice()))
	f.Add(sign(f, "HS512", testSecret, nil, alice()))
	f.Add(sign(f, "HS256", testSecret, map[string]any{"kid": "1", "crit": []string{"x"}}, alice()))
	f.Add("..")
	f.Add("")
	v := newVerifier(f, Config{Secret: testSecret})
	f.Fuzz(func(t *testing.T, token string) {
		id, err := v.Verify(t.Context(), token)
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrMissing) || id.UserID != "" {
				t.Fatalf("got %+v, %v", id, err)
			}
			return
		}
		parts := strings.Split(trimBearer(token), ".")
		mac := hmac.New(sha256.New, testSecret)
		mac.Write([]byte(parts[0] + "." + parts[1]))
		sig, err := base64.RawURLEncoding.DecodeString(parts[2])
		if len(parts) != 3 || err != nil || !hmac.Equal(sig, mac.Sum(nil)) {
			t.Fatalf("accepted unsigned: %q", token)
		}
	})
}

// FuzzClaims reaches behind the signature: whatever an issuer signs, an identity stays within its bounds.
func FuzzClaims(f *testing.F) {
	f.Add(`{"userId":"a","sub":"b","jti":"c","iss":"d","aud":["e"],"exp":9e9,"nbf":0,"roles":["r"],"permissions":"p"}`)
	f.Add(`{"userId":"\ud800","roles":["\u0000","\"",""]}`)
	f.Add(`{"userId":1e5,"exp":-1e14}`)
	f.Add(`{"userId":"a","userId":{"userId":"b"}}`)
	f.Add(`null`)
	v := newVerifier(f, Config{Secret: testSecret})
	f.Fuzz(func(t *testing.T, text string) {
		id, err := v.Verify(t.Context(), signText(t, text))
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			return
		}
		for _, s := range append([]string{id.UserID, id.TokenID}, append(id.Roles, id.Permissions...)...) {
			if len(s) > maxID || !utf8.ValidString(s) {
				t.Fatalf("got %q in %+v", s, id)
			}
		}
		if id.UserID == "" || len(id.Roles) > maxEntries || len(id.Permissions) > maxEntries {
			t.Fatalf("got %+v", id)
		}
	})
}
