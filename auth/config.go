package auth

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxLeeway bounds Config.Leeway: how far apart clocks may be.
const maxLeeway = 10 * time.Minute

// Config says which tokens are good. Exactly one of Secret, KeyFile and JWKSURL must be given.
type Config struct {
	// Secret is the HMAC key the issuer shares with us.
	Secret []byte
	// KeyFile is a PEM file with one or more public keys or certificates: RSA of at least 2048 bits, P-256, P-384,
	// P-521, Ed25519. It is read once; a new Verifier reads it anew.
	KeyFile string
	// JWKSURL is the issuer's key set (RFC 7517), fetched and refreshed by Verifier.Run.
	JWKSURL string
	// JWKSRefresh is how often the key set is fetched. Zero means 15 minutes. A key unknown to us is looked for at
	// once, at most every ten seconds.
	JWKSRefresh time.Duration
	// Algorithms are the only ones accepted, whatever a token's header asks for. Empty means HS256 with Secret, and
	// with public keys the usual one of each type: RS256, ES256, ES384, ES512, EdDSA.
	Algorithms []string
	// Issuer must equal the iss claim. Empty means any.
	Issuer string
	// Audience must be in the aud claim. Empty means any.
	Audience string
	// Leeway forgives clocks that differ, for exp and nbf. Zero means 5 seconds.
	Leeway time.Duration
	// RequireExpiry refuses tokens without an exp claim. They are accepted otherwise, and never expire.
	RequireExpiry bool
}

func (c Config) withDefaults() Config {
	c.JWKSRefresh = cmp.Or(c.JWKSRefresh, 15*time.Minute)
	c.Leeway = cmp.Or(c.Leeway, 5*time.Second)
	if len(c.Algorithms) == 0 && len(c.Secret) > 0 {
		c.Algorithms = []string{"HS256"}
	}
	return c
}

// Validate reports all that is wrong with the configuration, and what would be right.
func (c Config) Validate() error {
	return errors.Join(c.validateSource(), c.validateAlgorithms(), c.validateTimes())
}

func (c Config) validateSource() error {
	sources := 0
	for _, given := range []bool{len(c.Secret) > 0, c.KeyFile != "", c.JWKSURL != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return fmt.Errorf("security.jwt: %d of secret, keyFile and jwksUrl are set; set exactly one", sources)
	}
	if c.JWKSURL == "" {
		return nil
	}
	// The address may carry a credential, so it is not repeated.
	u, err := url.Parse(c.JWKSURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("security.jwt.jwksUrl: not an absolute http or https address; give one like https://issuer.example/.well-known/jwks.json")
	}
	return nil
}

// validateAlgorithms keeps shared secrets and public keys apart: a verifier that takes both can be made to use a public
// key, which everybody has, as the secret (RFC 8725 2.1).
func (c Config) validateAlgorithms() error {
	var errs []error
	for _, alg := range c.Algorithms {
		switch hmac := strings.HasPrefix(alg, "HS"); {
		case !slices.Contains(supported, alg):
			errs = append(errs, fmt.Errorf("security.jwt.algorithms: %q is not supported; choose from %s", alg, strings.Join(supported, ", ")))
		case hmac && len(c.Secret) == 0:
			errs = append(errs, fmt.Errorf("security.jwt.algorithms: %s needs security.jwt.secret and cannot go with public keys; remove it", alg))
		case !hmac && len(c.Secret) > 0:
			errs = append(errs, fmt.Errorf("security.jwt.algorithms: %s needs public keys and cannot go with security.jwt.secret; remove it, or give keyFile or jwksUrl instead of secret", alg))
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateTimes() error {
	var errs []error
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		errs = append(errs, fmt.Errorf("security.jwt.leeway: %v; give 0 (5s) up to 10m", c.Leeway))
	}
	if c.JWKSRefresh != 0 && c.JWKSRefresh < jwksGap {
		errs = append(errs, fmt.Errorf("security.jwt.jwksRefresh: %v; give 0 (15m) or at least %v", c.JWKSRefresh, jwksGap))
	}
	return errors.Join(errs...)
}

// Weak names what works but should not be relied on, for the caller to log at start: a secret shorter than its
// hash (RFC 7518 3.2), or a key set fetched over a connection that others can change. Empty means nothing to say.
func (c Config) Weak() string {
	c = c.withDefaults()
	if len(c.Secret) > 0 {
		need := 0
		for _, alg := range c.Algorithms {
			need = max(need, map[string]int{"HS256": 32, "HS384": 48, "HS512": 64}[alg])
		}
		if len(c.Secret) < need {
			return fmt.Sprintf("jwt.secret has %d bytes; use at least %d random ones", len(c.Secret), need)
		}
	}
	if u, err := url.Parse(c.JWKSURL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		return "jwt.jwksUrl is plain http: whoever can alter the answer can sign tokens; use https"
	}
	return ""
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
