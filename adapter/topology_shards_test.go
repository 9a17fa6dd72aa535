package adapter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
)

// shardsHeard runs Shards until the test ends and keeps what it hands over.
type shardsHeard struct {
	*Shards
	mu  sync.Mutex
	got []string // channel|payload
}

func hearShards(t *testing.T, r *Redis, channels ...string) *shardsHeard {
	t.Helper()
	in := &shardsHeard{}
	in.Shards = r.Shards(func(channel string, payload []byte) {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.got = append(in.got, channel+"|"+string(payload))
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- in.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil after its context ended", err)
		}
	})
	in.add(t, channels...)
	return in
}

// add returns when they are heard.
func (in *shardsHeard) add(t *testing.T, channels ...string) {
	t.Helper()
	if err := in.Add(channels...); err != nil {
		t.Fatal(err)
	}
	for _, c := range channels {
		eventually(t, c+" to be heard", func() bool { return in.Heard(c) })
	}
}

func (in *shardsHeard) wait(t *testing.T, want ...string) {
	t.Helper()
	messages := func() []string {
		in.mu.Lock()
		defer in.mu.Unlock()
		got := slices.Clone(in.got)
		slices.Sort(got) // they come by several connections
		return got
	}
	eventually(t, fmt.Sprintf("%d messages", len(want)), func() bool { return len(messages()) >= len(want) })
	slices.Sort(want)
	if got := messages(); !slices.Equal(got, want) {
		t.Fatalf("received %.200q, want %.200q", got, want)
	}
}

func spublish(t *testing.T, r *Redis, channel, payload string, listeners int64) {
	t.Helper()
	if n, err := r.Client().SPublish(context.Background(), channel, payload).Result(); err != nil || n != listeners {
		t.Fatalf("SPUBLISH %s reached %d listeners, error %v; want %d", channel, n, err, listeners)
	}
}

func TestShards(t *testing.T) {
	t.Parallel()
	onEachTopology(t, func(t *testing.T, cfg RedisConfig) {
		r := dialConfig(t, cfg)
		var rooms, want []string
		for i := range 50 { // in slots of all nodes
			rooms = append(rooms, "socket.io#/#room-"+strconv.Itoa(i)+"#")
		}
		in := hearShards(t, r, rooms[:25]...)
		in.add(t, rooms[20:]...) // while it runs, some of them for the second time
		for _, c := range rooms {
			spublish(t, r, c, "1", 1)
			want = append(want, c+"|1")
		}
		in.wait(t, want...)

		in.Remove(rooms[10:]...)
		for _, c := range rooms[10:] {
			eventually(t, "nobody to listen", func() bool {
				return r.Client().SPublish(context.Background(), c, "2").Val() == 0
			})
		}
		for _, c := range rooms[:10] {
			spublish(t, r, c, "3", 1)
			want = append(want, c+"|3")
		}
		in.Remove(rooms[10]) // which is not there
		in.add(t, rooms[10])
		spublish(t, r, rooms[10], "4", 1)
		want = append(want, rooms[10]+"|4")
		in.wait(t, want...)
		if err := in.Add("a", ""); err == nil || in.Heard("a") {
			t.Errorf("Add of a channel without a name = %v, want an error and nothing added", err)
		}
	})
}

// What is removed and added again before Redis has answered is heard.
func TestShardsFlapping(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	in := hearShards(t, r, "a")
	for range 200 {
		in.Remove("a")
		_ = in.Add("a")
	}
	eventually(t, "the channel to be heard", func() bool { return in.Heard("a") })
	eventually(t, "Redis to be told all", func() bool {
		in.Shards.mu.Lock()
		defer in.Shards.mu.Unlock()
		one := in.channels["a"]
		return one.heard && len(in.leaving) == 0 && len(one.on.leaving) == 0
	})
	spublish(t, r, "a", "1", 1)
	in.wait(t, "a|1")
}

// A connection that has just ended takes no channels, which nobody would make free again.
func TestShardsAssign(t *testing.T) {
	t.Parallel()
	s := dialTest(t, "redis://"+startEmbedded(t, "").Addr()).Shards(nil)
	if err := s.Add("a"); err != nil {
		t.Fatal(err)
	}
	c := &shardConn{}
	s.release(c, true)
	if _, err := s.assign("a", c); err == nil || s.channels["a"].on != nil {
		t.Errorf("assign to a connection that has ended = %v, want an error", err)
	}
	if wanted, err := s.assign("b", &shardConn{}); wanted || err != nil {
		t.Errorf("assign of a channel that was removed = %v, %v; want false", wanted, err)
	}
}

func TestShardsAfterRestart(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	in := hearShards(t, r, "a", "b")
	s.stop(t)
	eventually(t, "the loss to show", func() bool { return !in.Heard("a") && !in.Heard("b") })
	s.start(t)
	in.add(t, "a", "b", "c")
	spublish(t, r, "b", "1", 1)
	in.wait(t, "b|1")
}

func TestShardsFollowSlots(t *testing.T) {
	t.Parallel()
	s := startCluster(t, true)
	ctx := context.Background()
	r := dialConfig(t, s.config())
	in := hearShards(t, r, "a", "b", "c", "d")

	// A slot is handed to another node.
	from, slot := s.owner(t, "a"), plainClient(t, s.masters[0].addr).ClusterKeySlot(ctx, "a").Val()
	to := s.masters[0]
	if to == from {
		to = s.masters[1]
	}
	id := plainClient(t, to.addr).Do(ctx, "CLUSTER", "MYID").Val()
	for _, one := range []*testRedis{to, from} {
		if err := plainClient(t, one.addr).Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	owner := plainClient(t, to.addr)
	eventually(t, "the channel to be heard from its new node", func() bool {
		return in.Heard("a") && owner.SPublish(ctx, "a", "moved").Val() == 1
	})
	in.wait(t, "a|moved")

	// A node fails, and its replica takes over.
	failed := s.owner(t, "b")
	failed.stop(t)
	eventually(t, "the loss to show", func() bool { return !in.Heard("b") })
	eventually(t, "the channel to be heard from the replica", func() bool {
		now := plainClient(t, s.owner(t, "b").addr)
		return in.Heard("b") && now.SPublish(ctx, "b", "failed over").Val() == 1
	})
	in.wait(t, "a|moved", "b|failed over")
}

func TestShardsRefused(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	if err := plainClient(t, s.addr).Do(context.Background(), "ACL", "SETUSER", "app", "on", ">hush", "+@all", "~*", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string][]string{
		"redis://app:hush@" + s.addr:             {`"app"`, "NOPERM", "ACL SETUSER"},
		"redis://" + startEmbedded(t, "").Addr(): {"7.0", "Valkey"},
	} {
		shards := dialTest(t, url).Shards(nil)
		if err := shards.Add("a"); err != nil {
			t.Fatal(err)
		}
		wantMentions(t, shards.Run(context.Background()), want...)
	}
}
