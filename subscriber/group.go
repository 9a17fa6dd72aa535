package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
)

// takeMost is how many entries are taken over from dead consumers at a time.
const takeMost = 1000

// group is a group of a channel's feed, as one consumer sees it: what delivery.NewConsumer takes.
type group struct {
	*adapter.FeedReader
	feed           *adapter.Feed
	redis          redis.UniversalClient
	name, consumer string
	maxIdle        time.Duration
	keys           []string // of the feed, and of who is alive

	held func() int // how many entries the consumer knows to be its own

	behind bool // entries may be ours that we have not seen
}

func newGroup(client redis.UniversalClient, cfg Config, channel, consumer string) *group {
	store, name := adapter.NewStore(client, cfg.KeyPrefix, cfg.Stream), delivery.ServiceGroup(cfg.Group)
	feed := store.Feed(channel)
	return &group{
		FeedReader: feed.Reader(name, consumer), feed: feed, redis: client, name: name, consumer: consumer, maxIdle: cfg.MaxIdle,
		keys: []string{store.Key("feed:" + channel), store.Key("feed:" + channel + ":alive:" + name)},
		held: func() int { return 0 },
	}
}

// explain is the error of a script about the group.
func explain(what string, err error) error {
	if redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "no such key") {
		return adapter.ErrNoGroup
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (g *group) create(ctx context.Context) error { return g.feed.Create(ctx, g.name) }

func (g *group) destroy(ctx context.Context) error {
	if err := g.feed.Destroy(ctx, g.name); err != nil {
		return err
	}
	if err := g.redis.Del(ctx, g.keys[1]).Err(); err != nil {
		return explain("forget who was in the group", err)
	}
	return nil
}

// takeOver gives a sign of life and takes what the dead have left, so many entries at most. It reports how many are the
// consumer's now, and whether it counted as alive.
func (g *group) takeOver(ctx context.Context, most int) (mine int, alive bool, err error) {
	answer, err := takeOver.Run(ctx, g.redis, g.keys, g.name, g.consumer, g.maxIdle.Milliseconds(), most).Int64Slice()
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
	if err := leave.Run(ctx, g.redis, g.keys, g.name, g.consumer).Err(); err != nil {
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
	entries, err := g.Pending(ctx, after, count)
	if err == nil {
		g.behind = len(entries) > 0
	}
	return entries, err
}

// Read waits up to a second for new entries.
func (g *group) Read(ctx context.Context, count int) ([]adapter.FeedEntry, error) {
	entries, err := g.FeedReader.Read(ctx, count)
	if err != nil {
		g.behind = true // the answer may have been lost on its way
	}
	return entries, err
}

func (g *group) Ack(ctx context.Context, ps ...adapter.Position) error {
	return g.feed.Ack(ctx, g.name, ps...)
}

func (g *group) Note(ctx context.Context, p adapter.Position, n adapter.Note) error {
	return g.feed.Note(ctx, g.name, p, n)
}

func (g *group) Notes(ctx context.Context) (map[adapter.Position]adapter.Note, error) {
	return g.feed.Notes(ctx, g.name)
}

func (g *group) Bury(ctx context.Context, p adapter.Position, d adapter.DeadLetter) error {
	return g.feed.Bury(ctx, g.name, p, d)
}
