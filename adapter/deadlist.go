package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/redis/go-redis/v9"
)

const (
	maxPage   = 1000
	pageChunk = 16      // letters read at a time, as each may have a megabyte
	pageBytes = 8 << 20 // a page ends when its events have so many
	dropChunk = 32      // letters that one script drops, as it reads them for that
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
		found, err := d.store.db.client.XRangeN(ctx, d.key, "("+next, "+", int64(n)).Result()
		if err != nil {
			return nil, "", d.explain("read the dead letters", err)
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

// purgeLetters drops those of some letters that are meant, and says how many, and after which to go on, or nothing if that is all.
// KEYS: stream, index. ARGV: after and up to which id, how many to look at, how many to drop at most, and channel,
// subscription and reason, each of which may be "".
var purgeLetters = redis.NewScript(dropScript + `
local found = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local gone, last = 0, ''
for _, entry in ipairs(found) do
	if gone == tonumber(ARGV[4]) then
		return {gone, ''}
	end
	local letter = {}
	for i = 1, #entry[2], 2 do
		letter[entry[2][i]] = entry[2][i + 1]
	end
	if (ARGV[5] == '' or ARGV[5] == letter.channel) and (ARGV[6] == '' or ARGV[6] == letter.subscription) and
		(ARGV[7] == '' or ARGV[7] == letter.reason) then
		gone = gone + drop(KEYS[1], KEYS[2], entry)
	end
	last = entry[1]
end
return {gone, #found < tonumber(ARGV[3]) and '' or last}
`)

// Purge drops the letters that are meant and there when it begins, and says how many there were.
func (d *DeadLetters) Purge(ctx context.Context, q DeadLetterQuery) (int, error) {
	if err := q.check(); err != nil {
		return 0, fmt.Errorf("purge dead letters: %w", err)
	}
	last, err := d.Last(ctx)
	if err != nil {
		return 0, err
	}
	left, removed := cmp.Or(q.Limit, math.MaxInt32), 0
	for after := cmp.Or(q.After, "0-0"); after != "" && left > removed; {
		answer, err := purgeLetters.Run(ctx, d.store.db.client, []string{d.key, d.index},
			after, last, dropChunk, left-removed, q.Channel, q.Subscription, q.Reason).Slice()
		if err == nil && len(answer) != 2 {
			err = errors.New("something else is answered")
		}
		if err != nil {
			return removed, d.explain("purge the dead letters", err)
		}
		n, _ := answer[0].(int64)
		removed += int(n)
		after, _ = answer[1].(string)
	}
	return removed, nil
}
