package adapter

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
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

// serverCPU is what a Redis has used so far.
func serverCPU(b *testing.B, r *Redis) time.Duration {
	b.Helper()
	text, err := r.client.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	used := 0.0
	for line := range strings.SplitSeq(text, "\r\n") {
		if key, value, _ := strings.Cut(line, ":"); key == "used_cpu_sys" || key == "used_cpu_user" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			used += n
		}
	}
	return time.Duration(used * float64(time.Second))
}

// perEvent reports what n events cost since then: cpu-ns is this process's share, redis-cpu-ns that of Redis.
func perEvent(b *testing.B, r *Redis, n int, began, server time.Duration) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/event")
	b.ReportMetric(float64(cpu()-began)/float64(n), "cpu-ns/event")
	b.ReportMetric(float64(serverCPU(b, r)-server)/float64(n), "redis-cpu-ns/event")
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

// BenchmarkLogAppend is one event's way into the log, in batches as they come under load.
func BenchmarkLogAppend(b *testing.B) {
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := dialTest(b, "redis://"+startRedis(b).addr).Log(LogConfig{ID: "00000000000000aa"})
			if err := l.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			began, server, done := cpu(), serverCPU(b, l.redis), 0
			for b.Loop() {
				if _, err := l.Append(b.Context(), Lease{}, benchRecords(n, done)); err != nil {
					b.Fatal(err)
				}
				done += n
			}
			perEvent(b, l.redis, done, began, server)
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

// BenchmarkLogAppendMore is what feeds and histories add to the way into the log, in batches of 128: nothing but a look
// where there is no feed, the event once more where there is one, and once more in the history of one of its rooms.
func BenchmarkLogAppendMore(b *testing.B) {
	for _, with := range []string{"nothing", "events", "feed", "history", "feed and history"} {
		b.Run(with, func(b *testing.B) {
			l := dialTest(b, "redis://"+startRedis(b).addr).Log(LogConfig{ID: "00000000000000aa"})
			if err := l.Open(b.Context()); err != nil {
				b.Fatal(err)
			}
			lease := Lease{Channel: "c", Key: l.Key("lease:c"), Token: "t"}
			if err := l.redis.client.Set(b.Context(), lease.Key, "t", 0).Err(); err != nil {
				b.Fatal(err)
			}
			f := l.Feed("c")
			if strings.Contains(with, "feed") {
				if err := f.Create(b.Context(), "g"); err != nil {
					b.Fatal(err)
				}
			}
			if strings.Contains(with, "history") {
				l.KeepHistory(HistoryConfig{Prefixes: []string{"photo:"}})
			}
			const n = 128
			done := 0
			b.ReportAllocs()
			began, server := cpu(), serverCPU(b, l.redis)
			for b.Loop() {
				records := benchRecords(n, done)
				for i := range records {
					if with != "nothing" {
						_, records[i].Event, _ = bytes.Cut(records[i].Messages[0].Args, []byte(","))
					}
				}
				if _, err := l.Append(b.Context(), lease, records); err != nil {
					b.Fatal(err)
				}
				done += n
				if done%(n*n) == 0 { // its memory is not what is measured
					b.StopTimer()
					l.redis.client.XTrimMaxLen(b.Context(), f.key, 0)
					b.StartTimer()
				}
			}
			perEvent(b, l.redis, done, began, server)
		})
	}
}
