package adapter

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// margin is how much longer than the recovery window the log keeps its entries: for replicas that were cut off.
	margin = time.Minute
	// readLen is how many entries are read at a time.
	readLen = 128
	// blockTime is how long a read waits for the next entry. Redis answers nothing meanwhile, so it is also the time
	// after which a dead connection shows.
	blockTime = time.Second
)

// ErrDeposed says that a lease is no longer ours: another replica leads the channel, and nothing was appended.
var ErrDeposed = errors.New("the lease is another replica's")

// LogConfig configures a Log.
type LogConfig struct {
	// ID is this server's among all that write to the log: 16 hex digits.
	ID string
	// Stream is the key of the stream. Zero means "socket.io", as in Node.
	Stream string
	// Window is how long an entry is kept at least; a minute more, in fact. Zero means 2 minutes.
	Window time.Duration
	// Dedupe is for how long a key counts as already appended. Zero means 24 h.
	Dedupe time.Duration
	// MaxEntry is the size in bytes of the largest entry taken from the log. Zero means 4 MiB.
	MaxEntry int
}

func (c LogConfig) withDefaults() LogConfig {
	c.Stream = cmp.Or(c.Stream, "socket.io")
	c.Window = cmp.Or(c.Window, 2*time.Minute)
	c.Dedupe = cmp.Or(c.Dedupe, 24*time.Hour)
	c.MaxEntry = cmp.Or(c.MaxEntry, 4<<20)
	return c
}

// Validate reports all problems at once, by key.
func (c LogConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if len(c.Stream) > 128 {
		errs = append(errs, fmt.Errorf("log.stream of %d bytes: must have 128 or fewer", len(c.Stream)))
	}
	if strings.ContainsAny(c.Stream, "{}") && hashTag(c.Stream) == "" {
		errs = append(errs, fmt.Errorf("log.stream %q: braces must enclose a hash tag, as in {app}log", c.Stream))
	}
	if c.Window < time.Second {
		errs = append(errs, fmt.Errorf("log.window %s: must be 1s or more", c.Window))
	}
	if c.Dedupe < time.Minute {
		errs = append(errs, fmt.Errorf("log.dedupe %s: must be 1m or more", c.Dedupe))
	}
	return errors.Join(errs...)
}

// Log is what all replicas hear in one order: a Redis stream, in the format of @socket.io/redis-streams-adapter, so
// that Node servers can be among them. Whoever leads a channel appends; everybody tails.
type Log struct {
	*Store
	cfg     LogConfig
	redis   *Redis
	log     *zap.Logger
	history *history // nil: none is kept

	start    Position
	skew     time.Duration // our clock less that of Redis
	caughtUp chan struct{} // closed when all there was at Open has been applied

	mu      sync.Mutex
	reached Position      // by the tail
	moved   chan struct{} // closed and made anew when it moves

	invalid atomic.Uint64
	gaps    atomic.Uint64
}

// Log gives the log kept in this Redis. The configuration is taken as valid.
func (r *Redis) Log(cfg LogConfig) *Log {
	cfg = cfg.withDefaults()
	return &Log{
		Store: r.Store(cfg.Stream), cfg: cfg, redis: r, log: r.log,
		caughtUp: make(chan struct{}), moved: make(chan struct{}),
	}
}

// hashTag is the part of a key that alone decides on its slot (Redis Cluster specification, "Hash tags"), if it has one.
func hashTag(key string) string {
	_, after, _ := strings.Cut(key, "{")
	tag, _, closed := strings.Cut(after, "}")
	if !closed {
		return ""
	}
	return tag
}

// Start is the position before the first entry that Tail applies, known after Open.
func (l *Log) Start() Position { return l.start }

// CaughtUp is closed when Tail has applied the entries that were there before Open.
func (l *Log) CaughtUp() <-chan struct{} { return l.caughtUp }

// Invalid counts the entries that were skipped because they are not what they should be.
func (l *Log) Invalid() uint64 { return l.invalid.Load() }

// Gaps counts how often entries were trimmed or lost before they were read.
func (l *Log) Gaps() uint64 { return l.gaps.Load() }

// Position is that of the last entry applied.
func (l *Log) Position() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reached
}

// Key is what an event of a channel counts as in the log. Ids are the publishers' own: the same one on two channels
// may well be two events. They may be long, too; a key has 26 characters.
func Key(channel, id string) string { return digest(channel, 3) + digest(id, 16) }

// IsKeyOf reports whether a key can be that of an event of the channel.
func IsKeyOf(key, channel string) bool { return strings.HasPrefix(key, digest(channel, 3)) }

// digest is the beginning of a hash, of so many bytes.
func digest(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:n])
}

