package adapter

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// releaseLetter forgets that there is a letter of its kind. KEYS: stream, index. ARGV: id.
var releaseLetter = redis.NewScript(`
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
	return 0
end
if entry[2][1] == 'digest' and redis.call('HGET', KEYS[2], entry[2][2]) == entry[1] then
	redis.call('HDEL', KEYS[2], entry[2][2])
end
return 1
`)

// Release lets the event of a letter become a letter again although this one is still there, and reports whether it is.
// Who replays a letter releases it first and removes it last: whatever happens in between, the event is not lost.
func (d *DeadLetters) Release(ctx context.Context, id string) (bool, error) {
	p, err := ParsePosition(id)
	if err != nil {
		return false, ErrDeadLetterID
	}
	there, err := releaseLetter.Run(ctx, d.store.db.client, []string{d.key, d.index}, p.String()).Int()
	if err != nil {
		return false, d.explain("release a dead letter", err)
	}
	return there == 1, nil
}

// Last is the id of the newest letter, "0-0" if there is none.
func (d *DeadLetters) Last(ctx context.Context) (string, error) {
	found, err := d.store.db.client.XRevRangeN(ctx, d.key, "+", "-", 1).Result()
	if err != nil {
		return "", d.explain("read the dead letters", err)
	}
	if len(found) == 0 {
		return "0-0", nil
	}
	return found[0].ID, nil
}
