package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// inVain is Save when Redis is away: it takes as long as its context, and says why.
func (s *sessionServer) inVain(t *testing.T, pid string, rooms ...string) {
	t.Helper()
	s.put(pid, rooms...)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	cause := s.troubled()
	if err := s.Save(ctx, pid); !errors.Is(err, context.DeadlineExceeded) || cause != nil && !strings.Contains(err.Error(), "redis") &&
		!strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Save without Redis = %v, want a deadline, and %v", err, cause)
	}
}

func (s *sessionServer) troubled() error {
	s.Sessions.mu.Lock()
	defer s.Sessions.mu.Unlock()
	return s.trouble
}

// Redis is killed while sessions change, and comes back with what it had or with nothing. Both ways everything is as
// the servers know it, including what did not change.
func TestSessionsSurviveRedis(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"with AOF":    {"--appendonly", "yes", "--appendfsync", "always"},
		"without AOF": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t, args...)
			core, logs := observer.New(zapcore.InfoLevel)
			a := newSessionServer(t, r.addr, sessionsA, zap.New(core))
			a.start(t)
			other, c := startSessions(t, r.addr, sessionsB), plainClient(t, r.addr)
			a.save(t, "same", "r")
			a.save(t, "changed", "r")
			a.save(t, "left", "r")
			a.save(t, "quit", "r")
			r.stop(t)

			a.put("changed", "r1")
			a.Changed("changed")
			eventually(t, "an attempt to fail", func() bool { return a.troubled() != nil })
			a.inVain(t, "changed", "r2")
			a.inVain(t, "new", "r3")
			a.inVain(t, "new", "r4")
			a.put("left", "r5")
			a.Release("left")
			a.remove("quit")
			a.Drop("quit")
			a.inVain(t, "passing", "r")
			a.remove("passing")
			a.Drop("passing")
			a.wantTake(t, "new", "a", "r4") // nobody else can have it
			if _, _, ok, err := a.Take(soon(t), "same"); ok || err == nil {
				t.Errorf("Take without Redis = %v, %v; want an error", ok, err)
			}
			if _, ok, err := other.Look(soon(t), "same"); ok || err == nil {
				t.Errorf("Look without Redis = %v, %v; want an error", ok, err)
			}

			r.start(t)
			if err := a.Save(soon(t), "new"); err != nil {
				t.Errorf("Save with Redis back = %v", err)
			}
			want := slices.Sorted(slices.Values(append(append(append(a.keys("same"), a.keys("changed")...), a.keys("left")...), a.keys("new")...)))
			var got []string
			eventually(t, fmt.Sprintf("the keys %q", want), func() bool {
				got = slices.Sorted(slices.Values(c.Keys(context.Background(), "*").Val()))
				return slices.Equal(got, want)
			})
			wantLives(t, c, a, "same", here)
			wantLives(t, c, a, "changed", here)
			wantLives(t, c, a, "left", away)
			wantLives(t, c, a, "new", here)
			eventually(t, "the subscriptions", func() bool {
				n := c.PubSubNumSub(context.Background(), "eventbus:taken:a", "eventbus:taken:b").Val()
				return n["eventbus:taken:a"] == 1 && n["eventbus:taken:b"] == 1
			})
			other.wantTake(t, "same", "a", "r")
			a.wantLost(t, "same")
			other.wantTake(t, "changed", "a", "r2")
			other.wantTake(t, "left", "a", "r5")
			other.wantTake(t, "new", "a", "r4")
			other.wantNone(t, "quit")
			other.wantNone(t, "passing")
			for _, message := range []string{
				"sessions are not stored, trying again", "sessions are stored again",
				"takeovers of sessions are not heard of, trying again", "takeovers of sessions are heard of again",
			} {
				if n := logs.FilterMessage(message).Len(); n != 1 {
					t.Errorf("%q was logged %d times, want once", message, n)
				}
			}
		})
	}
}

