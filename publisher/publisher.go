// Package publisher puts events on the bus: it is what the platform's Go services import.
//
// It checks each event against its schema before it sends it, so that a mistake shows where it was made. It publishes
// with Redis PUBLISH, which reaches whoever listens at that moment. It neither filters nor subscribes, and it leaves
// the Redis client, with its address, pool and retries, to the caller.
package publisher

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

// Config bounds what one call does.
type Config struct {
	// MaxBytes is the largest event taken, in bytes of its JSON. Zero means 1 MiB, as for events.Decode.
	MaxBytes int
	// MaxBatch is the most events PublishBatch takes at once. Zero means 1000.
	MaxBatch int
	// Timeout is how long a call may take, beside the deadline of its context. Zero means 5 s.
	Timeout time.Duration
}

func (c Config) withDefaults() Config {
	c.MaxBytes = cmp.Or(c.MaxBytes, events.DefaultMaxBytes)
	c.MaxBatch = cmp.Or(c.MaxBatch, 1000)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	return c
}

// Validate reports all that is wrong with a Config.
func (c Config) Validate() error {
	var problems []error
	if c.MaxBytes < 0 {
		problems = append(problems, fmt.Errorf("publisher.Config.MaxBytes is %d: want 1 or more bytes, or 0 for 1 MiB", c.MaxBytes))
	}
	if c.MaxBatch < 0 {
		problems = append(problems, fmt.Errorf("publisher.Config.MaxBatch is %d: want 1 or more events, or 0 for 1000", c.MaxBatch))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("publisher.Config.Timeout is %s: want a positive duration, or 0 for 5s", c.Timeout))
	}
	return errors.Join(problems...)
}

// Publisher publishes events. It is safe for concurrent use.
type Publisher struct {
	redis redis.UniversalClient
	cfg   Config
}

// New returns a Publisher that sends through client, which remains the caller's to close. With the client's
// ContextTimeoutEnabled, deadlines hold to the letter; without it, the client's own ReadTimeout decides how long a
// Redis that has gone silent is waited for. Check a Config that comes from outside with Validate: a negative limit
// refuses everything.
func New(client redis.UniversalClient, cfg Config) *Publisher {
	return &Publisher{redis: client, cfg: cfg.withDefaults()}
}

// Publish publishes an event on the default channel of its type. An event that breaks its schema is
// events.ErrInvalid, one that is too long events.ErrTooLarge; sending those again does not help. After any other
// error the event may or may not have been sent; sending it again is safe, because the bus delivers an ID once.
func (p *Publisher) Publish(ctx context.Context, ev events.Event) error {
	channel, _ := events.Channel(ev.Type) // check refuses a type without a channel
	return p.PublishTo(ctx, channel, ev)
}

// PublishTo publishes an event on a channel of the caller's choice; otherwise it is like Publish.
func (p *Publisher) PublishTo(ctx context.Context, channel string, ev events.Event) error {
	if err := p.check(channel, ev); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	err := ctx.Err() // the client looks at the context only when it has to wait
	if err == nil {
		err = p.redis.Process(ctx, command(ctx, channel, ev))
	}
	return failed(channel, ev, err)
}

// PublishBatch publishes events on the default channels of their types, in one round trip and in their order within
// a channel. The result has an error, or nil, for each event, as Publish would return it; one that fails does not
// stop the others. Of a batch larger than MaxBatch nothing is published.
func (p *Publisher) PublishBatch(ctx context.Context, evs []events.Event) []error {
	errs := make([]error, len(evs))
	if len(evs) > p.cfg.MaxBatch {
		err := fmt.Errorf("batch has %d events: want at most %d", len(evs), p.cfg.MaxBatch)
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	pipe := p.redis.Pipeline()
	sent := make([]*redis.IntCmd, len(evs))
	for i, ev := range evs {
		channel, _ := events.Channel(ev.Type)
		if errs[i] = p.check(channel, ev); errs[i] == nil {
			sent[i] = command(ctx, channel, ev)
			_ = pipe.Process(ctx, sent[i]) // only queues; each command learns its own result from Exec
		}
	}
	canceled := ctx.Err()
	if canceled == nil {
		_, _ = pipe.Exec(ctx) // its error is the first command's
	}
	for i, cmd := range sent {
		if cmd != nil {
			channel, _ := events.Channel(evs[i].Type)
			errs[i] = failed(channel, evs[i], cmp.Or(canceled, cmd.Err()))
		}
	}
	return errs
}

func (p *Publisher) check(channel string, ev events.Event) error {
	if size := len(ev.Raw()); size > p.cfg.MaxBytes {
		return fmt.Errorf("publish %s %q: %w: %d bytes, want at most %d", ev.Type, ev.ID, events.ErrTooLarge, size, p.cfg.MaxBytes)
	}
	if err := events.Validate(ev); err != nil {
		return fmt.Errorf("publish %s %q: %w", ev.Type, ev.ID, err)
	}
	if channel == "" {
		return fmt.Errorf("publish %s %q: want the name of a channel", ev.Type, ev.ID)
	}
	return nil
}

// command is PUBLISH with the channel as its key. To go-redis it has none, so that in a cluster each command would go
// through a node chosen at random, which mixes up their order, and in a ring's pipeline through a shard nobody
// listens to.
func command(ctx context.Context, channel string, ev events.Event) *redis.IntCmd {
	cmd := redis.NewIntCmd(ctx, "publish", channel, ev.Raw())
	cmd.SetFirstKeyPos(1)
	return cmd
}

func failed(channel string, ev events.Event, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("publish %s %q on %q: %w", ev.Type, ev.ID, channel, err)
}
