package adapter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// windowModel is a sliding window in a few lines: what was allowed when, in µs, by key and member.
type windowModel map[string]map[string]int64

func (m windowModel) ask(a ThrottleAsk, now int64) bool {
	counted := m[a.Key]
	if counted == nil {
		counted = map[string]int64{}
		m[a.Key] = counted
	}
	n := 0
	for member, at := range counted {
		if at <= now-a.Window.Microseconds() {
			delete(counted, member)
		} else {
			n++
		}
	}
	if _, again := counted[a.Member]; again {
		return true
	}
	if n < a.Limit {
		counted[a.Member] = now
		return true
	}
	return false
}

func testThrottle(t *testing.T, l *Log) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	model := windowModel{}
	now := int64(1_800_000_000_000_001)
	for range 150 {
		now += random.Int64N(400_000_000)
		var asks []ThrottleAsk
		for range random.IntN(5) {
			k := random.IntN(4)
			asks = append(asks, ThrottleAsk{
				Key: fmt.Sprint("k", k), Member: fmt.Sprint(random.IntN(40)), Limit: k, Window: time.Duration(k+1) * 300 * time.Second, // slow, as Redis forgets by its own clock
			})
		}
		got, err := l.throttle(ctx, asks, now)
		must(t, err)
		for i, a := range asks {
			if want := model.ask(a, now); got[i] != want {
				t.Fatalf("seed %d, at %d: %+v is %v, want %v", seed, now, a, got[i], want)
			}
		}
	}

	// By the clock of Redis, and in more than one script.
	var asks []ThrottleAsk
	for i := range 2*maxAsks + 3 {
		asks = append(asks, ThrottleAsk{Key: "many", Member: fmt.Sprint(i), Limit: maxAsks + 5, Window: time.Hour})
	}
	asks[1].Member = string(make([]byte, 1000))
	for range 2 { // asked again, it is the same
		got, err := l.Throttle(ctx, asks)
		must(t, err)
		if len(got) != len(asks) || slices.Index(got, false) != maxAsks+5 || slices.Contains(got[maxAsks+5:], true) {
			t.Errorf("allowed are %v", got)
		}
	}
	brief := []ThrottleAsk{{Key: "brief", Member: "1", Limit: 1, Window: 10 * time.Millisecond}}
	if got, err := l.Throttle(ctx, brief); err != nil || !got[0] {
		t.Errorf("allowed is %v, %v", got, err)
	}
	brief[0].Member = "2"
	eventually(t, "the window to pass", func() bool {
		got, err := l.Throttle(ctx, brief)
		return err == nil && got[0]
	})
	if ttl := l.redis.client.PTTL(ctx, l.digestKey("throttle", "many")).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("it lives for %s", ttl)
	}
	// When the clock of Redis is put back, nobody waits for longer than a window.
	late := []ThrottleAsk{{Key: "late", Limit: 2, Window: time.Minute}}
	then := now + time.Hour.Microseconds()
	for i, ask := range []struct {
		at   int64
		want bool
	}{{then, true}, {then, true}, {now, false}, {now + 59e6, false}, {now + 60e6, true}, {now + 61e6, true}, {now + 62e6, false}} {
		late[0].Member = fmt.Sprint(i)
		if got, err := l.throttle(ctx, late, ask.at); err != nil || got[0] != ask.want {
			t.Errorf("question %d: %v, %v, want %v", i, got, err, ask.want)
		}
	}

	// However many ask at the same time, so many are allowed.
	var callers sync.WaitGroup
	var passed atomic.Int64
	for caller := range 8 {
		callers.Go(func() {
			for i := range 20 {
				got, err := l.Throttle(ctx, []ThrottleAsk{
					{Key: "shared", Member: fmt.Sprint(caller, i), Limit: 37, Window: time.Hour},
					{Key: "shared", Member: fmt.Sprint(caller, i, "b"), Limit: 37, Window: time.Hour},
				})
				if err != nil {
					t.Error(err)
					return
				}
				for _, yes := range got {
					if yes {
						passed.Add(1)
					}
				}
			}
		})
	}
	callers.Wait()
	if n := passed.Load(); n != 37 {
		t.Errorf("%d of those who asked at the same time were allowed, want 37", n)
	}
	for _, bad := range []ThrottleAsk{{Limit: -1, Window: time.Second}, {Limit: maxLimit + 1, Window: time.Second}, {Limit: 1}, {Limit: 1, Window: 25 * time.Hour}} {
		if _, err := l.Throttle(ctx, []ThrottleAsk{asks[0], bad}); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
