package adapter

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// appendRecords appends records all together, each unless its key is known. It checks the lease first, so that a leader
// that was stopped and replaced meanwhile writes nothing. Everything that can fail comes before the first write; but for
// the histories, which may fail for themselves.
//
// KEYS: stream, lease, cursor, then one for each record, then the feed if events are sent, then those of histories. ARGV:
// token of the lease or "", time to remember keys in ms, our id, cursor or "", the number of records, the number of entries
// of a history or "", time to keep one in ms; then what feedScript says, and then for each message nsp, type, data and, if
// there are histories, which of the KEYS are those that get it.
var appendRecords = redis.NewScript(feedScript + `
if ARGV[1] ~= '' and redis.call('GET', KEYS[2]) ~= ARGV[1] then
	return redis.error_reply('DEPOSED the lease is held by another')
end
local n, step = tonumber(ARGV[5]), ARGV[6] == '' and 3 or 4
local i, feed, wanted = 9 + 2 * n, false
if ARGV[8] ~= '' then
	feed, wanted = hasFeed(n, 3, 8)
	if wanted then
		return wanted
	end
	i = i + n
end
local function keep(key, ...)
	local kept = redis.pcall('XADD', key, 'MAXLEN', '~', ARGV[6], ...)
	if type(kept) == 'table' then -- it has what comes later, from a log that was lost
		redis.pcall('DEL', key)
		redis.pcall('XADD', key, ...)
	end
	redis.pcall('PEXPIRE', key, ARGV[7])
end
local fresh = {}
for r = 1, n do
	local key, count = ARGV[7 + 2 * r], tonumber(ARGV[8 + 2 * r])
	fresh[r] = (key == '' or redis.call('EXISTS', KEYS[r + 3]) == 0) and 1 or 0
	if fresh[r] == 1 then
		for m = 1, count do
			local j = i + step * (m - 1)
			local name = m == 1 and key or key .. '.' .. m
			local id = redis.call('XADD', KEYS[1], '*', 'uid', ARGV[3], 'nsp', ARGV[j], 'type', ARGV[j + 1], 'data', ARGV[j + 2], 'key', name)
			if step == 4 then
				for k in string.gmatch(ARGV[j + 3], '%d+') do
					keep(KEYS[tonumber(k)], id, 'uid', ARGV[3], 'nsp', ARGV[j], 'type', ARGV[j + 1], 'data', ARGV[j + 2], 'key', name)
				end
			end
		end
		if feed and ARGV[8 + 2 * n + r] ~= '' then
			redis.call('XADD', KEYS[n + 4], '*', 'event', ARGV[8 + 2 * n + r])
		end
		if key ~= '' then
			redis.call('SET', KEYS[r + 3], '', 'PX', ARGV[2])
		end
	end
	i = i + step * count
end
if ARGV[4] ~= '' then
	redis.call('SET', KEYS[3], ARGV[4])
end
fresh[n + 1] = feed and 1 or 0
return fresh
`)

// Append puts records into the log, in order and all together, and reports of each whether it was new. It does so only
// while the lease is held, else it returns ErrDeposed. After another error nobody knows whether they are in; to append
// those with keys again is safe. The cursor noted is that of the last record that has one. Events of new records go to
// the feed of the lease's channel, if there is one.
func (l *Log) Append(ctx context.Context, lease Lease, records []Record) ([]bool, error) {
	return l.append(lease.Channel, records, func(way string) ([]int64, error) {
		keys, args, err := l.appendArgs(lease, records, way)
		if err != nil {
			return nil, fmt.Errorf("append: %w", err)
		}
		answer, err := appendRecords.Run(ctx, l.redis.client, keys, args...).Int64Slice()
		if err != nil && !isOurs(err) {
			return nil, fmt.Errorf("append to the log: %w", l.redis.explain(err))
		}
		return answer, err
	})
}

// appendArgs are the KEYS and ARGV of appendRecords.
func (l *Log) appendArgs(lease Lease, records []Record, way string) (keys []string, args []any, err error) {
	keys = make([]string, 3, 4+len(records))
	keys[0], keys[1], keys[2] = l.cfg.Stream, lease.Key, l.cursorKey(lease.Channel)
	if lease.Key == "" {
		keys[1] = l.Key("lease:none")
	}
	args = make([]any, 8, 8+6*len(records))
	args[0], args[1], args[2], args[3] = lease.Token, l.cfg.Dedupe.Milliseconds(), l.cfg.ID, ""
	args[4], args[5], args[6], args[7] = len(records), "", "", way
	if l.history != nil {
		args[5], args[6] = l.history.cfg.Size, l.history.cfg.TTL.Milliseconds()
	}
	var cursor Position
	for _, r := range records {
		keys = append(keys, l.Key("id:"+r.Key))
		args = append(args, r.Key, len(r.Messages))
		if r.Cursor != (Position{}) {
			cursor = r.Cursor
		}
	}
	if cursor != (Position{}) {
		args[3] = cursor.String()
	}
	if way != feedNone {
		args, keys = feedArgs(args, way, records), append(keys, l.feedKey(lease.Channel))
	}
	for _, r := range records {
		for _, m := range r.Messages {
			data, err := appendData(nil, m)
			if err != nil {
				return nil, nil, err
			}
			args = append(args, namespace(m.Namespace), entryType(m.Kind), data)
			if l.history != nil {
				var which string
				keys, which = l.history.of(keys, m)
				args = append(args, which)
			}
		}
	}
	return keys, args, nil
}

// Publish puts one message into the log, for whoever needs no lease.
func (l *Log) Publish(ctx context.Context, m Message) error {
	_, err := l.Append(ctx, Lease{}, []Record{{Messages: []Message{m}}})
	return err
}
