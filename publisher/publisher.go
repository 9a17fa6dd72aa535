// Package publisher puts events on the bus: it is what the platform's Go services import.
//
// It checks each event against its schema before it sends it, so that a mistake shows where it was made. It publishes
// with Redis PUBLISH, which reaches whoever listens at that moment, or, if Config.Durable says so, by a stream in
// Redis, from which the bus takes what was published while it was not there. It neither filters nor subscribes, and
// it leaves the Redis client, with its address and pool, to the caller.
//
// After an error an event may or may not have been sent. Sending it again is safe, because the bus delivers an ID
// once on a channel, within 24 hours: so an event that is sent until there is no error, and durably, is delivered
// exactly once.
package publisher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"
)

// What a caller may want to tell from other errors.
var (
	// ErrBusy is returned at once if more than Config.MaxWaiting events would be on their way, because Redis is away
	// or slow. The event was not sent.
	ErrBusy = errors.New("too many events wait for Redis")
	// ErrNotReplicated is returned if fewer than Config.Replicas had the event in time. It is in the master, and is
	// delivered unless that fails before its replicas have caught up. Sending it again is safe.
	ErrNotReplicated = errors.New("in the master of Redis, but not confirmed by enough replicas in time; sending it again is safe")
)

// Publisher publishes events. It is safe for concurrent use.
type Publisher struct {
	redis   redis.UniversalClient
	cfg     Config
	tracer  trace.Tracer // nil: no spans
	waiting atomic.Int64 // events of calls that have not returned
}

// New returns a Publisher that sends through client, which remains the caller's to close. With the client's
// ContextTimeoutEnabled, deadlines hold to the letter; without it, the client's own ReadTimeout decides how long a
// Redis that has gone silent is waited for. The client's own MaxRetries are not needed here and do no harm: what comes
// twice is delivered once, and a channel's part of a batch is repeated as a whole. Check a Config that comes from
// outside with Validate: a negative limit refuses everything.
func New(client redis.UniversalClient, cfg Config) *Publisher {
	p := &Publisher{redis: client, cfg: cfg.withDefaults()}
	if cfg.TracerProvider != nil {
		p.tracer = cfg.TracerProvider.Tracer(tracerName)
	}
	return p
}

// Publish publishes an event on the default channel of its type. An event that breaks its schema is
// events.ErrInvalid, one that is too long events.ErrTooLarge; sending those again does not help. While Redis is away
// it tries again until Config.Timeout or ctx ends. After any other error the event may or may not have been sent, or
// be still on its way; sending it again is safe, because the bus delivers an ID once.
//
// Events that one caller publishes one after the other keep their order, if it goes on to the next only when there is
// no error for the one before.
func (p *Publisher) Publish(ctx context.Context, ev events.Event) error {
	channel, _ := events.Channel(ev.Type) // check refuses a type without a channel
	return p.PublishTo(ctx, channel, ev)
}

// PublishTo publishes an event on a channel of the caller's choice; otherwise it is like Publish.
func (p *Publisher) PublishTo(ctx context.Context, channel string, ev events.Event) error {
	if err := p.check(channel, ev); err != nil {
		return err
	}
	if !p.enter(1) {
		return failed(channel, ev, ErrBusy)
	}
	defer p.leave(1)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	ev, span := p.begin(ctx, channel, ev)
	err := p.send(ctx, channel, []events.Event{ev})
	finish(span, err)
	return failed(channel, ev, err)
}

// ChannelEvent is an event and the channel it is published on.
type ChannelEvent struct {
	Channel string // empty means the default channel of the event's type
	Event   events.Event
}

// PublishBatch publishes events on the default channels of their types; otherwise it is like PublishAll.
func (p *Publisher) PublishBatch(ctx context.Context, evs []events.Event) []error {
	batch := make([]ChannelEvent, len(evs))
	for i, ev := range evs {
		batch[i].Event = ev
	}
	return p.PublishAll(ctx, batch)
}

