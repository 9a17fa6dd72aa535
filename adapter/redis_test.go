package adapter

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// wantMentions checks that err says all words, and none of the passwords these tests use.
func wantMentions(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that mentions %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not mention %q", err, w)
		}
	}
	for _, secret := range []string{"hush", "secret", "12#"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error %q gives the password away", err)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q is more than one sentence", err)
	}
}

func TestRedisConfigValidate(t *testing.T) {
	t.Parallel()
	seeds := []string{"a:1", "[::1]:2"}
	cert, key := newAuthority(t).pair(t, "h")
	_, otherKey := newAuthority(t).pair(t, "h")
	for _, tt := range []struct {
		name string
		cfg  RedisConfig
		want string // empty: valid
	}{
		{"zero", RedisConfig{}, ""},
		{"url", RedisConfig{URL: "rediss://u:p%23w@redis.example:6380/3"}, ""},
		{"unix", RedisConfig{URL: "unix:///run/redis.sock?db=2"}, ""},
		{"scheme", RedisConfig{URL: "http://:hush@localhost"}, "redis.url"},
		{"bare slash in password", RedisConfig{URL: "redis://u:hu/sh@localhost:6379"}, "redis.url"},
		{"digits and slash in password", RedisConfig{URL: "redis://u:12/hush@localhost:6379"}, "redis.url"},
		{"hash in password", RedisConfig{URL: "redis://:12#hush@localhost:6379"}, "redis.url"},
		{"question mark in password", RedisConfig{URL: "redis://:12?hush@localhost:6379"}, "redis.url"},
		{"port", RedisConfig{Port: 70000}, "redis.port 70000"},
		{"db", RedisConfig{DB: -1}, "redis.db -1"},
		{"prefix", RedisConfig{KeyPrefix: strings.Repeat("x", 129)}, "redis.keyPrefix"},
		{"message", RedisConfig{MaxMessage: -1}, "redis.maxMessage -1"},
		{"Sentinels", RedisConfig{Addresses: seeds, SentinelMaster: "m", SentinelPassword: "hush", DB: 3, TLS: true}, ""},
		{"Sentinels without addresses", RedisConfig{SentinelMaster: "m"}, "redis.sentinelMaster: name the Sentinels in redis.addresses"},
		{"Sentinels' password alone", RedisConfig{SentinelPassword: "hush"}, "redis.sentinelPassword"},
		{"Cluster", RedisConfig{Addresses: seeds, Cluster: true}, ""},
		{"Cluster by url", RedisConfig{URL: "rediss://:hush@h", Cluster: true}, ""},
		{"Cluster by host", RedisConfig{Host: "h", Cluster: true}, ""},
		{"Cluster without a node", RedisConfig{Cluster: true}, "redis.cluster: name some nodes in redis.addresses"},
		{"Cluster with database", RedisConfig{Addresses: seeds, Cluster: true, DB: 3}, "redis.db 3"},
		{"Cluster with database in url", RedisConfig{URL: "redis://h/3", Cluster: true}, "redis.db 3"},
		{"Cluster over a socket", RedisConfig{URL: "unix:///s", Cluster: true}, "unix://"},
		{"both", RedisConfig{Addresses: seeds, Cluster: true, SentinelMaster: "m"}, "redis.cluster and redis.sentinelMaster"},
		{"addresses alone", RedisConfig{Addresses: seeds}, "redis.addresses: are those of Sentinels"},
		{"addresses and url", RedisConfig{Addresses: seeds, Cluster: true, URL: "redis://:hush@h"}, "redis.url and redis.addresses"},
		{"addresses and host", RedisConfig{Addresses: seeds, Cluster: true, Host: "h"}, "redis.host and redis.addresses"},
		{"address without port", RedisConfig{Addresses: []string{"h:1", "h"}, Cluster: true}, `redis.addresses "h"`},
		{"address with bad port", RedisConfig{Addresses: []string{"h:70000"}, Cluster: true}, `redis.addresses "h:70000"`},
		{"TLS with redis://", RedisConfig{URL: "redis://:hush@h", TLS: true}, "redis.tls"},
		{"CA without TLS", RedisConfig{CAFile: cert}, "redis.caFile"},
		{"CA not there", RedisConfig{TLS: true, CAFile: "/nowhere/ca.pem"}, "redis.caFile: open /nowhere/ca.pem"},
		{"CA without certificate", RedisConfig{TLS: true, CAFile: key}, "redis.caFile"},
		{"certificate", RedisConfig{URL: "rediss://h", CertFile: cert, KeyFile: key, CAFile: cert, TLSServerName: "n"}, ""},
		{"certificate without key", RedisConfig{TLS: true, CertFile: cert}, "redis.certFile and redis.keyFile"},
		{"certificate with another key", RedisConfig{TLS: true, CertFile: cert, KeyFile: otherKey}, "redis.certFile and redis.keyFile"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Validate()
			if tt.want != "" {
				wantMentions(t, err, tt.want)
			} else if err != nil {
				t.Errorf("Validate() = %v, want nil", err)
			}
		})
	}
	err := RedisConfig{Port: -1, DB: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "redis.port") || !strings.Contains(err.Error(), "redis.db") {
		t.Errorf("Validate() = %v, want all problems at once", err)
	}
	err = RedisConfig{
		URL: "redis://:hush@h/3", Addresses: []string{"a"}, SentinelMaster: "m", SentinelPassword: "secret", Cluster: true,
		TLS: true, CAFile: "/nowhere", CertFile: cert,
	}.Validate()
	for _, want := range []string{"redis.cluster and redis.sentinelMaster", "redis.url and redis.addresses", "redis.db 3",
		`redis.addresses "a"`, "redis.caFile", "redis.certFile", "redis.tls"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, which lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "secret") {
		t.Errorf("Validate() = %v, which gives a password away", err)
	}
}

func TestRedisConfigOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name                   string
		cfg                    RedisConfig
		network, addr, user, p string
		db                     int
		tls                    bool
	}{
		{name: "zero", network: "tcp", addr: "localhost:6379"},
		{name: "fields", cfg: RedisConfig{Host: "::1", Port: 1, DB: 2, Username: "u", Password: "p"},
			network: "tcp", addr: "[::1]:1", user: "u", p: "p", db: 2},
		{name: "url wins", cfg: RedisConfig{URL: "redis://a:b@h:7/3", Host: "x", Port: 1, DB: 2, Username: "u", Password: "p"},
			network: "tcp", addr: "h:7", user: "a", p: "b", db: 3},
		{name: "url without credentials", cfg: RedisConfig{URL: "rediss://h", DB: 2, Username: "u", Password: "p"},
			network: "tcp", addr: "h:6379", user: "u", p: "p", tls: true},
		{name: "unix", cfg: RedisConfig{URL: "unix://:b@/run/r.sock?db=4"}, network: "unix", addr: "/run/r.sock", p: "b", db: 4},
	} {
		o, err := tt.cfg.options()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if o.Network != tt.network || o.Addr != tt.addr || o.Username != tt.user || o.Password != tt.p || o.DB != tt.db ||
			(o.TLSConfig != nil) != tt.tls {
			t.Errorf("%s: got %s %s as %s/%s in %d, TLS %v; want %+v", tt.name, o.Network, o.Addr, o.Username, o.Password,
				o.DB, o.TLSConfig != nil, tt)
		}
	}
}

func TestDialRedisRefused(t *testing.T) {
	t.Parallel()
	open := startRedis(t)
	if err := plainClient(t, open.addr).Do(context.Background(),
		"ACL", "SETUSER", "mute", "on", ">hush", "+hello", "+auth").Err(); err != nil {
		t.Fatal(err)
	}
	closed := startRedis(t, "--requirepass", "hush")
	nobody := net.JoinHostPort("127.0.0.1", freePort(t))
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			conn, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
			conn.Close()
		}
	}()

	for _, tt := range []struct {
		name string
		url  string
		want []string
	}{
		{"wrong password", "redis://:secret@" + closed.addr, []string{closed.addr, "redis.password", "redis.url", "credentials"}},
		{"wrong user", "redis://someone:hush@" + closed.addr, []string{closed.addr, "redis.username", `"someone"`}},
		{"no password", "redis://" + closed.addr, []string{closed.addr, "redis.password", "asks for a password"}},
		{"no permission", "redis://mute:hush@" + open.addr, []string{open.addr, `"mute"`, "redis.username", "NOPERM", "ping"}},
		{"no such database", "redis://" + open.addr + "/99", []string{open.addr, "redis.db", "99"}},
		{"nobody there", "redis://:hush@" + nobody, []string{nobody, "redis.host", "redis.port", "redis.url", "refused"}},
		{"no such socket", "unix:///nowhere/redis.sock", []string{"/nowhere/redis.sock", "redis.url", "no such file"}},
		{"not a redis", "redis://" + web.Addr().String(), []string{web.Addr().String(), "redis.url"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := DialRedis(context.Background(), RedisConfig{URL: tt.url}, zap.NewNop())
			if err == nil {
				r.Close()
			}
			wantMentions(t, err, tt.want...)
		})
	}
}

func TestDialRedisSilentServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for scheme, hint := range map[string]string{"redis": "timeout", "rediss": "TLS"} { // Redis is silent to a TLS greeting
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		r, err := DialRedis(ctx, RedisConfig{URL: scheme + "://" + l.Addr().String()}, zap.NewNop())
		cancel()
		if err == nil {
			r.Close()
		}
		wantMentions(t, err, l.Addr().String(), "redis.url", hint)
	}
}

// Old servers and proxies repeat what they do not understand.
func TestDialRedisConcealsPassword(t *testing.T) {
	t.Parallel()
	addr := listenAs(t, func(rd *bufio.Reader, w io.Writer) {
		for readUntil(rd, "$4") { // auth, hush or ping
			_, _ = io.WriteString(w, "-ERR unknown command `AUTH`, with args beginning with: `hush` \r\n")
		}
	})
	_, err := DialRedis(context.Background(), RedisConfig{URL: "redis://:hush@" + addr}, zap.NewNop())
	wantMentions(t, err, addr, "unknown command", "(password)")
}

func TestPing(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr)
		if err := r.Ping(context.Background()); err != nil {
			t.Errorf("Ping() = %v", err)
		}
		b.stop()
		if err := r.Ping(context.Background()); err == nil {
			t.Error("Ping() = nil with the server gone, want an error")
		}
		b.start()
		if err := r.Ping(context.Background()); err != nil {
			t.Errorf("Ping() = %v after the server came back", err)
		}
	})
}

func TestRedisOverUnixSocketAndPassword(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "r") // shorter than t.TempDir: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	startRedis(t, "--unixsocket", socket, "--requirepass", "hush")
	r := dialTest(t, "unix://:hush@"+socket)
	in := receive(t, r, "c")
	if err := r.Client().Publish(context.Background(), "c", "over a socket").Err(); err != nil {
		t.Fatal(err)
	}
	in.wait(t, "c|over a socket")
}

func TestRedisOverTLS(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t)
	port := freePort(t)
	startRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	addr := net.JoinHostPort("127.0.0.1", port)

	_, err := DialRedis(context.Background(), RedisConfig{URL: "rediss://" + addr}, zap.NewNop())
	wantMentions(t, err, addr, "redis.url", "certificate")

	r := dialTest(t, "rediss://"+addr+"?skip_verify=true")
	r.idle, r.answer = 5*time.Millisecond, patience // a PING beside a read leaves TLS intact
	in := receive(t, r, "c")
	if err := r.Client().Publish(context.Background(), "c", "over TLS").Err(); err != nil {
		t.Fatal(err)
	}
	in.wait(t, "c|over TLS")
	before := pings(t, r.Client())
	eventually(t, "a few PINGs", func() bool { return pings(t, r.Client()) >= before+3 })
	if err := r.Client().Publish(context.Background(), "c", "later").Err(); err != nil {
		t.Fatal(err)
	}
	in.wait(t, "c|over TLS", "c|later")
	if got := in.Reconnects(); got != 0 {
		t.Errorf("Reconnects() = %d, want 0", got)
	}
}

// selfSigned writes a certificate that nobody vouches for, and its key, as PEM files.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	pkcs8, keyErr := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err, keyErr); err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		name = filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", pkcs8)
}

// It is not parallel: the logger is the process's.
func TestQuietRedis(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	QuietRedis(zap.New(core))
	defer QuietRedis(zap.NewNop())
	addr := net.JoinHostPort("127.0.0.1", freePort(t))
	if r, err := DialRedis(context.Background(), RedisConfig{URL: "redis://" + addr}, zap.NewNop()); err == nil {
		r.Close()
		t.Fatal("somebody answers on a free port")
	}
	found := slices.ContainsFunc(logs.All(), func(e observer.LoggedEntry) bool {
		text, _ := e.ContextMap()["text"].(string)
		return e.Level == zap.DebugLevel && strings.Contains(text, "dial") && strings.Contains(text, addr)
	})
	if !found {
		t.Errorf("logged %v, want what go-redis says of the failed dial, at debug level", logs.All())
	}
}
