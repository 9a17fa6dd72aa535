package publisher

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

// maxTransaction is about how many bytes of events go into one: Redis does nothing else while it runs.
const maxTransaction = 4 << 20

// send sends events of a channel, one after the other without another between them, and again all of them until Redis
// has accepted them or ctx ends. A try that seems to have failed may yet arrive, even later than the next one. But
// each has the same events in the same order, after all that was accepted before, so whatever gets through, what
// comes of them first is in order.
func (p *Publisher) send(ctx context.Context, channel string, evs []events.Event) error {
	var why error // it could not be done; better than that time ran out, which ctx says
	for attempt := 0; ctx.Err() == nil; attempt++ {
		err := p.try(ctx, channel, evs)
		if !transient(err) {
			return err
		}
		if why == nil || !errors.Is(err, context.DeadlineExceeded) {
			why = err
		}
		sleep(ctx, delay(attempt, rand.Float64()))
	}
	if why == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ctx.Err(), why)
}

func (p *Publisher) try(ctx context.Context, channel string, evs []events.Event) error {
	cmds := make([]redis.Cmder, len(evs))
	for i, ev := range evs {
		cmds[i] = p.command(ctx, channel, ev)
	}
	switch {
	case p.cfg.Durable && p.cfg.Replicas > 0:
		return p.pipeline(ctx, p.key(channel), cmds)
	case len(cmds) == 1:
		return p.redis.Process(ctx, cmds[0])
	}
	switch p.redis.(type) {
	case *redis.Client, shards:
		return p.pipeline(ctx, p.key(channel), cmds)
	}
	return p.transaction(ctx, cmds)
}

// command has its key at the place where go-redis looks for it. To go-redis PUBLISH has none, so that in a cluster
// each would go through a node chosen at random, which mixes up their order, and in a ring's pipeline through a shard
// nobody listens to.
func (p *Publisher) command(ctx context.Context, channel string, ev events.Event) redis.Cmder {
	var cmd *redis.Cmd
	if p.cfg.Durable {
		cmd = redis.NewCmd(ctx, "xadd", p.key(channel), "maxlen", "~", p.cfg.MaxLen, "*", "event", ev.Raw())
	} else {
		cmd = redis.NewCmd(ctx, "publish", p.key(channel), ev.Raw())
	}
	cmd.SetFirstKeyPos(1)
	return cmd
}

// key is the name of the channel's stream, or the channel, that decides which node it goes to.
func (p *Publisher) key(channel string) string {
	if p.cfg.Durable {
		return p.cfg.Prefix + channel
	}
	return channel
}

// transient reports whether to try again: after all that is no answer of Redis, but a broken connection or none, and
// after the answers that a restart, a failover or a moving cluster explains. The end of a context is left to whoever
// has it, as a client's own timeout looks alike.
func transient(err error) bool {
	var answer redis.Error
	switch {
	case err == nil, errors.Is(err, redis.ErrClosed), errors.Is(err, ErrNotReplicated), errors.Is(err, errClient):
		return false
	case !errors.As(err, &answer):
		return true
	}
	_, moved := redis.IsMovedError(err)
	_, ask := redis.IsAskError(err)
	return moved || ask || redis.IsLoadingError(err) || redis.IsReadOnlyError(err) || redis.IsMasterDownError(err) ||
		redis.IsClusterDownError(err) || redis.IsTryAgainError(err) || redis.IsNoReplicasError(err) ||
		redis.IsMaxClientsError(err) || redis.HasErrorPrefix(err, "UNBLOCKED ") // a master became a replica during WAIT
}

// The bounds of the time before the second try, and before any.
const (
	firstDelay = 20 * time.Millisecond
	maxDelay   = time.Second
)

// delay is how long to wait after an attempt, counted from 0: anything up to a limit that doubles, so that those who
// wait do not come all at once when Redis is back. dice is from 0 to 1.
func delay(attempt int, dice float64) time.Duration {
	limit := maxDelay
	if attempt < 10 {
		limit = min(limit, firstDelay<<attempt)
	}
	return time.Duration(dice * float64(limit))
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