// PublishAll publishes events on their channels, in one round trip for each channel and in
// their order there. The result has an error, or nil, for each event, as Publish would return it. An event that is
// refused before it is sent does not stop the others. Those of a channel are accepted together or not at all, in a
// transaction (MULTI and EXEC, which the user of Redis must be allowed to call) for every 4 MiB or so; after one that
// fails the later events of that channel are not sent. Of a batch larger than MaxBatch nothing is published.
func (p *Publisher) PublishAll(ctx context.Context, batch []ChannelEvent) []error {
	errs := make([]error, len(batch))
	if len(batch) > p.cfg.MaxBatch {
		err := fmt.Errorf("batch has %d events: want at most %d", len(batch), p.cfg.MaxBatch)
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
	good := map[string][]int{} // indexes, by channel
	evs := make([]events.Event, len(batch))
	n := 0
	for i, one := range batch {
		channel, ev := one.Channel, one.Event
		if channel == "" {
			channel, _ = events.Channel(ev.Type)
		}
		evs[i] = ev
		if errs[i] = p.check(channel, ev); errs[i] == nil {
			good[channel] = append(good[channel], i)
			n++
		}
	}
	if !p.enter(n) {
		for channel, of := range good {
			fail(errs, channel, evs, of, ErrBusy)
		}
		return errs
	}
	defer p.leave(n)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	end := p.beginAll(ctx, good, evs)
	var channels sync.WaitGroup // at once, because in a cluster one may be away while the others are there
	for channel, of := range good {
		channels.Go(func() { p.sendMany(ctx, channel, evs, of, errs) })
	}
	channels.Wait()
	end(errs)
	return errs
}

// sendMany sends those of a channel. errs gets their errors at their places.
func (p *Publisher) sendMany(ctx context.Context, channel string, evs []events.Event, of []int, errs []error) {
	for len(of) > 0 {
		var part []events.Event
		for size := 0; len(part) < len(of); {
			ev := evs[of[len(part)]]
			if size += len(ev.Raw()); size > maxTransaction && len(part) > 0 {
				break
			}
			part = append(part, ev)
		}
		now, later := of[:len(part)], of[len(part):]
		if err := p.send(ctx, channel, part); err != nil {
			fail(errs, channel, evs, now, err)
			// Not wrapped: what is true of an event that was sent is not of these.
			fail(errs, channel, evs, later, fmt.Errorf("not sent, as it would be before an earlier event that failed: %v", err))
			return
		}
		of = later
	}
}

// enter lets n more events in, unless there are too many.
func (p *Publisher) enter(n int) bool {
	for {
		before := p.waiting.Load()
		if before+int64(n) > int64(p.cfg.MaxWaiting) {
			return false
		}
		if p.waiting.CompareAndSwap(before, before+int64(n)) {
			return true
		}
	}
}

func (p *Publisher) leave(n int) { p.waiting.Add(-int64(n)) }

func (p *Publisher) check(channel string, ev events.Event) error {
	if size := len(ev.Raw()); size > p.cfg.MaxBytes {
		return fmt.Errorf("publish %s %q: %w: %d bytes, want at most %d", ev.Type, ev.ID, events.ErrTooLarge, size, p.cfg.MaxBytes)
	}
	valid := p.cfg.Check
	if valid == nil {
		valid = events.Validate
	}
	if err := valid(ev); err != nil {
		return fmt.Errorf("publish %s %q: %w", ev.Type, ev.ID, err)
	}
	if channel == "" {
		return fmt.Errorf("publish %s %q: want the name of a channel", ev.Type, ev.ID)
	}
	return nil
}

func fail(errs []error, channel string, evs []events.Event, of []int, err error) {
	for _, i := range of {
		errs[i] = failed(channel, evs[i], err)
	}
}

func failed(channel string, ev events.Event, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("publish %s %q on %q: %w", ev.Type, ev.ID, channel, err)
}
