package adapter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	maxAsks   = 128     // in one script
	maxLimit  = 100_000 // of one key
	maxWindow = 24 * time.Hour
)

// ThrottleAsk asks whether something may happen: Limit times within any Window, to what has the same Key.
type ThrottleAsk struct {
	Key    string
	Member string // what happens: asked again about the same one, the answer is yes again, and it counts once
	Limit  int    // 0 to 100,000
	Window time.Duration
}

func (a ThrottleAsk) check() error {
	var errs []error
	if a.Limit < 0 || a.Limit > maxLimit {
		errs = append(errs, fmt.Errorf("limit %d: must be from 0 to %d", a.Limit, maxLimit))
	}
	if a.Window < time.Millisecond || a.Window > maxWindow {
		errs = append(errs, fmt.Errorf("window %s: must be from 1ms to %s", a.Window, maxWindow))
	}
	return errors.Join(errs...)
}

// clockScript gives the time in µs: what ARGV[1] says, or that of Redis for 0. A number of µs has no exact text of its own
// in Lua.
const clockScript = `
local now = tonumber(ARGV[1])
if now == 0 then
	local time = redis.call('TIME')
	now = time[1] * 1000000 + time[2]
end
local function text(n)
	return string.format('%.0f', n)
end
`

// throttle answers some questions, one after the other. Each key is a sorted set of what was allowed, by its time in µs.
// KEYS: that of each question. ARGV: the time, and of each question member, limit, window in µs.
var throttle = redis.NewScript(clockScript + `
local allowed = {}
for i, key in ipairs(KEYS) do
	local member, limit, window = ARGV[3 * i - 1], tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
	redis.call('ZREMRANGEBYSCORE', key, '-inf', text(now - window))
	allowed[i] = 1
	if not redis.call('ZSCORE', key, member) then
		if redis.call('ZCARD', key) < limit then
			redis.call('ZADD', key, text(now), member)
			redis.call('PEXPIRE', key, text(math.ceil(window / 1000)))
		else
			allowed[i] = 0
			for _, late in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. text(now), '+inf')) do -- the clock was put back
				redis.call('ZADD', key, text(now), late)
			end
		end
	end
end
return allowed
`)

// Throttle answers each question in turn; what it allows, counts. What it refuses, does not. After an error nobody knows
// what was counted; to ask again is safe.
func (s *Store) Throttle(ctx context.Context, asks []ThrottleAsk) (allowed []bool, err error) {
	return s.throttle(ctx, asks, 0)
}

// throttle is Throttle at a time in µs, or now for 0.
func (s *Store) throttle(ctx context.Context, asks []ThrottleAsk, at int64) ([]bool, error) {
	for i, a := range asks {
		if err := a.check(); err != nil {
			return nil, fmt.Errorf("throttle: question %d: %w", i, err)
		}
	}
	allowed := make([]bool, 0, len(asks))
	for len(asks) > 0 {
		now := asks[:min(len(asks), maxAsks)]
		asks = asks[len(now):]
		keys, args := make([]string, 0, len(now)), make([]any, 1, 1+3*len(now))
		args[0] = at
		for _, a := range now {
			keys = append(keys, s.digestKey("throttle", a.Key))
			if len(a.Member) > 64 {
				a.Member = digest(a.Member, 16)
			}
			args = append(args, a.Member, a.Limit, a.Window.Microseconds())
		}
		answer, err := throttle.Run(ctx, s.db.client, keys, args...).Int64Slice()
		if err != nil {
			return nil, fmt.Errorf("throttle: %w", s.db.explain(err))
		}
		for _, n := range answer {
			allowed = append(allowed, n == 1)
		}
	}
	return allowed, nil
}