// Known reports which of the keys are in the log, or were within the dedupe window.
func (l *Log) Known(ctx context.Context, keys []string) ([]bool, error) {
	pipe := l.redis.client.Pipeline()
	asked := make([]*redis.IntCmd, len(keys))
	for i, k := range keys {
		asked[i] = pipe.Exists(ctx, l.Key("id:"+k))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("ask the log for ids: %w", l.redis.explain(err))
	}
	known := make([]bool, len(keys))
	for i, a := range asked {
		known[i] = a.Val() == 1
	}
	return known, nil
}

func (l *Log) cursorKey(channel string) string { return l.Key("cursor:" + channel) }

// Cursor is up to where the durable input of a channel is done.
func (l *Log) Cursor(ctx context.Context, channel string) (Position, error) {
	text, err := l.redis.client.Get(ctx, l.cursorKey(channel)).Result()
	if errors.Is(err, redis.Nil) {
		return Position{}, nil
	}
	if err != nil {
		return Position{}, fmt.Errorf("read the cursor of %s: %w", channel, l.redis.explain(err))
	}
	p, err := ParsePosition(text)
	if err != nil {
		return Position{}, fmt.Errorf("cursor of %s is %q: %w", channel, text, err)
	}
	return p, nil
}

// Wait returns when the tail has come to where the log ends now.
func (l *Log) Wait(ctx context.Context) error {
	end, err := l.end(ctx)
	if err != nil {
		return err
	}
	for {
		l.mu.Lock()
		there, moved := l.reached.Compare(end) >= 0, l.moved
		l.mu.Unlock()
		if there {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is the position of the last entry, zero when there is none.
func (l *Log) end(ctx context.Context) (Position, error) {
	last, err := l.redis.client.XRevRangeN(ctx, l.cfg.Stream, "+", "-", 1).Result()
	if err != nil {
		return Position{}, fmt.Errorf("ask for the end of the log: %w", l.redis.explain(err))
	}
	return first(last)
}

// first is the position of the first of some entries, zero if there are none.
func first(entries []redis.XMessage) (Position, error) {
	if len(entries) == 0 {
		return Position{}, nil
	}
	return ParsePosition(entries[0].ID)
}

// beginLog gives an empty log its first entry, so that there is a position that everybody knows. The entry is a
// heartbeat, which Node's servers ignore.
var beginLog = redis.NewScript(`
if redis.call('XLEN', KEYS[1]) == 0 then
	redis.call('XADD', KEYS[1], '*', 'uid', ARGV[1], 'nsp', '/', 'type', '2')
end
local time = redis.call('TIME')
return time[1] * 1000 + math.floor(time[2] / 1000)
`)

// Open finds where to begin: at the newest entry from before the window, so that all that returning clients may have
// missed is applied by Tail before anything else.
func (l *Log) Open(ctx context.Context) error {
	now, err := l.begin(ctx)
	if err != nil {
		return err
	}
	l.skew = time.Since(time.UnixMilli(now))
	anchor, err := l.anchor(ctx, now-l.cfg.Window.Milliseconds())
	if err != nil {
		return err
	}
	if anchor == (Position{}) { // all there is, is in the window: what came before its first entry is not known
		all, err := l.redis.client.XRangeN(ctx, l.cfg.Stream, "-", "+", 1).Result()
		if err == nil {
			anchor, err = first(all)
		}
		if err != nil {
			return fmt.Errorf("read the log: %w", l.redis.explain(err))
		}
	}
	l.start, l.reached = anchor, anchor
	return nil
}

// begin sees that there is a log, and returns the time of Redis in ms.
func (l *Log) begin(ctx context.Context) (int64, error) {
	now, err := beginLog.Run(ctx, l.redis.client, []string{l.cfg.Stream}, l.cfg.ID).Int64()
	if err != nil {
		return 0, fmt.Errorf("open the log %s: %w", l.cfg.Stream, l.redis.explain(err))
	}
	return now, nil
}

// anchor is the newest entry not younger than a time in ms, zero if there is none.
func (l *Log) anchor(ctx context.Context, ms int64) (Position, error) {
	found, err := l.redis.client.XRevRangeN(ctx, l.cfg.Stream, strconv.FormatInt(max(ms, 0), 10), "-", 1).Result()
	if err != nil {
		return Position{}, fmt.Errorf("read the log: %w", l.redis.explain(err))
	}
	return first(found)
}

// trim drops what is older than the window and the margin, every so often, until ctx ends. The newest of the old
// entries stays: whoever has come as far as that one has missed nothing, and can see it.
func (l *Log) trim(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5*time.Second + rand.N(10*time.Second)): // any replica does it
		}
		_ = l.trimOnce(ctx) // what is wrong, the tail tells
	}
}

func (l *Log) trimOnce(ctx context.Context) error {
	now, err := l.redis.client.Time(ctx).Result()
	if err != nil {
		return err
	}
	keep, err := l.anchor(ctx, now.Add(-l.cfg.Window-margin).UnixMilli())
	if err != nil || keep == (Position{}) {
		return err
	}
	return l.redis.client.XTrimMinIDApprox(ctx, l.cfg.Stream, keep.String(), 0).Err()
}
