package subscriber

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
)

const (
	// block is how long a read waits for new events, and so for how long it may outlast its context.
	block = time.Second
	// takeMost is how many entries are taken over from dead consumers at a time.
	takeMost = 1000
	buryOnce = 24 * time.Hour
)

// group is a group of a channel's feed, as one consumer sees it: what delivery.NewConsumer takes.
type group struct {
	redis          redis.UniversalClient
	name, consumer string
	maxIdle        time.Duration

	feed, notes, alive, dead, index string // keys

	held func() int // how many entries the consumer knows to be its own

	behind bool // entries may be ours that we have not seen
}

// newGroup names the keys as adapter.Store does.
func newGroup(client redis.UniversalClient, cfg Config, channel, consumer string) *group {
	prefix := cfg.KeyPrefix + "{" + cmp.Or(hashTag(cfg.Stream), cfg.Stream) + "}:"
	name, feed := delivery.ServiceGroup(cfg.Group), prefix+"feed:"+channel
	return &group{
		redis: client, name: name, consumer: consumer, maxIdle: cfg.MaxIdle, held: func() int { return 0 },
		feed: feed, notes: feed + ":notes:" + name, alive: feed + ":alive:" + name, dead: prefix + "dead", index: prefix + "dead:index",
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

// explain is the error of a command about the group.
func explain(what string, err error) error {
	if redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "UNBLOCKED") || // the latter while a read waits
		redis.HasErrorPrefix(err, "no such key") {
		return adapter.ErrNoGroup
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (g *group) create(ctx context.Context) error {
	err := g.redis.XGroupCreateMkStream(ctx, g.feed, g.name, "$").Err()
	if err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
		return explain("create the group", err)
	}
	return nil
}

func (g *group) destroy(ctx context.Context) error {
	if err := destroy.Run(ctx, g.redis, []string{g.feed, g.notes, g.alive}, g.name).Err(); err != nil {
		return explain("destroy the group", err)
	}
	return nil
}

// takeOver gives a sign of life and takes what the dead have left, so many entries at most. It reports how many are the
// consumer's now, and whether it counted as alive.
func (g *group) takeOver(ctx context.Context, most int) (mine int, alive bool, err error) {
	answer, err := takeOver.Run(ctx, g.redis, []string{g.feed, g.alive}, g.name, g.consumer, g.maxIdle.Milliseconds(), most).Int64Slice()
	if err != nil {
		return 0, false, explain("take over what the dead have left", err)
	}
	if len(answer) != 2 {
		return 0, false, errors.New("take over what the dead have left: Redis answers something else")
	}
	return int(answer[0]), answer[1] == 1, nil
}

// leave lets others take over at once what is left.
func (g *group) leave(ctx context.Context) error {
	if err := leave.Run(ctx, g.redis, []string{g.feed, g.alive}, g.name, g.consumer).Err(); err != nil {
		return explain("leave the group", err)
	}
	return nil
}

// Claim takes over what dead consumers had, and returns what is the consumer's after a position, if there may be something
// that it has not returned before.
func (g *group) Claim(ctx context.Context, after adapter.Position, count int) ([]adapter.FeedEntry, error) {
	if after == (adapter.Position{}) {
		mine, _, err := g.takeOver(ctx, takeMost)
		if err != nil {
			return nil, err
		}
		if mine <= g.held() && !g.behind {
			return nil, nil
		}
		g.behind = true
	}
	for {
		entries, last, err := g.read(ctx, after.String(), count, -1)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 || last == (adapter.Position{}) {
			g.behind = len(entries) > 0
			return entries, nil
		}
		after = last // none of them is an event
	}
}

// Read waits up to a second for new entries.
func (g *group) Read(ctx context.Context, count int) ([]adapter.FeedEntry, error) {
	entries, _, err := g.read(ctx, ">", count, block)
	if err != nil {
		g.behind = true // the answer may have been lost on its way
	}
	return entries, err
}

// once is a command that the client does not repeat by itself, whatever its options say: a second read would answer with
// what comes after that which the first one was given, whose answer got lost.
type once struct{ *redis.XStreamSliceCmd }

func (once) NoRetry() bool { return true }

// read reads entries, and says which was the last, whether it is an event for us or not.
func (g *group) read(ctx context.Context, from string, count int, wait time.Duration) (entries []adapter.FeedEntry, last adapter.Position, err error) {
	pipe := g.redis.Pipeline() // only makes the command
	cmd := pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: g.name, Consumer: g.consumer, Streams: []string{g.feed, from}, Count: int64(count), Block: wait,
	})
	pipe.Discard()
	_ = g.redis.Process(ctx, once{cmd})
	streams, err := cmd.Result()
	if errors.Is(err, redis.Nil) || err == nil && len(streams) == 0 {
		return nil, last, nil
	}
	if err != nil {
		return nil, last, explain("read the feed", err)
	}
	var none []string
	for _, m := range streams[0].Messages {
		p, err := adapter.ParsePosition(m.ID)
		if err != nil {
			return nil, last, fmt.Errorf("entry %.50q of the feed: %w", m.ID, err)
		}
		last = p
		event, _ := m.Values["event"].(string)
		only, _ := m.Values["only"].(string)
		if event == "" || only != "" && only != g.name { // trimmed meanwhile, none of ours, or for another group
			none = append(none, m.ID)
			continue
		}
		entries = append(entries, adapter.FeedEntry{Position: p, Event: []byte(event), Only: only})
	}
	if len(none) > 0 {
		_ = g.ack(ctx, none) // if it fails, they are seen again
	}
	return entries, last, nil
}

