package adapter

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// errorCount counts the commands of the pool that Redis did not do, and the connections that could not be made. It is a
// hook of go-redis.
type errorCount struct{ n atomic.Uint64 }

// count leaves out what is no trouble: an absent value, a script that Redis has to be told first, an answer of our own
// scripts, and a caller that has lost interest.
func (c *errorCount) count(err error) {
	var answer redis.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil), errors.Is(err, context.Canceled):
		return
	case errors.As(err, &answer):
		code, _, _ := strings.Cut(answer.Error(), " ")
		switch code {
		case "NOSCRIPT", "DEPOSED", "FEED", "NOGROUP", "MOVED", "ASK":
			return
		}
	}
	c.n.Add(1)
}

func (c *errorCount) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		c.count(err)
		return conn, err
	}
}

func (c *errorCount) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		c.count(err)
		return err
	}
}

func (c *errorCount) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		c.count(err)
		return err
	}
}

// Errors counts commands that failed and connections that could not be made, since the start.
func (r *Redis) Errors() uint64 { return r.errors.n.Load() }
