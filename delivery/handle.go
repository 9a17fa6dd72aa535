package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// handle makes one attempt with an item and notes in Redis what comes of it, before anybody hears of it. done is nil where
// the breaker gave no leave: then the item is buried instead.
func (c *Consumer) handle(ctx context.Context, it *item, done func(error)) outcome {
	if done == nil {
		return c.bury(ctx, it, ReasonCircuitOpen, errCircuitOpen)
	}
	start := time.Now()
	err := c.call(ctx, it.event, it.attempt+1)
	if err != nil && ctx.Err() != nil { // we ended it: nobody is to blame, and who comes next has it again
		done(errAbandoned)
		return outcome{}
	}
	done(err)
	a := Attempt{Event: it.event, Number: it.attempt + 1, Err: err, Took: time.Since(start)}
	if err == nil {
		c.cfg.Attempted(a)
		c.acks <- it.Position
		return outcome{}
	}
	v := c.cfg.Retry.decide(err, a.Number, rand.Float64())
	a.Category, a.Again = v.category, v.again
	c.cfg.Attempted(a)
	it.attempt = a.Number
	var o outcome
	if v.pause > 0 {
		o.pause = time.Now().Add(v.pause)
	}
	if !v.again {
		c.bury(ctx, it, v.reason, err)
		return o
	}
	it.due, o.again = time.Now().Add(v.delay), true
	note := adapter.Note{Attempt: it.attempt, Due: it.due, Error: errorText(err)}
	_ = c.persist(ctx, "note a retry", func() error { return c.source.Note(ctx, it.Position, note) })
	return o
}

var errCircuitOpen = errors.New("not sent, as the receiver failed too often: see resilience.circuitBreaker")

// call calls the handler, and makes a panic an error.
func (c *Consumer) call(ctx context.Context, ev events.Event, attempt int) (err error) {
	if c.cfg.Trace != nil {
		traced, end := c.cfg.Trace(ctx, ev, attempt)
		ctx = traced
		defer func() { end(err) }()
	}
	if c.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler panicked: %v", p)
			c.log.Error("a handler panicked", zap.String("channel", c.cfg.Channel), zap.String("subscription", c.cfg.Subscription),
				zap.String("panic", errorText(err)), zap.ByteString("stack", debug.Stack()))
		}
	}()
	return c.cfg.Handle(ctx, ev)
}

// bury puts an item into the dead letters, which acknowledges it.
func (c *Consumer) bury(ctx context.Context, it *item, reason string, err error) outcome {
	d := c.deadLetter(it.event.Raw(), reason, err)
	d.Attempts, d.EventID, d.EventType = it.attempt, it.event.ID, it.event.Type
	c.buryLetter(ctx, it.Position, d)
	return outcome{}
}

func (c *Consumer) deadLetter(event []byte, reason string, err error) adapter.DeadLetter {
	return adapter.DeadLetter{
		Channel: c.cfg.Channel, Subscription: c.cfg.Subscription, Reason: reason, Category: string(CategoryOf(err)),
		Error: errorText(err), Event: event, At: time.Now(),
	}
}

func (c *Consumer) buryLetter(ctx context.Context, p adapter.Position, d adapter.DeadLetter) {
	if c.persist(ctx, "bury", func() error { return c.source.Bury(ctx, p, d) }) == nil {
		c.cfg.Buried(d.Reason)
		c.finish(p)
	}
}
