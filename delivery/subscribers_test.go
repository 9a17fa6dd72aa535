package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

const channel = "photo:upload"

// fakeTable is a registry in memory.
type fakeTable struct {
	mu   sync.Mutex
	rows map[string]time.Time
}

func (f *fakeTable) Put(_ context.Context, id string, _ []byte, expires time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows[id] = expires
	return nil
}

func (f *fakeTable) Delete(_ context.Context, id string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.rows[id]
	delete(f.rows, id)
	return ok, nil
}

func (f *fakeTable) Rows(context.Context) (rows []adapter.Row, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, expires := range f.rows {
		if expires.After(time.Now()) {
			rows = append(rows, adapter.Row{ID: id, Expires: expires})
		}
	}
	return rows, nil
}

func (f *fakeTable) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.rows)
}

// replica is Subscribers on a fake feed.
type replica struct {
	*Subscribers
	t    *testing.T
	feed *fakeFeed
	reg  *prometheus.Registry
}

func newReplica(t *testing.T, f *fakeFeed, change func(*Config, *Parts)) *replica {
	cfg, parts := Config{Webhooks: loopback}, Parts{
		Channels: []string{channel, "other"}, Compile: compileTypes, Logger: zap.NewNop(),
	}
	reg := prometheus.NewRegistry()
	parts.Metrics = reg
	if change != nil {
		change(&cfg, &parts)
	}
	return &replica{newSubscribers(cfg, parts, f.open, f.trimLetters), t, f, reg}
}

// lead leads the channel until the function it returns is called.
func (r *replica) lead() (stop func()) {
	return start(func(ctx context.Context) { r.Lead(ctx, channel) })
}

// run runs what is temporary.
func (r *replica) run() (stop func()) { return start(func(ctx context.Context) { _ = r.Run(ctx) }) }

func start(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { f(ctx) })
	return func() { cancel(); wait.Wait() }
}

func (r *replica) handle(h HandlerSpec) *Subscription {
	r.t.Helper()
	h.Channel = channel
	s, err := r.Handle(h)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *replica) add(ids ...string) {
	for _, id := range ids {
		r.feed.add(eventOf(r.t, id, "p").Raw())
	}
}

// metric is the sum of a counter or gauge over its labels.
func (r *replica) metric(name string) (sum float64) {
	r.t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// record is a handler that takes down what it gets, and fails by fail, if that is not nil.
type record struct {
	mu   sync.Mutex
	ids  []string
	fail func(id string) error
}

func (r *record) handle(_ context.Context, ev events.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		if err := r.fail(ev.ID); err != nil {
			return err
		}
	}
	r.ids = append(r.ids, ev.ID)
	return nil
}

func (r *record) want(t *testing.T, ids ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.ids, ids) {
		t.Errorf("handled %v, want %v", r.ids, ids)
	}
}

func always(string) error { return errBroken }

// A durable handler runs where the channel is led, goes on where another replica left it, and waits while there is none.
func TestDurableHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		var a, b record
		one, two := newReplica(t, f, nil), newReplica(t, f, nil)
		one.handle(HandlerSpec{ID: "h", Handler: a.handle, Concurrency: 1})
		two.handle(HandlerSpec{ID: "h", Handler: b.handle, Concurrency: 1, Filter: json.RawMessage(`{"eventTypes":["photo.deleted"]}`)})
		stop := one.lead()
		synctest.Wait()
		one.add("1", "2")
		synctest.Wait()
		stop()
		one.add("3")
		stop = two.lead()
		pass(time.Second)
		one.add("4")
		synctest.Wait()
		stop()
		a.want(t, "1", "2")
		b.want(t, "3", "4")
		if n := f.pending("go:h"); n != 0 {
			t.Errorf("%d pending", n)
		}
	})
}

// A slow subscription delays nobody.
func TestSlowDelaysNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var quick record
		r.handle(HandlerSpec{ID: "slow", Queue: 2, Handler: func(ctx context.Context, _ events.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}, Timeout: time.Hour})
		r.handle(HandlerSpec{ID: "quick", Handler: quick.handle, Concurrency: 1})
		defer r.lead()()
		synctest.Wait()
		var want []string
		for i := range 500 {
			want = append(want, fmt.Sprint(i))
		}
		r.add(want...)
		synctest.Wait()
		quick.want(t, want...)
		if n := r.feed.pending("go:slow"); n != 2 {
			t.Errorf("the slow one has %d events, its queue is 2", n)
		}
	})
}

