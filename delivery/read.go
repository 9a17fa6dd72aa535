package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// read takes over what is pending, in order, and then reads what is new, as much at a time as there is room for. A read
// that failed may have made entries ours that we have not seen: before the next one, what is pending is looked at again.
// A read under way when ctx ends has reading as its context.
func (c *Consumer) read(ctx, reading context.Context) error {
	t := trouble{log: c.log, what: "read"}
	for {
		c.recheck.Store(false)
		if err := c.claim(ctx); err != nil {
			return err
		}
		claimed := time.Now()
		var failure error
		for failure == nil && !c.recheck.Load() && (c.cfg.Reclaim == 0 || time.Since(claimed) < c.cfg.Reclaim) {
			_, err := c.fetch(ctx, func(room int) (entries []adapter.FeedEntry, err error) {
				entries, failure = c.source.Read(reading, room)
				if errors.Is(failure, adapter.ErrNoGroup) {
					return nil, failure
				}
				return entries, nil
			})
			if err != nil {
				return err
			}
			if failure == nil {
				t.over()
			}
		}
		if failure != nil {
			if err := t.failed(ctx, failure); err != nil {
				return err
			}
		}
	}
}

// Recheck has what is pending looked at again: there is more than is held.
func (c *Consumer) Recheck() { c.recheck.Store(true) }

// claim takes over what is pending and not held already.
func (c *Consumer) claim(ctx context.Context) error {
	c.ledger.claiming(true)
	defer c.ledger.claiming(false)
	var notes map[adapter.Position]adapter.Note
	var after adapter.Position
	for {
		last, err := c.fetch(ctx, func(room int) (entries []adapter.FeedEntry, err error) {
			err = c.persist(ctx, "claim", func() (err error) {
				if entries, err = c.source.Claim(ctx, after, room); err == nil && len(entries) > 0 && notes == nil {
					notes, err = c.source.Notes(ctx)
				}
				return err
			})
			return entries, err
		}, func(it *item) { it.attempt, it.due = notes[it.Position].Attempt, notes[it.Position].Due })
		if err != nil || last == (adapter.Position{}) {
			return err
		}
		after = last
	}
}

// fetch waits for room, takes entries, hands over those that are new to us, and says which was the last; zero if there
// was none. each may add what is known of an item.
func (c *Consumer) fetch(ctx context.Context, take func(room int) ([]adapter.FeedEntry, error),
	each ...func(*item)) (last adapter.Position, err error) {
	var room int
	select {
	case room = <-c.credits:
	case <-ctx.Done():
		return last, ctx.Err()
	}
	entries, err := take(room)
	if err != nil {
		return last, err
	}
	var items []*item
	for _, e := range entries {
		last = e.Position
		if !c.ledger.take(e.Position, len(e.Event)) {
			continue
		}
		if it := c.prepare(ctx, e); it != nil {
			for _, f := range each {
				f(it)
			}
			items = append(items, it)
		}
	}
	select {
	case c.arrivals <- items:
		return last, nil
	case <-ctx.Done():
		return last, ctx.Err()
	}
}

// prepare makes an item of an entry, or settles at once what is none: that is no concern of ours, or no event.
func (c *Consumer) prepare(ctx context.Context, e adapter.FeedEntry) *item {
	ev, err := events.Decode(e.Event, c.cfg.MaxEvent)
	if err != nil {
		c.buryLetter(ctx, e.Position, c.deadLetter(e.Event, ReasonValidation, fmt.Errorf("entry %s of the feed: %w", e.Position, err)))
		return nil
	}
	if c.cfg.Match != nil && !c.cfg.Match(ev) {
		c.acks <- e.Position
		return nil
	}
	it := &item{Position: e.Position, event: ev}
	if c.cfg.Lane != nil {
		it.lane = c.cfg.Lane(ev)
	}
	return it
}
