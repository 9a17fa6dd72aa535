package server

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// realRedis starts a redis-server of the test's own, on a Unix socket, so that no two tests can want the same port, and
// returns its URL.
func realRedis(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be longer than a socket's path can be
	must(t, err)
	socket := filepath.Join(dir, "s")
	var out bytes.Buffer
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatalf("these tests need redis-server: %v", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // "signal: killed"
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-gone
		os.RemoveAll(dir)
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	defer client.Close()
	for end := time.Now().Add(deadline); client.Ping(context.Background()).Err() != nil; time.Sleep(5 * time.Millisecond) {
		select {
		case <-gone:
			t.Fatalf("redis-server does not start:\n%s", &out)
		default:
		}
		if time.Now().After(end) {
			t.Fatal("redis-server does not answer")
		}
	}
	return "unix://" + socket
}

// embeddedRedis starts an embedded server, and returns its URL.
func embeddedRedis(t testing.TB) string {
	t.Helper()
	embedded, err := adapter.StartEmbedded("")
	must(t, err)
	t.Cleanup(embedded.Close)
	return "redis://" + embedded.Addr()
}

// onBoth runs a test with a real Redis and with the embedded one.
func onBoth(t *testing.T, test func(t *testing.T, url string)) {
	for name, start := range map[string]func(testing.TB) string{"redis": realRedis, "embedded": embeddedRedis} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

// dialRedis connects, until the test ends.
func dialRedis(t testing.TB, url string) *adapter.Redis {
	t.Helper()
	r, err := adapter.DialRedis(context.Background(), adapter.RedisConfig{URL: url}, zap.NewNop())
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}
