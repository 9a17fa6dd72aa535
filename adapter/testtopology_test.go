package adapter

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// testSentinel is a master with one replica, and three Sentinels that watch over them. A server of it is killed with
// stop: half a second later the Sentinels begin to promote the replica.
type testSentinel struct {
	name            string // of the master
	master, replica *testRedis
	sentinels       []*testRedis
}

// startSentinel returns when the Sentinels know each other and the replica, so that the master may be killed. args are
// those of redis-server, for the master and the replica.
func startSentinel(t testing.TB, args ...string) *testSentinel {
	t.Helper()
	s := &testSentinel{name: "mymaster", master: startRedis(t, args...)}
	s.replica = startRedis(t, append([]string{"--replicaof", "127.0.0.1 " + s.master.port}, args...)...)
	link := plainClient(t, s.replica.addr)
	eventually(t, "the replica to be in step", func() bool {
		return strings.Contains(link.Info(context.Background(), "replication").Val(), "master_link_status:up")
	})
	for range 3 {
		s.sentinels = append(s.sentinels, startServer(t, func(one *testRedis) {
			one.conf = filepath.Join(one.dir, "sentinel.conf") // which it writes to
			err := os.WriteFile(one.conf, fmt.Appendf(nil, "port %[2]s\nbind 127.0.0.1\ndir %[3]q\n"+
				"sentinel monitor %[1]s 127.0.0.1 %[4]s 2\n"+
				"sentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 5000\n",
				s.name, one.port, one.dir, s.master.port), 0o600)
			if err != nil {
				t.Fatal(err)
			}
		}))
	}
	for _, one := range s.sentinels {
		c := redis.NewSentinelClient(&redis.Options{Addr: one.addr})
		t.Cleanup(func() { _ = c.Close() })
		eventually(t, "the Sentinels to know each other and the replica", func() bool {
			m := c.Master(context.Background(), s.name).Val()
			return m["num-other-sentinels"] == "2" && m["num-slaves"] == "1"
		})
	}
	return s
}

func (s *testSentinel) addrs() []string { return addrsOf(s.sentinels) }

func (s *testSentinel) config() RedisConfig {
	return RedisConfig{Addresses: s.addrs(), SentinelMaster: s.name}
}

// testCluster is a Cluster of three masters that share the slots evenly. A node is killed with stop: two seconds later
// the others take it for failed, and a replica, if there are any, takes over.
type testCluster struct {
	masters  []*testRedis
	replicas []*testRedis // the i-th is that of the i-th master
}

const slots = 16384

// startCluster returns when all nodes see all others and every slot is served, and every replica is in step. args are
// those of redis-server.
func startCluster(t testing.TB, replicas bool, args ...string) *testCluster {
	t.Helper()
	return startClusterOf(t, replicas, func(s *testRedis) { s.args = args })
}

// startClusterOf is startCluster with nodes that configure knows more about.
func startClusterOf(t testing.TB, replicas bool, configure func(*testRedis)) *testCluster {
	t.Helper()
	ctx := context.Background()
	node := func() *testRedis {
		return startServer(t, func(s *testRedis) {
			s.bus = freePort(t)
			configure(s)
		})
	}
	do := func(s *testRedis, args ...any) string {
		t.Helper()
		answer, err := plainClient(t, s.addr).Do(ctx, args...).Text()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return answer
	}
	s := &testCluster{}
	for range 3 {
		s.masters = append(s.masters, node())
	}
	for i, one := range s.masters {
		do(one, "CLUSTER", "ADDSLOTSRANGE", slots*i/3, slots*(i+1)/3-1)
		do(one, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
	}
	if replicas {
		for range s.masters {
			s.replicas = append(s.replicas, node())
		}
	}
	for _, one := range s.nodes()[1:] {
		do(one, "CLUSTER", "MEET", "127.0.0.1", cmp.Or(s.masters[0].tls, s.masters[0].port), s.masters[0].bus)
	}
	s.settle(t, 0)
	for i, one := range s.replicas {
		do(one, "CLUSTER", "REPLICATE", do(s.masters[i], "CLUSTER", "MYID"))
	}
	s.settle(t, len(s.replicas))
	return s
}

// settle waits until every node sees all nodes, so many of them as replicas, and every slot served.
func (s *testCluster) settle(t testing.TB, replicas int) {
	t.Helper()
	ctx, all := context.Background(), len(s.nodes())
	for _, one := range s.nodes() {
		c := plainClient(t, one.addr)
		eventually(t, "a node to see the whole Cluster", func() bool {
			nodes := c.ClusterNodes(ctx).Val()
			return strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok\r\n") &&
				strings.Count(nodes, " connected") == all && !strings.Contains(nodes, "handshake") &&
				strings.Count(nodes, "slave ") == replicas &&
				!strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:down")
		})
	}
}

func (s *testCluster) nodes() []*testRedis {
	return append(s.masters[:len(s.masters):len(s.masters)], s.replicas...)
}

// owner is the running node that serves the slot of key.
func (s *testCluster) owner(t testing.TB, key string) *testRedis {
	t.Helper()
	var owner *testRedis
	eventually(t, "the slot to be served", func() bool {
		for _, one := range s.nodes() {
			c := redis.NewClient(&redis.Options{Addr: one.addr})
			err := c.Exists(context.Background(), key).Err() // MOVED from all others
			_ = c.Close()
			if err == nil {
				owner = one
				return true
			}
		}
		return false
	})
	return owner
}

func (s *testCluster) addrs() []string { return addrsOf(s.masters) }

func (s *testCluster) config() RedisConfig { return RedisConfig{Addresses: s.addrs(), Cluster: true} }

func addrsOf(servers []*testRedis) []string {
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.addr
	}
	return addrs
}
