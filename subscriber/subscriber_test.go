package subscriber

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/adapter/redistest"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
)

var errBroken = errors.New("broken")

const channel = events.ChannelUpload

// impatient has waits that a test can wait for.
var impatient = Config{
	Group: "g", Channels: []string{channel}, Drain: 100 * time.Millisecond,
	Backoff: delivery.Backoff{
		MaxRetries:     map[delivery.Category]int{delivery.CategoryDefault: 4},
		BaseRetryDelay: map[delivery.Category]time.Duration{delivery.CategoryDefault: 20 * time.Millisecond},
		MaxRetryDelay:  map[delivery.Category]time.Duration{delivery.CategoryDefault: time.Second},
	},
}

// sink takes down what handlers get.
type sink struct {
	mu  sync.Mutex
	ids []string
}

func (s *sink) take(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, id)
}

func (s *sink) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ids)
}

// all is what was handled, each once, sorted.
func (s *sink) all() []string {
	set := map[string]bool{}
	for _, id := range s.got() {
		set[id] = true
	}
	return slices.Sorted(maps.Keys(set))
}

func (s *sink) handle(_ context.Context, ev events.Event) error {
	s.take(ev.ID)
	return nil
}

// run runs a Subscriber, until stop is called, and waits until its group is there.
func run(t *testing.T, client redis.UniversalClient, cfg Config, handler Handler) (stop func()) {
	t.Helper()
	s, err := New(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.Run(ctx, handler); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	stop = func() { cancel(); wait.Wait() }
	t.Cleanup(stop)
	eventually(t, "the group", func() bool {
		for _, c := range cfg.Channels {
			if client.XInfoConsumers(context.Background(), "eventbus:{socket.io}:feed:"+c, "svc:"+cfg.Group).Err() != nil {
				return false
			}
		}
		return true
	})
	return stop
}

func offer(t *testing.T, store *adapter.Store, id, photo string) {
	t.Helper()
	raw := fmt.Sprintf(`{"id":%q,"type":"photo.deleted","data":{"photoId":%q},"metadata":{"source":"test","version":"1.0"}}`, id, photo)
	if err := store.Feed(channel).Offer(context.Background(), []byte(raw), ""); err != nil {
		t.Fatal(err)
	}
}

// left is how many entries a group has pending or not read, -1 if there is no such group.
func left(store *adapter.Store, name string) int64 {
	groups, err := store.Feed(channel).Groups(context.Background())
	if err != nil {
		return -1
	}
	for _, g := range groups {
		if g.Name == "svc:"+name {
			return g.Pending + g.Lag
		}
	}
	return -1
}

func numbers(from, to int) (ids []string) {
	for i := from; i < to; i++ {
		ids = append(ids, fmt.Sprintf("%04d", i))
	}
	return ids
}

// Two of a group share the work; another group has all of it, too.
func TestGroupsShare(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	var a, b, other sink
	pace := func(s *sink) Handler {
		return func(ctx context.Context, ev events.Event) error {
			time.Sleep(time.Millisecond)
			return s.handle(ctx, ev)
		}
	}
	cfg := impatient
	cfg.Queue = 8
	run(t, client, cfg, pace(&a))
	run(t, client, cfg, pace(&b))
	eventually(t, "both", func() bool {
		return len(zmembers(t, client, "eventbus:{socket.io}:feed:"+channel+":alive:svc:g")) == 2
	})
	cfg.Group = "other"
	run(t, client, cfg, other.handle)
	want := numbers(0, 500)
	for _, id := range want {
		offer(t, store, id, "p")
	}
	eventually(t, "all of it", func() bool { return left(store, "g") == 0 && left(store, "other") == 0 })
	both := append(a.got(), b.got()...)
	slices.Sort(both)
	if !slices.Equal(both, want) || len(a.got()) == 0 || len(b.got()) == 0 {
		t.Errorf("the two had %d and %d events, together %d of %d, each once", len(a.got()), len(b.got()), len(both), len(want))
	}
	if got := other.got(); len(got) != 500 {
		t.Errorf("the other group had %d events", len(got))
	}
}

// dying is a client that can be cut off, as if its process were killed: nothing that it asks for is done any more.
type dying struct {
	dead  atomic.Bool
	block chan struct{} // what is asked for then waits for it
}

func (d *dying) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if d.dead.Load() {
			<-d.block
			return errBroken
		}
		return next(ctx, cmd)
	}
}

