package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// MaxDeadEvent is the size in bytes of the largest event that a dead letter has in full. Of a larger one it has the first
// 64 KiB.
const MaxDeadEvent = 1 << 20

const (
	cutEvent  = 64 << 10       // what is kept of an event that is too large
	maxText   = 512            // of each short field of a dead letter, in bytes
	maxReason = 2048           // of its error
	buryOnce  = 24 * time.Hour // for how long the same event is buried once
)

// ErrDeadLetterID says that something is not the id of a dead letter.
var ErrDeadLetterID = errors.New("not the id of a dead letter; want milliseconds-sequence, like 1700000000000-0")

// DeadLetter is an event that was given up.
type DeadLetter struct {
	ID           string // of the letter, made by Add
	Channel      string
	Subscription string // empty for what ingest refused
	Reason       string // validation, max_retries_exceeded, permanent, circuit_open, expired and so on
	Category     string // timeout, network, validation, rate_limit, unknown
	Error        string // the last one
	Attempts     int
	EventID      string
	EventType    string
	Event        []byte    // as it came; it may be no valid JSON
	Truncated    bool      // Event is only the beginning of it, see MaxDeadEvent
	At           time.Time // to the millisecond. Zero means now, for Add
}

// DeadLettersConfig bounds what is kept.
type DeadLettersConfig struct {
	// MaxLen is how many letters are kept; the oldest go. Zero means 10,000.
	MaxLen int64
	// Retention is how long one is kept. Zero means 7 days.
	Retention time.Duration
	// Disabled keeps none: what would become one is dropped.
	Disabled bool
}

func (c DeadLettersConfig) withDefaults() DeadLettersConfig {
	c.MaxLen = cmp.Or(c.MaxLen, 10_000)
	c.Retention = cmp.Or(c.Retention, 7*24*time.Hour)
	return c
}

// Validate reports all problems at once, by key.
func (c DeadLettersConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.MaxLen < 1 || c.MaxLen > 1_000_000 {
		errs = append(errs, fmt.Errorf("resilience.deadLetter.maxSize %d: must be from 1 to 1000000", c.MaxLen))
	}
	if c.Retention < time.Minute {
		errs = append(errs, fmt.Errorf("resilience.deadLetter.retentionDays: %s: must be 1m or more", c.Retention))
	}
	return errors.Join(errs...)
}

// DeadLetters are the events of all channels that were given up, oldest first: a stream, and an index of what is in it.
type DeadLetters struct {
	cfg        DeadLettersConfig
	store      *Store
	key, index string
}

// DeadLetters gives the dead letters kept beside a log. The configuration is taken as valid; from now on it also holds
// for what the feeds of this Store bury.
func (s *Store) DeadLetters(cfg DeadLettersConfig) *DeadLetters {
	cfg = cfg.withDefaults()
	s.dead.Store(&cfg)
	return s.letters()
}

func (s *Store) letters() *DeadLetters {
	var cfg DeadLettersConfig
	if given := s.dead.Load(); given != nil {
		cfg = *given
	}
	return &DeadLetters{cfg.withDefaults(), s, s.Key("dead"), s.Key("dead:index")}
}

func (d *DeadLetters) explain(what string, err error) error {
	return fmt.Errorf("%s: %w", what, d.store.db.explain(err))
}

// dropScript deletes a letter, given as XRANGE shows it, and what the index knows of it.
const dropScript = `
local function drop(dead, index, entry)
	if entry[2][1] == 'digest' and redis.call('HGET', index, entry[2][2]) == entry[1] then
		redis.call('HDEL', index, entry[2][2])
	end
	return redis.call('XDEL', dead, entry[1])
end
`

// sweepScript drops the oldest letters that are too many or too old, so many at most.
const sweepScript = dropScript + `
local function sweep(dead, index, now, max, retention, limit)
	for gone = 0, limit - 1 do
		local entry = redis.call('XRANGE', dead, '-', '+', 'COUNT', 1)[1]
		if not entry then
			return gone
		end
		local age = now - tonumber(string.match(entry[1], '^%d+'))
		if age <= tonumber(retention) and redis.call('XLEN', dead) <= tonumber(max) then
			return gone
		end
		drop(dead, index, entry)
	end
	return limit
end
local function now()
	local time = redis.call('TIME')
	return time[1] * 1000 + math.floor(time[2] / 1000)
end
`

// buryScript adds a letter, unless its like is there and young. What it takes of ARGV is from a to b: digest, time in ms in
// which there is one of a digest, MaxLen, Retention in ms, fields and values of the letter. KEYS: stream, index.
const buryScript = sweepScript + `
local function bury(dead, index, a, b)
	local at, known = now(), redis.call('HGET', index, ARGV[a])
	if known and at - tonumber(string.match(known, '^%d+')) < tonumber(ARGV[a + 1]) and
		#redis.call('XRANGE', dead, known, known) == 1 then
		return ''
	end
	local id = redis.call('XADD', dead, '*', 'digest', ARGV[a], unpack(ARGV, a + 4, b))
	redis.call('HSET', index, ARGV[a], id)
	sweep(dead, index, at, ARGV[a + 2], ARGV[a + 3], 100)
	return id
end
`

