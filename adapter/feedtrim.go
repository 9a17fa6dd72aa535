package adapter

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// trimFeed drops the entries of a feed that all groups are done with, and what is too old or too much. It names the
// groups that had not read what it dropped, or not acknowledged it; of those it acknowledges it, as it will never be
// done. Entries go by whole nodes of the stream first, which is quick, and a limited number of them at a time.
//
// KEYS: feed, the notes of each group. ARGV: age in ms, number of entries, the names of the groups.
var trimFeed = redis.NewScript(groupsScript + `
local feed, all = KEYS[1], groups(KEYS[1])
if #all == 0 then
	redis.call('DEL', feed)
	return {}
end
local function before(a, b)
	local ams, aseq = string.match(a, '^(%d+)-(%d+)$')
	local bms, bseq = string.match(b, '^(%d+)-(%d+)$')
	ams, aseq, bms, bseq = tonumber(ams), tonumber(aseq), tonumber(bms), tonumber(bseq)
	return ams < bms or ams == bms and aseq < bseq
end
local function first(from)
	local found = redis.call('XRANGE', feed, from, '+', 'COUNT', 1)[1]
	return found and found[1]
end

-- What each group needs next: its oldest pending entry, or else the first one after those it has read.
local floor
for _, g in ipairs(all) do
	local unread = first('(' .. g['last-delivered-id'])
	g.needs = unread
	if g.pending > 0 then
		g.needs = redis.call('XPENDING', feed, g.name)[2]
	end
	g.unread = unread
	if g.needs and (not floor or before(g.needs, floor)) then
		floor = g.needs
	end
end

local time = redis.call('TIME')
local old = string.format('%.0f-0', math.max(time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1]), 0))
for _ = 1, 10 do
	local gone = redis.call('XTRIM', feed, 'MINID', '~', old) + redis.call('XTRIM', feed, 'MAXLEN', '~', ARGV[2])
	if floor then
		gone = gone + redis.call('XTRIM', feed, 'MINID', '~', floor)
	else
		gone = gone + redis.call('XTRIM', feed, 'MAXLEN', '~', 0)
	end
	if gone == 0 then -- what is left is less than a node
		redis.call('XTRIM', feed, 'MINID', old)
		redis.call('XTRIM', feed, 'MAXLEN', ARGV[2])
		if floor then
			redis.call('XTRIM', feed, 'MINID', floor)
		else
			redis.call('XTRIM', feed, 'MAXLEN', 0)
		end
		break
	end
end

local left, notes, passed = first('-'), {}, {}
for i = 3, #ARGV do
	notes[ARGV[i]] = KEYS[i - 1]
end
for _, g in ipairs(all) do
	local lost = g.unread and (not left or before(g.unread, left))
	if g.pending > 0 and (not left or before(g.needs, left)) then
		lost = true
		repeat
			local ids, oldest = {}, redis.call('XPENDING', feed, g.name, '-', '+', 1000)
			for _, p in ipairs(oldest) do
				if not left or before(p[1], left) then
					ids[#ids + 1] = p[1]
				end
			end
			if #ids > 0 then
				redis.call('XACK', feed, g.name, unpack(ids))
				if notes[g.name] then
					redis.call('HDEL', notes[g.name], unpack(ids))
				end
			end
		until #ids < 1000
	end
	if lost then
		passed[#passed + 1] = g.name
	end
end
return passed
`)

// Trim drops the entries that all groups are done with. Those older than maxAge, and those before the newest maxLen, go
// in any case: it names the groups that have lost entries by that, which they had not read, or not acknowledged. (Of what
// a group had not read, entries for another one count, too.)
func (f *Feed) Trim(ctx context.Context, maxAge time.Duration, maxLen int64) (passed []string, err error) {
	if maxAge < time.Millisecond || maxLen < 1 {
		return nil, errors.New("trim the feed: the age must be 1ms or more, and the length 1 or more")
	}
	groups, err := f.groups(ctx, 0)
	if err != nil {
		return nil, err
	}
	keys, args := []string{f.key}, []any{maxAge.Milliseconds(), maxLen}
	for _, g := range groups {
		keys, args = append(keys, f.notesKey(g.Name)), append(args, g.Name)
	}
	passed, err = trimFeed.Run(ctx, f.store.db.client, keys, args...).StringSlice()
	if err != nil {
		return nil, f.explain("trim the feed", err)
	}
	slices.Sort(passed)
	return passed, nil
}
