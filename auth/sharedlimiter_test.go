package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// fakeQuota is Redis: one Limiter for all, which takes its time and may fail or hang.
type fakeQuota struct {
	took  time.Duration
	state atomic.Int32 // 0: well, 1: fails, 2: hangs
	asked atomic.Int32

	mu      sync.Mutex
	limiter *Limiter
	largest int
}

var errQuota = errors.New("redis: connection refused")

func (f *fakeQuota) Take(ctx context.Context, key string, limit int, window time.Duration, n int) (bool, time.Duration, error) {
	f.asked.Add(1)
	switch f.state.Load() {
	case 1:
		return false, 0, errQuota
	case 2:
		<-ctx.Done()
		return false, 0, ctx.Err()
	}
	select {
	case <-time.After(f.took):
	case <-ctx.Done():
		return false, 0, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.largest = max(f.largest, n)
	if n <= 0 || n > limit {
		return false, 0, fmt.Errorf("asked for %d of %d", n, limit)
	}
	ok, wait := f.limiter.AllowN(key, n)
	return ok, wait, nil
}

// replicas makes some that share a quota, and runs them until the test's end. In a bubble stop must be called in it.
func replicas(t testing.TB, n int, cfg LimitConfig, q quota) (all []*SharedLimiter, stop func()) {
	t.Helper()
	cfg.Enabled = true
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range n {
		s, err := NewSharedLimiter("events", cfg, q, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Errorf("Run: got %v, want nil", err)
			}
		})
	}
	return all, func() { cancel(); running.Wait() }
}

func newFakeQuota(t testing.TB, cfg LimitConfig) *fakeQuota {
	return &fakeQuota{took: time.Millisecond, limiter: newLimiter(t, cfg)}
}

// flood sends as often as it can for some time, and returns how many passed.
func flood(t *testing.T, on []*SharedLimiter, gap, d time.Duration) (passed int) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		for _, s := range on {
			if ok, wait := s.Allow(t.Context(), "alice"); ok {
				passed++
			} else if wait <= 0 || wait > s.local.cfg.Load().Window {
				t.Fatalf("refused for %v", wait)
			}
		}
		time.Sleep(gap)
	}
	return passed
}

func TestSharedLimiterFlood(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		replicas int
		cfg      LimitConfig
		gap      time.Duration
	}{
		{"one replica", 1, LimitConfig{Max: 600, Window: time.Minute}, 5 * time.Millisecond},
		{"three", 3, LimitConfig{Max: 600, Window: time.Minute}, 5 * time.Millisecond},
		{"three, faster than Redis", 3, LimitConfig{Max: 60, Window: 6 * time.Second}, 500 * time.Microsecond},
		{"three, a small limit", 3, LimitConfig{Max: 12, Window: time.Minute}, 10 * time.Millisecond},
		{"three, a tiny limit", 3, LimitConfig{Max: 5, Window: time.Minute}, 10 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQuota(t, tt.cfg)
				on, stop := replicas(t, tt.replicas, tt.cfg, q)
				defer stop()
				synctest.Wait()
				const windows = 4
				passed := flood(t, on, tt.gap, windows*tt.cfg.Window)
				// A whole allowance at first, then what is restored, and what the replicas owe at the end.
				whole := tt.cfg.Max * (windows + 1)
				flight := int(q.took/tt.gap) + 1
				if most := whole + tt.replicas*(tt.cfg.Max/sharedShare+flight); passed > most || passed < whole*9/10 {
					t.Errorf("got %d passed, want %d to %d", passed, whole*9/10, most)
				}
				// Once in a tenth of the limit, and whenever more might pass again.
				if asked, most := int(q.asked.Load()), 2*tt.replicas*whole; asked > most || tt.cfg.Max >= 100 && asked > whole/5 {
					t.Errorf("asked %d times for %d that passed", asked, passed)
				}
			})
		})
	}
}

// TestSharedLimiterOfUsualClients: who stays below the limit is never refused, and hardly ever asked about.
func TestSharedLimiterOfUsualClients(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 600, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		on, stop := replicas(t, 2, cfg, q)
		defer stop()
		synctest.Wait()
		passed := 0
		for i := range 20 * 60 * 8 { // twenty minutes at 8 a second, over both, where 10 may pass
			if ok, _ := on[i%2].Allow(t.Context(), "alice"); ok {
				passed++
			}
			if ok, _ := on[i%2].Allow(t.Context(), fmt.Sprint("other", i)); !ok {
				t.Fatal("a newcomer is refused")
			}
			time.Sleep(time.Second / 8)
		}
		if want := 20 * 60 * 8; passed != want {
			t.Errorf("got %d passed, want all %d", passed, want)
		}
		if got, most := int(q.asked.Load()), 20*60*8/60; got > most {
			t.Errorf("asked %d times, want at most %d", got, most)
		}
	})
}

