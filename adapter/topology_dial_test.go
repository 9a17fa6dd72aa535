package adapter

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	a.cert, a.file, a.key = a.sign(t, a.cert, "ca")
	return a
}

// pair makes a certificate for names, which may be addresses, and gives its files.
func (a *authority) pair(t testing.TB, names ...string) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	_, certFile, key := a.sign(t, template, "cert")
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, writePEM(t, "key", "PRIVATE KEY", der)
}

func (a *authority) sign(t testing.TB, template *x509.Certificate, name string) (*x509.Certificate, string, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := a.key
	if signer == nil { // its own
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, writePEM(t, name, "CERTIFICATE", der), key
}

func writePEM(t testing.TB, name, kind string, der []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name+".pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// tlsArgs are the arguments of a redis-server that has TLS on port, in place of its plain port.
func (a *authority) tlsArgs(t testing.TB, port string, names ...string) []string {
	t.Helper()
	cert, key := a.pair(t, names...)
	return []string{"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", a.file}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	cert, key := ca.pair(t, "app")
	port, namedPort := freePort(t), freePort(t)
	startRedis(t, ca.tlsArgs(t, port, "127.0.0.1")...) // which asks for a certificate
	startRedis(t, ca.tlsArgs(t, namedPort, "redis.example")...)
	addr, named := net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("127.0.0.1", namedPort)

	for _, cfg := range []RedisConfig{
		{URL: "rediss://" + addr, CAFile: ca.file, CertFile: cert, KeyFile: key},
		{Host: "127.0.0.1", Port: atoi(t, port), TLS: true, CAFile: ca.file, CertFile: cert, KeyFile: key},
		{URL: "rediss://" + named, CAFile: ca.file, CertFile: cert, KeyFile: key, TLSServerName: "redis.example"},
	} {
		r := dialConfig(t, cfg)
		in := receive(t, r, "c")
		if err := r.Client().Publish(context.Background(), "c", "over TLS").Err(); err != nil {
			t.Fatal(err)
		}
		in.wait(t, "c|over TLS")
		wantNoWarnings(t, r)
	}
	for _, tt := range []struct {
		name string
		cfg  RedisConfig
		want []string
	}{
		{"no authority", RedisConfig{URL: "rediss://" + addr}, []string{addr, "redis.caFile", "certificate"}},
		{"another authority", RedisConfig{URL: "rediss://" + addr, CAFile: other.file}, []string{addr, "redis.caFile", "certificate"}},
		{"another name", RedisConfig{URL: "rediss://" + named, CAFile: ca.file}, []string{named, "redis.tlsServerName"}},
		{"no certificate", RedisConfig{URL: "rediss://" + addr, CAFile: ca.file}, []string{addr, "redis.certFile", "redis.keyFile"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := DialRedis(context.Background(), tt.cfg, zap.NewNop())
			if err == nil {
				r.Close()
			}
			wantMentions(t, err, tt.want...)
		})
	}
}

func TestTLSTakesRenewedCertificate(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	port := freePort(t)
	startRedis(t, ca.tlsArgs(t, port, "127.0.0.1")...)
	cert, key := other.pair(t, "app") // which Redis does not trust
	cfg := RedisConfig{URL: "rediss://127.0.0.1:" + port, CAFile: ca.file, CertFile: cert, KeyFile: key}
	r, err := newRedis(cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Ping(context.Background()); err == nil {
		t.Fatal("Redis takes a certificate that it does not trust")
	}
	newCert, newKey := ca.pair(t, "app")
	if err := errors.Join(os.Rename(newCert, cert), os.Rename(newKey, key)); err != nil {
		t.Fatal(err)
	}
	if err := r.Ping(context.Background()); err != nil {
		t.Errorf("with the renewed certificate: %v", err)
	}
}

func TestTLSCluster(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.pair(t, "app")
	s := startClusterOf(t, false, func(s *testRedis) {
		s.tls = freePort(t)
		s.args = append(ca.tlsArgs(t, s.tls, "127.0.0.1"), "--tls-cluster", "yes")
	})
	r := dialConfig(t, RedisConfig{
		Addresses: []string{net.JoinHostPort("127.0.0.1", s.masters[0].tls)}, Cluster: true,
		TLS: true, CAFile: ca.file, CertFile: cert, KeyFile: key,
	})
	wantNoWarnings(t, r)
	in := receive(t, r, "c")
	if err := r.Client().Publish(context.Background(), "c", "over TLS").Err(); err != nil {
		t.Fatal(err)
	}
	in.wait(t, "c|over TLS")
}

// The nodes of a Cluster have names of their own, not that of the URL's node.
func TestTLSServerNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  RedisConfig
		want string
	}{
		{RedisConfig{URL: "rediss://h"}, "h"},
		{RedisConfig{URL: "rediss://h", Cluster: true}, ""},
		{RedisConfig{URL: "rediss://h", Cluster: true, TLSServerName: "n"}, "n"},
		{RedisConfig{TLS: true, Addresses: []string{"h:1"}, SentinelMaster: "m"}, ""},
	} {
		r, err := newRedis(tt.cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if got := r.opts.TLSConfig.ServerName; got != tt.want {
			t.Errorf("with %+v the certificate must be for %q, want %q", tt.cfg, got, tt.want)
		}
		r.Close()
	}
}

// A command whose answer got lost is not sent again, in a Cluster neither.
func TestClusterSendsOnce(t *testing.T) {
	t.Parallel()
	var addr string
	var sent atomic.Int32
	addr = listenAs(t, func(rd *bufio.Reader, w io.Writer) {
		for {
			line, err := rd.ReadString('\n')
			if err != nil {
				return
			}
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "hello":
				_, _ = io.WriteString(w, "-ERR unknown command\r\n")
			case "slots": // CLUSTER SLOTS: all are here
				_, _ = io.WriteString(w, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:"+addr[strings.LastIndex(addr, ":")+1:]+"\r\n")
			case "command":
				_, _ = io.WriteString(w, "*0\r\n")
			case "xadd":
				sent.Add(1)
				return // without an answer
			}
		}
	})
	r, err := newRedis(RedisConfig{Addresses: []string{addr}, Cluster: true}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	add := &redis.XAddArgs{Stream: "s", Values: []string{"a", "b"}}
	if err := r.Client().XAdd(context.Background(), add).Err(); err == nil {
		t.Error("XADD without an answer = nil, want an error")
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("XADD was sent %d times, want once", n)
	}
	_, err = r.Client().Pipelined(context.Background(), func(p redis.Pipeliner) error { return p.XAdd(context.Background(), add).Err() })
	if n := sent.Load(); err == nil || n != 2 {
		t.Errorf("XADD in a pipeline: sent %d times, %v; want once and an error", n-1, err)
	}
}
