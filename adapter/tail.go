package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// remembered is how many entries back the tail knows what it has applied.
const remembered = 1 << 15

// errForeign is for entries that cannot have been written by a server of the cluster.
var errForeign = errors.New("too large for an entry")

// errGap says that entries went unread.
var errGap = errors.New("entries of the log are gone that were not read")

// Tail calls apply with the entries of the log after Start, in order, as many as there are at a time, until ctx ends.
// Where entries are gone that it has not read, it calls gap with the position where it goes on. A lost connection is
// made again, and the tail resumes where it was.
func (l *Log) Tail(ctx context.Context, apply func([]Entry), gap func(Position)) error {
	ctx, cancel := context.WithCancel(ctx)
	var trimmer sync.WaitGroup
	defer trimmer.Wait()
	defer cancel()
	trimmer.Go(func() { l.trim(ctx) })

	end, err := l.end(ctx) // until here there is a past to catch up with
	if err != nil && ctx.Err() == nil {
		return err
	}
	t := &tail{Log: l, last: l.start, end: end, apply: apply, known: map[string]struct{}{}}
	var lost time.Time
	for attempt := 0; ; attempt++ {
		up := time.Now()
		err := t.follow(ctx, func() {
			if !lost.IsZero() {
				l.log.Info("the log is back", zap.Duration("away", time.Since(lost)))
				lost = time.Time{}
			}
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errGap):
			if err = t.skip(ctx, gap); err == nil {
				continue
			}
		}
		if lost.IsZero() {
			l.log.Warn("the log is lost, trying again", zap.Error(err))
			lost = time.Now()
		}
		if time.Since(up) > maxReconnect {
			attempt = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectDelay(attempt, rand.Float64())):
		}
	}
}

// tail is the reading of a log.
type tail struct {
	*Log
	last  Position // applied
	end   Position // where the past ends, zero when we are past that
	apply func([]Entry)

	recent []seenEntry // the last ones applied, oldest first
	known  map[string]struct{}
}

type seenEntry struct {
	Position
	key string
}

// follow reads on one connection until something is wrong with it. It calls up after the first read.
func (t *tail) follow(ctx context.Context, up func()) error {
	client := t.redis.Dedicated()
	closed := context.AfterFunc(ctx, func() { _ = client.Close() }) // ends a read under way
	defer client.Close()
	defer closed()

	doubt := true // whether all up to the next entry was there to be read
	for first := true; ; first = false {
		block := blockTime
		if first || t.end != (Position{}) {
			block = -1 // whatever is there
		}
		messages, err := t.read(ctx, client, block)
		if err != nil {
			return err
		}
		if first {
			up()
		}
		if doubt || time.Since(time.UnixMilli(int64(t.last.MS)).Add(t.skew)) > blockTime {
			if err := t.check(ctx, client); err != nil {
				return err
			}
		}
		doubt = len(messages) == readLen
		if len(messages) > 0 {
			if err := t.take(messages); err != nil {
				return err
			}
		}
		if t.end != (Position{}) && (t.last.Compare(t.end) >= 0 || len(messages) == 0) {
			t.end = Position{}
			select {
			case <-t.caughtUp:
			default:
				close(t.caughtUp)
			}
		}
	}
}

// read returns the next entries, none if there were none in time.
func (t *tail) read(ctx context.Context, client redis.UniversalClient, block time.Duration) ([]redis.XMessage, error) {
	streams, err := client.XRead(ctx, &redis.XReadArgs{
		Streams: []string{t.cfg.Stream, t.last.String()}, Count: readLen, Block: block,
	}).Result()
	switch {
	case errors.Is(err, redis.Nil) || err == nil && len(streams) == 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read the log: %w", t.redis.explain(err))
	}
	return streams[0].Messages, nil
}

