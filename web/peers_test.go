package web

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"
)

// shake has one certificate's peers connect to a server that shows another.
func shake(t *testing.T, from, to *Certificates) error {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer far.Close()
		_ = tls.Server(far, to.TLS()).HandshakeContext(t.Context())
	}()
	err := tls.Client(near, from.Peers()).HandshakeContext(t.Context())
	near.Close()
	<-served
	return err
}

// Replicas know each other by the certificate they share, also while one has the new one and the other has not, and
// nobody else.
func TestPeers(t *testing.T) {
	t.Parallel()
	load := func(f *certificateFiles) *Certificates {
		c, err := LoadCertificates(f.config())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	put := func(f *certificateFiles, cert, key []byte) *certificateFiles {
		f.write(f.cert, cert)
		f.write(f.key, key)
		return f
	}
	cert, key := pair(t, "bus")
	files := put(newCertificateFiles(t), cert, key)
	a, b := load(files), load(put(newCertificateFiles(t), cert, key))
	if err := shake(t, a, b); err != nil {
		t.Errorf("the same certificate: %v", err)
	}
	renewed, renewedKey := pair(t, "bus")
	put(files, renewed, renewedKey)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := shake(t, a, b); err != nil {
		t.Errorf("the one before: %v", err)
	}
	last, lastKey := pair(t, "bus")
	put(files, last, lastKey)
	if err := a.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := shake(t, a, b); !errors.Is(err, errStranger) {
		t.Errorf("one from long ago: got %v, want a refusal", err)
	}
	if err := shake(t, b, a); !errors.Is(err, errStranger) {
		t.Errorf("a stranger: got %v, want a refusal", err)
	}
}
