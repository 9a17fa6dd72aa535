package adapter

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxNote is how much of an error is kept, in bytes.
const maxNote = 1024

// Note is how it stands with a pending entry that is being tried again.
type Note struct {
	Attempt int       // how often it was tried
	Due     time.Time // when it is tried next, to the millisecond
	Error   string    // why it was not done; cut at 1 KiB
}

// noteJSON is how a note is kept: the due time in ms since the epoch.
type noteJSON struct {
	Attempt int    `json:"attempt"`
	Due     int64  `json:"due"`
	Error   string `json:"error,omitempty"`
}

// noteEntry keeps a note of an entry that is pending, so that there are no more notes than such. KEYS: feed, notes.
// ARGV: group, id, note.
var noteEntry = redis.NewScript(`
local pending = redis.pcall('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)
if pending.err or #pending == 0 then
	return pending.err and pending or 0
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
return 1
`)

// Note keeps how it stands with a pending entry, until that is acknowledged. Of an entry that is not pending, as somebody
// else is done with it, nothing is kept.
func (f *Feed) Note(ctx context.Context, group string, p Position, n Note) error {
	text, err := json.Marshal(noteJSON{n.Attempt, n.Due.UnixMilli(), cut(n.Error, maxNote)})
	if err != nil {
		return fmt.Errorf("note an entry of the feed of %s: %w", f.channel, err)
	}
	err = noteEntry.Run(ctx, f.store.db.client, []string{f.key, f.notesKey(group)}, group, p.String(), text).Err()
	if err != nil {
		return f.explain("note an entry of the feed", err)
	}
	return nil
}

// Notes are those of a group. What cannot be read is left out: such an entry is tried as if anew.
func (f *Feed) Notes(ctx context.Context, group string) (map[Position]Note, error) {
	found, err := f.store.db.client.HGetAll(ctx, f.notesKey(group)).Result()
	if err != nil {
		return nil, f.explain("read the notes on the feed", err)
	}
	notes := make(map[Position]Note, len(found))
	for id, text := range found {
		p, err := ParsePosition(id)
		var n noteJSON
		if err != nil || json.Unmarshal([]byte(text), &n) != nil {
			continue
		}
		notes[p] = Note{n.Attempt, time.UnixMilli(n.Due), n.Error}
	}
	return notes, nil
}