// check makes sure that nothing was trimmed between the last entry applied and those read since. As a log is trimmed from
// its old end, nothing was if the last one is still there. If it is not, but what is now the newest up to its position is
// one that we have applied, Redis has lost the end of its log, as happens when a replica takes over that had not heard all:
// we have lost nothing, and what was written since, however much, is yet to be read. Anything else up to there is new, and
// would be passed over.
func (t *tail) check(ctx context.Context, client redis.UniversalClient) error {
	found, err := client.XRevRangeN(ctx, t.cfg.Stream, t.last.String(), "-", 1).Result()
	if err != nil {
		return fmt.Errorf("read the log: %w", t.redis.explain(err))
	}
	if len(found) == 0 {
		return errGap
	}
	p, err := ParsePosition(found[0].ID)
	if err != nil {
		return fmt.Errorf("entry %q of the log: %w", found[0].ID, err)
	}
	if p == t.last {
		return nil
	}
	_, ours := slices.BinarySearchFunc(t.recent, p, func(s seenEntry, p Position) int { return s.Position.Compare(p) })
	if !ours && p != t.start {
		return errGap
	}
	t.log.Warn("the end of the log was lost by redis; what it had was delivered", zap.Stringer("to", t.last), zap.Stringer("from", p))
	return nil
}

// skip goes on at the end of the log after a gap.
func (t *tail) skip(ctx context.Context, gap func(Position)) error {
	if _, err := t.begin(ctx); err != nil {
		return err
	}
	end, err := t.Log.end(ctx)
	if err != nil {
		return err
	}
	t.log.Warn("entries of the log are gone that were not read; all clients begin anew",
		zap.Stringer("after", t.last), zap.Stringer("before", end))
	t.gaps.Add(1)
	t.last, t.end, t.recent = end, Position{}, nil
	clear(t.known)
	gap(end)
	t.reach()
	select {
	case <-t.caughtUp:
	default:
		close(t.caughtUp)
	}
	return nil
}

// take decodes entries and applies them.
func (t *tail) take(messages []redis.XMessage) error {
	now := time.Now()
	entries := make([]Entry, 0, len(messages))
	for _, m := range messages {
		p, err := ParsePosition(m.ID)
		if err != nil {
			return fmt.Errorf("entry %q of the log: %w", m.ID, err)
		}
		e := t.decode(m.Values)
		e.Position = p
		if at := time.UnixMilli(int64(p.MS)).Add(t.skew); at.Before(now) {
			e.At = at
		}
		if _, again := t.known[e.Key]; again && e.Key != "" {
			// Redis had forgotten it, and got it again: those who are here have it.
			e.Message = Message{Kind: Other}
		}
		t.remember(p, e.Key)
		e.Key, _, _ = strings.Cut(e.Key, ".")
		entries = append(entries, e)
		t.last = p
	}
	t.apply(entries)
	t.reach()
	return nil
}

// decode reads an entry. What is not one of ours to act on is Other.
func (t *tail) decode(values map[string]any) Entry {
	text := func(field string) string {
		s, _ := values[field].(string)
		return s
	}
	uid, key, data := text("uid"), text("key"), text("data")
	e := Entry{Message: Message{Kind: Other}}
	err := errForeign
	if len(data) <= t.cfg.MaxEntry && len(uid) <= 64 && len(key) <= 64 {
		e, err = decodeEntry(uid, text("nsp"), text("type"), data)
		e.Key = key
	}
	if err != nil {
		t.invalid.Add(1)
	}
	return e
}

func (t *tail) remember(p Position, key string) {
	if len(t.recent) >= 2*remembered {
		for _, s := range t.recent[:remembered] {
			delete(t.known, s.key)
		}
		t.recent = slices.Delete(t.recent, 0, remembered)
	}
	t.recent = append(t.recent, seenEntry{p, key})
	if key != "" {
		t.known[key] = struct{}{}
	}
}

// reach tells those who wait how far the tail is.
func (t *tail) reach() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reached = t.last
	close(t.moved)
	t.moved = make(chan struct{})
}
