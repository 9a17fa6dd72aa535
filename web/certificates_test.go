package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair makes a certificate for 127.0.0.1, as PEM.
func pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// certificateFiles are a pair in a directory of its own.
type certificateFiles struct {
	t         *testing.T
	cert, key string

	mu      sync.Mutex
	changes []error
}

func newCertificateFiles(t *testing.T) *certificateFiles {
	dir := t.TempDir()
	return &certificateFiles{t: t, cert: filepath.Join(dir, "tls.crt"), key: filepath.Join(dir, "tls.key")}
}

func (f *certificateFiles) config() CertificatesConfig {
	return CertificatesConfig{CertFile: f.cert, KeyFile: f.key, Changed: func(err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changes = append(f.changes, err)
	}}
}

func (f *certificateFiles) write(name string, content []byte) {
	f.t.Helper()
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
}

// handshake returns whose certificate a client is shown.
func handshake(t *testing.T, address string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("got protocol %q", state.NegotiatedProtocol)
	}
	return state.PeerCertificates[0].Subject.CommonName
}

// servingTLS runs Serve with the certificates; a second passes with each call of later.
func servingTLS(t *testing.T, c *Certificates, h http.Handler) (address string, later func()) {
	t.Helper()
	url, stop, done := serving(t, h, ServeConfig{TLS: c.TLS(), ErrorLog: log.New(io.Discard, "", 0)})
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return strings.TrimPrefix(url, "http://"), func() { c.next.Store(0) }
}

func TestCertificatesFollowTheirFiles(t *testing.T) {
	t.Parallel()
	f := newCertificateFiles(t)
	oldCert, oldKey := pair(t, "old")
	f.write(f.cert, oldCert)
	f.write(f.key, oldKey)
	c, err := LoadCertificates(f.config())
	if err != nil {
		t.Fatal(err)
	}
	address, later := servingTLS(t, c, http.NotFoundHandler())
	newCert, newKey := pair(t, "new")
	for _, step := range []struct {
		name    string
		do      func()
		want    string
		changes int
	}{
		{"at first", func() {}, "old", 0},
		{"a second later", later, "old", 0},
		{"certificate replaced, the key not yet", func() { f.write(f.cert, newCert); later() }, "old", 1},
		{"still", later, "old", 1},
		{"key replaced, looked at a moment ago", func() { f.write(f.key, newKey) }, "old", 1},
		{"key replaced, a second later", later, "new", 2},
		{"certificate is rubbish", func() { f.write(f.cert, []byte("rubbish")); later() }, "new", 3},
		{"files are gone", func() { os.Remove(f.cert); later() }, "new", 4},
		{"still gone", later, "new", 4},
		{"back to the old", func() { f.write(f.cert, oldCert); f.write(f.key, oldKey); later() }, "old", 5},
	} {
		step.do()
		if got := handshake(t, address); got != step.want {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
		f.mu.Lock()
		if len(f.changes) != step.changes {
			t.Errorf("%s: got %v, want %d changes", step.name, f.changes, step.changes)
		}
		f.mu.Unlock()
	}
	for i, failed := range []bool{true, false, true, true, false} {
		if (f.changes[i] != nil) != failed {
			t.Errorf("change %d: got %v", i, f.changes[i])
		}
	}
}

func TestCertificatesReload(t *testing.T) {
	t.Parallel()
	f := newCertificateFiles(t)
	cert, key := pair(t, "old")
	f.write(f.cert, cert)
	f.write(f.key, key)
	c, err := LoadCertificates(f.config())
	if err != nil {
		t.Fatal(err)
	}
	address, _ := servingTLS(t, c, http.NotFoundHandler())
	c.next.Store(time.Now().Add(time.Hour).UnixNano()) // handshakes do not look
	cert, key = pair(t, "new")
	f.write(f.cert, cert)
	if err := c.Reload(); err == nil || !strings.Contains(err.Error(), "tls.certFile") {
		t.Errorf("got %v", err)
	}
	if got := handshake(t, address); got != "old" {
		t.Errorf("got %q", got)
	}
	f.write(f.key, key)
	if err := c.Reload(); err != nil {
		t.Error(err)
	}
	if got := handshake(t, address); got != "new" {
		t.Errorf("got %q", got)
	}
}

// Many handshakes while files change: none fails, and each gets one of the pairs.
func TestCertificatesUnderLoad(t *testing.T) {
	t.Parallel()
	f := newCertificateFiles(t)
	cert, key := pair(t, "a")
	f.write(f.cert, cert)
	f.write(f.key, key)
	c, err := LoadCertificates(f.config())
	if err != nil {
		t.Fatal(err)
	}
	address, later := servingTLS(t, c, http.NotFoundHandler())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 20 {
				if got := handshake(t, address); got != "a" && got != "b" {
					t.Errorf("got %q", got)
				}
				later()
			}
		})
	}
	cert, key = pair(t, "b")
	f.write(f.cert, cert)
	f.write(f.key, key)
	clients.Wait()
	later()
	if got := handshake(t, address); got != "b" {
		t.Errorf("got %q", got)
	}
}

func TestLoadCertificatesRefuses(t *testing.T) {
	t.Parallel()
	f := newCertificateFiles(t)
	cert, _ := pair(t, "a")
	_, otherKey := pair(t, "b")
	f.write(f.cert, cert)
	for _, cfg := range []CertificatesConfig{{}, {CertFile: f.cert}, {KeyFile: f.key}, f.config()} {
		if _, err := LoadCertificates(cfg); err == nil || !strings.Contains(err.Error(), "tls.keyFile") {
			t.Errorf("%q, %q: got %v", cfg.CertFile, cfg.KeyFile, err)
		}
	}
	f.write(f.key, otherKey)
	if _, err := LoadCertificates(f.config()); err == nil {
		t.Error("a key of another certificate was taken")
	}
}

func TestServeTLS(t *testing.T) {
	t.Parallel()
	f := newCertificateFiles(t)
	cert, key := pair(t, "a")
	f.write(f.cert, cert)
	f.write(f.key, key)
	c, err := LoadCertificates(f.config())
	if err != nil {
		t.Fatal(err)
	}
	address, _ := servingTLS(t, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/hijack" {
			_, _ = io.WriteString(w, r.Proto)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, ok := conn.(*tls.Conn); !ok {
			t.Errorf("got a %T", conn)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
		_, _ = io.CopyN(conn, conn, 4)
	}))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
	res, err := client.Get("https://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != "HTTP/1.1" {
		t.Errorf("got %s", body)
	}

	req, _ := http.NewRequest("GET", "https://"+address+"/hijack", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err = client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	upgraded := res.Body.(io.ReadWriteCloser)
	defer upgraded.Close()
	_, _ = io.WriteString(upgraded, "ping")
	if got, err := io.ReadAll(upgraded); string(got) != "ping" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}

	if _, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	var broken tls.RecordHeaderError
	if conn, err := net.Dial("tcp", address); err != nil {
		t.Error(err)
	} else {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") // plain, to a port that speaks TLS
		answer, err := io.ReadAll(conn)
		if !strings.HasPrefix(string(answer), "HTTP/1.0 400") || errors.As(err, &broken) {
			t.Errorf("got %q, %v", answer, err)
		}
		conn.Close()
	}
}
