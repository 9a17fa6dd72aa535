package adapter

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// FeedReader reads entries of a feed for one consumer of a group, on a connection of its own. It is for one goroutine at a
// time.
type FeedReader struct {
	feed            *Feed
	group, consumer string
	client          redis.UniversalClient // nil until it is needed
}

// Reader makes a reader. It connects when it reads; Close it afterwards.
func (f *Feed) Reader(group, consumer string) *FeedReader {
	return &FeedReader{feed: f, group: group, consumer: consumer}
}

// Read returns new entries, count at most, and makes them pending for the consumer. It waits for them up to a second;
// none is no error. It returns ErrNoGroup if the group is gone. After another error, or when ctx ends, entries may be
// pending that nobody has seen: Claim finds them.
func (r *FeedReader) Read(ctx context.Context, count int) ([]FeedEntry, error) {
	messages, err := r.read(ctx, ">", count, blockTime)
	return r.feed.entries(ctx, r.group, messages), err
}

// Pending returns what is pending for the consumer after a position, in order, count entries at most. There is no more when
// there is none.
func (r *FeedReader) Pending(ctx context.Context, after Position, count int) ([]FeedEntry, error) {
	for {
		messages, err := r.read(ctx, after.String(), count, -1)
		if err != nil || len(messages) == 0 {
			return nil, err
		}
		if entries := r.feed.entries(ctx, r.group, messages); len(entries) > 0 {
			return entries, nil
		}
		if after, err = ParsePosition(messages[len(messages)-1].ID); err != nil { // none of them is an event for us
			return nil, err
		}
	}
}

// once is a command that a client does not repeat by itself, whatever its options say: a second read would answer with
// what comes after that which the first one was given, whose answer got lost.
type once struct{ *redis.XStreamSliceCmd }

func (once) NoRetry() bool { return true }

// read reads what is new, or pending for the consumer, and waits for it so long, which may be negative: not at all.
func (r *FeedReader) read(ctx context.Context, from string, count int, wait time.Duration) ([]redis.XMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.client == nil {
		r.client = r.feed.store.db.Dedicated()
	}
	client := r.client
	stop := context.AfterFunc(ctx, func() { _ = client.Close() }) // ends a read under way
	pipe := client.Pipeline()                                     // only makes the command
	cmd := pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: r.group, Consumer: r.consumer, Streams: []string{r.feed.key, from}, Count: int64(max(count, 1)), Block: wait,
	})
	pipe.Discard()
	_ = client.Process(ctx, once{cmd})
	streams, err := cmd.Result()
	if !stop() {
		r.client = nil
	}
	switch {
	case errors.Is(err, redis.Nil) || err == nil && len(streams) == 0:
		return nil, ctx.Err()
	case ctx.Err() != nil && err != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, r.feed.explain("read the feed", err)
	}
	return streams[0].Messages, nil
}

// Close closes the connection. The reader may read again, on another one.
func (r *FeedReader) Close() error {
	if r.client == nil {
		return nil
	}
	client := r.client
	r.client = nil
	return client.Close()
}

// claimEntries makes pending entries a consumer's and answers the last id it looked at, or an empty text, and the
// entries. What is pending and gone from the feed is acknowledged: XAUTOCLAIM of Redis 6.2 would show it as nothing.
//
// KEYS: feed, notes. ARGV: group, consumer, first id, number of entries.
var claimEntries = redis.NewScript(`
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4])
if pending.err then
	return pending
end
local found, ids, gone, last = {}, {}, {}, ''
for _, p in ipairs(pending) do
	last = p[1]
	local entry = redis.call('XRANGE', KEYS[1], last, last)[1]
	if entry then
		found[#found + 1] = entry
		ids[#ids + 1] = last
	else
		gone[#gone + 1] = last
	end
end
if #ids > 0 then
	ids[#ids + 1] = 'JUSTID'
	redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, unpack(ids))
end
if #gone > 0 then
	redis.call('XACK', KEYS[1], ARGV[1], unpack(gone))
	redis.call('HDEL', KEYS[2], unpack(gone))
end
return {last, found}
`)

