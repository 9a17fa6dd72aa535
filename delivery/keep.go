package delivery

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

const (
	watchEvery = 5 * time.Second
	// partingTime is how long what a temporary subscription leaves behind may take to be deleted at the end.
	partingTime = 2 * time.Second
)

// target is a name to keep, of what is declared for a channel, or of what is left of it.
type target struct{ channel, name string }

// Lead runs a channel's subscriptions, but for temporary ones, until ctx ends. At most one replica may do so at a time;
// should two do so for a moment, events may come twice. It returns when all that it started has ended: a second or
// Config.Drain after ctx, and two seconds more if Redis is away. It trims the channel's feed, too, whether there are subscriptions or not.
func (s *Subscribers) Lead(ctx context.Context, channel string) {
	s.serve(ctx, func(sub *subscription) bool { return !sub.temporary && sub.channel == channel }, newWatch(s, channel))
}

// Run runs the temporary subscriptions declared in this process until ctx ends, and deletes them then.
func (s *Subscribers) Run(ctx context.Context) error {
	var others sync.WaitGroup
	others.Go(func() { s.stayAlive(ctx) })
	s.serve(ctx, func(sub *subscription) bool { return sub.temporary }, nil)
	others.Wait()
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	return nil
}

// serve keeps one goroutine for each subscription that is wanted, which ends by itself when it no longer is.
func (s *Subscribers) serve(ctx context.Context, which func(*subscription) bool, w *watch) {
	var keepers sync.WaitGroup
	defer s.sender.close() // what others need they open again
	defer keepers.Wait()
	ended, kept := make(chan target), map[target]bool{}
	keep := func(t target) {
		if kept[t] {
			return
		}
		kept[t] = true
		keepers.Go(func() {
			s.keep(ctx, t)
			select {
			case ended <- t:
			case <-ctx.Done():
			}
		})
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var left <-chan []target // what the watch has found
	for {
		subs, changed := s.wanted(which)
		for _, sub := range subs {
			keep(target{sub.channel, sub.name})
		}
		select {
		case <-changed:
		case t := <-ended:
			delete(kept, t)
		case <-tick.C:
			if w != nil && left == nil { // in a goroutine, as Redis may take its time
				found := make(chan []target, 1)
				keepers.Go(func() { found <- w.look(ctx) })
				left = found
			}
		case found := <-left:
			left = nil
			for _, t := range found {
				keep(t)
			}
		case <-ctx.Done():
			return
		}
	}
}

// keep runs what is declared under a name, in one form after the other, until it is removed, and then clears up.
func (s *Subscribers) keep(ctx context.Context, t target) {
	var match func(events.Event) bool // of the last form; nil: all
	for ctx.Err() == nil {
		sub := s.lookup(t.channel, t.name)
		if sub == nil {
			s.retire(ctx, t, match)
			if s.lookup(t.channel, t.name) == nil {
				return
			}
			continue
		}
		match = sub.match
		s.metrics.created.WithLabelValues(t.channel).Inc()
		s.metrics.active.Inc()
		tooMany := s.run(ctx, sub)
		s.metrics.active.Dec()
		s.metrics.removed.WithLabelValues(t.channel).Inc()
		if tooMany {
			s.giveUp(ctx, sub)
		}
	}
	if strings.HasPrefix(t.name, temporaryPrefix) {
		parting, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingTime)
		defer cancel()
		f, _ := s.open(t.channel)
		if err := f.Destroy(parting, Group(t.name)); err != nil {
			s.parts.Logger.Info("a temporary subscription is left to be swept", zap.String("channel", t.channel), zap.Error(err))
		}
	}
}

// errTooMany ends the run of a subscription that failed too often.
var errTooMany = errors.New("the subscription had too many errors")

// run runs one form of a subscription, until ctx ends, it is replaced, or it has failed too often, which it reports.
func (s *Subscribers) run(ctx context.Context, sub *subscription) (tooMany bool) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	replaced := make(chan struct{})
	defer func() { <-replaced }()
	defer end(nil)
	go func() {
		defer close(replaced)
		select {
		case <-sub.replaced:
			end(nil)
		case <-ctx.Done():
		}
	}()
	isOpen := false
	breaker := NewBreaker(s.cfg.Breaker, func(closed bool) {
		if isOpen = !closed; isOpen {
			s.metrics.open.Inc()
		} else {
			s.metrics.open.Dec()
		}
	})
	defer func() {
		if isOpen { // nobody asks the breaker any more
			s.metrics.open.Dec()
		}
	}()
	for ctx.Err() == nil {
		if s.consume(ctx, sub, breaker, end) {
			s.parts.Logger.Warn("a subscription's place in the feed is gone, as after a loss of data in Redis; it begins anew",
				zap.String("channel", sub.channel), zap.String("subscription", sub.name))
		}
	}
	return errors.Is(context.Cause(ctx), errTooMany)
}

// consume makes the group, if need be, and runs a consumer of it. It reports whether the group went away.
func (s *Subscribers) consume(ctx context.Context, sub *subscription, breaker *Breaker, end context.CancelCauseFunc) bool {
	m := openMember(s.open, sub.channel, sub.group)
	defer m.Close()
	if persist(ctx, s.parts.Logger, "create a group", func() error { return m.feed.Create(ctx, sub.group) }) != nil {
		return false
	}
	consumer := NewConsumer(m, ConsumerConfig{
		Channel: sub.channel, Subscription: sub.name,
		Match: sub.match, Handle: sub.handle, Timeout: sub.timeout, Lane: sub.lane(),
		Concurrency: sub.concurrency, Queue: sub.queueSize,
		Retry: sub.retry, Breaker: breaker, WhenOpen: s.cfg.Breaker.WhenOpen,
		MaxEvent: s.cfg.MaxEvent, Drain: s.cfg.Drain,
		Attempted: func(a Attempt) {
			s.metrics.attempted(sub.channel, a, sub.webhook)
			tooMany := sub.attempted(a)
			if a.Err != nil && sub.onError != nil {
				s.tellError(ctx, sub, a)
			}
			if tooMany {
				end(errTooMany)
			}
		},
		Trace:  s.tracer(sub),
		Buried: func(reason string) { s.metrics.dead.WithLabelValues(sub.channel, reason).Inc() },
	}, s.parts.Logger)
	sub.runs(consumer, breaker)
	defer sub.runs(nil, nil)
	sub.once.Do(func() { close(sub.ready) })
	err := consumer.Run(ctx)
	return errors.Is(err, adapter.ErrNoGroup) && ctx.Err() == nil
}

// tellError calls OnError, whose own trouble is not ours.
func (s *Subscribers) tellError(ctx context.Context, sub *subscription, a Attempt) {
	defer func() {
		if p := recover(); p != nil {
			s.parts.Logger.Error("OnError of a handler panicked", zap.String("subscription", sub.name), zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	sub.onError(ctx, a.Err, a.Event)
}

// giveUp ends a subscription that failed too often: keep clears up after it.
func (s *Subscribers) giveUp(ctx context.Context, sub *subscription) {
	s.parts.Logger.Warn("a subscription is removed, as it had too many errors (maxErrors)",
		zap.String("channel", sub.channel), zap.String("subscription", sub.name), zap.Int("errors", sub.maxErrors))
	if !sub.webhook {
		s.drop(sub)
		return
	}
	if s.parts.Removed != nil {
		err := persist(ctx, s.parts.Logger, "remove a subscription", func() error { return s.parts.Removed(ctx, sub.name) })
		if err != nil {
			return // whoever leads next runs it, and finds out for itself
		}
	}
	s.rest(sub)
}
