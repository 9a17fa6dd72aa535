package publisher

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/events"
	"go.opentelemetry.io/otel/trace"
)

// Config says how events are sent, and bounds what one call does.
type Config struct {
	// MaxBytes is the largest event taken, in bytes of its JSON. Zero means 1 MiB, as for events.Decode.
	MaxBytes int
	// MaxBatch is the most events PublishBatch takes at once. Zero means 1000.
	MaxBatch int
	// Timeout is how long a call may take, beside the deadline of its context. While Redis cannot be reached, or says
	// that it cannot do it yet, the call tries again until then. Zero means 5 s.
	Timeout time.Duration
	// MaxWaiting is the most events that may be on their way at once, in all calls together: while Redis is away they
	// add up, and those over it get ErrBusy at once. Zero means 10,000, or MaxBatch if that is more.
	MaxWaiting int

	// Check, if not nil, decides instead of events.Validate which events are sent, for those who have types of their own.
	Check func(events.Event) error

	// TracerProvider makes the OpenTelemetry span of each event that is sent, event-bus.publish.<channel>. The event
	// carries it on as metadata.traceparent, for the spans of the bus to be in the same trace, and its trace as
	// metadata.traceId, if it has none; for that the JSON that is sent has these members more than the caller's. Nil
	// means no spans.
	TracerProvider trace.TracerProvider

	// Durable events are written to a stream in Redis, one for each channel, which the bus reads: they are delivered
	// even if no replica of the bus is there when they are published. Zero means PUBLISH, which reaches those who
	// listen at that moment.
	Durable bool
	// Prefix and the name of a channel make the name of its stream. Zero means "eventbus:in:".
	Prefix string
	// MaxLen is about how many events a stream keeps: the oldest go first, whether the bus has read them or not. Zero
	// means 100,000.
	MaxLen int64
	// Replicas of Redis must have a durable event before a call returns without an error, so that a failover does not
	// lose it. They have until Timeout or the client's ReadTimeout, whichever is sooner. It takes a Client,
	// ClusterClient or Ring of go-redis. Zero means that the master alone is enough.
	Replicas int
}

func (c Config) withDefaults() Config {
	c.MaxBytes = cmp.Or(c.MaxBytes, events.DefaultMaxBytes)
	c.MaxBatch = cmp.Or(c.MaxBatch, 1000)
	c.Timeout = cmp.Or(c.Timeout, 5*time.Second)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, max(10_000, c.MaxBatch))
	c.Prefix = cmp.Or(c.Prefix, "eventbus:in:")
	c.MaxLen = cmp.Or(c.MaxLen, 100_000)
	return c
}

// Validate reports all that is wrong with a Config.
func (c Config) Validate() error {
	var problems []error
	wrong := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("publisher.Config."+format, args...))
	}
	if c.MaxBytes < 0 {
		wrong("MaxBytes is %d: want 1 or more bytes, or 0 for 1 MiB", c.MaxBytes)
	}
	if c.MaxBatch < 0 {
		wrong("MaxBatch is %d: want 1 or more events, or 0 for 1000", c.MaxBatch)
	}
	if c.Timeout < 0 {
		wrong("Timeout is %s: want a positive duration, or 0 for 5s", c.Timeout)
	}
	if d := c.withDefaults(); d.MaxWaiting < max(1, d.MaxBatch) {
		wrong("MaxWaiting is %d: want MaxBatch, which is %d, or more events, or 0 for 10000", d.MaxWaiting, d.MaxBatch)
	}
	if c.MaxLen < 0 {
		wrong("MaxLen is %d: want 1 or more events, or 0 for 100000", c.MaxLen)
	}
	if c.Replicas < 0 {
		wrong("Replicas is %d: want 0 or more", c.Replicas)
	}
	if c.Replicas > 0 && !c.Durable {
		wrong("Replicas is %d, but Durable is not set: what is sent by PUBLISH is not stored, so no replica can have it", c.Replicas)
	}
	return errors.Join(problems...)
}
