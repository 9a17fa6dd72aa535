package adapter

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// watched is a table as it was seen last.
type watched struct {
	*Table
	tell    func([]Row)
	known   bool
	version string // empty: there was none
	rows    []Row  // that had not expired when they were told
}

// WatchTables calls back with the rows of each table, and again after each change, until ctx ends; then it returns nil.
// It looks every so often, zero means 500 ms, and at once after a change through one of these Tables. A row that expires is
// a change, as is data that Redis loses. While Redis is away, what was seen last goes on to hold. Callbacks run one after
// the other, on the caller's goroutine; the rows are theirs to keep, and not to change. After a change all of a table is
// read: large ones should change seldom.
func WatchTables(ctx context.Context, r *Redis, every time.Duration, tables map[*Table]func([]Row)) error {
	every = cmp.Or(every, 500*time.Millisecond)
	all := make([]*watched, 0, len(tables))
	written := make(chan struct{}, 1)
	for t, tell := range tables {
		all = append(all, &watched{Table: t, tell: tell})
		t.watcher.Store(&written)
	}
	var lost time.Time
	for attempt := 0; ; attempt++ {
		err := poll(ctx, r, all)
		wait := every
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if lost.IsZero() {
				r.log.Warn("shared tables cannot be read, what was read last holds", zap.Error(err))
				lost = time.Now()
			}
			wait = max(every, reconnectDelay(attempt, rand.Float64()))
		default:
			if !lost.IsZero() {
				r.log.Info("shared tables are read again", zap.Duration("away", time.Since(lost)))
			}
			lost, attempt = time.Time{}, 0
		}
		expire(all, time.Now())
		soon := written
		if err != nil {
			soon = nil // Redis is not asked more often than it is good for
		}
		select {
		case <-time.After(wait):
		case <-soon:
		case <-ctx.Done():
			return nil
		}
	}
}

// poll asks for all versions at once, reads the tables that have another one, and tells what they are now. The version
// is from before the rows: if they change in between, they are read again. Of a table that cannot be read the error is
// returned, the first one; the others are told all the same.
func poll(ctx context.Context, r *Redis, all []*watched) error {
	if len(all) == 0 {
		return nil
	}
	pipe := r.client.Pipeline()
	versions := make([]*redis.StringCmd, len(all))
	for i, w := range all {
		versions[i] = pipe.Get(ctx, w.Table.version)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	var failed error
	for i, w := range all {
		version, err := versions[i].Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			failed = cmp.Or(failed, r.explain(err))
			continue
		}
		if w.known && version == w.version {
			continue
		}
		rows, err := w.all(ctx)
		if err != nil {
			failed = cmp.Or(failed, err)
			continue
		}
		w.known, w.version, w.rows = true, version, current(rows, time.Now())
		w.tell(w.rows)
	}
	return failed
}

// expire tells of rows that have expired since they were told.
func expire(all []*watched, now time.Time) {
	for _, w := range all {
		if slices.ContainsFunc(w.rows, func(r Row) bool { return !r.current(now) }) {
			w.rows = current(w.rows, now)
			w.tell(w.rows)
		}
	}
}