// addLetters adds letters, and says of each which id it has, empty if there is one like it. KEYS: stream, index. ARGV:
// how many there are, and of each what buryScript takes.
var addLetters = redis.NewScript(buryScript + `
local ids, size = {}, (#ARGV - 1) / tonumber(ARGV[1])
for a = 2, #ARGV, size do
	ids[#ids + 1] = bury(KEYS[1], KEYS[2], a, a + size - 1)
end
return ids
`)

// args appends what buryScript takes of ARGV.
func (d *DeadLetters) args(args []any, l DeadLetter) ([]any, error) {
	if len(l.Channel) > maxText || len(l.Subscription) > maxText {
		return nil, fmt.Errorf("dead letter: channel of %d bytes, subscription of %d: must have %d or fewer each",
			len(l.Channel), len(l.Subscription), maxText)
	}
	event, truncated := l.Event, ""
	if len(event) > MaxDeadEvent {
		event, truncated = event[:cutEvent], "1"
	}
	at := l.At
	if at.IsZero() {
		at = time.Now()
	}
	like := strconv.Quote(l.Channel) + strconv.Quote(l.Subscription) + string(l.Event)
	return append(args, digest(like, 16), buryOnce.Milliseconds(), d.cfg.MaxLen, d.cfg.Retention.Milliseconds(),
		"channel", l.Channel, "subscription", l.Subscription,
		"reason", cut(l.Reason, maxText), "category", cut(l.Category, maxText), "error", cut(l.Error, maxReason),
		"attempts", l.Attempts, "eventId", cut(l.EventID, maxText), "eventType", cut(l.EventType, maxText),
		"event", event, "truncated", truncated, "at", at.UnixMilli()), nil
}

// Add adds a letter, and drops the oldest that are beyond the bounds. The same event of the same channel and subscription
// is added once within 24 h, as long as it is kept: then added is false.
func (d *DeadLetters) Add(ctx context.Context, l DeadLetter) (added bool, err error) {
	all, err := d.AddAll(ctx, []DeadLetter{l})
	return err == nil && all[0], err
}

// AddAll adds letters as Add does, in their order and all together, and reports of each whether it was added.
func (d *DeadLetters) AddAll(ctx context.Context, letters []DeadLetter) (added []bool, err error) {
	added = make([]bool, len(letters))
	if d.cfg.Disabled || len(letters) == 0 {
		return added, nil
	}
	args := []any{len(letters)}
	for _, l := range letters {
		if args, err = d.args(args, l); err != nil {
			return nil, err
		}
	}
	ids, err := addLetters.Run(ctx, d.store.db.client, []string{d.key, d.index}, args...).StringSlice()
	if err != nil {
		return nil, d.explain("add dead letters", err)
	}
	for i := range added {
		added[i] = ids[i] != ""
	}
	return added, nil
}

// letterOf reads an entry of the stream.
func letterOf(m redis.XMessage) DeadLetter {
	text := func(field string) string {
		s, _ := m.Values[field].(string)
		return s
	}
	l := DeadLetter{
		ID: m.ID, Channel: text("channel"), Subscription: text("subscription"), Reason: text("reason"),
		Category: text("category"), Error: text("error"), EventID: text("eventId"), EventType: text("eventType"),
		Event: []byte(text("event")), Truncated: text("truncated") != "",
	}
	l.Attempts, _ = strconv.Atoi(text("attempts"))
	if ms, err := strconv.ParseInt(text("at"), 10, 64); err == nil {
		l.At = time.UnixMilli(ms)
	}
	return l
}

// Get returns the letter of an id, if it is there. Something else than an id is ErrDeadLetterID.
func (d *DeadLetters) Get(ctx context.Context, id string) (DeadLetter, bool, error) {
	p, err := ParsePosition(id)
	if err != nil {
		return DeadLetter{}, false, ErrDeadLetterID
	}
	found, err := d.store.db.client.XRangeN(ctx, d.key, p.String(), p.String(), 1).Result()
	if err != nil {
		return DeadLetter{}, false, d.explain("read a dead letter", err)
	}
	if len(found) == 0 {
		return DeadLetter{}, false, nil
	}
	return letterOf(found[0]), true, nil
}

// Len is how many letters there are.
func (d *DeadLetters) Len(ctx context.Context) (int64, error) {
	n, err := d.store.db.client.XLen(ctx, d.key).Result()
	if err != nil {
		return 0, d.explain("count the dead letters", err)
	}
	return n, nil
}

// sweepLetters drops letters beyond the bounds, 100 at most, and says how many. KEYS: stream, index. ARGV: MaxLen,
// Retention in ms.
var sweepLetters = redis.NewScript(sweepScript + `return sweep(KEYS[1], KEYS[2], now(), ARGV[1], ARGV[2], 100)`)

// TrimDeadLetters drops dead letters beyond the bounds that DeadLetters was given. Adding one does so, too: this is for
// those that grow old while none is added.
func (s *Store) TrimDeadLetters(ctx context.Context) error { return s.letters().Trim(ctx) }

// Trim drops the letters that are beyond the bounds.
func (d *DeadLetters) Trim(ctx context.Context) error {
	for {
		gone, err := sweepLetters.Run(ctx, d.store.db.client, []string{d.key, d.index}, d.cfg.MaxLen, d.cfg.Retention.Milliseconds()).Int()
		if err != nil {
			return d.explain("trim the dead letters", err)
		}
		if gone < 100 {
			return nil
		}
	}
}