// TestSharedLimiterExact: with AllowN, and with a limit too small to share, nothing passes that is not counted.
func TestSharedLimiterExact(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 100, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		on, stop := replicas(t, 2, cfg, q)
		defer stop()
		synctest.Wait()
		allow := func(s *SharedLimiter, n int, want bool, wantRetry time.Duration) {
			t.Helper()
			ok, retry := s.AllowN(t.Context(), "alice", n)
			if ok != want || retry > wantRetry || retry < wantRetry-10*time.Millisecond {
				t.Errorf("%d: got %v, %v, want %v, %v", n, ok, retry, want, wantRetry)
			}
		}
		allow(on[0], 60, true, 0)
		allow(on[1], 41, false, 600*time.Millisecond)
		time.Sleep(600 * time.Millisecond)
		allow(on[1], 41, true, 0)
		allow(on[0], 2, false, 1200*time.Millisecond)
		time.Sleep(600 * time.Millisecond)
		allow(on[0], 1, true, 0) // though two were refused for longer
		asked := q.asked.Load()
		for range 10 {
			allow(on[0], 1, false, 600*time.Millisecond)
		}
		if got := q.asked.Load() - asked; got != 1 {
			t.Errorf("asked %d times about a key that is known to be refused", got)
		}
		allow(on[0], 101, false, 600*time.Millisecond)
		time.Sleep(time.Minute)
		allow(on[0], 101, false, time.Minute) // ever
		allow(on[0], 0, true, 0)
		allow(on[0], 100, true, 0)
		allow(on[0], 1, false, 600*time.Millisecond)
	})
}

// TestSharedLimiterGivesBack: what Redis refuses does not use up this replica's own allowance.
func TestSharedLimiterGivesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 100, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		on, stop := replicas(t, 1, cfg, q)
		defer stop()
		synctest.Wait()
		q.limiter.AllowN("events:alice", 1) // elsewhere
		for range 50 {
			if ok, _ := on[0].AllowN(t.Context(), "alice", 100); !ok {
				time.Sleep(10 * time.Millisecond)
				q.limiter.AllowN("events:alice", 1)
			}
		}
		time.Sleep(600 * time.Millisecond)
		q.state.Store(1)
		if ok, _ := on[0].AllowN(t.Context(), "alice", 99); !ok {
			t.Error("refused by a local allowance that nothing has used")
		}
	})
}

// TestSharedLimiterAlone: without Redis a replica decides alone, and no event waits for long.
func TestSharedLimiterAlone(t *testing.T) {
	t.Parallel()
	for state, name := range map[int32]string{1: "fails", 2: "hangs"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				cfg := LimitConfig{Max: 100, Window: time.Minute}
				q := newFakeQuota(t, cfg)
				q.state.Store(state)
				on, stop := replicas(t, 1, cfg, q)
				defer stop()
				synctest.Wait()
				s := on[0]
				began := time.Now()
				passed := 0
				for range 1000 {
					if ok, _ := s.Allow(t.Context(), "alice"); ok {
						passed++
					}
				}
				if passed != 100 || time.Since(began) != 0 {
					t.Errorf("got %d passed after %v, want the local limit of 100 at once", passed, time.Since(began))
				}
				time.Sleep(2 * time.Second)
				for i := range 5 {
					began = time.Now()
					if ok, _ := s.AllowN(t.Context(), fmt.Sprint("exact", i), 1); !ok {
						t.Error("refused though the local limit allows it")
					}
					if got := time.Since(began); got > sharedWait {
						t.Errorf("waited %v, want at most %v", got, sharedWait)
					}
					time.Sleep(sharedTimeout)
				}
				if count(t, s.metrics.alone) == 0 {
					t.Error("not counted")
				}
				asked := q.asked.Load()
				for range 1000 {
					s.AllowN(t.Context(), "bob", 1)
					time.Sleep(10 * time.Millisecond)
				}
				if got := q.asked.Load() - asked; got > 10*(1+sharedAskers) {
					t.Errorf("asked a Redis that is away %d times in ten seconds", got)
				}
				q.state.Store(0)
				time.Sleep(2 * time.Minute)
				if got := flood(t, on, time.Millisecond, time.Minute); got < 180 || got > 220 {
					t.Errorf("Redis is back: got %d passed in a minute, want 200", got)
				}
			})
		})
	}
}

// TestSharedLimiterLateAnswer: what passed because the answer was late is counted when it comes.
func TestSharedLimiterLateAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 5, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		q.took = 200 * time.Millisecond
		on, stop := replicas(t, 1, cfg, q)
		defer stop()
		synctest.Wait()
		q.limiter.AllowN("events:alice", 5) // elsewhere
		began := time.Now()
		if ok, _ := on[0].Allow(t.Context(), "alice"); !ok || time.Since(began) != sharedWait {
			t.Errorf("got %v after %v, want it to pass after %v", ok, time.Since(began), sharedWait)
		}
		time.Sleep(q.took)
		if ok, wait := on[0].Allow(t.Context(), "alice"); ok || wait < 11*time.Second {
			t.Errorf("after the answer: got %v, %v, want about 12s", ok, wait)
		}
		if got := on[0].keys.young[on[0].local.hash("alice")].owed; got != 1 {
			t.Errorf("owes %d, want 1", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began = time.Now()
		on[0].AllowN(ctx, "bob", 1)
		if time.Since(began) != 0 {
			t.Error("waited for a caller that has gone")
		}
	})
}

