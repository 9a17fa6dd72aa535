package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// masters and shards are what clients of several nodes have: a ClusterClient and a Ring.
type (
	masters interface {
		MasterForKey(ctx context.Context, key string) (*redis.Client, error)
		ReloadState(ctx context.Context)
	}
	shards interface {
		GetShardClientForKey(key string) (*redis.Client, error)
	}
)

var errClient = errors.New("publisher.Config.Replicas takes a Client, ClusterClient or Ring of go-redis")

// node is the client of the one node that has the key.
func (p *Publisher) node(ctx context.Context, key string) (*redis.Client, error) {
	switch c := p.redis.(type) {
	case *redis.Client:
		return c, nil
	case masters:
		return c.MasterForKey(ctx, key)
	case shards:
		return c.GetShardClientForKey(key)
	}
	return nil, fmt.Errorf("%w, not %T", errClient, p.redis)
}

// pipeline sends commands as a transaction and waits for replicas if there must be some. WAIT is about what had been
// written when its own connection last did something: on another one it may answer at once that all is well. So
// everything is one pipeline to one node, which is one connection, and a client that repeats it repeats all of it.
//
// MULTI and EXEC are written out because a Client's TxPipeline does not read what comes after a refused MULTI, and
// may take that for the answers to its next commands.
func (p *Publisher) pipeline(ctx context.Context, key string, cmds []redis.Cmder) error {
	node, err := p.node(ctx, key)
	if err != nil {
		return err
	}
	exec := redis.NewSliceCmd(ctx, "exec")
	all := cmds
	if len(cmds) > 1 {
		all = append(append([]redis.Cmder{redis.NewStatusCmd(ctx, "multi")}, cmds...), exec)
	}
	var wait *redis.IntCmd
	if p.cfg.Durable && p.cfg.Replicas > 0 {
		wait = redis.NewIntCmd(ctx, "wait", p.cfg.Replicas, waitTime(ctx, node).Milliseconds())
		all = append(all, wait)
	}
	pipe := node.Pipeline()
	_ = pipe.BatchProcess(ctx, all...) // only queues
	_, err = pipe.Exec(ctx)            // the first error, so why it was refused and not that it was
	for _, result := range exec.Val() {
		if e, ok := result.(error); ok {
			err = e
			break
		}
	}
	switch {
	case err != nil:
		if cluster, ok := p.redis.(masters); ok && transient(err) {
			cluster.ReloadState(ctx) // the stream, or the master of its slot, may be another node by now
		}
		return err
	case wait != nil && wait.Val() < int64(p.cfg.Replicas):
		return fmt.Errorf("%w: %d of %d", ErrNotReplicated, wait.Val(), p.cfg.Replicas)
	}
	return nil
}

// waitTime is how long replicas have, so that the answer is here before ctx ends or the client gives the connection up.
// An idle Redis looks only ten times a second whether the time of a WAIT is over.
func waitTime(ctx context.Context, node *redis.Client) time.Duration {
	deadline, _ := ctx.Deadline() // there is one: Timeout
	left := time.Until(deadline)
	if limit := node.Options().ReadTimeout; limit > 0 {
		left = min(left, limit)
	}
	return max(left-min(left/2, 250*time.Millisecond), time.Millisecond) // to WAIT, 0 is for ever
}

// transaction follows a stream that is moving to another node, which pipeline has to wait for.
func (p *Publisher) transaction(ctx context.Context, cmds []redis.Cmder) error {
	tx := p.redis.TxPipeline()
	_ = tx.BatchProcess(ctx, cmds...) // only queues
	_, err := tx.Exec(ctx)
	for _, cmd := range cmds {
		if e := cmd.Err(); e != nil && !redis.IsExecAbortError(e) {
			return e // err may only say that one of them was refused
		}
	}
	return err
}
