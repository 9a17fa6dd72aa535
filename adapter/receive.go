package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	minReconnect = 100 * time.Millisecond
	maxReconnect = 2 * time.Second
	// maxChannel is the longest channel name, in bytes.
	maxChannel = 512
)

// Subscription is what a Listener hears. Of its functions Handle alone is needed; all are called on the goroutine that
// called Receive.
type Subscription struct {
	// Channels and Patterns (as in PSUBSCRIBE) are what to listen to; one of them must not be empty. A channel that several
	// of them fit is heard as many times.
	Channels, Patterns []string
	// Handle takes each message, under the name of the channel it was published to. The payload is the callee's to keep. A
	// handler that takes long holds up Redis, which disconnects a listener that is too far behind
	// (client-output-buffer-limit pubsub).
	Handle func(channel string, payload []byte)
	// Up is called when all channels and patterns are heard. Messages of some may have come before.
	Up func()
	// Down is called when that has ended, once for each Up: before any message of the next connection is handled, and
	// before Receive returns.
	Down func()
}

func (s Subscription) size() int { return len(s.Channels) + len(s.Patterns) }

// Listener has one connection to Redis that listens (Pub/Sub). All methods are safe for concurrent use, and any number
// of Listeners may listen at the same time.
type Listener struct {
	redis        *Redis
	idle, answer time.Duration

	subscribed    chan struct{} // closed by the first Receive that is confirmed
	receiving     atomic.Bool
	connected     atomic.Bool
	subscriptions atomic.Uint64
	oversized     atomic.Uint64
}

// Listener makes one, which needs no closing: it has a connection while Receive runs.
func (r *Redis) Listener() *Listener {
	return &Listener{redis: r, idle: r.idle, answer: r.answer, subscribed: make(chan struct{})}
}

