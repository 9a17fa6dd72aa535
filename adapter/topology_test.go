package adapter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// dialConfig connects, and closes when the test ends.
func dialConfig(t testing.TB, cfg RedisConfig) *Redis {
	t.Helper()
	r, err := DialRedis(context.Background(), cfg, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := startSentinel(t)
	r := dialConfig(t, s.config())
	ctx := context.Background()
	owners := r.Owners(OwnersConfig{})
	if err := owners.Set(ctx, "p", "ann"); err != nil {
		t.Fatal(err)
	}
	if n, err := plainClient(t, s.master.addr).Wait(ctx, 1, patience).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas have what was written, %v", n, err)
	}
	var hooks []string
	in := receiveAll(t, r, Subscription{
		Channels: []string{"photo:upload"}, Patterns: []string{"photo:comp*"},
		Up: func() { hooks = append(hooks, "up") }, Down: func() { hooks = append(hooks, "down") },
	})
	publish(t, plainClient(t, s.master.addr), "photo:upload", "before")
	in.wait(t, "photo:upload|before")

	s.master.stop(t)
	eventually(t, "the loss to show", func() bool { return !in.Connected() })
	eventually(t, "the replica to be the master", func() bool { return owners.Set(ctx, "q", "bob") == nil })
	wantOwner(t, owners, "p", "ann")
	wantOwner(t, owners, "q", "bob")
	eventually(t, "the return to show", in.Connected)
	publish(t, plainClient(t, s.replica.addr), "photo:upload", "after")
	publish(t, plainClient(t, s.replica.addr), "photo:completion", "by pattern")
	in.wait(t, "photo:upload|before", "photo:upload|after", "photo:completion|by pattern")
	in.end(t)
	if want := []string{"up", "down", "up", "down"}; !slices.Equal(hooks, want) {
		t.Errorf("hooks called: %q, want %q", hooks, want)
	}
}

