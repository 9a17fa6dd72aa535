//go:build unix

package publisher

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

func replicaOf(t *testing.T, master *testRedis) *testRedis {
	t.Helper()
	replica := newRedis(t, "--replicaof", "127.0.0.1 "+master.port)
	client := master.client()
	eventually(t, "the replica", func() bool { return client.Wait(t.Context(), 1, time.Millisecond).Val() == 1 })
	return replica
}

// together counts pipelines, which are for one connection, that write and then wait.
type together struct{ counter }

func (c *together) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *together) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		var names []string
		for _, cmd := range cmds {
			names = append(names, cmd.Name())
		}
		switch strings.Join(slices.Compact(names), " ") {
		case "multi xadd exec wait", "xadd wait":
			c.Add(1)
		}
		return next(ctx, cmds)
	}
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	server := newTCPRedis(t)
	replica := replicaOf(t, server)
	client := func(readTimeout time.Duration) *redis.Client {
		c := redis.NewClient(&redis.Options{Network: "unix", Addr: server.socket(), ReadTimeout: readTimeout, MaxRetries: -1})
		t.Cleanup(func() { c.Close() })
		return c
	}
	master := client(patience)
	together := &together{}
	master.AddHook(together)
	one, two := New(master, Config{Durable: true, Replicas: 1}), New(master, Config{Durable: true, Replicas: 2, Timeout: 700 * time.Millisecond})
	evs := numbered(t, events.PhotoDeleted, "e", 0, 6)
	if err := errors.Join(append(one.PublishBatch(t.Context(), evs[:3]), one.Publish(t.Context(), evs[3]))...); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, replica.client(), "eventbus:in:photo:upload", evs[:4]...) // already

	unconfirmed := func(p *Publisher) {
		t.Helper()
		errs := p.PublishBatch(t.Context(), evs[4:])
		for _, err := range append(errs, p.Publish(t.Context(), evs[5])) {
			if !errors.Is(err, ErrNotReplicated) {
				t.Errorf("got %v, want ErrNotReplicated", err)
			}
		}
	}
	unconfirmed(two) // there is one
	unconfirmed(New(client(700*time.Millisecond), Config{Durable: true, Replicas: 2, Timeout: time.Hour}))
	// A replica that does not answer has no say, even though it had all that was written before.
	if err := replica.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	unconfirmed(New(master, Config{Durable: true, Replicas: 1, Timeout: 700 * time.Millisecond}))
	if err := replica.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := one.Publish(t.Context(), evs[5]); err != nil {
		t.Error(err)
	}
	if n := together.Load(); n != 7 {
		t.Errorf("%d calls waited for replicas on the connection that they wrote on, want 7", n)
	}
	want := append(evs[:4:4], evs[4], evs[5], evs[5], evs[4], evs[5], evs[5], evs[4], evs[5], evs[5], evs[5])
	wantEntries(t, master, "eventbus:in:photo:upload", want...)
	wantEntries(t, replica.client(), "eventbus:in:photo:upload", want...)
}

func TestReplicasOfAnotherClient(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	p := New(wrapped{client}, Config{Durable: true, Replicas: 1})
	for _, err := range append(p.PublishBatch(t.Context(), []events.Event{deleted(t, "p")}), p.Publish(t.Context(), deleted(t, "p"))) {
		if !errors.Is(err, errClient) {
			t.Errorf("got %v, want errClient", err)
		}
	}
	p = New(wrapped{client}, Config{Durable: true})
	evs := []events.Event{deleted(t, "p"), deleted(t, "q")}
	if err := errors.Join(p.PublishBatch(t.Context(), evs)...); err != nil {
		t.Error(err)
	}
	wantEntries(t, client, "eventbus:in:photo:upload", evs...)
}

