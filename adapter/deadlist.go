package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

const (
	maxPage   = 1000
	pageChunk = 16      // letters read at a time, as each may have a megabyte
	pageBytes = 8 << 20 // a page ends when its events have so many
	dropChunk = 100     // letters that one script drops, as it reads them for that
)

// DeadLetterQuery says which letters are meant. An empty field means any.
type DeadLetterQuery struct {
	Channel, Subscription, Reason string
	// After is the id of a letter: only those after it are meant.
	After string
	// Limit is how many there are at most. Zero means 100 for List, all for Purge.
	Limit int
}

func (q DeadLetterQuery) check() error {
	var errs []error
	if q.Limit < 0 || q.Limit > maxPage {
		errs = append(errs, fmt.Errorf("limit %d: must be from 0 to %d", q.Limit, maxPage))
	}
	if _, err := ParsePosition(cmp.Or(q.After, "0-0")); err != nil {
		errs = append(errs, fmt.Errorf("after: %w", ErrDeadLetterID))
	}
	return errors.Join(errs...)
}

func (q DeadLetterQuery) matches(l DeadLetter) bool {
	return (q.Channel == "" || q.Channel == l.Channel) && (q.Subscription == "" || q.Subscription == l.Subscription) &&
		(q.Reason == "" || q.Reason == l.Reason)
}

// List returns the letters that are meant, oldest first, and where to go on: next is the After of the next page, empty
// at the end. To find few it looks at ten times as many letters as Limit, and to find large ones at no more than 8 MiB:
// so a page may be short, or empty, and not be the last.
func (d *DeadLetters) List(ctx context.Context, q DeadLetterQuery) (page []DeadLetter, next string, err error) {
	if err := q.check(); err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	limit, bytes := cmp.Or(q.Limit, 100), 0
	next = cmp.Or(q.After, "0-0")
	for left := 10 * limit; left > 0; {
		n := min(left, pageChunk)
		found, err := d.read(ctx, next, "+", n)
		if err != nil {
			return nil, "", err
		}
		for _, m := range found {
			l := letterOf(m)
			if next = m.ID; q.matches(l) {
				page = append(page, l)
			}
			if bytes += len(l.Event); len(page) == limit || bytes >= pageBytes {
				return page, next, nil
			}
		}
		if len(found) < n {
			return page, "", nil
		}
		left -= n
	}
	return page, next, nil
}

// read returns letters after an id, up to another, n at most.
func (d *DeadLetters) read(ctx context.Context, after, to string, n int) ([]redis.XMessage, error) {
	found, err := d.store.db.client.XRangeN(ctx, d.key, "("+after, to, int64(n)).Result()
	if err != nil {
		return nil, d.explain("read the dead letters", err)
	}
	return found, nil
}

// removeLetters drops letters by their ids, and says how many there were. KEYS: stream, index. ARGV: ids.
var removeLetters = redis.NewScript(dropScript + `
local gone = 0
for _, id in ipairs(ARGV) do
	local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
	if entry then
		gone = gone + drop(KEYS[1], KEYS[2], entry)
	end
end
return gone
`)

// Remove drops letters, and says how many there were. Something else than an id is ErrDeadLetterID, and nothing is
// dropped.
func (d *DeadLetters) Remove(ctx context.Context, ids ...string) (int, error) {
	args := make([]any, 0, len(ids))
	for _, id := range ids {
		p, err := ParsePosition(id)
		if err != nil {
			return 0, ErrDeadLetterID
		}
		args = append(args, p.String())
	}
	removed := 0
	for len(args) > 0 {
		now := args[:min(len(args), dropChunk)]
		args = args[len(now):]
		n, err := removeLetters.Run(ctx, d.store.db.client, []string{d.key, d.index}, now...).Int()
		if err != nil {
			return removed, d.explain("remove dead letters", err)
		}
		removed += n
	}
	return removed, nil
}

// Purge drops the letters that are meant and there when it begins, and says how many there were.
func (d *DeadLetters) Purge(ctx context.Context, q DeadLetterQuery) (int, error) {
	if err := q.check(); err != nil {
		return 0, fmt.Errorf("purge dead letters: %w", err)
	}
	last, err := d.store.db.client.XRevRangeN(ctx, d.key, "+", "-", 1).Result()
	if err != nil {
		return 0, d.explain("read the dead letters", err)
	}
	if len(last) == 0 {
		return 0, nil
	}
	removed := 0
	for after := cmp.Or(q.After, "0-0"); ; {
		found, err := d.read(ctx, after, last[0].ID, pageChunk)
		if err != nil {
			return removed, err
		}
		var ids []string
		for _, m := range found {
			if after = m.ID; q.matches(letterOf(m)) && (q.Limit == 0 || removed+len(ids) < q.Limit) {
				ids = append(ids, m.ID)
			}
		}
		n, err := d.Remove(ctx, ids...)
		removed += n
		if err != nil || len(found) < pageChunk || q.Limit > 0 && removed >= q.Limit {
			return removed, err
		}
	}
}