// Unsubscribe leaves nothing in the feed, and puts what was owed into the dead letters.
func TestUnsubscribe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		bad := record{fail: always}
		h := r.handle(HandlerSpec{ID: "h", Handler: bad.handle, Concurrency: 1, Queue: 1, RetryDelay: time.Hour})
		if _, err := r.Handle(HandlerSpec{ID: "h", Channel: channel, Handler: bad.handle}); !errors.Is(err, ErrExists) {
			t.Errorf("declared twice: %v", err)
		}
		defer r.lead()()
		<-h.Ready()
		r.add("tried", "unread")
		pass(time.Second)
		h.Unsubscribe()
		h.Unsubscribe()
		<-h.Done()
		pass(5 * time.Second)
		if got, want := r.feed.dead(), []string{"unsubscribed tried 1", "unsubscribed unread 0"}; !slices.Equal(got, want) {
			t.Errorf("dead letters %v, want %v", got, want)
		}
		if r.feed.pending("go:h") != -1 {
			t.Error("the group is still there")
		}
		var good record // the id is free again
		r.handle(HandlerSpec{ID: "h", Handler: good.handle})
		synctest.Wait()
		r.add("new")
		synctest.Wait()
		good.want(t, "new")
	})
}

// What is declared anew soon after it was removed goes on where it was.
func TestDeclaredAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var before, after record
		h := r.handle(HandlerSpec{ID: "h", Handler: before.handle})
		defer r.lead()()
		<-h.Ready()
		h.Unsubscribe()
		pass(retireAfter / 2)
		r.add("1")
		h = r.handle(HandlerSpec{ID: "h", Handler: after.handle})
		<-h.Ready()
		pass(time.Second)
		before.want(t)
		after.want(t, "1")
		if dead := r.feed.dead(); len(dead) > 0 {
			t.Errorf("dead letters: %v", dead)
		}
	})
}

// Who clears up and no longer leads, which it may not know yet, takes nothing from who does and has it declared.
func TestMadeAnewWhileClearedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var a record
		h := r.handle(HandlerSpec{ID: "h", Handler: a.handle})
		defer r.lead()()
		<-h.Ready()
		fail := func(f func(string) error) {
			r.feed.mu.Lock()
			defer r.feed.mu.Unlock()
			r.feed.fail = f
		}
		h.Unsubscribe()
		pass(retireAfter / 2)
		fail(func(what string) error {
			if what == "claim" { // it hangs
				return errBroken
			}
			return nil
		})
		pass(5 * time.Second)
		_ = r.feed.Create(t.Context(), "go:h") // by who leads now
		fail(nil)
		pass(5 * time.Second)
		r.add("1")
		other := newReplica(t, r.feed, nil)
		other.handle(HandlerSpec{ID: "h", Handler: a.handle})
		defer other.lead()()
		pass(time.Second)
		a.want(t, "1")
	})
}

// Too many errors end a subscription, as in the seed. OnError hears of each, and may panic.
func TestMaxErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		bad := record{fail: always}
		var told atomic.Int64
		h := r.handle(HandlerSpec{ID: "h", Handler: bad.handle, Concurrency: 1, MaxErrors: 3, NoRetry: true, OnError: func(_ context.Context, err error, ev events.Event) {
			if told.Add(1); !errors.Is(err, errBroken) || ev.ID == "" {
				t.Errorf("told %v of %q", err, ev.ID)
			}
			panic("oh")
		}})
		defer r.lead()()
		<-h.Ready()
		r.add("1", "2", "3", "4", "5")
		<-h.Done()
		pass(5 * time.Second)
		if told.Load() != 3 || h.Stats().ErrorCount != 3 {
			t.Errorf("OnError heard %d times, %d errors counted", told.Load(), h.Stats().ErrorCount)
		}
		want := []string{"max_retries_exceeded 1 1", "max_retries_exceeded 2 1", "max_retries_exceeded 3 1", "unsubscribed 4 0", "unsubscribed 5 0"}
		if got := r.feed.dead(); !slices.Equal(got, want) {
			t.Errorf("dead letters %v, want %v", got, want)
		}
		if r.feed.pending("go:h") != -1 {
			t.Error("the group is still there")
		}
	})
}