// Ack acknowledges entries, batchLen of delivery at most.
func (g *group) Ack(ctx context.Context, ps ...adapter.Position) error {
	ids := make([]string, len(ps))
	for i, p := range ps {
		ids[i] = p.String()
	}
	return g.ack(ctx, ids)
}

func (g *group) ack(ctx context.Context, ids []string) error {
	args := []any{g.name}
	for _, id := range ids {
		args = append(args, id)
	}
	if err := acknowledge.Run(ctx, g.redis, []string{g.feed, g.notes}, args...).Err(); err != nil {
		return explain("acknowledge events", err)
	}
	return nil
}

// noteJSON is how a note is kept: the due time in ms since the epoch.
type noteJSON struct {
	Attempt int    `json:"attempt"`
	Due     int64  `json:"due"`
	Error   string `json:"error,omitempty"`
}

func (g *group) Note(ctx context.Context, p adapter.Position, n adapter.Note) error {
	text, err := json.Marshal(noteJSON{n.Attempt, n.Due.UnixMilli(), n.Error})
	if err != nil {
		return fmt.Errorf("note an event: %w", err)
	}
	if err := note.Run(ctx, g.redis, []string{g.feed, g.notes}, g.name, p.String(), text, g.consumer).Err(); err != nil {
		return explain("note an event", err)
	}
	return nil
}

func (g *group) Notes(ctx context.Context) (map[adapter.Position]adapter.Note, error) {
	found, err := g.redis.HGetAll(ctx, g.notes).Result()
	if err != nil {
		return nil, explain("read the notes", err)
	}
	notes := make(map[adapter.Position]adapter.Note, len(found))
	for id, text := range found {
		p, err := adapter.ParsePosition(id)
		var n noteJSON
		if err == nil && json.Unmarshal([]byte(text), &n) == nil { // else it is tried as if anew
			notes[p] = adapter.Note{Attempt: n.Attempt, Due: time.UnixMilli(n.Due), Error: n.Error}
		}
	}
	return notes, nil
}

// Bury puts an event into the bus's dead letters. Its texts are bounded by package events and by delivery.
func (g *group) Bury(ctx context.Context, p adapter.Position, d adapter.DeadLetter) error {
	sum := sha256.Sum256([]byte(strconv.Quote(d.Channel) + strconv.Quote(d.Subscription) + string(d.Event)))
	event, truncated := d.Event, ""
	if len(event) > adapter.MaxDeadEvent {
		event, truncated = event[:64<<10], "1"
	}
	err := bury.Run(ctx, g.redis, []string{g.feed, g.notes, g.dead, g.index}, g.name, p.String(),
		base64.RawURLEncoding.EncodeToString(sum[:16]), buryOnce.Milliseconds(),
		"channel", d.Channel, "subscription", d.Subscription, "reason", d.Reason, "category", d.Category, "error", d.Error,
		"attempts", d.Attempts, "eventId", d.EventID, "eventType", d.EventType, "event", event, "truncated", truncated,
		"at", d.At.UnixMilli()).Err()
	if err != nil {
		return explain("bury an event", err)
	}
	return nil
}