// A takeover while the earlier owner has no connection that listens is found out when it has one again.
func TestSessionTakenWhileDeaf(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	a, c := startSessions(t, r.addr, sessionsA), plainClient(t, r.addr)
	a.save(t, "p", "r")
	leave(t, r.addr, startSessions(t, r.addr, sessionsB), "p", "r2") // and its news is lost
	if got := a.lost(); len(got) > 0 {
		t.Fatalf("lost are %q before anybody could know", got)
	}
	if err := c.ClientKillByFilter(context.Background(), "TYPE", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	a.wantLost(t, "p")
}

// What has waited longest is written first, also after it could not be; and many changes of one session are one.
func TestSessionsOldestFirst(t *testing.T) {
	t.Parallel()
	s := NewSessions(nil, sessionsA, zap.NewNop())
	const n = maxTurn + 10
	for range 2 {
		for i := range n {
			s.Changed(fmt.Sprint("p", i))
		}
	}
	wantNext := func(from, to int) *sessionTurn {
		t.Helper()
		turn := s.next(time.Now())
		if len(turn.changes) != to-from {
			t.Fatalf("%d changes, want %d", len(turn.changes), to-from)
		}
		for i, c := range turn.changes {
			if want := fmt.Sprint("p", from+i); c.pid != want {
				t.Fatalf("change %d is of %s, want %s", i, c.pid, want)
			}
		}
		return turn
	}
	first := wantNext(0, maxTurn)
	s.Changed(fmt.Sprint("p", n)) // a new one, while the first are under way
	s.mu.Lock()
	s.retryLocked(first.changes)
	s.mu.Unlock()
	wantNext(0, maxTurn)
	wantNext(maxTurn, n+1)
	if got := len(s.next(time.Now()).changes); got != 0 {
		t.Errorf("%d changes more, want none", got)
	}
}

// A saver whose write failed when the session had changed again waits for the newer one.
func TestSessionSaverFollows(t *testing.T) {
	t.Parallel()
	for _, want := range []error{nil, ErrTaken} {
		s := NewSessions(nil, sessionsA, zap.NewNop())
		saved := make(chan error, 2)
		save := func() { saved <- s.Save(context.Background(), "p") }
		var savers sync.WaitGroup
		savers.Go(save)
		eventually(t, "the first", func() bool { return s.Waiting() == 1 })
		first := s.next(time.Now())
		savers.Go(save)
		eventually(t, "the second", func() bool { return s.Waiting() == 1 })
		s.mu.Lock()
		s.retryLocked(first.changes)
		s.mu.Unlock()
		second := s.next(time.Now())
		if len(second.changes) != 1 || len(saved) != 0 {
			t.Fatalf("%d changes, and %d savers do not wait; want one and none", len(second.changes), len(saved))
		}
		s.mu.Lock()
		second.changes[0].endLocked(want)
		s.mu.Unlock()
		savers.Wait()
		for range 2 {
			if err := <-saved; err != want {
				t.Errorf("Save = %v, want %v", err, want)
			}
		}
	}
}

// A session dropped while its first write is under way, and fails, leaves nothing to do. One that Redis has is deleted.
func TestSessionDroppedUnderWay(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{false, true} {
		s := NewSessions(nil, sessionsA, zap.NewNop())
		s.ours["p"] = ourSession{stored: stored}
		s.Changed("p")
		under := s.next(time.Now())
		s.Drop("p")
		s.mu.Lock()
		s.retryLocked(under.changes)
		s.mu.Unlock()
		left := s.next(time.Now()).changes
		if s.Len() != 0 || len(left) > 1 || (len(left) == 1) != stored || stored && left[0].sessionWork != deleteSession {
			t.Errorf("stored %v: %d sessions and %d changes are left", stored, s.Len(), len(left))
		}
	}
}

// What is waiting for one of ours is written before a question for it, however much else waits longer.
func TestSessionWrittenBeforeQuestion(t *testing.T) {
	t.Parallel()
	s := NewSessions(nil, sessionsA, zap.NewNop())
	for i := range 2 * maxTurn {
		s.Changed(fmt.Sprint("p", i))
	}
	s.Changed("last")
	s.asks = append(s.asks, &sessionAsk{pid: "last"})
	changes := s.next(time.Now()).changes
	if got := changes[len(changes)-1]; len(changes) != maxTurn+1 || got.pid != "last" || got.sessionWork != storeSession {
		t.Errorf("%d changes, the last one is %d of %s; want that of the session asked for", len(changes), got.sessionWork, got.pid)
	}
}

// A renewal that fails is made up for.
func TestSessionRenewalFails(t *testing.T) {
	t.Parallel()
	s := NewSessions(nil, sessionsA, zap.NewNop())
	s.ours["p"] = ourSession{stored: true}
	s.renew(time.Now())
	for range 2 {
		turn := s.next(time.Now())
		if len(turn.changes) != 1 || turn.changes[0].sessionWork != renewSession {
			t.Fatalf("%d changes, want one renewal", len(turn.changes))
		}
		s.mu.Lock()
		s.retryLocked(turn.changes)
		s.mu.Unlock()
	}
}

// A session may be taken from us before we know that we have it. That must not be overheard.
func TestSessionTakenOnTheWay(t *testing.T) {
	t.Parallel()
	s := NewSessions(nil, sessionsA, zap.NewNop())
	s.asks = append(s.asks, &sessionAsk{pid: "p", take: true, done: make(chan struct{})})
	turn := s.next(time.Now())
	s.compose(turn, time.Now(), nil)
	s.doubt("p")
	turn.asked[0].answer = []any{"value", "b"}
	s.settleAsks(turn, time.Now(), nil)
	if turn := s.next(time.Now()); len(turn.changes) != 1 || turn.changes[0].sessionWork != renewSession {
		t.Errorf("%d changes, want one renewal", len(turn.changes))
	}
}

// What was taken for somebody who does not wait any more is left for whoever comes next.
func TestSessionTakenForNobody(t *testing.T) {
	t.Parallel()
	s := NewSessions(nil, sessionsA, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan error, 1)
	go func() {
		_, _, _, err := s.Take(ctx, "p")
		gone <- err
	}()
	eventually(t, "the question", func() bool { return s.more() })
	turn := s.next(time.Now())
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("Take = %v, want %v", err, context.Canceled)
	}
	s.compose(turn, time.Now(), nil)
	turn.asked[0].answer = []any{"value", "b"}
	s.settleAsks(turn, time.Now(), nil)
	if got := s.Len(); got != 0 {
		t.Errorf("%d sessions are kept, want none", got)
	}
	s.doubt("p") // and a late word about it is nothing either
	if turn := s.next(time.Now()); len(turn.changes) != 0 {
		t.Errorf("%d renewals, want none", len(turn.changes))
	}
}

