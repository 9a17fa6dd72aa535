package adapter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// bucket is a token bucket, counted in µs: it has one token more every interval, burst at most. GCRA does the same.
type bucket struct{ interval, burst, missing, at int64 }

func (b *bucket) take(n, now int64) (ok bool, retryAfter, remaining int64) {
	b.missing = max(b.missing-(now-b.at), 0) // µs until it is full
	b.at = now
	room := b.burst*b.interval - b.missing
	switch {
	case n > b.burst:
		return false, b.missing, room / b.interval
	case n*b.interval > room:
		return false, n*b.interval - room, room / b.interval
	}
	b.missing += n * b.interval
	return true, 0, (room - n*b.interval) / b.interval
}

func testQuota(t *testing.T, l *Log) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	for _, q := range []Quota{
		// Slow ones, as Redis forgets by its own clock.
		{Limit: 10, Window: time.Hour}, {Limit: 3, Burst: 7, Window: time.Hour}, {Limit: 1000, Burst: 1, Window: 24 * time.Hour},
		{Limit: 1, Window: 24 * time.Hour}, {Limit: 7, Burst: 100, Window: 24 * time.Hour},
	} {
		must(t, q.Validate())
		now := int64(1_800_000_000_000_001)
		model := bucket{q.interval(), int64(q.withDefaults().Burst), 0, now}
		// More than Limit are never granted evenly in Window.
		if q.interval()*int64(q.Limit) < q.Window.Microseconds() {
			t.Errorf("%+v grants one every %d µs", q, q.interval())
		}
		key := fmt.Sprint(q, string(make([]byte, 200)))
		for range 80 {
			now += random.Int64N(2*q.interval()*3 + 1)
			n := random.Int64N(min(model.burst, 5) + 2)
			if random.IntN(10) == 0 {
				n = model.burst + random.Int64N(2)
			}
			ok, retry, left, err := l.quota(ctx, key, q, int(n), now)
			must(t, err)
			wantOK, wantRetry, wantLeft := model.take(n, now)
			if ok != wantOK || retry.Microseconds() != wantRetry || int64(left) != wantLeft {
				t.Fatalf("seed %d: %+v at %d, %d taken: %v %s %d, want %v %dµs %d", seed, q, now, n, ok, retry, left, wantOK, wantRetry, wantLeft)
			}
		}
	}

	// By the clock of Redis.
	q := Quota{Limit: 2, Window: time.Hour}
	for _, want := range []bool{true, true, false, false} {
		ok, retry, left, err := l.Quota(ctx, "user", q, 1)
		if err != nil || ok != want || (retry > 29*time.Minute && retry <= 30*time.Minute) == want || left > 1 {
			t.Errorf("got %v, %s, %d, %v; want %v", ok, retry, left, err, want)
		}
	}
	if ok, _, left, err := l.Quota(ctx, "user", q, 0); !ok || left != 0 || err != nil {
		t.Errorf("nothing is not granted: %v, %d, %v", ok, left, err)
	}
	if ok, _, left, err := l.Quota(ctx, "another", q, 1); !ok || left != 1 || err != nil {
		t.Errorf("another is not granted: %v, %d, %v", ok, left, err)
	}
	if ttl := l.redis.client.PTTL(ctx, l.digestKey("quota", "user")).Val(); ttl <= 0 || ttl > time.Hour {
		t.Errorf("it lives for %s", ttl)
	}

	// When the clock of Redis is put back, nobody waits for longer than Burst takes to be granted.
	now := int64(1_800_000_000_000_001)
	for i, ask := range []struct {
		at, retry int64
		want      bool
	}{{now + 86_400e6, 0, true}, {now + 86_400e6, 0, true}, {now, 1800e6, false}, {now + 1800e6, 0, true}, {now + 1800e6, 1800e6, false}} {
		if ok, retry, _, err := l.quota(ctx, "late", q, 1, ask.at); err != nil || ok != ask.want || retry.Microseconds() != ask.retry {
			t.Errorf("question %d: %v, %s, %v, want %+v", i, ok, retry, err, ask)
		}
	}
	for _, bad := range []Quota{{}, {Limit: -1, Window: time.Second}, {Limit: 1, Burst: -1, Window: time.Second}, {Limit: 1}, {Limit: 1, Burst: 1_000_000, Window: 24 * time.Hour}, {Limit: 1001, Window: time.Millisecond}} {
		if _, _, _, err := l.Quota(ctx, "x", bad, 1); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if _, _, _, err := l.Quota(ctx, "x", q, -1); err == nil {
		t.Error("less than nothing is taken")
	}
}
