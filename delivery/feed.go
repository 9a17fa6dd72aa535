package delivery

import (
	"context"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// feed is a channel's feed: adapter.Feed.
type feed interface {
	Create(ctx context.Context, group string) error
	Made(ctx context.Context, group string) (string, error)
	Destroy(ctx context.Context, group string) error
	DestroyMade(ctx context.Context, group, made string) (bool, error)
	Groups(ctx context.Context) ([]adapter.FeedGroup, error)
	Trim(ctx context.Context, maxAge time.Duration, maxLen int64) (passed []string, err error)
	Claim(ctx context.Context, group, consumer string, after adapter.Position, count int) ([]adapter.FeedEntry, error)
	Ack(ctx context.Context, group string, ps ...adapter.Position) error
	Note(ctx context.Context, group string, p adapter.Position, n adapter.Note) error
	Notes(ctx context.Context, group string) (map[adapter.Position]adapter.Note, error)
	Bury(ctx context.Context, group string, p adapter.Position, d adapter.DeadLetter) error
}

// reader reads new entries for a group: adapter.FeedReader.
type reader interface {
	Read(ctx context.Context, count int) ([]adapter.FeedEntry, error)
	Close() error
}

// openFeed gives a channel's feed, and readers of it.
type openFeed func(channel string) (feed, func(group, consumer string) reader)

func openStore(store *adapter.Store) openFeed {
	return func(channel string) (feed, func(group, consumer string) reader) {
		f := store.Feed(channel)
		return f, func(group, consumer string) reader { return f.Reader(group, consumer) }
	}
}

// consumerName is that of all our consumers: one at a time reads a group, and a name for each would leave them all
// behind in Redis.
const consumerName = "leader"

// member is a group of a feed, as its only consumer sees it: a source.
type member struct {
	feed
	reader
	group string
}

func openMember(open openFeed, channel, group string) *member {
	f, read := open(channel)
	return &member{f, read(group, consumerName), group}
}

func (m *member) Claim(ctx context.Context, after adapter.Position, count int) ([]adapter.FeedEntry, error) {
	return m.feed.Claim(ctx, m.group, consumerName, after, count)
}

func (m *member) Ack(ctx context.Context, ps ...adapter.Position) error {
	return m.feed.Ack(ctx, m.group, ps...)
}

func (m *member) Note(ctx context.Context, p adapter.Position, n adapter.Note) error {
	return m.feed.Note(ctx, m.group, p, n)
}

func (m *member) Notes(ctx context.Context) (map[adapter.Position]adapter.Note, error) {
	return m.feed.Notes(ctx, m.group)
}

func (m *member) Bury(ctx context.Context, p adapter.Position, d adapter.DeadLetter) error {
	return m.feed.Bury(ctx, m.group, p, d)
}
