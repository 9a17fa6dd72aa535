package auth

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newLimiter(t testing.TB, cfg LimitConfig) *Limiter {
	t.Helper()
	cfg.Enabled = true
	l, err := NewLimiter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *Limiter) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.keys.young) + len(l.keys.old)
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, LimitConfig{Max: 3, Window: 30 * time.Second})
		allow := func(what, key string, want bool, wantRetry time.Duration) {
			t.Helper()
			if ok, retry := l.Allow(key); ok != want || retry != wantRetry {
				t.Errorf("%s: got %v, %v, want %v, %v", what, ok, retry, want, wantRetry)
			}
		}
		for i := range 3 {
			allow(fmt.Sprint("burst ", i), "alice", true, 0)
		}
		allow("one too many", "alice", false, 10*time.Second)
		allow("refused attempts are not counted", "alice", false, 10*time.Second)
		allow("another key", "bob", true, 0)
		time.Sleep(4 * time.Second)
		allow("too early", "alice", false, 6*time.Second)
		time.Sleep(6 * time.Second)
		allow("after the time told", "alice", true, 0)
		allow("but once", "alice", false, 10*time.Second)
		// Well into the third window: the halves have turned, what is known of alice has not got lost.
		for range 9 {
			time.Sleep(10 * time.Second)
			allow("at the steady rate", "alice", true, 0)
			allow("not above it", "alice", false, 10*time.Second)
		}
		time.Sleep(30 * time.Second)
		for i := range 3 {
			allow(fmt.Sprint("whole again ", i), "alice", true, 0)
		}
		allow("whole, not more", "alice", false, 10*time.Second)
	})
}

func TestLimiterForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, LimitConfig{Max: 1, Window: time.Minute})
		for i := range 1000 {
			l.Allow(fmt.Sprint(i))
		}
		if got := l.size(); got != 1000 {
			t.Errorf("got %d keys, want 1000", got)
		}
		for range 2 {
			time.Sleep(time.Minute)
			l.Allow("x")
		}
		if got := l.size(); got > 2 {
			t.Errorf("two windows later: got %d keys, want x alone", got)
		}
	})
}

func TestLimiterFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(t, LimitConfig{Max: 1, Window: time.Hour, Keys: 100})
		for i := range 10_000 {
			if ok, _ := l.Allow(fmt.Sprint(i)); !ok {
				t.Fatalf("key %d locked out by the others", i)
			}
			if ok, _ := l.Allow("regular"); ok && i > 0 {
				t.Fatalf("key %d made the limiter forget one that is seen all the time", i)
			}
			if got := l.size(); got > 100 {
				t.Fatalf("got %d keys, want at most 100", got)
			}
		}
		if ok, _ := l.Allow("9999"); ok {
			t.Error("the newest key is forgotten")
		}
		if ok, _ := l.Allow("1"); !ok {
			t.Error("an old key is remembered; where?")
		}
	})
}

func TestLimiterConcurrent(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, LimitConfig{Max: 50, Window: 24 * time.Hour, Keys: 1000})
	var passed atomic.Int32
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 100 {
				if ok, _ := l.Allow("alice"); ok {
					passed.Add(1)
				}
				l.Allow(fmt.Sprint(g, i))
			}
		})
	}
	all.Wait()
	if got := passed.Load(); got != 50 {
		t.Errorf("got %d attempts passed, want 50", got)
	}
}

func TestLimiterDisabled(t *testing.T) {
	t.Parallel()
	l, err := NewLimiter(LimitConfig{Max: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if ok, retry := l.Allow("alice"); !ok || retry != 0 {
			t.Fatalf("got %v, %v", ok, retry)
		}
	}
	if got := l.size(); got != 0 {
		t.Errorf("got %d keys, want none", got)
	}
}

func TestLimitConfig(t *testing.T) {
	t.Parallel()
	_, err := NewLimiter(LimitConfig{Max: -1, Window: time.Millisecond, Keys: 1})
	for _, want := range []string{"security.rateLimit.maxRequests", "security.rateLimit.windowMs", "rateLimit.keys"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	if got, want := (LimitConfig{}).withDefaults(), (LimitConfig{Max: 60, Window: time.Minute, Keys: 100_000}); got != want {
		t.Errorf("got defaults %+v, want %+v", got, want)
	}
}
