package adapter

import (
	"cmp"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// settled is how long a replica must have heard its channels before it leads one, if another has heard them for longer.
// By then it has heard all that a leader may not have written yet.
const settled = 5 * time.Second

// assign says which replica should lead each channel, none if nobody hears. It depends on nothing but its arguments, so
// that all replicas which see the same come to the same. Who leads goes on, as long as no replica has more than its
// share; what is free goes to those that lead least, and among them to who has heard longest.
func assign(channels []string, alive []Replica, holders map[string]string, now time.Time) map[string]string {
	candidates := slices.DeleteFunc(slices.Clone(alive), func(r Replica) bool { return r.Since.IsZero() })
	right := map[string]string{}
	if len(candidates) == 0 {
		return right
	}
	slices.SortFunc(candidates, func(a, b Replica) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	old := 1
	for old < len(candidates) && now.Sub(candidates[old].Since) >= settled {
		old++
	}
	candidates = candidates[:old]
	share := (len(channels) + len(candidates) - 1) / len(candidates)
	leads := make([]int, len(candidates))
	channels = slices.Sorted(slices.Values(channels))
	for _, c := range channels {
		i := slices.IndexFunc(candidates, func(r Replica) bool { return r.ID == holders[c] })
		if i >= 0 && leads[i] < share {
			leads[i]++
			right[c] = holders[c]
		}
	}
	for _, c := range channels {
		if right[c] == "" {
			i := slices.Index(leads, slices.Min(leads))
			leads[i]++
			right[c] = candidates[i].ID
		}
	}
	return right
}

// gathered is how long a replica that hears again waits for those that do not: each is back within maxReconnect.
const gathered = maxReconnect + 500*time.Millisecond

// gathering reports whether a replica, which has heard for so long, waits for others to hear again before it leads, as
// after a restart of Redis: one of them may have been back first, and have what this one has missed. others are those that
// were there when it heard before.
func gathering(id string, heard time.Duration, others []string, alive []Replica) bool {
	if heard > gathered {
		return false
	}
	hearing := map[string]bool{id: true}
	for _, r := range alive {
		if r.ID != id {
			hearing[r.ID] = !r.Since.IsZero()
			others = append(others[:len(others):len(others)], r.ID)
		}
	}
	return slices.ContainsFunc(others, func(id string) bool { return !hearing[id] })
}

// beat says that a replica is alive, and answers with the time, who else is, and who holds the leases.
//
// KEYS: a sorted set of replicas by when they count as dead, a hash of their records, and the leases. ARGV: id, record,
// ms to live, the channel of its voice, and for each lease the token that we hold it by, or "".
var beat = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], '')
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)) do
	redis.call('ZREM', KEYS[1], dead)
	redis.call('HDEL', KEYS[2], dead)
end
local tokens = {}
for i = 3, #KEYS do
	local token = redis.call('GET', KEYS[i])
	if token and token == ARGV[i + 2] then
		redis.call('PEXPIRE', KEYS[i], ARGV[3])
	end
	tokens[#tokens + 1] = token or ''
end
return {now, redis.call('HGETALL', KEYS[2]), tokens}
`)

// look lists the replicas that are alive.
var look = redis.NewScript(`
local time = redis.call('TIME')
local alive = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')) do
	alive[#alive + 1] = id
	alive[#alive + 1] = redis.call('HGET', KEYS[2], id) or ''
end
return alive
`)

// acquire takes a lease that nobody has. Its token is new each time, so that a leader which was stopped past its lease
// cannot write when it goes on, though it may have got another one meanwhile.
var acquire = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then
	return ''
end
local token = ARGV[1] .. ':' .. redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
return token
`)

// release gives a lease up that is still ours.
var release = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then
	return redis.call('DEL', KEYS[1])
end
return 0
`)