// A temporary handler sees what comes after it is ready, wherever the leader is, and is gone with the process.
func TestTemporary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		table := &fakeTable{rows: map[string]time.Time{}}
		r := newReplica(t, f, func(_ *Config, p *Parts) { p.Processes = table })
		var a, b record
		r.add("before")
		first := r.handle(HandlerSpec{Handler: a.handle})
		stop := r.run()
		<-first.Ready()
		second := r.handle(HandlerSpec{Handler: b.handle, Concurrency: 1})
		<-second.Ready()
		r.add("1")
		synctest.Wait()
		first.Unsubscribe()
		pass(time.Second)
		r.add("2")
		synctest.Wait()
		a.want(t, "1")
		b.want(t, "1", "2")
		if len(f.groups) != 1 || table.len() != 1 {
			t.Errorf("%d groups, %d processes", len(f.groups), table.len())
		}
		pass(3 * time.Hour)
		if rows, _ := table.Rows(t.Context()); len(rows) != 1 {
			t.Error("the process counts as dead")
		}
		stop()
		if len(f.groups) != 0 || table.len() != 0 || len(f.letters) != 0 {
			t.Errorf("left: %d groups, %d processes, %d dead letters", len(f.groups), table.len(), len(f.letters))
		}
		if _, err := r.Handle(HandlerSpec{Channel: channel, Handler: a.handle}); !errors.Is(err, ErrStopped) {
			t.Errorf("declared after the end: %v", err)
		}
	})
}

// What a process that died had for itself is swept; what is others' is not.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		table := &fakeTable{rows: map[string]time.Time{"alive": time.Now().Add(48 * time.Hour), "dead": time.Now().Add(time.Hour)}}
		r := newReplica(t, f, func(_ *Config, p *Parts) { p.Processes = table })
		if err := r.Set(nil); err != nil {
			t.Fatal(err)
		}
		for _, g := range []string{"tmp:alive:1", "tmp:dead:1", "tmp:dead:2", "svc:x", "go:y", "mine", "hook:gone"} {
			_ = f.Create(t.Context(), g)
		}
		stop := r.lead()
		pass(50 * time.Minute)
		if f.pending("tmp:dead:1") != 0 {
			t.Error("swept too early")
		}
		pass(time.Hour)
		stop()
		for group, there := range map[string]bool{
			"tmp:alive:1": true, "tmp:dead:1": false, "tmp:dead:2": false, "svc:x": true, "go:y": true, "mine": true, "hook:gone": false,
		} {
			if (f.pending(group) >= 0) != there {
				t.Errorf("%s is there: %v, want %v", group, !there, there)
			}
		}
	})
}

// Dead letters grow old though none is added: whoever leads trims them, soon after Redis was away as well.
func TestDeadLettersAreTrimmed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		trims := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.trims
		}
		defer newReplica(t, f, nil).lead()()
		pass(30 * time.Minute)
		if n := trims(); n < 5 || n > 7 {
			t.Errorf("trimmed %d times in 30 minutes", n)
		}
		f.mu.Lock()
		f.fail = always
		f.mu.Unlock()
		pass(6 * time.Minute)
		before := trims()
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		pass(watchEvery + time.Second)
		if n := trims(); n != before+1 {
			t.Errorf("trimmed %d times after Redis was back, want once", n-before)
		}
	})
}

// Who loses events again and again is told of once an hour, and counted each time.
func TestPassedGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeFeed()
		f.passed = []string{"svc:gone", "go:slow"}
		core, logs := observer.New(zap.WarnLevel)
		r := newReplica(t, f, func(_ *Config, p *Parts) { p.Logger = zap.New(core) })
		for _, g := range f.passed {
			_ = f.Create(t.Context(), g)
		}
		defer r.lead()()
		pass(90*time.Minute + time.Second)
		if n := logs.Len(); n != 4 {
			t.Errorf("told %d times of two groups in 90 minutes, want 4", n)
		}
		if n := r.metric("eventbus_subscriptions_passed_total"); n != 2*90*60/5 {
			t.Errorf("counted %v times", n)
		}
	})
}

// More pending than held are looked for.
func TestStraysAreFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var a record
		h := r.handle(HandlerSpec{ID: "h", Handler: a.handle})
		defer r.lead()()
		<-h.Ready()
		r.feed.mu.Lock() // an entry that a leader before us was given when it led no longer
		g := r.feed.groups["go:h"]
		stray := adapter.FeedEntry{Position: adapter.Position{MS: 1}, Event: eventOf(t, "stray", "p").Raw()}
		r.feed.entries, g.pending, g.next = append(r.feed.entries, stray), append(g.pending, stray), 1
		r.feed.mu.Unlock()
		pass(30 * time.Second)
		a.want(t, "stray")
		if claims := r.feed.claims; claims > 5 {
			t.Errorf("%d claims", claims)
		}
	})
}

