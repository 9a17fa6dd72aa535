package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

var errBroken = errors.New("broken")

// bench runs consumers of one group of a fake feed, in a bubble of synctest.
type bench struct {
	t    *testing.T
	feed *fakeFeed
	cfg  ConsumerConfig

	mu      sync.Mutex
	handled []string // "id attempt" of each attempt that worked
}

func newBench(t *testing.T, cfg ConsumerConfig) *bench {
	b := &bench{t: t, feed: newFakeFeed(), cfg: cfg}
	if err := b.feed.Create(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	attempted := cfg.Attempted
	b.cfg.Attempted = func(a Attempt) {
		if a.Err == nil {
			b.mu.Lock()
			b.handled = append(b.handled, fmt.Sprintf("%s %d", a.Event.ID, a.Number))
			b.mu.Unlock()
		}
		if attempted != nil {
			attempted(a)
		}
	}
	return b
}

// pass has time pass and waits until what happens then has happened.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// run starts a consumer, and stop ends it and waits.
func (b *bench) run() (c *Consumer, stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	c = NewConsumer(openMember(b.feed.open, "c", "g"), b.cfg, zap.NewNop())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := c.Run(ctx); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}()
	return c, func() { cancel(); <-ended }
}

func (b *bench) add(id, photo string) { b.feed.add(eventOf(b.t, id, photo).Raw()) }

func (b *bench) got() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.handled)
}

func (b *bench) wantHandled(want ...string) {
	b.t.Helper()
	if got := b.got(); !slices.Equal(got, want) {
		b.t.Errorf("handled %v, want %v", got, want)
	}
}

func (b *bench) wantDead(want ...string) {
	b.t.Helper()
	if got := b.feed.dead(); !slices.Equal(got, want) {
		b.t.Errorf("dead letters %v, want %v", got, want)
	}
}

// A poisoned event is tried, buried, and its neighbours pass meanwhile.
func TestPoisonedEvent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, ConsumerConfig{
			Concurrency: 1, Subscription: "s", Retry: Retry{Backoff: Backoff{MaxRetries: map[Category]int{CategoryDefault: 3}}},
			Handle: func(_ context.Context, ev events.Event) error {
				switch ev.ID {
				case "poison":
					return errBroken
				case "panic":
					panic("oh")
				case "invalid":
					return fmt.Errorf("not ours: %w", events.ErrInvalid)
				case "permanent":
					return Permanent(errBroken)
				}
				return nil
			},
		})
		_, stop := b.run()
		b.add("a", "p")
		b.add("poison", "p")
		b.add("invalid", "p")
		b.add("permanent", "p")
		b.feed.add([]byte(`{"id":`))
		b.add("b", "p")
		synctest.Wait()
		b.wantHandled("a 1", "b 1")
		b.add("panic", "p")
		pass(time.Minute)
		b.add("c", "p")
		synctest.Wait()
		b.wantHandled("a 1", "b 1", "c 1")
		dead := b.feed.dead()
		slices.Sort(dead)
		if want := []string{"max_retries_exceeded panic 3", "max_retries_exceeded poison 3", "permanent permanent 1", "validation  0", "validation invalid 1"}; !slices.Equal(dead, want) {
			t.Errorf("dead letters %v, want %v", dead, want)
		}
		stop()
		if n := b.feed.pending("g"); n != 0 {
			t.Errorf("%d entries are pending", n)
		}
	})
}

// The number of attempts and the time of the next survive a restart.
func TestRestartAmidRetries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		start := time.Now()
		b := newBench(t, ConsumerConfig{
			Retry: Retry{Base: 10 * time.Second, Backoff: Backoff{MaxRetries: map[Category]int{CategoryDefault: 4}, MaxRetryDelay: map[Category]time.Duration{CategoryDefault: time.Hour}}},
			Handle: func(context.Context, events.Event) error {
				at = append(at, time.Since(start).Truncate(time.Second))
				return errBroken
			},
		})
		_, stop := b.run()
		b.add("e", "p")
		pass(15 * time.Second)
		stop() // tried at 0 and 10 to 11, due 20 to 22 later
		pass(5 * time.Second)
		c, stop := b.run()
		pass(time.Second)
		if len(at) != 2 || c.Retrying() != 1 || c.Held() != 1 {
			t.Errorf("attempts at %v, %d to be retried, %d held", at, c.Retrying(), c.Held())
		}
		pass(13 * time.Second)
		if len(at) != 3 {
			t.Fatalf("attempts at %v: the third is not at its time", at)
		}
		stop()
		pass(time.Hour) // due long ago
		_, stop = b.run()
		synctest.Wait()
		stop()
		if len(at) != 4 {
			t.Errorf("attempts at %v", at)
		}
		b.wantDead("max_retries_exceeded e 4")
	})
}

