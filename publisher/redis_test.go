package publisher

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startRedis starts a Redis of the test's own and returns a client. It listens on a Unix socket, so that no two tests
// can want the same port.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no")
	if err := server.Start(); err != nil {
		t.Fatalf("start redis-server: %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	t.Cleanup(func() { client.Close() })
	deadline := time.Now().Add(10 * time.Second)
	for client.Ping(t.Context()).Err() != nil {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return client
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
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
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
	ctx, cancel := context.WithTimeout(l.t.Context(), 10*time.Second)
	defer cancel()
	m, err := l.pubsub.ReceiveMessage(ctx)
	if err != nil {
		l.t.Fatalf("receive from %s: %v", channel, err)
	}
	if m.Channel != channel || m.Payload != payload {
		l.t.Errorf("received %s on %s\nwant     %s on %s", m.Payload, m.Channel, payload, channel)
	}
}
