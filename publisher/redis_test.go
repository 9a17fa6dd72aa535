package publisher

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	// go-redis looks once a second whether a Redis that is away is back, and then whether its pool has been closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// testRedis is a redis-server of the test's own. It listens on a Unix socket, so that no two tests can want the same
// port.
type testRedis struct {
	t    testing.TB
	dir  string
	port string // of a server on TCP, which is what other servers can reach
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
	out  bytes.Buffer  // to be read after that
}

// newRedis starts a server and stops it when the test ends. args are those of redis-server.
func newRedis(t testing.TB, args ...string) *testRedis {
	t.Helper()
	s := prepareRedis(t, args...)
	if !s.tryStart() {
		t.Fatalf("redis-server does not start:\n%s", &s.out)
	}
	return s
}

// newTCPRedis starts a server that listens on a port of 127.0.0.1 too.
func newTCPRedis(t testing.TB, args ...string) *testRedis {
	t.Helper()
	s := prepareRedis(t, args...)
	for range 5 { // somebody else may take a free port first
		s.port = freePort(t)
		s.args = append([]string{"--bind", "127.0.0.1", "--port", s.port, "--cluster-port", freePort(t), "--repl-diskless-sync-delay", "0"}, args...)
		if s.tryStart() {
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", &s.out)
	return nil
}

func prepareRedis(t testing.TB, args ...string) *testRedis {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	s := &testRedis{t: t, dir: dir, args: args}
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	return s
}

// start starts a stopped server again; its data is gone unless args say otherwise.
func (s *testRedis) start() {
	s.t.Helper()
	if !s.tryStart() {
		s.t.Errorf("redis-server does not start again:\n%s", &s.out)
	}
}

// stop kills the server, as a crash would, and waits until it is gone.
func (s *testRedis) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // an error says that it ended by itself
	<-s.gone
	s.cmd = nil
}

func (s *testRedis) tryStart() bool {
	s.t.Helper()
	s.out.Reset()
	cmd := exec.Command("redis-server", append([]string{
		"--port", "0", "--unixsocket", s.socket(), "--dir", s.dir, "--save", "", "--appendonly", "no",
	}, s.args...)...)
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	if err := cmd.Start(); err != nil {
		s.t.Errorf("these tests need redis-server: %v", err)
		return false
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // "signal: killed"
	}()
	s.cmd, s.gone = cmd, gone
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket(), MaxRetries: -1})
	defer client.Close()
	for deadline := time.After(patience); ; {
		if client.Ping(context.Background()).Err() == nil {
			return true
		}
		select {
		case <-gone: // a port is taken, or an argument wrong
		case <-deadline:
		case <-time.After(5 * time.Millisecond):
			continue
		}
		s.stop()
		return false
	}
}

func (s *testRedis) socket() string { return filepath.Join(s.dir, "s") }

func (s *testRedis) client() *redis.Client {
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket()})
	s.t.Cleanup(func() { client.Close() })
	return client
}

func startRedis(t testing.TB) *redis.Client {
	t.Helper()
	return newRedis(t).client()
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for: %s", patience, what)
		}
	}
}

// listener receives what is published from the moment it is made.
type listener struct {
	t      *testing.T
	pubsub *redis.PubSub
}

func listen(t *testing.T, client redis.UniversalClient, channels ...string) listener {
	t.Helper()
	l := listener{t, client.Subscribe(t.Context(), channels...)}
	t.Cleanup(func() { l.pubsub.Close() })
	for range channels { // each subscription is confirmed
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := l.pubsub.Receive(ctx); err != nil {
			t.Fatalf("subscribe: %v", err)
		}
	}
	return l
}

// want receives one message and compares it.
func (l listener) want(channel, payload string) {
	l.t.Helper()
	if m := l.next(); m.Channel != channel || m.Payload != payload {
		l.t.Errorf("received %s on %s\nwant     %s on %s", m.Payload, m.Channel, payload, channel)
	}
}

func (l listener) next() *redis.Message {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	m, err := l.pubsub.ReceiveMessage(ctx)
	if err != nil {
		l.t.Fatalf("receive: %v", err)
	}
	return m
}
