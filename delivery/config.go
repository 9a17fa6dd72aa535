package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/events"
)

// Config is how subscriptions are served. Durations of the configuration file are in ms there.
type Config struct {
	Backoff  Backoff       // resilience.maxRetries, .baseRetryDelay, .maxRetryDelay
	Breaker  BreakerConfig // resilience.circuitBreaker
	Webhooks WebhookConfig // webhooks

	// MaxEvent is the largest event taken from a feed, in bytes. Zero means 1 MiB. It should be no less than what is let
	// onto the bus: what is larger goes to the dead letters.
	MaxEvent int
	// Drain is how long events under way may take when the replica stops or no longer leads. Zero means 3 s.
	Drain time.Duration
	// FeedMaxAge and FeedMaxLen bound what a channel's feed keeps for subscriptions that are slow or away: entries older,
	// or before the newest so many, go, and are lost to those that have not read them. What they have read is with them, and goes
	// on. Zero means 24 h and 100,000.
	FeedMaxAge time.Duration
	FeedMaxLen int64
	// MaxSubscriptions is the most that are declared at once, of all channels and kinds. Each that runs here has a
	// connection to Redis of its own, about 100 KiB, and reads each event once more. Zero means 200.
	MaxSubscriptions int
}

func (c Config) withDefaults() Config {
	c.Breaker, c.Webhooks = c.Breaker.withDefaults(), c.Webhooks.withDefaults()
	c.MaxEvent = cmp.Or(c.MaxEvent, events.DefaultMaxBytes)
	c.Drain = cmp.Or(c.Drain, 3*time.Second)
	c.FeedMaxAge = cmp.Or(c.FeedMaxAge, 24*time.Hour)
	c.FeedMaxLen = cmp.Or(c.FeedMaxLen, 100_000)
	c.MaxSubscriptions = cmp.Or(c.MaxSubscriptions, 200)
	return c
}

// Validate reports all problems at once, by key.
func (c Config) Validate() error {
	errs := []error{c.Backoff.Validate(), c.Breaker.Validate(), c.Webhooks.Validate()}
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("delivery."+format, args...))
	}
	c = c.withDefaults()
	if c.MaxEvent < 1 {
		wrong("maxEvent is %d: want 1 or more bytes, or 0 for 1 MiB", c.MaxEvent)
	}
	if c.Drain < 0 || c.Drain > time.Minute {
		wrong("drain is %s: want 1ms to 1m, or 0 for 3s", c.Drain)
	}
	if c.FeedMaxAge < time.Minute {
		wrong("feed.retention is %s: want 1m or more, or 0 for 24h", c.FeedMaxAge)
	}
	if c.FeedMaxLen < 1 {
		wrong("feed.maxLength is %d: want 1 or more events, or 0 for 100000", c.FeedMaxLen)
	}
	if c.MaxSubscriptions < 1 {
		wrong("maxSubscriptions is %d: want 1 or more, or 0 for 200", c.MaxSubscriptions)
	}
	return errors.Join(errs...)
}
