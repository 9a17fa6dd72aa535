package adapter

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// maxAgain bounds the field "again", in bytes.
const maxAgain = 64

// Input is one event from a durable input stream.
type Input struct {
	Position
	Payload []byte // of the field "event", nil when there is none
	// Again, of the field "again", sets it apart from an event of the same id that was delivered: it is delivered once more.
	Again string
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
			if again, ok := m.Values["again"].(string); ok && len(again) <= maxAgain {
				in.Again = again
			}
			batch = append(batch, in)
			after = p
		}
		if err := handle(batch); err != nil {
			return err
		}
	}
}

// Offer adds an event to the end of a durable input stream. With again, it is delivered although one of its id was, but
// only once for each value of it.
func (r *Redis) Offer(ctx context.Context, stream string, event []byte, again string) error {
	values := []any{"event", event}
	if again != "" {
		values = append(values, "again", again)
	}
	if err := r.client.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: values}).Err(); err != nil {
		return fmt.Errorf("write to %s: %w", stream, r.explain(err))
	}
	return nil
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
