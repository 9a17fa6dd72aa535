package delivery

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// looks is how often something odd must be seen before it is believed: what others do at the same moment looks odd, too.
	looks = 3
	// trimEvery is how often dead letters that are too old are dropped.
	trimEvery = 5 * time.Minute
	// sweepEvery is how often what is left of dead processes is looked for.
	sweepEvery = 10 * time.Minute
)

// watch looks after a channel's feed, for who leads it: it trims the feed, learns how far the groups are, and finds those
// that nobody has. What is kept for all channels, the dead letters, each of those who lead one trims.
type watch struct {
	s       *Subscribers
	channel string
	orphans map[string]int       // how often each was seen, one look after the other
	told    map[string]time.Time // of groups that lost events, once an hour
	trimmed time.Time            // the dead letters; zero: not yet
	swept   time.Time
	dead    map[string]bool // groups of dead processes, as of then
}

func newWatch(s *Subscribers, channel string) *watch {
	return &watch{s: s, channel: channel, orphans: map[string]int{}, told: map[string]time.Time{}, swept: time.Now()}
}

// look takes one look, and returns what is left of subscriptions that were removed while nobody led.
func (w *watch) look(ctx context.Context) (left []target) {
	f, _ := w.s.open(w.channel)
	log := w.s.parts.Logger.With(zap.String("channel", w.channel))
	if time.Since(w.trimmed) >= trimEvery {
		err := w.s.trimLetters(ctx)
		if err == nil {
			w.trimmed = time.Now()
		} else if ctx.Err() == nil {
			log.Info("the dead letters are not trimmed, trying again", zap.Error(err))
		}
	}
	passed, err := f.Trim(ctx, w.s.cfg.FeedMaxAge, w.s.cfg.FeedMaxLen)
	if err != nil {
		if ctx.Err() == nil {
			log.Info("the feed is not trimmed, trying again", zap.Error(err))
		}
		return nil
	}
	for _, group := range passed {
		w.s.metrics.passed.WithLabelValues(w.channel).Inc()
		if time.Since(w.told[group]) < time.Hour {
			continue
		}
		w.told[group] = time.Now()
		log.Warn("a subscription lost events that it was too slow for: see delivery.feed.retention and delivery.feed.maxLength",
			zap.String("group", group))
	}
	groups, err := f.Groups(ctx)
	if err != nil {
		return nil
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.Name)
		name := nameOf(g.Name)
		if sub := w.s.lookup(w.channel, name); sub != nil {
			sub.seen(g.Pending, g.Lag)
		}
		if !w.s.isOrphan(w.channel, g.Name) {
			delete(w.orphans, name)
			continue
		}
		if w.orphans[name]++; w.orphans[name] >= looks {
			delete(w.orphans, name)
			left = append(left, target{w.channel, name})
		}
	}
	maps.DeleteFunc(w.orphans, func(name string, _ int) bool { return !slices.Contains(names, Group(name)) })
	maps.DeleteFunc(w.told, func(group string, _ time.Time) bool { return !slices.Contains(names, group) })
	if time.Since(w.swept) >= sweepEvery && w.s.parts.Processes != nil {
		w.swept = time.Now()
		w.sweep(ctx, f, names, log)
	}
	return left
}

// nameOf is the inverse of Group.
func nameOf(group string) string { return strings.TrimPrefix(group, webhookPrefix) }

// isOrphan reports whether a group is that of a webhook which nobody has declared. Durable handlers are not: whoever
// declares them may only be late.
func (s *Subscribers) isOrphan(channel, group string) bool {
	name, ok := strings.CutPrefix(group, webhookPrefix)
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.declared[name]
	return s.known && !s.broken[name] && (sub == nil || sub.channel != channel)
}
