package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

const (
	// retireMost is how many events that a removed subscription has not read go to the dead letters, where others need room.
	retireMost = 1000
	// retireAfter is how long a subscription is left alone after it was removed. Within that, all replicas have seen whether
	// it has been declared anew.
	retireAfter = time.Second
)

var errUnsubscribed = errors.New("the subscription was removed before this event was delivered")

// retirement clears up after a removed subscription.
type retirement struct {
	*Subscribers
	*member
	target
	match func(events.Event) bool // nil: all
	log   *zap.Logger

	unread       int // when it began; -1: not known yet
	buried, lost int
}

// retire puts what a removed subscription has not delivered into the dead letters and deletes its group. Of a temporary one
// nothing is kept. Where it is declared anew meanwhile, the group stays: whoever does that calls Create after it, and what
// has been accepted since belongs to the new one. Should we not lead any more without knowing it, whoever leads has done so.
func (s *Subscribers) retire(ctx context.Context, t target, match func(events.Event) bool) {
	m := openMember(s.open, t.channel, Group(t.name))
	defer m.Close()
	log := s.parts.Logger.With(zap.String("channel", t.channel), zap.String("subscription", t.name))
	r := &retirement{Subscribers: s, member: m, target: t, match: match, log: log, unread: -1}
	if strings.HasPrefix(t.name, temporaryPrefix) {
		_ = persist(ctx, log, "delete a group", func() error { return m.feed.Destroy(ctx, m.group) })
		return
	}
	var made string
	if persist(ctx, log, "ask for a group", func() (err error) {
		made, err = m.Made(ctx, m.group)
		return err
	}) != nil {
		return // ctx has ended: whoever leads next finds the group
	}
	select {
	case <-time.After(retireAfter):
	case <-ctx.Done():
		return
	}
	if s.lookup(t.channel, t.name) != nil {
		return
	}
	err := persist(ctx, log, "bury what a removed subscription leaves", func() error { return r.buryAll(ctx) })
	if err != nil && !errors.Is(err, adapter.ErrNoGroup) {
		return
	}
	var gone bool
	if persist(ctx, log, "delete a group", func() (err error) {
		gone, err = m.DestroyMade(ctx, m.group, made)
		return err
	}) == nil && gone {
		log.Info("a subscription is removed", zap.Int("deadLetters", r.buried), zap.Int("dropped", r.lost))
	}
}

// buryAll buries what is pending, and of what is unread as much as may be. It may be called again after an error.
func (r *retirement) buryAll(ctx context.Context) error {
	if r.unread < 0 {
		groups, err := r.feed.Groups(ctx)
		if err != nil {
			return err
		}
		r.unread = 0
		for _, g := range groups {
			if g.Name == r.group {
				r.unread, r.lost = int(min(g.Lag, retireMost)), int(max(g.Lag-retireMost, 0))
			}
		}
	}
	notes, err := r.Notes(ctx)
	if err != nil {
		return err
	}
	var after adapter.Position
	for {
		entries, err := r.Claim(ctx, after, batchLen)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			if err := r.bury(ctx, e, notes[e.Position]); err != nil {
				return err
			}
			after = e.Position
		}
	}
	for r.unread > 0 {
		entries, err := r.Read(ctx, min(r.unread, batchLen))
		if err != nil {
			return err
		}
		r.unread -= len(entries)
		if len(entries) == 0 { // those for others alone were counted, too
			r.unread = 0
		}
		for _, e := range entries {
			if err := r.bury(ctx, e, adapter.Note{}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *retirement) bury(ctx context.Context, e adapter.FeedEntry, n adapter.Note) error {
	ev, err := events.Decode(e.Event, r.cfg.MaxEvent)
	if err == nil && r.match != nil && !r.match(ev) {
		return r.Ack(ctx, e.Position)
	}
	text := errUnsubscribed.Error()
	if n.Error != "" {
		text += "; last attempt: " + n.Error
	}
	err = r.Bury(ctx, e.Position, adapter.DeadLetter{
		Channel: r.channel, Subscription: r.name, Reason: ReasonUnsubscribed, Category: string(CategoryUnknown),
		Error: text, Attempts: n.Attempt, EventID: ev.ID, EventType: ev.Type, Event: e.Event, At: time.Now(),
	})
	if err != nil {
		return fmt.Errorf("bury %s: %w", e.Position, err)
	}
	r.metrics.dead.WithLabelValues(r.channel, ReasonUnsubscribed).Inc()
	r.buried++
	return nil
}
