//go:build unix

package adapter

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// BenchmarkSessionsReturn has 5,000 clients come back at once to a server that they were not on: a Look, a Take and a
// Save each.
func BenchmarkSessionsReturn(b *testing.B) {
	const clients = 5000
	addr := startRedis(b).addr
	c := plainClient(b, addr)
	servers := []*sessionServer{startSessions(b, addr, sessionsA), startSessions(b, addr, sessionsB)}
	pids := connectAll(b, servers[0], clients)
	before, cpu := redisWork(b, c), cpuTime(b)
	b.ResetTimer()
	for i := range b.N {
		to := servers[(i+1)%2]
		for _, pid := range pids {
			to.put(pid, "client:"+pid, "photo:1", "photo:2")
		}
		var all sync.WaitGroup
		for _, pid := range pids {
			all.Go(func() {
				if _, ok, err := to.Look(context.Background(), pid); !ok || err != nil {
					b.Errorf("Look = %v, %v", ok, err)
				}
				if _, _, ok, err := to.Take(context.Background(), pid); !ok || err != nil {
					b.Errorf("Take = %v, %v", ok, err)
				}
				if err := to.Save(context.Background(), pid); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.StopTimer()
	reportWork(b, c, before, cpu, b.N*clients, "client")
}

// BenchmarkSessionsRenew renews 10,000 sessions, which is once every minute.
func BenchmarkSessionsRenew(b *testing.B) {
	const clients = 10_000
	addr := startRedis(b).addr
	c, s := plainClient(b, addr), startSessions(b, addr, sessionsA)
	connectAll(b, s, clients)
	before, cpu := redisWork(b, c), cpuTime(b)
	b.ResetTimer()
	for range b.N {
		s.renew(time.Now())
		for s.more() {
			time.Sleep(time.Millisecond)
		}
	}
	s.settle(b)
	b.StopTimer()
	reportWork(b, c, before, cpu, b.N*clients, "session")
}

func connectAll(b *testing.B, s *sessionServer, n int) (pids []string) {
	b.Helper()
	for i := range n {
		pid := fmt.Sprintf("%020d", i)
		s.put(pid, "client:"+pid, "photo:1", "photo:2")
		s.Changed(pid)
		pids = append(pids, pid)
	}
	s.settle(b)
	return pids
}

// work is what a Redis did: commands, and seconds of its CPU, and connections.
type work struct{ commands, cpu, connections float64 }

func redisWork(b *testing.B, c *redis.Client) (w work) {
	b.Helper()
	info := c.Info(context.Background(), "everything").Val()
	number := func(field string) (n float64) {
		_, after, _ := strings.Cut(info, "\n"+field)
		if _, err := fmt.Sscan(after[:strings.IndexAny(after, ",\r")], &n); err != nil {
			b.Fatalf("INFO %s: %v", field, err)
		}
		return n
	}
	w = work{commands: number("total_commands_processed:"), cpu: number("used_cpu_user:") + number("used_cpu_sys:"),
		connections: number("total_connections_received:")}
	return w
}

func reportWork(b *testing.B, c *redis.Client, before work, cpu time.Duration, n int, unit string) {
	b.Helper()
	used, after := cpuTime(b)-cpu, redisWork(b, c)
	b.ReportMetric(float64(used.Microseconds())/float64(n), "cpu-µs/"+unit)
	b.ReportMetric((after.cpu-before.cpu)*1e6/float64(n), "redis-µs/"+unit)
	b.ReportMetric((after.commands-before.commands)/float64(n), "commands/"+unit) // with those that scripts call
	b.ReportMetric(after.connections-before.connections, "connections")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/op")
}
