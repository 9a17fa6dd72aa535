//go:build unix

package adapter

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReceive takes 500-byte messages from a real redis-server. ns/op is mostly redis-server's and the
// publisher's time; cpu-ns/op is this process's, publisher included, and allocs/op the listener's.
func BenchmarkReceive(b *testing.B) {
	s := startRedis(b)
	l := dialTest(b, "redis://"+s.addr).Listener()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	seen, left := make(chan struct{}), b.N
	go func() {
		done <- l.Receive(ctx, Subscription{Channels: []string{"bench"}, Handle: func(string, []byte) {
			if left--; left == 0 {
				close(seen)
			}
		}})
	}()
	<-l.Subscribed()
	benchPublish(b, s.addr, seen)
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// benchPublish publishes b.N messages in batches, so that the publisher costs little, and waits until they are seen.
func benchPublish(b *testing.B, addr string, seen <-chan struct{}) {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	const batch = 100
	one := fmt.Sprintf("*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$500\r\n%s\r\n", strings.Repeat("x", 500))
	all := []byte(strings.Repeat(one, batch))
	answers := make([]byte, batch*len(":1\r\n"))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	for left := b.N; left > 0; left -= batch {
		n := min(left, batch)
		if _, err := conn.Write(all[:n*len(one)]); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answers[:n*len(":1\r\n")]); err != nil {
			b.Fatal(err)
		}
	}
	<-seen
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