// A publisher that is connected to what has become a replica waits for what is to come.
func TestFailover(t *testing.T) {
	t.Parallel()
	replica := replicaOf(t, newTCPRedis(t))
	// With retries of its own it would rather end with the context than say why.
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: replica.socket(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	short := New(client, Config{Durable: true, Timeout: time.Second})
	errs := short.PublishBatch(t.Context(), []events.Event{deleted(t, "p"), deleted(t, "q")})
	for _, err := range append(errs, short.Publish(t.Context(), deleted(t, "p"))) {
		if !redis.IsReadOnlyError(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want that time ran out, and READONLY", err)
		}
	}
	refused := func() int {
		stats, err := client.InfoMap(t.Context(), "errorstats").Result()
		if err != nil {
			t.Error(err)
		}
		return len(stats["Errorstats"]["errorstat_READONLY"])
	}
	if err := client.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	p := New(client, Config{Durable: true, Timeout: patience})
	a, b, c := deleted(t, "a"), deleted(t, "b"), started(t, "c")
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := errors.Join(p.PublishBatch(t.Context(), []events.Event{a, b})...); err != nil {
			t.Error(err)
		}
	})
	calls.Go(func() {
		if err := p.Publish(t.Context(), c); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a refusal", func() bool { return refused() > 0 })
	if err := client.ReplicaOf(t.Context(), "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	calls.Wait()
	wantEntries(t, client, "eventbus:in:photo:upload", a, b)
	wantEntries(t, client, "eventbus:in:photo:processing", c)
}

// In a cluster a channel goes to the master of its slot, even after that has changed.
func TestCluster(t *testing.T) {
	t.Parallel()
	args := []string{"--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"}
	nodes := []*testRedis{newTCPRedis(t, args...), newTCPRedis(t, args...), newTCPRedis(t, args...)}
	do := func(node *testRedis, args ...any) string {
		t.Helper()
		answer, err := node.client().Do(t.Context(), args...).Text()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return answer
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:" + nodes[0].port}})
	t.Cleanup(func() { client.Close() })

	do(nodes[0], "cluster", "addslotsrange", 0, 8191)
	do(nodes[1], "cluster", "addslotsrange", 8192, 16383)
	for i, node := range nodes {
		do(node, "config", "set", "cluster-node-timeout", "2000")
		for _, other := range nodes[i+1:] {
			do(other, "cluster", "meet", "127.0.0.1", node.port, node.args[5])
		}
	}
	const stream = "eventbus:in:photo:upload"
	slot := int(client.ClusterKeySlot(t.Context(), stream).Val())
	owner, other := nodes[slot/8192], nodes[1-slot/8192]
	replica := nodes[2]
	eventually(t, "the cluster", func() bool {
		for _, node := range nodes {
			info, err := node.client().ClusterInfo(t.Context()).Result()
			if err != nil || !strings.Contains(info, "cluster_known_nodes:3") || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_slots_assigned:16384") {
				return false
			}
		}
		return true
	})
	do(replica, "cluster", "replicate", do(owner, "cluster", "myid"))
	eventually(t, "the replica", func() bool {
		return strings.Contains(do(replica, "info", "replication"), "master_link_status:up") &&
			strings.Contains(do(owner, "cluster", "nodes"), "slave "+do(owner, "cluster", "myid")) && // who hands over
			strings.Contains(do(other, "cluster", "nodes"), "slave "+do(owner, "cluster", "myid")) // and who votes know of it
	})
	client.ReloadState(t.Context())

	safe, plain := New(client, Config{Durable: true, Replicas: 1, Timeout: patience}), New(client, Config{Durable: true, Timeout: patience})
	publish := func(name string) {
		t.Helper()
		evs := numbered(t, events.PhotoDeleted, name, 0, 6)
		errs := append(safe.PublishBatch(t.Context(), evs[:2]), safe.Publish(t.Context(), evs[2]))
		errs = append(append(errs, plain.PublishBatch(t.Context(), evs[3:5])...), plain.Publish(t.Context(), evs[5]))
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	publish("before")
	do(replica, "cluster", "failover")
	publish("meanwhile")
	eventually(t, "the failover", func() bool { return strings.Contains(do(owner, "info", "replication"), "role:slave") })
	publish("after")
	raw := entries(t, replica.client(), stream)
	for _, name := range []string{"before", "meanwhile", "after"} {
		wantFirst(t, raw, name, 6)
	}
	all := []events.Event{deleted(t, "p"), started(t, "p"), batch(t)} // each has its own node
	if err := errors.Join(append(plain.PublishBatch(t.Context(), all), New(client, Config{}).PublishBatch(t.Context(), all)...)...); err != nil {
		t.Error(err)
	}
}