// Receive hands over each message published on what sub names, in order, until ctx ends; then it returns nil, at once
// or, while a connection is being made, within five seconds.
//
// A connection that has been silent for two seconds, or is lost otherwise, is made again after 100 ms to 2 s. What was
// published meanwhile is gone: that is Pub/Sub's promise. Credentials or permissions refused before the first
// subscription are returned, as a configuration to mend; refused later they are tried again, as they may be on their way
// to being changed.
//
// One call at a time: another one returns an error.
func (l *Listener) Receive(ctx context.Context, sub Subscription) error {
	if err := checkChannels(slices.Concat(sub.Channels, sub.Patterns)); err != nil {
		return err
	}
	if !l.receiving.CompareAndSwap(false, true) {
		return errors.New("receive: already receiving; one call takes all channels")
	}
	defer l.receiving.Store(false)

	var lost time.Time // zero while nothing is wrong, so that a loss and a return are each reported once
	var refused bool   // the latest report was of a refusal, which deserves one even if the loss was reported before
	log := l.redis.log
	for attempt := 0; ; attempt++ {
		var up time.Time
		err := l.listen(ctx, sub, func() {
			up = time.Now()
			if !lost.IsZero() {
				log.Info("redis pub/sub is back", zap.Duration("away", up.Sub(lost)))
				lost, refused = time.Time{}, false
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("subscribe to %s: %w", strings.Join(slices.Concat(sub.Channels, sub.Patterns), ", "), l.redis.explain(err))
		_, isRefusal := errors.AsType[refusal](err)
		if isRefusal && l.subscriptions.Load() == 0 {
			return err
		}
		if lost.IsZero() || isRefusal && !refused {
			log.Warn("redis pub/sub is lost, trying again", zap.Error(err))
			refused = isRefusal
		}
		if lost.IsZero() {
			lost = time.Now()
		}
		if !up.IsZero() && time.Since(up) > maxReconnect { // a shorter life is no recovery, but the same trouble
			attempt = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reconnectDelay(attempt, rand.Float64())):
		}
	}
}

// Subscribed is closed once Receive has its first subscription confirmed for all channels.
func (l *Listener) Subscribed() <-chan struct{} { return l.subscribed }

// Connected says whether Receive hears Redis now. A connection that died counts for up to 2 s.
func (l *Listener) Connected() bool { return l.connected.Load() }

// Reconnects counts the subscriptions made after the first: each stands for a gap in which messages may have passed.
func (l *Listener) Reconnects() uint64 { return max(l.subscriptions.Load(), 1) - 1 }

// Oversized counts the messages not handed over because they are larger than RedisConfig.MaxMessage.
func (l *Listener) Oversized() uint64 { return l.oversized.Load() }

// listen is one connection's life. It calls up when all channels are confirmed, and returns why it ended.
func (l *Listener) listen(ctx context.Context, sub Subscription, up func()) error {
	ps := l.redis.client.Subscribe(ctx)
	defer ps.Close()
	// Without channels a Cluster's client takes any node, and with them that of the first one's slot, which may be down
	// while the others, all of which hear everything, are not.
	if err := ps.Ping(ctx); err != nil {
		return err
	}
	if err := subscribe(ctx, sub, ps); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var attendant sync.WaitGroup
	defer attendant.Wait()
	defer cancel()
	attendant.Go(func() { attend(ctx, ps, l.idle) })

	heard := false
	defer func() {
		l.connected.Store(false)
		if heard && sub.Down != nil {
			sub.Down()
		}
	}()
	for confirmed := 0; ctx.Err() == nil; {
		m, err := ps.ReceiveTimeout(noDial, l.idle+l.answer)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *redis.Message:
			// Redis is trusted not to announce more than it has, up to 512 MB: so the limit comes after the read. It is
			// for the publishers, who are not.
			if len(m.Payload) > l.redis.cfg.MaxMessage {
				l.oversized.Add(1)
				continue
			}
			sub.Handle(m.Channel, []byte(m.Payload))
		case *redis.Subscription:
			if confirmed++; confirmed == sub.size() {
				heard = true
				l.connected.Store(true)
				if l.subscriptions.Add(1) == 1 {
					close(l.subscribed)
				}
				up()
				if sub.Up != nil {
					sub.Up()
				}
			}
		}
	}
	return ctx.Err()
}

func subscribe(ctx context.Context, sub Subscription, ps *redis.PubSub) error {
	if len(sub.Channels) > 0 {
		if err := ps.Subscribe(ctx, sub.Channels...); err != nil {
			return err
		}
	}
	if len(sub.Patterns) > 0 {
		return ps.PSubscribe(ctx, sub.Patterns...)
	}
	return nil
}

// noDial is for a PubSub that has its connection. After any error it would make another one by itself, and nobody would
// know of the gap, nor, while that takes time, of the loss; and after a read that timed out within a message it would take
// the rest of the payload for an answer of Redis. A context that has ended refuses new connections, and is nothing to
// those that are there.
var noDial = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// attend asks for a PONG every so often, so that a living connection is never silent for longer, and closes ps when
// ctx ends, which ends a read under way.
func attend(ctx context.Context, ps *redis.PubSub, every time.Duration) {
	defer ps.Close()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if ps.Ping(noDial) != nil {
				return
			}
		}
	}
}

// reconnectDelay is full jitter between 100 ms and a ceiling that doubles up to 2 s, so that replicas which lost
// the same Redis do not come back at the same moment. attempt counts from 0, jitter is in [0, 1).
func reconnectDelay(attempt int, jitter float64) time.Duration {
	ceiling := min(minReconnect<<min(attempt+1, 10), maxReconnect)
	return minReconnect + time.Duration(jitter*float64(ceiling-minReconnect))
}

func checkChannels(channels []string) error {
	if len(channels) == 0 {
		return errors.New("receive: no channels")
	}
	for _, c := range channels {
		if c == "" || len(c) > maxChannel {
			return fmt.Errorf("receive: channel of %d bytes: must have 1 to %d", len(c), maxChannel)
		}
	}
	return nil
}
