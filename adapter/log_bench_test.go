package adapter

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cpu is what this process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchRecords are n records of an event of 600 bytes, with ids from first on.
func benchRecords(n, first int) []Record {
	records := make([]Record, n)
	for i := range records {
		id := fmt.Sprint(first + i)
		records[i] = Record{Key: Key("photo:processing", id), Messages: []Message{{
			Rooms: []string{"photo:42", "user:7"},
			Args:  []byte(`"processing.event",{"id":"` + id + `","data":"` + strings.Repeat("x", 560) + `"}`),
		}}}
	}
	return records
}

// BenchmarkLogAppend is one event's way into the log, in batches as they come under load. cpu-ns is this process's share.
func BenchmarkLogAppend(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := dialTest(b, "redis://"+startRedis(b).addr).Log(LogConfig{ID: "00000000000000aa"})
			if err := l.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			began, done := cpu(), 0
			for b.Loop() {
				if _, err := l.Append(b.Context(), Lease{}, benchRecords(n, done)); err != nil {
					b.Fatal(err)
				}
				done += n
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(done), "ns/event")
			b.ReportMetric(float64(cpu()-began)/float64(done), "cpu-ns/event")
		})
	}
}

// BenchmarkLogTail is one event's way out of the log, for a tail that is behind.
func BenchmarkLogTail(b *testing.B) {
	r := dialTest(b, "redis://"+startRedis(b).addr)
	l := r.Log(LogConfig{ID: "00000000000000aa"})
	if err := l.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	const events = 20 * readLen
	for first := 0; first < events; first += readLen {
		if _, err := l.Append(b.Context(), Lease{}, benchRecords(readLen, first)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	var read atomic.Int64
	began := cpu()
	for b.Loop() {
		late := r.Log(LogConfig{ID: "00000000000000bb"})
		if err := late.Open(b.Context()); err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() {
			done <- late.Tail(ctx, func(e []Entry) { read.Add(int64(len(e))) }, func(Position) { b.Error("a gap") })
		}()
		<-late.CaughtUp()
		cancel()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(read.Load()), "ns/event")
	b.ReportMetric(float64(cpu()-began)/float64(read.Load()), "cpu-ns/event")
}
