package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestKeyFile(t *testing.T) {
	t.Parallel()
	k := keys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, k.p256.Public(), k.p256)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k.p256)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	for _, tt := range []struct {
		name       string
		content    []byte
		algorithms []string // configured
		want       []string // accepted
		err        string
	}{
		{name: "RSA", content: publicPEM(t, k.rsa), want: []string{"RS256"}},
		{name: "PKCS 1", content: block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&k.rsa.PublicKey)), want: []string{"RS256"}},
		{name: "certificate", content: block("CERTIFICATE", cert), want: []string{"ES256"}},
		{name: "P-384", content: publicPEM(t, k.p384), want: []string{"ES384"}},
		{name: "two keys", content: slices.Concat(publicPEM(t, k.ed25519), publicPEM(t, k.p521)), want: []string{"ES512", "EdDSA"}},
		{name: "chosen", content: publicPEM(t, k.rsa), algorithms: []string{"PS256"}, want: []string{"PS256"}},
		{name: "no key fits", content: publicPEM(t, k.rsa), algorithms: []string{"RS256", "ES256"}, err: "no key fits ES256"},
		{name: "other curve", content: publicPEM(t, k.p384), algorithms: []string{"ES256"}, err: "no key fits ES256"},
		{name: "private key", content: block("PRIVATE KEY", private), err: "a private key"},
		{name: "short RSA key", content: publicPEM(t, weak), err: "RSA key of 1024 bits"},
		{name: "other PEM", content: block("X509 CRL", []byte("x")), err: `PEM type "X509 CRL"`},
		{name: "not DER", content: block("PUBLIC KEY", []byte("x")), err: "key 1"},
		{name: "no PEM", content: []byte("ssh-ed25519 AAAA"), err: "0 PEM blocks"},
		{name: "too many", content: bytes.Repeat(publicPEM(t, k.ed25519), maxKeys+1), err: "101 PEM blocks"},
		{name: "too large", content: bytes.Repeat([]byte("x"), maxKeyFile+1), err: "larger than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := NewVerifier(Config{KeyFile: writeFile(t, tt.content), Algorithms: tt.algorithms}, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for alg := range v.ring {
				got = append(got, alg)
			}
			slices.Sort(got)
			if slices.Sort(tt.want); !slices.Equal(got, tt.want) {
				t.Errorf("got algorithms %v, want %v", got, tt.want)
			}
		})
	}
	if _, err := NewVerifier(Config{KeyFile: filepath.Join(t.TempDir(), "absent.pem")}, nil); err == nil {
		t.Error("an absent file is accepted")
	}
}
