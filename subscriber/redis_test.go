package subscriber

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// Of Redis being away, nothing is to be told.
func init() { adapter.QuietRedis(zap.NewNop()) }

func TestMain(m *testing.M) {
	// go-redis looks once a second whether a Redis that is away is back, and then whether its pool has been closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

// testRedis is a redis-server of the test's own, on a Unix socket, so that no two tests can want the same port.
type testRedis struct {
	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

func newRedis(t testing.TB, args ...string) *testRedis {
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
	s.start()
	return s
}

func (s *testRedis) socket() string { return filepath.Join(s.dir, "s") }

// start starts the server, again after stop; its data is gone then, unless args say otherwise.
func (s *testRedis) start() {
	s.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("redis-server", append([]string{
		"--port", "0", "--unixsocket", s.socket(), "--dir", s.dir, "--save", "", "--appendonly", "no",
	}, s.args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("these tests need redis-server: %v", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // "signal: killed"
	}()
	s.cmd, s.gone = cmd, gone
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket(), MaxRetries: -1})
	defer client.Close()
	for deadline := time.After(patience); client.Ping(context.Background()).Err() != nil; {
		select {
		case <-gone:
			s.t.Fatalf("redis-server does not start:\n%s", &out)
		case <-deadline:
			s.t.Fatal("redis-server does not answer")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop kills the server, as a crash would, and waits until it is gone.
func (s *testRedis) stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // an error says that it ended by itself
		<-s.gone
		s.cmd = nil
	}
}

// store connects, and closes when the test ends.
func (s *testRedis) store() *adapter.Store {
	s.t.Helper()
	r, err := adapter.DialRedis(context.Background(), adapter.RedisConfig{URL: "unix://" + s.socket()}, zap.NewNop())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = r.Close() })
	return r.Store("")
}

// client is an ordinary client, as a service has one.
func (s *testRedis) client() *redis.Client {
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket()})
	s.t.Cleanup(func() { client.Close() })
	return client
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
