package adapter

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

func sumWant(t *testing.T, tally *Tally, from, to time.Time, want map[string]int64) {
	t.Helper()
	if got, err := tally.Sum(t.Context(), from, to); err != nil || !maps.Equal(got, want) {
		t.Errorf("sum is %v, want %v, %v", got, want, err)
	}
}

func testTally(t *testing.T, l *Log) {
	ctx := t.Context()
	a, b := l.Tally(), l.Tally()
	noon := time.Unix(1_800_000_000, 0).Truncate(time.Minute)
	sumWant(t, a, noon, noon.Add(time.Hour), map[string]int64{})
	a.add("x", 2, noon)
	a.add("x", 3, noon.Add(59*time.Second))
	b.add("x", 10, noon)
	b.add("y", -1, noon.Add(time.Minute))
	for range 2 {
		must(t, a.flush(ctx))
		must(t, b.flush(ctx))
	}
	sumWant(t, a, noon, noon.Add(time.Minute), map[string]int64{"x": 15})
	sumWant(t, a, noon.Add(30*time.Second), noon.Add(61*time.Second), map[string]int64{"x": 15, "y": -1})
	sumWant(t, a, noon.Add(time.Minute), noon.Add(2*time.Minute), map[string]int64{"y": -1})
	sumWant(t, a, noon.Add(time.Minute), noon, map[string]int64{})
	sumWant(t, a, time.Time{}, noon.Add(24*time.Hour), map[string]int64{"x": 15, "y": -1})
	sumWant(t, a, time.Time{}, noon.Add(24*time.Hour+time.Minute), map[string]int64{"y": -1})
	a.add("x", 1, noon) // in a minute that was sent
	must(t, a.flush(ctx))
	sumWant(t, a, noon, noon.Add(time.Minute), map[string]int64{"x": 16})
	if ttl := l.redis.client.PTTL(ctx, a.key(noon.Unix()/60)).Val(); ttl < 24*time.Hour || ttl > tallyKept {
		t.Errorf("a minute is kept for %s", ttl)
	}

	// A batch that Redis has, though nobody heard of it, is not added again.
	a.add("x", 100, noon)
	a.collect()
	again := a.sending[0]
	must(t, a.flush(ctx))
	a.sending = append(a.sending, again)
	must(t, a.flush(ctx))
	sumWant(t, a, noon, noon.Add(time.Minute), map[string]int64{"x": 116})

	// Run counts what there is at the end.
	run, cancel := context.WithCancel(ctx)
	b.Add("late", 1)
	cancel()
	must(t, b.Run(run))
	sumWant(t, a, time.Now().Add(-time.Hour), time.Now().Add(time.Minute), map[string]int64{"late": 1})
}

// Names and minutes are bounded, and nothing that was counted is lost by that.
func TestTallyBounds(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	tally := dialTest(t, "redis://"+s.addr).Store("").Tally()
	noon := time.Unix(1_800_000_000, 0).Truncate(time.Minute)
	s.stop(t)
	total := int64(0)
	for minute := range 3 * tallyBack {
		for i := range 10 {
			tally.add(fmt.Sprint("n", minute*10+i), 1, noon.Add(time.Duration(minute)*time.Minute))
			total++
		}
		if minute%7 == 0 && tally.flush(t.Context()) == nil {
			t.Fatal("counts went nowhere")
		}
		if n := len(tally.sending); n > tallyBack {
			t.Fatalf("%d minutes wait", n)
		}
	}
	for _, name := range []string{"", "~x", strings.Repeat("x", 129)} {
		tally.add(name, 1, noon)
		total++
	}
	s.start(t)
	eventually(t, "the counts to arrive", func() bool { return tally.flush(t.Context()) == nil })
	got, err := tally.Sum(t.Context(), noon, noon.Add(5*time.Hour))
	must(t, err)
	sum := int64(0)
	for _, n := range got {
		sum += n
	}
	if sum != total || len(got) > tallyNames+1 || got["n0"] != 1 || got[tallyOther] == 0 {
		t.Errorf("%d of %d are counted, under %d names", sum, total, len(got))
	}
}

// Counts arrive by themselves, also those of a time when Redis was away.
func TestTallyRun(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	tally := dialTest(t, "redis://"+s.addr).Store("").Tally()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tally.Run(ctx) }()
	began := time.Now()
	want := func(want int64) {
		t.Helper()
		eventually(t, "the counts to arrive", func() bool {
			got, err := tally.Sum(t.Context(), began, time.Now().Add(time.Minute))
			return err == nil && got["x"] == want
		})
	}
	tally.Add("x", 1)
	want(1)
	s.stop(t)
	tally.Add("x", 2)
	eventually(t, "a flush that fails", func() bool {
		tally.mu.Lock()
		defer tally.mu.Unlock()
		return len(tally.minutes) == 0 // it was taken
	})
	s.start(t) // empty
	tally.Add("x", 4)
	want(6)
	cancel()
	must(t, <-done)
}

// Each count is there once, however many answers of Redis get lost.
func TestTallyLostAnswers(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	ctx, tally, killer := t.Context(), r.Store("").Tally(), plainClient(t, s.addr)
	noon := time.Unix(1_800_000_000, 0).Truncate(time.Minute)
	stop, killed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		for {
			select {
			case <-stop:
				return
			default:
				_ = killer.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err()
			}
		}
	}()
	total, failed := int64(0), 0
	for i := 0; i < 300 || failed < 5 && i < 100_000; i++ {
		total++
		tally.add("x", 1, noon.Add(time.Duration(i%3)*time.Minute))
		if tally.flush(ctx) != nil {
			failed++
		}
	}
	close(stop)
	<-killed
	eventually(t, "the rest to be flushed", func() bool { return tally.flush(ctx) == nil })
	if failed == 0 {
		t.Error("no flush failed")
	}
	sumWant(t, tally, noon, noon.Add(time.Hour), map[string]int64{"x": total})
}
