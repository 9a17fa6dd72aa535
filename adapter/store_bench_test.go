package adapter

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkThrottle asks about events of one key each, in batches, where all are allowed, and where nearly none is.
func BenchmarkThrottle(b *testing.B) {
	for _, limit := range []int{10, 100_000} {
		for _, n := range []int{1, 128} {
			b.Run(fmt.Sprintf("limit=%d/%d", limit, n), func(b *testing.B) {
				r := dialTest(b, "redis://"+startRedis(b).addr)
				s := r.Store("")
				asks, done := make([]ThrottleAsk, n), 0
				b.ReportAllocs()
				began, server := cpu(), serverCPU(b, r)
				for b.Loop() {
					for i := range asks {
						asks[i] = ThrottleAsk{Key: fmt.Sprint("user", (done+i)%100), Member: fmt.Sprint(done + i), Limit: limit, Window: time.Minute}
					}
					if _, err := s.Throttle(b.Context(), asks); err != nil {
						b.Fatal(err)
					}
					done += n
				}
				perEvent(b, r, done, began, server)
			})
		}
	}
}

// BenchmarkQuota takes one of what a user is granted, where there is enough, and where there is not.
func BenchmarkQuota(b *testing.B) {
	for _, limit := range []int{1, 1_000_000} {
		b.Run(fmt.Sprint("limit=", limit), func(b *testing.B) {
			r := dialTest(b, "redis://"+startRedis(b).addr)
			s, q, done := r.Store(""), Quota{Limit: limit, Window: time.Minute}, 0
			b.ReportAllocs()
			began, server := cpu(), serverCPU(b, r)
			for b.Loop() {
				if _, _, _, err := s.Quota(b.Context(), "user", q, 1); err != nil {
					b.Fatal(err)
				}
				done++
			}
			perEvent(b, r, done, began, server)
		})
	}
}

// BenchmarkFeedRead takes events of 600 bytes out of a feed and acknowledges them, for one of several groups.
func BenchmarkFeedRead(b *testing.B) {
	for _, groups := range []int{1, 20} {
		b.Run(fmt.Sprint("groups=", groups), func(b *testing.B) {
			r := dialTest(b, "redis://"+startRedis(b).addr)
			f := r.Store("").Feed("c")
			for g := range groups {
				if err := f.Create(b.Context(), fmt.Sprint(g)); err != nil {
					b.Fatal(err)
				}
			}
			const n = 128
			reader, done, ps := f.Reader("0", "c"), 0, make([]Position, 0, n)
			defer reader.Close()
			event := make([]byte, 600)
			b.ReportAllocs()
			var began, server time.Duration
			for b.Loop() {
				b.StopTimer()
				pipe := r.client.Pipeline()
				for range n {
					pipe.Do(b.Context(), "XADD", f.key, "MAXLEN", "~", 10*n, "*", "event", event)
				}
				if _, err := pipe.Exec(b.Context()); err != nil {
					b.Fatal(err)
				}
				began, server = began-cpu(), server-serverCPU(b, r)
				b.StartTimer()
				entries, err := reader.Read(b.Context(), n)
				if err != nil || len(entries) != n {
					b.Fatal(len(entries), err)
				}
				ps = ps[:0]
				for _, e := range entries {
					ps = append(ps, e.Position)
				}
				if err := f.Ack(b.Context(), "0", ps...); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				began, server = began+cpu(), server+serverCPU(b, r)
				b.StartTimer()
				done += n
			}
			perEvent(b, r, done, cpu()-began, serverCPU(b, r)-server)
		})
	}
}