// Clients that come and go while Redis is away leave nothing behind, however many.
func TestSessionsBoundedWithoutRedis(t *testing.T) {
	t.Parallel()
	b := startRedis(t)
	a := newSessionServer(t, b.addr, sessionsA, zap.NewNop())
	b.stop(t)
	a.start(t)
	for round := range 5 {
		for i := range 2000 {
			pid := fmt.Sprintf("p%d-%d", round, i)
			a.put(pid, "r")
			a.Changed(pid)
			switch i % 3 {
			case 0:
				a.Drop(pid)
			case 1:
				a.Release(pid)
			}
			if i%3 != 2 {
				a.remove(pid)
			}
		}
		a.inVain(t, "attempt", "r")
	}
	a.renew(time.Now().Add(away + time.Second))
	const here = 5*666 + 1 // a third of each round, and one
	eventually(t, "only who is here to be left", func() bool { return a.Len() == here && a.Waiting() <= here })
	if got := a.queue.Len(); got > here {
		t.Errorf("%d changes are queued, want %d or fewer", got, here)
	}
}

// Savers that wait when Run ends are told so.
func TestSessionsRunReleasesCallers(t *testing.T) {
	t.Parallel()
	b := startRedis(t)
	a := newSessionServer(t, b.addr, sessionsA, zap.NewNop())
	b.stop(t)
	a.start(t)
	var waiting sync.WaitGroup
	errs := make(chan error, 40)
	for i := range 20 {
		a.put(fmt.Sprint("p", i), "r")
		waiting.Go(func() { errs <- a.Save(context.Background(), fmt.Sprint("p", i%5)) })
		waiting.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, _, _, err := a.Take(ctx, "unknown")
			if err == nil {
				err = errors.New("no error")
			}
			errs <- err
		})
	}
	eventually(t, "all to wait", func() bool { return a.Len() == 5 && len(errs) == 20 })
	a.end(t)
	waiting.Wait()
	for range 40 {
		err := <-errs
		if !errors.Is(err, errSessionsStopped) && !errors.Is(err, context.Canceled) {
			t.Errorf("a caller was told %v, want %v", err, errSessionsStopped)
		}
	}
}