// Claim makes what is pending in a group after a position the consumer's, whoever had read it, and returns it: count
// entries at most, in order. To have all of it, claim until there is nothing, each time after the last one got.
func (f *Feed) Claim(ctx context.Context, group, consumer string, after Position, count int) ([]FeedEntry, error) {
	count = max(count, 1)
	var all []FeedEntry
	for start := after; len(all) < count; {
		answer, err := claimEntries.Run(ctx, f.store.db.client, []string{f.key, f.notesKey(group)},
			group, consumer, start.following().String(), min(count-len(all), maxAck)).Slice()
		if err != nil {
			return nil, f.explain("claim entries of the feed", err)
		}
		last, found := claimed(answer)
		all = append(all, f.entries(ctx, group, found)...)
		if start, err = ParsePosition(last); err != nil {
			break // there are no more
		}
	}
	return all, nil
}

// claimed reads an answer of claimEntries.
func claimed(answer []any) (last string, found []redis.XMessage) {
	if len(answer) != 2 {
		return "", nil
	}
	last, _ = answer[0].(string)
	entries, _ := answer[1].([]any)
	for _, one := range entries {
		entry, _ := one.([]any)
		if len(entry) != 2 {
			continue
		}
		m := redis.XMessage{Values: map[string]any{}}
		m.ID, _ = entry[0].(string)
		fields, _ := entry[1].([]any)
		for i := 0; i+1 < len(fields); i += 2 {
			if name, ok := fields[i].(string); ok {
				m.Values[name] = fields[i+1]
			}
		}
		found = append(found, m)
	}
	return last, found
}

// following is the first position after one.
func (p Position) following() Position {
	if p.Seq == math.MaxUint64 {
		return Position{MS: p.MS + 1}
	}
	return Position{p.MS, p.Seq + 1}
}

// entries are those of some messages that are for a group. The others, and what cannot be read, are acknowledged, so
// that they are not pending for ever; should that fail, they are claimed and seen again.
func (f *Feed) entries(ctx context.Context, group string, messages []redis.XMessage) []FeedEntry {
	all := make([]FeedEntry, 0, len(messages))
	var done []string
	for _, m := range messages {
		p, err := ParsePosition(m.ID)
		event, _ := m.Values["event"].(string)
		only, _ := m.Values["only"].(string)
		switch {
		case len(m.Values) == 0: // pending, and trimmed meanwhile
			done = append(done, m.ID)
		case err != nil || event == "":
			f.store.malformed.Add(1)
			done = append(done, m.ID)
		case only != "" && only != group:
			done = append(done, m.ID)
		default:
			all = append(all, FeedEntry{p, []byte(event), only})
		}
	}
	if len(done) > 0 {
		_ = f.ack(ctx, group, done)
	}
	return all
}

// ackEntries acknowledges entries and drops the notes of them. KEYS: feed, notes. ARGV: group, ids.
var ackEntries = redis.NewScript(`
redis.call('XACK', KEYS[1], unpack(ARGV))
return redis.call('HDEL', KEYS[2], unpack(ARGV, 2))
`)

// maxAck is how many entries one script acknowledges: Lua unpacks no more than some thousands.
const maxAck = 1000

// Ack says that a group is done with entries.
func (f *Feed) Ack(ctx context.Context, group string, ps ...Position) error {
	ids := make([]string, len(ps))
	for i, p := range ps {
		ids[i] = p.String()
	}
	return f.ack(ctx, group, ids)
}

func (f *Feed) ack(ctx context.Context, group string, ids []string) error {
	for len(ids) > 0 {
		now := ids[:min(len(ids), maxAck)]
		ids = ids[len(now):]
		args := make([]any, 1, 1+len(now))
		args[0] = group
		for _, id := range now {
			args = append(args, id)
		}
		if err := ackEntries.Run(ctx, f.store.db.client, []string{f.key, f.notesKey(group)}, args...).Err(); err != nil {
			return f.explain("acknowledge "+strconv.Itoa(len(now))+" entries of the feed", err)
		}
	}
	return nil
}
