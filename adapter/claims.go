package adapter

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// claim keeps a value unless there is one, which it answers. KEYS: that of the claim. ARGV: value, time in ms.
var claim = redis.NewScript(`
local kept = redis.call('GET', KEYS[1])
if kept then
	return kept
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
`)

// Claim has the caller work on something alone, for some time: it keeps by, unless there is a claim already, or what was
// kept of it. Then it returns that.
func (s *Store) Claim(ctx context.Context, name, by string, d time.Duration) (kept string, found bool, err error) {
	kept, err = claim.Run(ctx, s.db.client, []string{s.digestKey("claim", name)}, by, d.Milliseconds()).Text()
	switch {
	case err == redis.Nil:
		return "", false, nil
	case err != nil:
		return "", false, s.db.explain(err)
	}
	return kept, true, nil
}

// keepClaim replaces a claim by what came of it, or deletes it. KEYS: that of the claim. ARGV: who has it, value or "",
// time in ms.
var keepClaim = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
	return 0
end
if ARGV[2] == '' then
	return redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
`)

// Keep puts what came of the work in place of a claim, for some time; an empty value gives the claim up. A claim that has
// run out, or is another's by now, stays as it is.
func (s *Store) Keep(ctx context.Context, name, by, value string, d time.Duration) error {
	if err := keepClaim.Run(ctx, s.db.client, []string{s.digestKey("claim", name)}, by, value, d.Milliseconds()).Err(); err != nil {
		return s.db.explain(err)
	}
	return nil
}