func TestSentinelErrors(t *testing.T) {
	t.Parallel()
	s := startSentinel(t)
	for _, tt := range []struct {
		name string
		cfg  RedisConfig
		want []string
	}{
		{"no such master", RedisConfig{Addresses: s.addrs(), SentinelMaster: "other"},
			[]string{`"other"`, s.sentinels[0].addr, "redis.sentinelMaster"}},
		{"not Sentinels", RedisConfig{Addresses: []string{s.master.addr}, SentinelMaster: s.name},
			[]string{`"mymaster"`, s.master.addr, "sentinel"}},
		{"nobody there", RedisConfig{Addresses: []string{"127.0.0.1:1", "127.0.0.1:2"}, SentinelMaster: s.name},
			[]string{"127.0.0.1:1", "127.0.0.1:2", "redis.addresses", "refused"}},
		{"password that Sentinels do not know", RedisConfig{Addresses: s.addrs(), SentinelMaster: s.name,
			SentinelUsername: "someone", SentinelPassword: "hush"}, []string{"redis.sentinelUsername", "redis.sentinelPassword"}},
		{"password that Redis does not know", RedisConfig{Addresses: s.addrs(), SentinelMaster: s.name,
			Username: "someone", Password: "hush"}, []string{"redis.username", "redis.password", `"someone"`}},
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

func TestCluster(t *testing.T) {
	t.Parallel()
	s := startCluster(t, false)
	ctx := context.Background()
	r := dialConfig(t, RedisConfig{Addresses: s.addrs()[:1], Cluster: true}) // the others are found
	if err := r.Ping(ctx); err != nil {
		t.Error(err)
	}
	owners := r.Owners(OwnersConfig{})
	for i := range 20 { // in all slots
		photo := fmt.Sprint("photo-", i)
		if err := owners.Set(ctx, photo, "ann"); err != nil {
			t.Fatal(err)
		}
		wantOwner(t, owners, photo, "ann")
		if err := owners.Set(ctx, photo, "bob"); !errors.Is(err, ErrOwned) {
			t.Errorf("taking %s over = %v, want ErrOwned", photo, err)
		}
	}
	for i, one := range s.masters {
		if plainClient(t, one.addr).DBSize(ctx).Val() == 0 {
			t.Errorf("node %d has none of 20 owners", i)
		}
	}
	script := redis.NewScript(`redis.call('SET', KEYS[1], '1') return redis.call('XADD', KEYS[2], '*', 'a', 'b')`)
	for i := range 20 {
		keys := []string{fmt.Sprintf("eventbus:{log-%d}:dedupe:1", i), fmt.Sprintf("log-%d", i)}
		if err := script.Run(ctx, r.Client(), keys).Err(); err != nil {
			t.Errorf("a script on %q: %v", keys, err)
		}
	}

	in := receiveAll(t, r, Subscription{Channels: []string{"photo:upload", "photo:processing"}, Patterns: []string{"other:*"}})
	var want []string
	for i, one := range s.masters {
		for _, channel := range []string{"photo:upload", "photo:processing", "other:x"} {
			payload := fmt.Sprint("from node ", i)
			if err := plainClient(t, one.addr).Publish(ctx, channel, payload).Err(); err != nil {
				t.Fatal(err)
			}
			want = append(want, channel+"|"+payload)
			in.wait(t, want...)
		}
	}
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	s := startCluster(t, true)
	ctx := context.Background()
	r := dialConfig(t, s.config())
	in := receive(t, r, "photo:upload")
	key := "eventbus:owner:p"
	owners := r.Owners(OwnersConfig{})
	if err := owners.Set(ctx, "p", "ann"); err != nil {
		t.Fatal(err)
	}
	failed := s.owner(t, key)
	if n, err := plainClient(t, failed.addr).Wait(ctx, 1, patience).Result(); err != nil || n != 1 {
		t.Fatalf("%d replicas have what was written, %v", n, err)
	}
	failed.stop(t)
	eventually(t, "a replica to take over", func() bool { return owners.Set(ctx, "p", "ann") == nil })
	if now := s.owner(t, key); !slices.Contains(s.replicas, now) {
		t.Errorf("%s serves the slot, which is no replica", now.addr)
	}
	wantOwner(t, owners, "p", "ann")
	if in.end(t); in.Reconnects() > 1 {
		t.Errorf("Reconnects() = %d after one node failed, want 1 or none", in.Reconnects())
	}
	again := receive(t, r, "photo:upload") // whatever node was first
	publishAnywhere(t, s, "photo:upload", "after")
	again.wait(t, "photo:upload|after")
}

// A listener does not depend on the node that the slot of its channel's name would be on.
func TestClusterListensWhileNodeIsDown(t *testing.T) {
	t.Parallel()
	s := startCluster(t, false)
	r := dialConfig(t, s.config())
	s.owner(t, "photo:upload").stop(t)
	in := receive(t, r, "photo:upload")
	publishAnywhere(t, s, "photo:upload", "1")
	in.wait(t, "photo:upload|1")
}

// publishAnywhere publishes to the first node that runs.
func publishAnywhere(t *testing.T, s *testCluster, channel, payload string) {
	t.Helper()
	for _, one := range s.nodes() {
		if one.cmd != nil {
			if err := plainClient(t, one.addr).Publish(context.Background(), channel, payload).Err(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestClusterErrors(t *testing.T) {
	t.Parallel()
	closed := startCluster(t, false)
	for _, one := range closed.masters {
		c := plainClient(t, one.addr)
		if err := c.ConfigSet(context.Background(), "requirepass", "hush").Err(); err != nil {
			t.Fatal(err)
		}
	}
	single := startRedis(t)
	empty := startServer(t, func(s *testRedis) { s.bus = freePort(t) })
	for _, tt := range []struct {
		name string
		cfg  RedisConfig
		want []string
	}{
		{"no Cluster", RedisConfig{Addresses: []string{single.addr}, Cluster: true}, []string{single.addr, "redis.cluster"}},
		{"no password", closed.config(), []string{closed.addrs()[0], "redis.password", "asks for a password"}},
		{"wrong password", RedisConfig{Addresses: closed.addrs(), Cluster: true, Password: "secret"},
			[]string{"redis.username", "redis.password", "credentials"}},
		{"no slots", RedisConfig{Addresses: []string{empty.addr}, Cluster: true}, []string{empty.addr}},
		{"nobody there", RedisConfig{Addresses: []string{"127.0.0.1:1"}, Cluster: true}, []string{"127.0.0.1:1", "redis.addresses"}},
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

// A blocked read ends with Close at once, though nothing was written, on each topology.
func TestDedicated(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, cfg RedisConfig) {
		r := dialConfig(t, cfg)
		ctx := context.Background()
		d := r.Dedicated()
		if err := d.Ping(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		reading, done := make(chan struct{}), make(chan error, 1)
		go func() {
			close(reading)
			done <- d.XRead(ctx, &redis.XReadArgs{Streams: []string{"socket.io", "$"}, Block: time.Hour}).Err()
		}()
		<-reading
		eventually(t, "the read to block", func() bool { return blocked(t, r) == 1 })
		began := time.Now()
		if err := d.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		select {
		case err := <-done:
			if err == nil || errors.Is(err, redis.Nil) {
				t.Errorf("the read ended with %v, want an error", err)
			}
		case <-time.After(patience):
			t.Fatal("the read goes on after Close")
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the read ended %s after Close", took)
		}
		eventually(t, "Redis to know", func() bool { return blocked(t, r) == 0 })
		if err := r.Ping(ctx); err != nil {
			t.Errorf("the pool after Close of another client: %v", err)
		}
	})
}

// A command that waits for a connection ends with its context, and the dial it waited for with Close.
func TestDedicatedEndsDial(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, cluster := range []bool{false, true} {
		cfg := RedisConfig{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: true, Cluster: cluster}
		r, err := newRedis(cfg, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		d := r.Dedicated()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- d.Get(ctx, "k").Err() }()
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		cancel()
		if err := <-done; err == nil {
			t.Error("GET without an answer = nil")
		}
		if err := d.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		began := time.Now() // long before the five seconds that a dial may take
		_ = conn.SetReadDeadline(began.Add(patience))
		if _, err := io.Copy(io.Discard, conn); err != nil || time.Since(began) > dialTimeout/2 {
			t.Errorf("the dial ended %s after Close, %v", time.Since(began), err)
		}
	}
}

// blocked is how many clients wait in Redis, on all masters.
func blocked(t *testing.T, r *Redis) int {
	t.Helper()
	n := 0
	count := func(ctx context.Context, c *redis.Client) error {
		info, err := c.Info(ctx, "clients").Result()
		if _, after, ok := strings.Cut(info, "blocked_clients:"); ok {
			var one int
			_, _ = fmt.Sscan(after, &one)
			n += one
		}
		return err
	}
	var err error
	switch c := r.Client().(type) {
	case *redis.ClusterClient:
		for _, addr := range r.cfg.Addresses {
			err = errors.Join(err, count(context.Background(), plainClient(t, addr)))
		}
	case *redis.Client:
		err = count(context.Background(), c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func onEachTopology(t *testing.T, test func(t *testing.T, cfg RedisConfig)) {
	t.Run("single", func(t *testing.T) {
		t.Parallel()
		test(t, RedisConfig{URL: "redis://" + startRedis(t).addr})
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		test(t, startSentinel(t).config())
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, startCluster(t, false).config())
	})
}
