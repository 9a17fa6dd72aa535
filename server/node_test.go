package server

import (
	"cmp"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
)

// node is a bus with all that it shares with others through Redis.
type node struct {
	*bus
	redis   *adapter.Redis
	letters *adapter.DeadLetters
}

// newNode makes a node that does not run yet.
func newNode(t testing.TB, url string, with setup) *node {
	t.Helper()
	n := &node{redis: dialRedis(t, url)}
	with.redis = n.redis
	with.id = cmp.Or(with.id, "00000000000000aa")
	change := with.parts
	with.parts = func(p *Parts) {
		p.Store = n.redis.Store("socket.io")
		n.letters = p.Store.DeadLetters(adapter.DeadLettersConfig{})
		p.DeadLetters, p.Tally = n.letters, p.Store.Tally()
		p.Tables = func(ctx context.Context, every time.Duration, tables map[*adapter.Table]func([]adapter.Row)) error {
			return adapter.WatchTables(ctx, n.redis, every, tables)
		}
		p.Subscriptions = delivery.New(delivery.Config{Drain: time.Second}, delivery.Parts{
			Store: p.Store, Channels: p.Declared.Channels(), Compile: CompileMatch, Logger: zap.NewNop(), Metrics: p.Metrics,
		})
		unchecked := func(events.Event) error { return nil }
		p.Durable = publisher.New(n.redis.Client(), publisher.Config{Durable: true, Check: unchecked})
		p.Plain = publisher.New(n.redis.Client(), publisher.Config{Check: unchecked})
		p.Sessions = adapter.NewSessions(n.redis.Client(), adapter.SessionsConfig{ID: p.ID, Window: time.Minute}, zap.NewNop())
		if all, ok := p.Leaders.(*adapter.Replicas); ok {
			p.Peers = adapter.NewPeers(n.redis, adapter.PeersConfig{ID: p.ID}, all.List)
		}
		if change != nil {
			change(p)
		}
	}
	n.bus = newBus(t, with)
	return n
}

// startNode makes a node that is ready.
func startNode(t testing.TB, url string, with setup) *node {
	t.Helper()
	n := newNode(t, url, with)
	n.run()
	eventually(t, "the server to be ready", func() bool { return n.Ready() == nil })
	return n
}

// add puts an event into the durable input of its channel.
func (n *node) add(channel, payload string) {
	n.t.Helper()
	must(n.t, n.redis.Client().XAdd(context.Background(), &redis.XAddArgs{
		Stream: "eventbus:in:" + channel, Values: []string{"event", payload},
	}).Err())
}

// dead are the dead letters, oldest first, as the events they have.
func (n *node) dead() (payloads []string) {
	n.t.Helper()
	page, _, err := n.letters.List(context.Background(), adapter.DeadLetterQuery{Limit: 1000})
	must(n.t, err)
	for _, l := range page {
		payloads = append(payloads, string(l.Event))
	}
	return payloads
}

// logged are the keys and payloads of the log, in order.
func (n *node) logged() (entries []string) {
	n.t.Helper()
	all, err := n.redis.Client().XRange(context.Background(), "socket.io", "-", "+").Result()
	must(n.t, err)
	for _, m := range all {
		if key, ok := m.Values["key"].(string); ok {
			data, _ := m.Values["data"].(string)
			entries = append(entries, key+" "+data)
		}
	}
	return entries
}

// sorted is a copy in order.
func sorted(texts []string) []string { return slices.Sorted(slices.Values(texts)) }