func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// One of two is killed in the middle of its work: the other one takes over what it had, with the attempts made, and the
// dead one's place is cleared.
func TestOneIsKilled(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	d := &dying{block: make(chan struct{})}
	mortal := server.Client()
	mortal.AddHook(d)
	cfg := impatient
	cfg.Group, cfg.Backoff.BaseRetryDelay = "g", map[delivery.Category]time.Duration{delivery.CategoryDefault: time.Second}
	var died atomic.Int64
	stop := run(t, mortal, cfg, func(ctx context.Context, ev events.Event) error {
		if died.Add(1); ev.ID == "0000" {
			return errBroken // noted, and due later
		}
		<-ctx.Done()
		return ctx.Err()
	})
	want := numbers(0, 20)
	for _, id := range want {
		offer(t, store, id, "p")
	}
	eventually(t, "work under way", func() bool {
		notes, err := store.Feed(channel).Notes(t.Context(), "svc:g")
		return err == nil && len(notes) == 1 && died.Load() >= 4
	})
	d.dead.Store(true)
	ended := make(chan struct{})
	go func() { defer close(ended); stop() }()

	var s sink
	attempts := make(chan int, 100)
	cfg.OnAttempt = func(a delivery.Attempt) {
		if a.Event.ID == "0000" {
			attempts <- a.Number
		}
	}
	run(t, client, cfg, s.handle)
	// Its last sign of life is made as old as it would be a minute later.
	for _, consumer := range zmembers(t, client, "eventbus:{socket.io}:feed:"+channel+":alive:svc:g") {
		if pending(t, client, consumer) > 0 {
			client.ZAdd(t.Context(), "eventbus:{socket.io}:feed:"+channel+":alive:svc:g", redis.Z{Score: 1, Member: consumer})
		}
	}
	eventually(t, "the others' work", func() bool { return left(store, "g") == 0 })
	if got := s.all(); !slices.Equal(got, want) {
		t.Errorf("handled %v, want %v", got, want)
	}
	if n := <-attempts; n != 2 {
		t.Errorf("the attempt after the noted one is number %d, want 2", n)
	}
	eventually(t, "one consumer alone", func() bool {
		consumers, err := client.XInfoConsumers(t.Context(), "eventbus:{socket.io}:feed:"+channel, "svc:g").Result()
		return err == nil && len(consumers) == 1
	})
	close(d.block)
	<-ended
}