// Order of a photo's events is kept through random failures and restarts; those of others do not wait, and each event is
// handled once.
func TestOrderPerPhoto(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 3))
			var mu sync.Mutex
			chance := func(n int) bool {
				mu.Lock()
				defer mu.Unlock()
				return dice.IntN(n) == 0
			}
			b := newBench(t, ConsumerConfig{
				Lane: PhotoLane, Concurrency: 1 + int(seed%8), Queue: 5 + int(seed*7%100),
				Retry: Retry{Backoff: Backoff{MaxRetries: map[Category]int{CategoryDefault: 1000}}},
				Handle: func(ctx context.Context, ev events.Event) error {
					time.Sleep(time.Millisecond) // so that they overlap
					if chance(4) {
						return errBroken
					}
					return nil
				},
			})
			const photos, each = 7, 20
			c, stop := b.run()
			for n := range each {
				for p := range photos {
					b.add(fmt.Sprintf("%d-%d", p, n), fmt.Sprint(p))
				}
				if n%5 == 4 {
					pass(time.Second)
					stop()
					c, stop = b.run()
				}
			}
			for range 10_000 {
				pass(time.Second)
				if c.Held() > c.cfg.Queue {
					t.Fatalf("%d held, the queue is %d", c.Held(), c.cfg.Queue)
				}
				if len(b.got()) == photos*each {
					break
				}
			}
			stop()
			next := map[string]int{}
			for _, h := range b.got() {
				id, _, _ := strings.Cut(h, " ")
				photo, n, _ := strings.Cut(id, "-")
				if n != fmt.Sprint(next[photo]) {
					t.Fatalf("seed %d: photo %s had number %s, want %d", seed, photo, n, next[photo])
				}
				next[photo]++
			}
			if len(next) != photos || b.feed.pending("g") != 0 {
				t.Errorf("seed %d: %v, %d pending", seed, next, b.feed.pending("g"))
			}
		})
	}
}

// While its head is tried again, a photo's lane waits, and nobody else.
func TestOtherPhotosGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var works atomic.Bool
		b := newBench(t, ConsumerConfig{Lane: PhotoLane, Concurrency: 2, Handle: func(_ context.Context, ev events.Event) error {
			if ev.ID == "a1" && !works.Load() {
				return errBroken
			}
			return nil
		}})
		_, stop := b.run()
		defer stop()
		for _, id := range []string{"a1", "a2", "b1", "b2"} {
			b.add(id, id[:1])
			synctest.Wait()
		}
		b.wantHandled("b1 1", "b2 1")
		works.Store(true)
		pass(2 * time.Second)
		b.wantHandled("b1 1", "b2 1", "a1 2", "a2 1")
	})
}

// Redis fails now and then, and answers get lost on their way: all is handled, and what was handled is not handled again.
func TestRedisFails(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 4))
			b := newBench(t, ConsumerConfig{Queue: 10, Lane: PhotoLane, Handle: func(context.Context, events.Event) error {
				time.Sleep(time.Millisecond)
				return nil
			}})
			b.feed.fail = func(string) error { // under the feed's lock, but for an answer
				if dice.IntN(5) == 0 {
					return errBroken
				}
				return nil
			}
			var lock sync.Mutex
			fail := b.feed.fail
			b.feed.fail = func(what string) error {
				lock.Lock()
				defer lock.Unlock()
				return fail(what)
			}
			_, stop := b.run()
			var want []string
			for i := range 300 {
				b.add(fmt.Sprint(i), "p")
				want = append(want, fmt.Sprintf("%d 1", i))
				if i%20 == 0 {
					pass(time.Second)
				}
			}
			for range 1000 {
				if pass(time.Second); b.feed.pending("g") == 0 && len(b.got()) >= len(want) {
					break
				}
			}
			stop()
			b.wantHandled(want...)
			if n := b.feed.pending("g"); n != 0 {
				t.Errorf("seed %d: %d pending", seed, n)
			}
		})
	}
}

