package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Quota is how much is granted: Limit in a Window, evenly, and Burst of it at once.
type Quota struct {
	// Limit is from 1 to 1,000,000, and no more than one for each µs of Window.
	Limit int
	// Burst is what may be taken at once. Zero means Limit.
	Burst int
	// Window is from 1 ms to 24 h. Limit-th parts of it are rounded up to whole µs.
	Window time.Duration
}

func (q Quota) withDefaults() Quota {
	q.Burst = cmp.Or(q.Burst, q.Limit)
	return q
}

// Validate reports all problems at once.
func (q Quota) Validate() error {
	q = q.withDefaults()
	var errs []error
	for _, x := range []struct {
		name string
		n    int
	}{{"limit", q.Limit}, {"burst", q.Burst}} {
		if x.n < 1 || x.n > 1_000_000 {
			errs = append(errs, fmt.Errorf("%s %d: must be from 1 to 1000000", x.name, x.n))
		}
	}
	if q.Window < time.Millisecond || q.Window > maxWindow {
		errs = append(errs, fmt.Errorf("window %s: must be from 1ms to %s", q.Window, maxWindow))
	}
	if errs == nil && int64(q.Limit) > q.Window.Microseconds() {
		errs = append(errs, fmt.Errorf("limit %d: must be one for each µs of the window of %s at most", q.Limit, q.Window))
	}
	if errs == nil && q.interval()*int64(q.Burst) > 1<<52 { // beyond which Lua counts no single µs
		errs = append(errs, fmt.Errorf("burst %d: must be what a limit of %d in %s gives within 100 years", q.Burst, q.Limit, q.Window))
	}
	return errors.Join(errs...)
}

// interval is how often one is granted, in whole µs, rounded up: Limit is never passed.
func (q Quota) interval() int64 {
	return (q.Window.Microseconds() + int64(q.Limit) - 1) / int64(q.Limit)
}

// takeQuota is GCRA, the generic cell rate algorithm: all that is kept is when everything taken will have been granted,
// in µs. KEYS: that. ARGV: the time, the interval in µs, the burst, how many are taken. It answers whether they are, in
// how many µs they could be, and how many are left.
var takeQuota = redis.NewScript(clockScript + `
local interval, burst, n = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function keep(t)
	redis.call('SET', KEYS[1], text(t), 'PX', text(math.ceil((t - now) / 1000)))
end
local room, full = now + burst * interval, math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
if full > room then -- the clock was put back, or the burst was larger
	full = room
	keep(full)
end
local after, left = full + n * interval, math.floor((room - full) / interval)
if n > burst then
	return {0, full - now, left}
elseif n > left then
	return {0, after - room, left}
elseif n > 0 then
	keep(after)
end
return {1, 0, left - n}
`)

// Quota takes n of what a key is granted. If that is too much for now, nothing is taken, and retryAfter says when it would
// not be. More than Burst are never granted together: retryAfter then says when Burst would be. remaining is what could be
// taken at once after this. After an error nobody knows whether they were taken.
func (s *Store) Quota(ctx context.Context, key string, q Quota, n int) (ok bool, retryAfter time.Duration, remaining int, err error) {
	return s.quota(ctx, key, q, n, 0)
}

// quota is Quota at a time in µs, or now for 0.
func (s *Store) quota(ctx context.Context, key string, q Quota, n int, at int64) (ok bool, retryAfter time.Duration, remaining int, err error) {
	if err := q.Validate(); err != nil {
		return false, 0, 0, fmt.Errorf("quota: %w", err)
	}
	if n < 0 {
		return false, 0, 0, fmt.Errorf("quota: %d to take: must be 0 or more", n)
	}
	q = q.withDefaults()
	answer, err := takeQuota.Run(ctx, s.db.client, []string{s.digestKey("quota", key)},
		at, q.interval(), q.Burst, min(n, q.Burst+1)).Int64Slice()
	if err != nil {
		return false, 0, 0, fmt.Errorf("quota: %w", s.db.explain(err))
	}
	return answer[0] == 1, time.Duration(answer[1]) * time.Microsecond, int(answer[2]), nil
}
