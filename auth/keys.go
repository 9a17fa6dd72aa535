package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// supported are the algorithms that can be configured (RFC 7518 3.1, RFC 8037 3.1). "none" is not among them.
var supported = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// publicDefaults are accepted from a key set when nothing is configured: the usual algorithm of each key type.
var publicDefaults = []string{"RS256", "ES256", "ES384", "ES512", "EdDSA"}

const (
	maxKeyFile = 1 << 20
	maxKeys    = 100 // a token that names no key is tried on all of them
	minRSABits = 2048
)

// fits reports whether the key may be used with the algorithm. The JWT library looks at the key's type alone; the
// curve is part of the algorithm's name too (RFC 7518 3.4).
func fits(alg string, key any) bool {
	switch k := key.(type) {
	case []byte:
		return strings.HasPrefix(alg, "HS")
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// usable refuses public keys that no algorithm takes, or that are too short to trust (RFC 7518 3.3).
func usable(key any) error {
	if k, ok := key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSABits {
		return fmt.Errorf("RSA key of %d bits; use at least %d", k.N.BitLen(), minRSABits)
	}
	if !slices.ContainsFunc(publicDefaults, func(alg string) bool { return fits(alg, key) }) {
		return fmt.Errorf("key type %T; use RSA, P-256, P-384, P-521 or Ed25519", key)
	}
	return nil
}

// keyring holds, for each accepted algorithm, the keys that fit it. It is all a token's header can choose from.
type keyring map[string]jwt.VerificationKeySet

func newKeyring(algorithms []string, keys []any) (keyring, error) {
	ring := make(keyring, len(algorithms))
	for _, alg := range algorithms {
		set := jwt.VerificationKeySet{}
		for _, key := range keys {
			if fits(alg, key) {
				set.Keys = append(set.Keys, key)
			}
		}
		if len(set.Keys) == 0 {
			return nil, fmt.Errorf("security.jwt.algorithms: no key fits %s; remove it or add a key", alg)
		}
		ring[alg] = set
	}
	return ring, nil
}

// readKeys returns the public keys of a PEM file.
func readKeys(path string) ([]any, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rest, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(rest) > maxKeyFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, maxKeyFile)
	}
	var keys []any
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		key, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("%s: key %d: %w", path, len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%s: %d PEM blocks; give 1 to %d public keys", path, len(keys), maxKeys)
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (key any, err error) {
	switch {
	case block.Type == "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		err = errors.New("a private key, which does not belong here; export its public key")
	default:
		err = fmt.Errorf("PEM type %q; give PUBLIC KEY or CERTIFICATE", block.Type)
	}
	if err != nil {
		return nil, err
	}
	return key, usable(key)
}

// usualAlgorithms are the defaults for the keys given, in the order of publicDefaults.
func usualAlgorithms(keys []any) []string {
	return slices.DeleteFunc(slices.Clone(publicDefaults), func(alg string) bool {
		return !slices.ContainsFunc(keys, func(key any) bool { return fits(alg, key) })
	})
}
