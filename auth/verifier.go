// Package auth decides who a client is and what it may do: Verifier turns a token into an Identity, Revocations says
// whether that token was taken back, Policy answers whether the identity may see a photo, a user or a channel, Limiter,
// SharedLimiter and Pace slow those who come too often, and Audit writes down who did what, or was not let.
//
// It issues no tokens apart from Sign, keeps no sessions, knows no sockets, and does not talk to Redis: what is kept there
// is handed in. Its caller decides what to report to the Audit, from the identities and errors it gets.
package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
)

// maxToken bounds a token, its Bearer prefix included, before anything looks inside.
const maxToken = 8 << 10

// Verifier checks JSON Web Tokens (RFC 7519) signed with JWS (RFC 7515). It is safe for concurrent use.
type Verifier struct {
	parser *jwt.Parser    // form, algorithm and signature
	rules  *jwt.Validator // exp, nbf, iss and aud
	ring   keyring        // the secret or the key file; nil with a key set
	jwks   *jwks          // nil unless Config.JWKSURL
	lists  lists
}

// NewVerifier checks the configuration and reads the key file, if there is one. It does not fetch a key set: Run does,
// so that the service starts whether or not the issuer can be reached. The log, which hears of the key set coming and
// going, may be nil.
func NewVerifier(cfg Config, log *zap.Logger) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	v := &Verifier{}
	var err error
	switch {
	case cfg.JWKSURL != "":
		if len(cfg.Algorithms) == 0 {
			cfg.Algorithms = publicDefaults
		}
		v.jwks, err = newJWKS(cfg.JWKSURL, cfg.JWKSRefresh, log)
	case cfg.KeyFile != "":
		var keys []any
		if keys, err = readKeys(cfg.KeyFile); err != nil {
			return nil, fmt.Errorf("security.jwt.keyFile: %w", err)
		}
		if len(cfg.Algorithms) == 0 {
			cfg.Algorithms = usualAlgorithms(keys)
		}
		v.ring, err = newKeyring(cfg.Algorithms, keys)
	default:
		v.ring, err = newKeyring(cfg.Algorithms, []any{bytes.Clone(cfg.Secret)}) // the caller may wipe its own
	}
	if err != nil {
		return nil, err
	}
	v.parser = jwt.NewParser(jwt.WithValidMethods(cfg.Algorithms), jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation())
	v.rules = jwt.NewValidator(rules(cfg)...)
	return v, nil
}

func rules(cfg Config) []jwt.ParserOption {
	opts := []jwt.ParserOption{jwt.WithLeeway(cfg.Leeway)}
	if cfg.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(cfg.Issuer))
	}
	if cfg.Audience != "" {
		opts = append(opts, jwt.WithAudience(cfg.Audience))
	}
	if cfg.RequireExpiry {
		opts = append(opts, jwt.WithExpirationRequired())
	}
	return opts
}

// Run keeps the key set fresh until ctx ends, then returns nil. With a secret or a key file it only waits.
func (v *Verifier) Run(ctx context.Context) error {
	if v.jwks != nil {
		v.jwks.run(ctx)
	}
	<-ctx.Done()
	return nil
}

// Verify returns the identity a token stands for. The token has at most 8 KiB; "Bearer " in front of it, in any case,
// is dropped. The error is ErrMissing, ErrInvalid (or ErrExpired, which is one) or ErrUnavailable, maybe wrapped with a
// reason that is fit for a log. With a key set it may wait a few seconds for keys being fetched, or until ctx ends.
func (v *Verifier) Verify(ctx context.Context, token string) (Identity, error) {
	if len(token) > maxToken {
		return Identity{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrInvalid, len(token), maxToken)
	}
	if token = trimBearer(token); token == "" {
		return Identity{}, ErrMissing
	}
	var c claims
	var down error // kept apart, because the parser's error quotes what the token says
	_, err := v.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		key, err := v.key(ctx, t)
		if errors.Is(err, ErrUnavailable) {
			down = err
		}
		return key, err
	})
	if down != nil {
		return Identity{}, down
	}
	if err != nil {
		return Identity{}, refusal(err)
	}
	// Claims are decoded after the signature is known to be good: nobody else reaches that code, or the shared lists.
	if err := c.decode(); err != nil {
		return Identity{}, err
	}
	if err := v.rules.Validate(&c); err != nil {
		return Identity{}, refusal(err)
	}
	return c.identity(&v.lists)
}

// key returns the keys a token's signature is checked with. The parser has matched its algorithm with ours before.
func (v *Verifier) key(ctx context.Context, t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("critical extensions are not supported") // RFC 7515 4.1.11
	}
	if v.jwks != nil {
		return v.jwks.key(ctx, t)
	}
	return v.ring[t.Method.Alg()], nil
}

func trimBearer(token string) string {
	token = strings.TrimSpace(token)
	if scheme, rest, _ := strings.Cut(token, " "); strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(rest)
	}
	return token
}

// refusal says why the token is refused, in words of ours. A token that has other faults too is not ErrExpired.
func refusal(err error) error {
	for _, r := range []struct {
		is  error
		why string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{jwt.ErrTokenSignatureInvalid, "signature or algorithm"},
		{jwt.ErrTokenUnverifiable, "unknown key or algorithm"},
		{jwt.ErrTokenRequiredClaimMissing, "a required claim is missing"},
		{jwt.ErrTokenInvalidIssuer, "issuer"},
		{jwt.ErrTokenInvalidAudience, "audience"},
		{jwt.ErrTokenNotValidYet, "not valid yet"},
	} {
		if errors.Is(err, r.is) {
			return fmt.Errorf("%w: %s", ErrInvalid, r.why)
		}
	}
	if errors.Is(err, jwt.ErrTokenExpired) {
		return ErrExpired
	}
	return ErrInvalid
}