// An open breaker has events wait, at no cost of attempts, and closes again.
func TestBreakerHoldsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var works atomic.Bool
		b := newBench(t, ConsumerConfig{
			Concurrency: 1, Breaker: NewBreaker(BreakerConfig{FailureThreshold: 3}, nil),
			Retry: Retry{Base: 20 * time.Second, Backoff: Backoff{MaxRetries: map[Category]int{CategoryDefault: 4}}},
			Handle: func(context.Context, events.Event) error {
				if calls.Add(1); !works.Load() {
					return errBroken
				}
				return nil
			},
		})
		_, stop := b.run()
		defer stop()
		for i := range 50 {
			b.add(fmt.Sprint(i), "p")
		}
		pass(29 * time.Second)
		if n := calls.Load(); n != 3 {
			t.Fatalf("%d calls, want 3 and then none", n)
		}
		pass(2 * time.Second)
		if n := calls.Load(); n != 4 {
			t.Fatalf("%d calls, want one trial more", n)
		}
		works.Store(true)
		pass(time.Minute)
		if got := len(b.got()); got != 50 {
			t.Errorf("%d of 50 are handled once it works", got)
		}
		b.wantDead()
	})
}

// As in the seed, an open breaker may send events to the dead letters.
func TestBreakerBuries(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var works atomic.Bool
		b := newBench(t, ConsumerConfig{
			Concurrency: 1, Breaker: NewBreaker(BreakerConfig{FailureThreshold: 1}, nil), WhenOpen: DeadLetterWhenOpen,
			Handle: func(context.Context, events.Event) error {
				if !works.Load() {
					return errBroken
				}
				return nil
			},
		})
		_, stop := b.run()
		defer stop()
		b.add("a", "p")
		b.add("b", "p")
		b.add("c", "p")
		pass(2 * time.Second) // a is due again
		b.wantDead("circuit_open b 0", "circuit_open c 0", "circuit_open a 1")
		works.Store(true)
		pass(30 * time.Second)
		b.add("d", "p")
		synctest.Wait()
		b.wantHandled("d 1")
	})
}

// Who says when to come again is left alone until then, whatever is to be sent.
func TestRetryAfterPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at []time.Duration
		b := newBench(t, ConsumerConfig{Concurrency: 1, Handle: func(context.Context, events.Event) error {
			at = append(at, time.Since(start))
			if len(at) == 1 {
				return RateLimited{RetryAfter: 20 * time.Second}
			}
			return nil
		}})
		_, stop := b.run()
		defer stop()
		b.add("a", "p")
		b.add("b", "p")
		pass(time.Minute)
		if !slices.Equal(at, []time.Duration{0, 20 * time.Second, 20 * time.Second}) {
			t.Errorf("calls after %v", at)
		}
	})
}

// At the end, what is under way may finish for a while. What does not is still pending, and nothing counts as a failure.
func TestEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, ConsumerConfig{Concurrency: 2, Drain: 5 * time.Second, Handle: func(ctx context.Context, ev events.Event) error {
			if ev.ID == "quick" {
				time.Sleep(2 * time.Second)
				return ctx.Err()
			}
			<-ctx.Done()
			return ctx.Err()
		}})
		_, stop := b.run()
		for _, id := range []string{"quick", "slow", "c"} {
			b.add(id, "p")
		}
		pass(time.Second)
		start := time.Now()
		stop()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("the end took %s", took)
		}
		b.wantHandled("quick 1")
		b.wantDead()
		if n, notes := b.feed.pending("g"), len(b.feed.groups["g"].notes); n != 2 || notes != 0 {
			t.Errorf("%d pending with %d notes, want 2 with none", n, notes)
		}
	})
}

// A handler that takes too long has failed by timeout; one that lets nothing be read blocks nobody's reading for ever.
func TestTimeoutAndMatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var category Category
		b := newBench(t, ConsumerConfig{
			Timeout: time.Second, Retry: Retry{Never: true}, Queue: 3,
			Match:     func(ev events.Event) bool { return ev.ID == "e" },
			Attempted: func(a Attempt) { category = a.Category },
			Handle:    func(ctx context.Context, _ events.Event) error { <-ctx.Done(); return ctx.Err() },
		})
		_, stop := b.run()
		for i := range 100 {
			b.add(fmt.Sprint(i), "p")
		}
		b.add("e", "p")
		pass(2 * time.Second)
		stop()
		b.wantDead("max_retries_exceeded e 1")
		if category != CategoryTimeout || b.feed.pending("g") != 0 {
			t.Errorf("category %s, %d pending", category, b.feed.pending("g"))
		}
	})
}

func TestNoGroupEndsTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		c := NewConsumer(openMember(f.open, "c", "g"), ConsumerConfig{Handle: func(context.Context, events.Event) error { return nil }}, zap.NewNop())
		if err := c.Run(t.Context()); !errors.Is(err, adapter.ErrNoGroup) {
			t.Errorf("%v", err)
		}
	})
}
