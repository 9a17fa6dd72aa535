package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNoHistory says that no history of the room is kept: it was not asked for with KeepHistory, or there is no log.
var ErrNoHistory = errors.New("no history of the room is kept")

// HistoryConfig says of which rooms the newest events are kept for those who come later.
type HistoryConfig struct {
	// Prefixes are how the names of the rooms begin. None means that there are no histories.
	Prefixes []string
	// Size is how many events of a room can be had. Some more may be kept. Zero means 50.
	Size int
	// TTL is how long they are kept after the last one. Zero means 1 h.
	TTL time.Duration
}

func (c HistoryConfig) withDefaults() HistoryConfig {
	c.Size = cmp.Or(c.Size, 50)
	c.TTL = cmp.Or(c.TTL, time.Hour)
	return c
}

// Validate reports all problems at once, by key.
func (c HistoryConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if slices.Contains(c.Prefixes, "") {
		errs = append(errs, errors.New("history.prefixes: must have no empty one, which all rooms begin with"))
	}
	if c.Size < 1 || c.Size > 1000 {
		errs = append(errs, fmt.Errorf("history.size %d: must be from 1 to 1000", c.Size))
	}
	if c.TTL < time.Second {
		errs = append(errs, fmt.Errorf("history.ttl %s: must be 1s or more", c.TTL))
	}
	return errors.Join(errs...)
}

// history is how the histories of rooms are kept: each in a stream of its own, whose entries are those of the log.
type history struct {
	cfg   HistoryConfig
	store *Store
}

// KeepHistory has Append keep what goes to some rooms. The configuration is taken as valid. Call it before Append is used.
func (l *Log) KeepHistory(cfg HistoryConfig) {
	l.history = nil
	if len(cfg.Prefixes) > 0 {
		l.history = &history{cfg.withDefaults(), l.Store}
	}
}

// keeps reports whether a room has a history.
func (h *history) keeps(room string) bool {
	return slices.ContainsFunc(h.cfg.Prefixes, func(prefix string) bool { return strings.HasPrefix(room, prefix) })
}

func (h *history) key(room string) string {
	if len(room) > 128 {
		return h.store.digestKey("longhistory", room)
	}
	return h.store.Key("history:" + room)
}

// of appends to a script's keys those of the histories that a message belongs to, and says which they are, counted from
// 1 and parted by spaces. What is volatile, or no event for the sockets of browsers, belongs to none.
func (h *history) of(keys []string, m Message) (all []string, which string) {
	if m.Kind != Event || m.Volatile || namespace(m.Namespace) != "/" {
		return keys, ""
	}
	var places []byte
	before := len(keys)
	for i, room := range m.Rooms {
		if !h.keeps(room) || slices.Contains(m.Rooms[:i], room) {
			continue
		}
		keys = append(keys, h.key(room))
		if len(keys) > before+1 {
			places = append(places, ' ')
		}
		places = strconv.AppendInt(places, int64(len(keys)), 10)
	}
	return keys, string(places)
}

// History are the newest n events that went to a room, oldest first, with their places in the log: what Append kept of
// them, so no event of a server that is not ours. Without a history of the room it returns ErrNoHistory.
func (l *Log) History(ctx context.Context, room string, n int) ([]Entry, error) {
	h := l.history
	if h == nil || !h.keeps(room) {
		return nil, ErrNoHistory
	}
	n = min(n, h.cfg.Size)
	if n <= 0 {
		return nil, nil
	}
	found, err := l.redis.client.XRevRangeN(ctx, h.key(room), "+", "-", int64(n)).Result()
	if err != nil {
		return nil, fmt.Errorf("read the history of a room: %w", l.redis.explain(err))
	}
	slices.Reverse(found)
	return l.historyEntries(found)
}

func (l *Log) historyEntries(found []redis.XMessage) ([]Entry, error) {
	entries, reading, now := make([]Entry, 0, len(found)), tail{Log: l}, time.Now()
	for _, m := range found {
		p, err := ParsePosition(m.ID)
		if err != nil {
			return nil, fmt.Errorf("entry %q of a history: %w", m.ID, err)
		}
		e := reading.decode(m.Values)
		if e.Kind != Event {
			continue // it was counted as invalid
		}
		e.Position = p
		if at := time.UnixMilli(int64(p.MS)).Add(l.skew); at.Before(now) {
			e.At = at
		}
		e.Key, _, _ = strings.Cut(e.Key, ".")
		entries = append(entries, e)
	}
	return entries, nil
}

// History is ErrNoHistory: what is published is kept nowhere.
func (p *PubSub) History(context.Context, string, int) ([]Entry, error) { return nil, ErrNoHistory }
