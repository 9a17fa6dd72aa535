package adapter

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// buryEntry makes a pending entry a dead letter and acknowledges it. If it is in the feed and not pending, somebody else
// is done with it; if it is not in the feed, Trim has passed it, and it must not be lost. KEYS: feed, notes, those of
// buryScript. ARGV: group, id, those of buryScript.
var buryEntry = redis.NewScript(buryScript + `
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err then
	return pending
end
if #pending == 0 and #redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2]) > 0 then
	return ''
end
local id = bury(KEYS[3], KEYS[4], 3, #ARGV)
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('HDEL', KEYS[2], ARGV[2])
return id
`)

// Bury makes an entry that will not be tried again a dead letter, and acknowledges it, in one step. Nothing is written if
// somebody else was done with it, or if there is such a letter (DeadLetters.Add). The letter's channel is the feed's.
func (f *Feed) Bury(ctx context.Context, group string, p Position, letter DeadLetter) error {
	letter.Channel = f.channel
	d := f.store.letters()
	if d.cfg.Disabled {
		return f.Ack(ctx, group, p)
	}
	args, err := d.args([]any{group, p.String()}, letter)
	if err != nil {
		return err
	}
	keys := []string{f.key, f.notesKey(group), d.key, d.index}
	if err := buryEntry.Run(ctx, f.store.db.client, keys, args...).Err(); err != nil {
		return f.explain("bury an entry of the feed", err)
	}
	return nil
}
