package delivery

import (
	"context"
	"errors"
	"fmt"

	"github.com/photo-management/event-bus/adapter"
)

// ErrNotReplayable says that a dead letter cannot be delivered again as it is.
var ErrNotReplayable = errors.New("the dead letter cannot be replayed")

// inputs takes events in again, as publishers write them: adapter.Redis.
type inputs interface {
	Offer(ctx context.Context, stream string, event []byte, again string) error
}

// Replayer has dead letters delivered again.
type Replayer struct {
	Store   *adapter.Store
	Letters *adapter.DeadLetters
	Inputs  inputs
	// Prefix and a channel's name are the stream of its durable input.
	Prefix string
}

// Replay has a dead letter delivered again, under the event's own id: to the subscription that did not take it, and to
// nobody else; or, where the event was refused before it came on the bus, to everybody whom it is for. With browsers it
// goes through the bus as a new event would, so that all browsers and all subscriptions get it, those that had it before
// as well. The letter is gone then, and comes back if the event fails again. A letter that is gone already is no error:
// somebody else has replayed it.
func (r Replayer) Replay(ctx context.Context, letter adapter.DeadLetter, browsers bool) error {
	if letter.Truncated {
		return fmt.Errorf("%w: its event was too large to be kept whole", ErrNotReplayable)
	}
	if letter.Subscription == "" || browsers {
		return r.takeIn(ctx, letter, browsers)
	}
	_, err := r.Store.Feed(letter.Channel).Return(ctx, letter.ID, Group(letter.Subscription))
	if errors.Is(err, adapter.ErrNoGroup) {
		return fmt.Errorf("%w: the subscription %s is gone", ErrNotReplayable, letter.Subscription)
	}
	return err
}

// takeIn has the event of a letter come in anew. No single step does that and removes the letter: should it end in
// between, or come twice at a time, the event may be offered twice, which the bus tells by its id and again.
func (r Replayer) takeIn(ctx context.Context, letter adapter.DeadLetter, browsers bool) error {
	if there, err := r.Letters.Release(ctx, letter.ID); err != nil || !there {
		return err
	}
	again := ""
	if browsers { // once for each letter
		again = letter.ID
	}
	if err := r.Inputs.Offer(ctx, r.Prefix+letter.Channel, letter.Event, again); err != nil {
		return err
	}
	_, err := r.Letters.Remove(ctx, letter.ID)
	return err
}

// ReplayAll replays the letters that are meant, oldest first, up to the newest that is there when it begins; Limit is how
// many it takes on at most, zero means all. It goes on when one cannot be replayed: failed counts those, and err is the
// first reason, or why it ended early.
func (r Replayer) ReplayAll(ctx context.Context, which adapter.DeadLetterQuery, browsers bool) (replayed, failed int, err error) {
	last, err := r.Letters.Last(ctx)
	if err != nil {
		return 0, 0, err
	}
	var first error
	most := which.Limit
	for which.Limit = 0; ; {
		page, next, err := r.Letters.List(ctx, which)
		if err != nil {
			return replayed, failed, err
		}
		for _, letter := range page {
			if after, err := isAfter(letter.ID, last); err != nil || after || most > 0 && replayed+failed == most {
				return replayed, failed, errors.Join(first, err)
			}
			switch err := r.Replay(ctx, letter, browsers); {
			case errors.Is(err, ErrNotReplayable):
				failed++
				if first == nil {
					first = err
				}
			case err != nil:
				return replayed, failed, err
			default:
				replayed++
			}
		}
		if next == "" {
			return replayed, failed, first
		}
		which.After = next
	}
}

// isAfter compares the ids of letters.
func isAfter(id, last string) (bool, error) {
	p, err := adapter.ParsePosition(id)
	if err != nil {
		return false, err
	}
	q, err := adapter.ParsePosition(last)
	return err == nil && p.Compare(q) > 0, err
}
