package subscriber

import "github.com/redis/go-redis/v9"

// What a bus's own groups do not need: there are several consumers, and each looks after the others. The rest is in package
// adapter.

// takeOver makes what processes without a sign of life had read the consumer's, and deletes such consumers that have nothing
// left. It gives the consumer a sign of life by the way. It answers how many entries are the consumer's now, and whether it
// counted as alive before.
//
// KEYS: feed, a sorted set of consumers by when they count as dead. ARGV: group, consumer, ms to live, number of entries
// to take at most.
var takeOver = redis.NewScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then -- no such group
	return consumers
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local alive = redis.call('ZSCORE', KEYS[2], ARGV[2]) and 1 or 0
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local taken, most, mine = 0, tonumber(ARGV[4]), 0
for _, fields in ipairs(consumers) do
	local c = {}
	for i = 1, #fields, 2 do
		c[fields[i]] = fields[i + 1]
	end
	if c.name == ARGV[2] then
		mine = c.pending
	elseif not redis.call('ZSCORE', KEYS[2], c.name) then
		local left = most - taken
		if c.pending > 0 and left > 0 then
			local ids = {}
			for _, p in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', left, c.name)) do
				ids[#ids + 1] = p[1]
			end
			local args = {'XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0}
			for _, id in ipairs(ids) do
				args[#args + 1] = id
			end
			args[#args + 1] = 'JUSTID'
			redis.call(unpack(args))
			taken = taken + #ids
		end
		if c.pending <= left then
			redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
		end
	end
end
return {mine + taken, alive}
`)

// leave has a consumer count as dead, and deletes it if it has nothing pending. KEYS: as takeOver. ARGV: group, consumer.
var leave = redis.NewScript(`
redis.call('ZREM', KEYS[2], ARGV[2])
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2])
if not pending.err and #pending == 0 then
	redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
`)
