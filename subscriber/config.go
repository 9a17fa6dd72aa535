package subscriber

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
)

const (
	maxName       = 64
	minIdle       = time.Minute
	maxConcurrent = 1000
	maxQueued     = 100_000
)

// Config says what a Subscriber consumes, and how. Group and Channels must be set.
type Config struct {
	// Group names those that share the work, with 1 to 64 letters, digits, "-" and "_".
	Group string
	// Channels are those whose events are consumed, such as events.ChannelUpload.
	Channels []string
	// Match says which events are handled; the group is done with the others at once. It must not panic. Nil means all.
	Match func(events.Event) bool

	// Concurrency is how many events of a channel this process handles at once. Zero means 4.
	Concurrency int
	// Queue is how many events of a channel this process holds at once, those that wait to be tried again included. While it
	// is full, it reads no more. Zero means 256.
	Queue int
	// Ordered has the events of one photo (data.photoId) handled in order, also while one is tried again. It holds
	// within a process: where order matters, let one process of the group run at a time.
	Ordered bool
	// Timeout is how long the handler may take with one event. Zero means 30 s.
	Timeout time.Duration
	// Drain is how long events under way may take after Run's context has ended. Zero means 3 s.
	Drain time.Duration

	// MaxAttempts is how often an event is tried, whatever the error. Zero means what Backoff says for its category.
	MaxAttempts int
	// Backoff says how often and how soon an event is tried again after an error of which category.
	Backoff delivery.Backoff
	// Breaker leaves the handler alone for a while when it fails again and again. Nil means never.
	Breaker *delivery.BreakerConfig
	// OnAttempt hears of each attempt, in the goroutine that made it. It must return soon, and not panic; nil means nobody.
	OnAttempt func(delivery.Attempt)

	// MaxIdle is after what time without a sign of life a process counts as dead, and others take over what it had. Zero means
	// 1 minute, which is the least.
	MaxIdle time.Duration
	// MaxEvent is the largest event taken, in bytes. Zero means 1 MiB, as for events.Decode.
	MaxEvent int

	// Stream and KeyPrefix are the bus's (log.stream, redis.keyPrefix): they make the names of the keys. Zero means
	// "socket.io" and "eventbus:".
	Stream, KeyPrefix string
	// Logger is told when Redis is away and of handlers that panic. Nil means nobody.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.MaxIdle = cmp.Or(c.MaxIdle, minIdle)
	c.Stream = cmp.Or(c.Stream, "socket.io")
	c.KeyPrefix = cmp.Or(c.KeyPrefix, "eventbus:")
	c.Logger = cmp.Or(c.Logger, zap.NewNop())
	if c.MaxAttempts > 0 {
		c.Backoff.MaxRetries = map[delivery.Category]int{delivery.CategoryDefault: c.MaxAttempts}
	}
	return c
}

// Validate reports all that is wrong with a Config.
func (c Config) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("subscriber.Config."+format, args...))
	}
	if !isName(c.Group) {
		wrong(`Group is %.80q: want 1 to %d letters, digits, "-" and "_"`, c.Group, maxName)
	}
	if len(c.Channels) == 0 {
		wrong("Channels is empty: want one or more, such as %q", events.ChannelUpload)
	}
	for i, channel := range c.Channels {
		if channel == "" || len(channel) > 256 {
			wrong("Channels[%d] has %d bytes: want 1 to 256", i, len(channel))
		}
		if slices.Contains(c.Channels[:i], channel) {
			wrong("Channels[%d] is %.80q again: want each once", i, channel)
		}
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrent {
		wrong("Concurrency is %d: want 1 to %d, or 0 for 4", c.Concurrency, maxConcurrent)
	}
	if c.Queue < 0 || c.Queue > maxQueued {
		wrong("Queue is %d: want 1 to %d, or 0 for 256", c.Queue, maxQueued)
	}
	if c.Timeout < 0 {
		wrong("Timeout is %s: want a positive duration, or 0 for 30s", c.Timeout)
	}
	if c.Drain < 0 {
		wrong("Drain is %s: want a positive duration, or 0 for 3s", c.Drain)
	}
	if c.MaxAttempts < 0 || c.MaxAttempts > 1000 {
		wrong("MaxAttempts is %d: want 1 to 1000, or 0 for what Backoff says", c.MaxAttempts)
	}
	if c.MaxIdle != 0 && c.MaxIdle < minIdle {
		wrong("MaxIdle is %s: want %s or more, or 0 for %s", c.MaxIdle, minIdle, minIdle)
	}
	if c.MaxEvent < 0 {
		wrong("MaxEvent is %d: want 1 or more bytes, or 0 for 1 MiB", c.MaxEvent)
	}
	if err := c.Backoff.Validate(); err != nil {
		wrong("Backoff: %w", err)
	}
	if c.Breaker != nil {
		if err := c.Breaker.Validate(); err != nil {
			wrong("Breaker: %w", err)
		}
	}
	return errors.Join(problems...)
}

func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// Handler handles one event. It must return when its context ends. An error has the event tried again, unless it is
// Permanent, or an error of package events; RateLimited says when. A panic is an error.
type Handler func(context.Context, events.Event) error

// RateLimited is an error that says when the event can be handled: nothing is handled until then.
type RateLimited = delivery.RateLimited

// Permanent marks an error that no further attempt mends: the event goes to the dead letters at once.
func Permanent(err error) error { return delivery.Permanent(err) }