func zmembers(t *testing.T, client redis.UniversalClient, key string) []string {
	t.Helper()
	all, err := client.ZRange(t.Context(), key, 0, -1).Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func pending(t *testing.T, client redis.UniversalClient, consumer string) int64 {
	t.Helper()
	consumers, err := client.XInfoConsumers(t.Context(), "eventbus:{socket.io}:feed:"+channel, "svc:g").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range consumers {
		if c.Name == consumer {
			return c.Pending
		}
	}
	return 0
}

// Who stops in good order leaves no consumer behind, and what it had not finished is taken over soon.
func TestStop(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	var s sink
	stop := run(t, client, impatient, func(ctx context.Context, ev events.Event) error {
		if ev.ID == "fine" {
			return s.handle(ctx, ev)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	offer(t, store, "fine", "p")
	eventually(t, "it to be done", func() bool { return left(store, "g") == 0 })
	stop()
	key := "eventbus:{socket.io}:feed:" + channel
	if consumers, err := client.XInfoConsumers(t.Context(), key, "svc:g").Result(); err != nil || len(consumers) != 0 {
		t.Errorf("left: %v, %v", consumers, err)
	}
	offer(t, store, "waits", "p") // for whoever comes
	stop = run(t, client, impatient, func(ctx context.Context, ev events.Event) error { <-ctx.Done(); return ctx.Err() })
	eventually(t, "it to be read", func() bool {
		groups, err := store.Feed(channel).Groups(t.Context())
		return err == nil && len(groups) == 1 && groups[0].Pending == 1
	})
	stop()
	if left(store, "g") != 1 {
		t.Error("what was not finished is gone")
	}
	start := time.Now()
	run(t, client, impatient, s.handle)
	eventually(t, "it to be taken over", func() bool { return slices.Contains(s.got(), "waits") })
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("taken over after %s", took)
	}
}

// Failures are tried again and then dead letters of the bus, from where they are replayed to this group alone.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	dead := store.DeadLetters(adapter.DeadLettersConfig{})
	var works atomic.Bool
	var s, other sink
	run(t, client, impatient, func(ctx context.Context, ev events.Event) error {
		switch {
		case works.Load():
		case ev.ID == "poison":
			return errBroken
		case ev.ID == "permanent":
			return Permanent(errBroken)
		case ev.ID == "panic":
			panic("oh")
		}
		return s.handle(ctx, ev)
	})
	second := impatient
	second.Group = "other"
	run(t, client, second, other.handle)
	for _, id := range []string{"poison", "permanent", "fine", "panic"} {
		offer(t, store, id, "p")
	}
	eventually(t, "all to be settled", func() bool { return left(store, "g") == 0 && left(store, "other") == 0 })
	page, _, err := dead.List(t.Context(), adapter.DeadLetterQuery{Subscription: "svc:g", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range page {
		got = append(got, fmt.Sprintf("%s %s %s %d %s", d.EventID, d.EventType, d.Reason, d.Attempts, d.Channel))
	}
	slices.Sort(got)
	want := []string{
		"panic photo.deleted max_retries_exceeded 4 photo:upload", "permanent photo.deleted permanent 1 photo:upload",
		"poison photo.deleted max_retries_exceeded 4 photo:upload",
	}
	if !slices.Equal(got, want) {
		t.Errorf("dead letters\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	works.Store(true)
	for _, d := range page {
		if err := store.Feed(channel).Offer(t.Context(), d.Event, delivery.Group(d.Subscription)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the replays", func() bool { return left(store, "g") == 0 && left(store, "other") == 0 })
	if got := s.all(); !slices.Equal(got, []string{"fine", "panic", "permanent", "poison"}) || len(other.got()) != 4 {
		t.Errorf("handled %v, the other group %d", got, len(other.got()))
	}
}

// What this package writes is what package adapter reads and writes.
func TestContract(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	dead, feed := store.DeadLetters(adapter.DeadLettersConfig{}), store.Feed(channel)
	cfg := impatient.withDefaults()
	g := newGroup(client, cfg, channel, "c")
	if err := g.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	offer(t, store, "a", "p")
	offer(t, store, "b", "p")
	entries, err := g.Read(t.Context(), 10)
	if err != nil || len(entries) != 2 {
		t.Fatal(entries, err)
	}
	n := adapter.Note{Attempt: 3, Due: time.UnixMilli(1_800_000_000_123), Error: "x"}
	if err := g.Note(t.Context(), entries[0].Position, n); err != nil {
		t.Fatal(err)
	}
	theirs, err := feed.Notes(t.Context(), g.name)
	if err != nil || theirs[entries[0].Position] != n {
		t.Errorf("their notes %v, %v", theirs, err)
	}
	ours, err := g.Notes(t.Context())
	if err != nil || ours[entries[0].Position] != n {
		t.Errorf("our notes %v, %v", ours, err)
	}
	letter := adapter.DeadLetter{
		Channel: channel, Subscription: g.name, Reason: "permanent", Category: "unknown", Error: "x", Attempts: 2,
		EventID: "a", EventType: "photo.deleted", Event: entries[0].Event, At: time.UnixMilli(1_700_000_000_000),
	}
	if err := g.Bury(t.Context(), entries[0].Position, letter); err != nil {
		t.Fatal(err)
	}
	page, _, err := dead.List(t.Context(), adapter.DeadLetterQuery{Limit: 10})
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	got := page[0]
	got.ID = ""
	if !bytes.Equal(got.Event, letter.Event) {
		t.Errorf("event %s", got.Event)
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", letter) {
		t.Errorf("letter\n%+v\nwant\n%+v", got, letter)
	}
	if added, err := dead.Add(t.Context(), letter); err != nil || added {
		t.Errorf("the same letter is added again: %v, %v", added, err)
	}
	if notes, err := feed.Notes(t.Context(), g.name); err != nil || len(notes) != 0 {
		t.Errorf("notes left: %v, %v", notes, err)
	}
	if removed, err := dead.Remove(t.Context(), page[0].ID); err != nil || removed != 1 {
		t.Errorf("removed %d, %v", removed, err)
	}
	if err := g.Ack(t.Context(), entries[1].Position); err != nil {
		t.Fatal(err)
	}
	if left(store, "g") != 0 {
		t.Error("something is left")
	}
	if err := g.destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := client.Exists(t.Context(), append(g.keys, g.keys[0]+":notes:"+g.name)...).Result(); err != nil || n != 0 {
		t.Errorf("%d keys are left, %v", n, err)
	}
	if err := g.destroy(t.Context()); err != nil {
		t.Errorf("destroyed again: %v", err)
	}
	if _, err := g.Read(t.Context(), 1); !errors.Is(err, adapter.ErrNoGroup) {
		t.Errorf("read without a group: %v", err)
	}
	if _, _, err := g.takeOver(t.Context(), 1); !errors.Is(err, adapter.ErrNoGroup) {
		t.Errorf("takeOver without a group: %v", err)
	}
}

// Processes come and go while handlers fail now and then, and Redis restarts: each event is handled, in order per photo as
// long as it is one process at a time.
func TestComeAndGo(t *testing.T) {
	t.Parallel()
	server := redistest.New(t, "--appendonly", "yes", "--appendfsync", "always")
	client, store := server.Client(), storeOf(t, server)
	var s sink
	cfg := impatient
	cfg.Ordered, cfg.MaxAttempts, cfg.Queue = true, 1000, 20
	handler := func(_ context.Context, ev events.Event) error {
		if rand.N(4) == 0 {
			return errBroken
		}
		s.take(ev.ID)
		return nil
	}
	stop := run(t, client, cfg, handler)
	const photos, each = 5, 20
	for n := range each {
		for p := range photos {
			offer(t, store, fmt.Sprintf("%d-%d", p, n), fmt.Sprint(p))
		}
		switch n {
		case 5:
			stop()
			stop = run(t, client, cfg, handler)
		case 12:
			server.Stop()
			server.Start()
		}
	}
	eventually(t, "all to be handled", func() bool { return left(store, "g") == 0 })
	next, seen := map[string]int{}, map[string]bool{}
	for _, id := range s.got() {
		photo, number, _ := strings.Cut(id, "-")
		if seen[id] {
			continue
		}
		seen[id] = true
		if number != fmt.Sprint(next[photo]) {
			t.Fatalf("photo %s: number %s came before %d", photo, number, next[photo])
		}
		next[photo]++
	}
	if len(seen) != photos*each {
		t.Errorf("%d of %d events", len(seen), photos*each)
	}
}

// Unsubscribe leaves nothing in Redis, and a process that still runs begins anew.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	client, store := server.Client(), storeOf(t, server)
	var s sink
	sub, err := New(client, impatient)
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, client, impatient, s.handle)
	if err := sub.Unsubscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group again", func() bool { return left(store, "g") == 0 })
	offer(t, store, "a", "p")
	eventually(t, "an event", func() bool { return slices.Contains(s.got(), "a") })
	stop()
	if err := sub.Unsubscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 0 {
		t.Errorf("left: %v, %v", keys, err)
	}
}

func TestRunTwice(t *testing.T) {
	t.Parallel()
	client := redistest.New(t).Client()
	s, err := New(client, impatient)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), nil); err == nil {
		t.Error("no handler is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Run(ctx, func(context.Context, events.Event) error { return nil }) })
	eventually(t, "the run", func() bool { return s.running.Load() })
	if err := s.Run(ctx, func(context.Context, events.Event) error { return nil }); !errors.Is(err, ErrRunning) {
		t.Errorf("a second run: %v", err)
	}
	cancel()
	wait.Wait()
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if err := impatient.Validate(); err != nil {
		t.Error(err)
	}
	_, err := New(nil, Config{
		Group: "a:b", Channels: []string{"", "x", "x"}, Concurrency: -1, Queue: -1, Timeout: -1, Drain: -1, MaxAttempts: -1, MaxIdle: time.Second,
		MaxEvent: -1, Backoff: delivery.Backoff{MaxRetries: map[delivery.Category]int{"x": 1}}, Breaker: &delivery.BreakerConfig{WhenOpen: "x"},
	})
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{
		"Group is", "Channels[0]", "Channels[2]", "Concurrency", "Queue", "Timeout", "Drain", "MaxAttempts", "MaxIdle is 1s: want 1m0s or more",
		"MaxEvent", "Backoff: resilience.maxRetries.x", "Breaker: resilience.circuitBreaker.whenOpen",
	} {
		if !strings.Contains(err.Error(), "subscriber.Config."+want) {
			t.Errorf("nothing about %s in\n%v", want, err)
		}
	}
	if _, err := New(nil, Config{Group: "g"}); err == nil || !strings.Contains(err.Error(), "Channels is empty") {
		t.Errorf("without channels: %v", err)
	}
}