func TestSharedLimiterNotRunning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 5, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		on, stop := replicas(t, 1, cfg, q)
		stop()
		without, stop := replicas(t, 1, cfg, nil)
		defer stop()
		synctest.Wait()
		for name, s := range map[string]*SharedLimiter{"ended": on[0], "without a quota": without[0]} {
			began, passed := time.Now(), 0
			for range 10 {
				if ok, _ := s.Allow(t.Context(), "alice"); ok {
					passed++
				}
			}
			if passed != 5 || time.Since(began) != 0 {
				t.Errorf("%s: got %d passed after %v, want 5 at once", name, passed, time.Since(began))
			}
		}
		if got := count(t, without[0].metrics.alone); got != 0 {
			t.Errorf("without a quota: counts %v as if one were missed", got)
		}
		if got := count(t, on[0].metrics.alone); got != 5 {
			t.Errorf("ended: counts %v passed alone, want 5", got)
		}
	})
}

// TestSharedLimiterEnds: whoever waits when Run ends gets an answer.
func TestSharedLimiterEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 5, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		q.state.Store(2)
		on, stop := replicas(t, 1, cfg, q)
		synctest.Wait()
		var waiting sync.WaitGroup
		for i := range 3 * sharedAskers {
			waiting.Go(func() {
				if ok, _ := on[0].Allow(t.Context(), fmt.Sprint(i)); !ok {
					t.Error("refused")
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		stop()
		waiting.Wait()
		if time.Since(began) != 0 || len(on[0].asks) != 0 {
			t.Errorf("ended after %v with %d questions left", time.Since(began), len(on[0].asks))
		}
	})
}

func TestSharedLimiterReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := LimitConfig{Max: 600, Window: time.Minute}
		q := newFakeQuota(t, cfg)
		on, stop := replicas(t, 1, cfg, q)
		defer stop()
		synctest.Wait()
		flood(t, on, time.Millisecond, 2*time.Second)
		if err := on[0].Reload(LimitConfig{Max: -1}); err == nil {
			t.Error("a negative limit is taken")
		}
		if got := on[0].local.cfg.Load().Max; got != 600 {
			t.Errorf("a refused change has made it %d", got)
		}
		if err := on[0].Reload(LimitConfig{Enabled: true, Max: 6, Window: time.Second}); err != nil {
			t.Fatal(err)
		}
		q.limiter.Reload(LimitConfig{Enabled: true, Max: 6, Window: time.Second})
		time.Sleep(time.Minute)
		if got := flood(t, on, time.Millisecond, 10*time.Second); got < 60-6 || got > 66+1 {
			t.Errorf("got %d in ten seconds, want 66", got)
		}
		if err := on[0].Reload(LimitConfig{}); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if ok, _ := on[0].Allow(t.Context(), "alice"); !ok {
				t.Fatal("refused though it is off")
			}
			if ok, _ := on[0].AllowN(t.Context(), "alice", 1e9); !ok {
				t.Fatal("refused though it is off")
			}
		}
	})
}

// TestSharedLimiterConcurrent has many ask at once, for the race detector and the count.
func TestSharedLimiterConcurrent(t *testing.T) {
	t.Parallel()
	cfg := LimitConfig{Max: 200, Window: 24 * time.Hour}
	q := newFakeQuota(t, cfg)
	q.took = 0
	on, stop := replicas(t, 2, cfg, q)
	defer stop()
	var passed atomic.Int32
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 300 {
				ask := on[g%2].Allow
				if i%3 == 0 {
					ask = func(ctx context.Context, key string) (bool, time.Duration) { return on[g%2].AllowN(ctx, key, 1) }
				}
				if ok, _ := ask(t.Context(), "alice"); ok {
					passed.Add(1)
				}
				on[g%2].Allow(t.Context(), fmt.Sprint(g, i))
			}
		})
	}
	all.Wait()
	if got := int(passed.Load()); got < 100 || got > 2*200 {
		t.Errorf("got %d passed, want some 200", got)
	}
}

func TestNewSharedLimiterRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewSharedLimiter("x", LimitConfig{Max: -1}, nil, prometheus.NewRegistry()); err == nil {
		t.Error("a negative limit is taken")
	}
}

// instantQuota says yes to everything.
type instantQuota struct{}

func (instantQuota) Take(context.Context, string, int, time.Duration, int) (bool, time.Duration, error) {
	return true, 0, nil
}

func BenchmarkSharedLimiter(b *testing.B) {
	cfg := LimitConfig{Max: 1_000_000, Window: time.Second}
	keys := make([]string, 10_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%032d", i)
	}
	b.Run("shared", func(b *testing.B) {
		on, stop := replicas(b, 1, cfg, instantQuota{})
		defer stop()
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			on[0].Allow(b.Context(), keys[i%len(keys)])
			i++
		}
	})
	b.Run("exact", func(b *testing.B) {
		on, stop := replicas(b, 1, cfg, instantQuota{})
		defer stop()
		b.ReportAllocs()
		for b.Loop() {
			on[0].AllowN(b.Context(), keys[0], 1)
		}
	})
}
