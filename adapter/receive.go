package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
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

// Receive hands over each message published on channels (Redis Pub/Sub), in order, on the caller's goroutine, until
// ctx ends; then it returns nil, at once or, while a connection is being made, within five seconds. The payload is the
// callee's to keep. A handler that takes long holds up Redis, which disconnects a listener that is too far behind
// (client-output-buffer-limit pubsub).
//
// A lost connection is made again after 100 ms to 2 s. What was published meanwhile is gone: that is Pub/Sub's promise.
// Credentials or permissions refused before the first subscription are returned, as a configuration to mend;
// refused later they are tried again, as they may be on their way to being changed.
//
// One call at a time takes all channels: another one returns an error.
func (r *Redis) Receive(ctx context.Context, channels []string, handle func(channel string, payload []byte)) error {
	if err := checkChannels(channels); err != nil {
		return err
	}
	if !r.receiving.CompareAndSwap(false, true) {
		return errors.New("receive: already receiving; one call takes all channels")
	}
	defer r.receiving.Store(false)

	var lost time.Time // zero while nothing is wrong, so that a loss and a return are each reported once
	var refused bool   // the latest report was of a refusal, which deserves one even if the loss was reported before
	for attempt := 0; ; attempt++ {
		var up time.Time
		err := r.listen(ctx, channels, handle, func() {
			up = time.Now()
			if !lost.IsZero() {
				r.log.Info("redis pub/sub is back", zap.Duration("away", up.Sub(lost)))
				lost, refused = time.Time{}, false
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		err = fmt.Errorf("subscribe to %s: %w", strings.Join(channels, ", "), r.explain(err))
		_, isRefusal := errors.AsType[refusal](err)
		if isRefusal && r.subscriptions.Load() == 0 {
			return err
		}
		if lost.IsZero() || isRefusal && !refused {
			r.log.Warn("redis pub/sub is lost, trying again", zap.Error(err))
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
func (r *Redis) Subscribed() <-chan struct{} { return r.subscribed }

// Connected says whether Receive hears Redis now. A connection that died counts for up to 15 s.
func (r *Redis) Connected() bool { return r.connected.Load() }

// Reconnects counts the subscriptions made after the first: each stands for a gap in which messages may have passed.
func (r *Redis) Reconnects() uint64 { return max(r.subscriptions.Load(), 1) - 1 }

// Oversized counts the messages not handed over because they are larger than RedisConfig.MaxMessage.
func (r *Redis) Oversized() uint64 { return r.oversized.Load() }

// listen is one PubSub's life. It calls up when all channels are confirmed, and returns why it ended.
//
// Any error ends it. A PubSub would go on with another connection, and nobody would know of the gap; and after a read
// that timed out within a message it would take the rest of the payload for an answer of Redis.
func (r *Redis) listen(ctx context.Context, channels []string, handle func(string, []byte), up func()) error {
	ps := r.client.Subscribe(ctx)
	defer ps.Close()
	if err := ps.Subscribe(ctx, channels...); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var attendant sync.WaitGroup
	defer attendant.Wait()
	defer cancel()
	attendant.Go(func() { attend(ctx, ps, r.idle) })

	defer r.connected.Store(false)
	for confirmed := 0; ctx.Err() == nil; {
		m, err := ps.ReceiveTimeout(ctx, r.idle+r.answer)
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *redis.Message:
			// Redis is trusted not to announce more than it has, up to 512 MB: so the limit comes after the read. It is
			// for the publishers, who are not.
			if len(m.Payload) > r.cfg.MaxMessage {
				r.oversized.Add(1)
				continue
			}
			handle(m.Channel, []byte(m.Payload))
		case *redis.Subscription:
			if confirmed++; confirmed == len(channels) {
				r.connected.Store(true)
				if r.subscriptions.Add(1) == 1 {
					close(r.subscribed)
				}
				up()
			}
		}
	}
	return ctx.Err()
}

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
			if ps.Ping(ctx) != nil { // and ps may have another connection already
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