// A group that Redis has lost is made again.
func TestGroupIsMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var a record
		h := r.handle(HandlerSpec{ID: "h", Handler: a.handle})
		defer r.lead()()
		<-h.Ready()
		_ = r.feed.Destroy(t.Context(), "go:h")
		pass(5 * time.Second)
		r.add("1")
		synctest.Wait()
		a.want(t, "1")
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, newFakeFeed(), nil)
		var good record
		bad := record{fail: always}
		g := r.handle(HandlerSpec{ID: "good", Handler: good.handle})
		pass(time.Second)
		h := r.handle(HandlerSpec{ID: "bad", Handler: bad.handle, RetryDelay: time.Hour, Queue: 2, Concurrency: 1})
		stop := r.lead()
		<-g.Ready()
		<-h.Ready()
		r.add("1", "2", "3", "4")
		pass(2 * watchEvery)
		s := r.Stats()
		if s.TotalSubscriptions != 2 || s.ChannelCounts[channel] != 2 || s.ErrorCounts[channel] != 2 || s.OldestSubscription != "go:good" || s.AverageMessageCount != 2 {
			t.Errorf("%+v", s)
		}
		if b := s.Subscriptions[0]; b.ID != "go:bad" || b.Pending != 2 || b.Retrying != 2 || b.Lag != 2 || b.ErrorCount != 2 || b.Breaker != "closed" || !b.Running || !b.LastMessageAt.IsZero() {
			t.Errorf("%+v", b)
		}
		if g := s.Subscriptions[1]; g.MessageCount != 4 || g.Pending != 0 || g.LastMessageAt.IsZero() || g.CreatedAt.IsZero() {
			t.Errorf("%+v", g)
		}
		if got := r.metric("eventbus_active_subscriptions_total"); got != 2 {
			t.Errorf("%v active", got)
		}
		if got := r.metric("eventbus_subscription_handler_errors_total"); got != 2 {
			t.Errorf("%v errors", got)
		}
		stop()
		if got := r.metric("eventbus_active_subscriptions_total"); got != 0 {
			t.Errorf("%v active after the end", got)
		}
		if s := r.Stats(); s.Subscriptions[0].Running || s.Subscriptions[0].ErrorCount != 2 {
			t.Errorf("%+v after the end", s)
		}
	})
}

func TestHandleRefuses(t *testing.T) {
	t.Parallel()
	r := newReplica(t, newFakeFeed(), func(c *Config, _ *Parts) { c.MaxSubscriptions = 1 })
	_, err := r.Handle(HandlerSpec{ID: "a:b", Channel: "none", MaxErrors: -1, Concurrency: 99, Queue: -1, Ordered: "x", RetryDelay: -1, Timeout: -1})
	wantProblems(t, err, `handler: id is "a:b"`, `handler: channel is "none"`, "handler: Handler is nil", "handler: maxErrors is -1",
		"handler: concurrency is 99", "handler: queue is -1", `handler: ordered is "x"`, "handler: RetryDelay is -1ns", "handler: Timeout is -1ns")
	var a record
	if _, err := r.Handle(HandlerSpec{Channel: channel, Handler: a.handle, Filter: json.RawMessage(`{}`)}); err == nil {
		t.Error("a filter that does not compile is taken")
	}
	r.handle(HandlerSpec{Handler: a.handle})
	if _, err := r.Handle(HandlerSpec{Channel: channel, Handler: a.handle}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	if err := r.Check(Spec{ID: "w", Channel: channel, Webhook: &Webhook{URL: "http://127.0.0.1/"}}); !errors.Is(err, ErrTooMany) {
		t.Errorf("one webhook too many: %v", err)
	}
}

func TestGroup(t *testing.T) {
	t.Parallel()
	for subscription, group := range map[string]string{"thumbs": "hook:thumbs", "go:x": "go:x", "svc:x": "svc:x", "tmp:a:b": "tmp:a:b"} {
		if got := Group(subscription); got != group || nameOf(group) != subscription {
			t.Errorf("%s has the group %s and back %s", subscription, got, nameOf(group))
		}
	}
}
