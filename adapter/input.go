package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Input is one event from a durable input stream.
type Input struct {
	Position
	Payload []byte // of the field "event", nil when there is none
}

// Consume calls handle with what publishers add to a stream after a position, in order, as much as there is at a time,
// until ctx ends, handle returns an error, or Redis fails. Reading changes nothing in Redis: what was handled is noted
// elsewhere, by Log.Append.
func (r *Redis) Consume(ctx context.Context, stream string, after Position, handle func([]Input) error) error {
	client := r.Dedicated()
	closed := context.AfterFunc(ctx, func() { _ = client.Close() }) // ends a read under way
	defer client.Close()
	defer closed()
	for {
		streams, err := client.XRead(ctx, &redis.XReadArgs{
			Streams: []string{stream, after.String()}, Count: readLen, Block: blockTime,
		}).Result()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, redis.Nil) || err == nil && len(streams) == 0:
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", stream, r.explain(err))
		}
		batch := make([]Input, 0, len(streams[0].Messages))
		for _, m := range streams[0].Messages {
			p, err := ParsePosition(m.ID)
			if err != nil {
				return fmt.Errorf("entry %q of %s: %w", m.ID, stream, err)
			}
			in := Input{Position: p}
			if event, ok := m.Values["event"].(string); ok {
				in.Payload = []byte(event)
			}
			batch = append(batch, in)
			after = p
		}
		if err := handle(batch); err != nil {
			return err
		}
	}
}

// Trimmed reports whether entries of a stream after a position are gone, in all likelihood: the one there is, and it
// is not the last.
func (r *Redis) Trimmed(ctx context.Context, stream string, after Position) (bool, error) {
	if after == (Position{}) {
		return false, nil
	}
	pipe := r.client.Pipeline()
	there := pipe.XRangeN(ctx, stream, after.String(), after.String(), 1)
	next := pipe.XRangeN(ctx, stream, "("+after.String(), "+", 1)
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("read %s: %w", stream, r.explain(err))
	}
	return len(there.Val()) == 0 && len(next.Val()) > 0, nil
}
