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

// returnLetter makes a letter an entry of a feed for one group. KEYS: stream, index, feed. ARGV: id, group.
var returnLetter = redis.NewScript(groupsScript + dropScript + `
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then
	return 0
end
if not hasGroup(KEYS[3], ARGV[2]) then
	return redis.error_reply('NOGROUP no such group')
end
for i = 1, #entry[2], 2 do
	if entry[2][i] == 'event' then
		redis.call('XADD', KEYS[3], '*', 'event', entry[2][i + 1], 'only', ARGV[2])
	end
end
drop(KEYS[1], KEYS[2], entry)
return 1
`)

// Return puts the event of a dead letter back into the feed, for one group, in the place of the letter: in one step, so
// that it is neither lost nor doubled, whoever else does so. It reports whether there was such a letter. Without the
// group it returns ErrNoGroup, and the letter stays.
func (f *Feed) Return(ctx context.Context, letter, group string) (bool, error) {
	p, err := ParsePosition(letter)
	if err != nil {
		return false, ErrDeadLetterID
	}
	d := f.store.letters()
	there, err := returnLetter.Run(ctx, f.store.db.client, []string{d.key, d.index, f.key}, p.String(), group).Int()
	if err != nil {
		return false, f.explain("return a dead letter to the feed", err)
	}
	return there == 1, nil
}

// Release lets the event of a letter become a letter again although this one is still there, and reports whether it is.
// Who takes its event elsewhere than to a feed releases it first and removes it last: whatever happens in between, the event
// is not lost.
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
