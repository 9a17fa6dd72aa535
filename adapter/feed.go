package adapter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ErrNoGroup says that a feed has no such group, or that there is no feed.
var ErrNoGroup = errors.New("the feed has no such group")

// Feed is the accepted events of a channel, for those who get each of them at least once: a Redis stream that exists
// as long as it has groups. Each group has its own place in the feed, and pending entries: those that a consumer of the
// group has read and that are not acknowledged yet. Whoever leads the channel calls Trim every so often, as nothing else
// bounds a feed.
type Feed struct {
	store   *Store
	channel string
	key     string
}

// Feed gives the feed of a channel.
func (s *Store) Feed(channel string) *Feed { return &Feed{s, channel, s.feedKey(channel)} }

// FeedEntry is an event in a feed.
type FeedEntry struct {
	Position
	Event []byte // the event's JSON
	Only  string // the one group it is for; empty means all
}

// FeedGroup is how far a group is.
type FeedGroup struct {
	Name    string
	Pending int64 // entries read and not acknowledged
	Lag     int64 // entries not read yet; counted up to 1,000 where Redis does not know, as before 7.0
}

// FeedMalformed counts the entries of feeds that were passed over, as they are not what they should be.
func (s *Store) FeedMalformed() uint64 { return s.malformed.Load() }

func (f *Feed) notesKey(group string) string { return f.key + ":notes:" + group }

// explain is the error of a command about a group.
func (f *Feed) explain(what string, err error) error {
	if redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "UNBLOCKED") { // the latter while one waits
		return ErrNoGroup
	}
	return fmt.Errorf("%s of %s: %w", what, f.channel, f.store.db.explain(err))
}

// groupsScript gives a table of the groups of a feed, each a table of its fields. What Redis does not know is false.
const groupsScript = `
local function groups(feed)
	local all = {}
	if redis.call('TYPE', feed).ok ~= 'stream' then
		return all
	end
	for i, fields in ipairs(redis.call('XINFO', 'GROUPS', feed)) do
		all[i] = {}
		for j = 1, #fields, 2 do
			all[i][fields[j]] = fields[j + 1]
		end
	end
	return all
end
local function hasGroup(feed, name)
	for _, g in ipairs(groups(feed)) do
		if name == '' or g.name == name then
			return true
		end
	end
	return false
end
`

// createGroup makes a group, if there is none, and marks it. KEYS: feed, notes. ARGV: group, mark.
var createGroup = redis.NewScript(groupsScript + `
if not hasGroup(KEYS[1], ARGV[1]) then
	redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '$', 'MKSTREAM')
end
return redis.call('HSET', KEYS[2], 'made', ARGV[2])
`)

// Create makes a group, for which events are kept from now on. If there is one, it stays as it is, but for what Made says
// of it.
func (f *Feed) Create(ctx context.Context, group string) error {
	if err := checkID("group", group); err != nil {
		return err
	}
	err := createGroup.Run(ctx, f.store.db.client, []string{f.key, f.notesKey(group)}, group, rand.Text()).Err()
	if err != nil {
		return f.explain("create a group in the feed", err)
	}
	f.store.noteFeed(f.channel, true)
	return nil
}

// Made tells one Create of a group from another: it is what the last one has left there. Empty means that there was none.
func (f *Feed) Made(ctx context.Context, group string) (string, error) {
	made, err := f.store.db.client.HGet(ctx, f.notesKey(group), "made").Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", f.explain("read the notes on the feed", err)
	}
	return made, nil
}

// destroyGroup deletes a group, and the feed with its last, unless it was made anew. KEYS: feed, notes. ARGV: group, and
// what Made is then, if that matters.
var destroyGroup = redis.NewScript(`
if ARGV[2] and (redis.call('HGET', KEYS[2], 'made') or '') ~= ARGV[2] then
	return 0
end
redis.call('DEL', KEYS[2])
if redis.call('TYPE', KEYS[1]).ok ~= 'stream' then
	return 1
end
redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1])
if #redis.call('XINFO', 'GROUPS', KEYS[1]) == 0 then
	redis.call('DEL', KEYS[1])
end
return 1
`)

// Destroy deletes a group with all it had to do, and the feed, if it was the last group. It is no error if there is none.
func (f *Feed) Destroy(ctx context.Context, group string) error {
	_, err := f.destroy(ctx, group)
	return err
}

// DestroyMade does so only if nobody has called Create since Made answered that, and reports whether.
func (f *Feed) DestroyMade(ctx context.Context, group, made string) (bool, error) {
	return f.destroy(ctx, group, made)
}

func (f *Feed) destroy(ctx context.Context, group string, made ...any) (bool, error) {
	n, err := destroyGroup.Run(ctx, f.store.db.client, []string{f.key, f.notesKey(group)}, append([]any{group}, made...)...).Int()
	if err != nil {
		return false, f.explain("destroy a group in the feed", err)
	}
	return n == 1, nil
}

// offer adds an entry, if there is a feed and it has the group, if any. KEYS: feed. ARGV: event, group or "".
var offer = redis.NewScript(groupsScript + `
if not hasGroup(KEYS[1], ARGV[2]) then
	return redis.error_reply('NOGROUP no such group')
end
if ARGV[2] == '' then
	return redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])
end
return redis.call('XADD', KEYS[1], '*', 'event', ARGV[1], 'only', ARGV[2])
`)

// Offer adds an event for one group again, or for all with an empty only. Without the group it returns ErrNoGroup.
func (f *Feed) Offer(ctx context.Context, event []byte, only string) error {
	if len(event) == 0 {
		return errors.New("offer to the feed: the event is empty")
	}
	if err := offer.Run(ctx, f.store.db.client, []string{f.key}, event, only).Err(); err != nil {
		return f.explain("add to the feed", err)
	}
	return nil
}

// feedGroups answers name, pending entries and lag of each group. Where Redis is not sure of the lag, entries are counted,
// up to so many. KEYS: feed. ARGV: that number.
var feedGroups = redis.NewScript(groupsScript + `
local answer, most = {}, tonumber(ARGV[1])
for i, g in ipairs(groups(KEYS[1])) do
	local lag = g['entries-read'] and g.lag
	if not lag and most > 0 then
		lag = 0
		local last, found = g['last-delivered-id']
		repeat
			found = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 50)
			lag = lag + #found
			last = #found > 0 and found[#found][1]
		until #found < 50 or lag >= most
	end
	answer[i] = {g.name, g.pending, lag or 0}
end
return answer
`)

// Groups are the groups of the feed, none if there is no feed.
func (f *Feed) Groups(ctx context.Context) ([]FeedGroup, error) { return f.groups(ctx, 1000) }

// groups are the groups with lags that are counted up to most, or not at all for 0.
func (f *Feed) groups(ctx context.Context, most int) ([]FeedGroup, error) {
	answer, err := feedGroups.Run(ctx, f.store.db.client, []string{f.key}, most).Slice()
	if err != nil {
		return nil, f.explain("read the groups of the feed", err)
	}
	all := make([]FeedGroup, 0, len(answer))
	for _, one := range answer {
		if fields, ok := one.([]any); ok && len(fields) == 3 {
			name, _ := fields[0].(string)
			pending, _ := fields[1].(int64)
			lag, _ := fields[2].(int64)
			all = append(all, FeedGroup{name, pending, lag})
		}
	}
	return all, nil
}
