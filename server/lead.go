package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// channel is an input channel: what was heard on it, and who may take it to the log.
type channel struct {
	name    string
	waiting *waiting
	durable bool         // it has an input stream, too
	taking  sync.Mutex   // one batch at a time, wherever it comes from
	reading atomic.Int64 // when the oldest durable event under way was written, in ms; zero: none is
	ingest  func(context.Context, adapter.Lease, []message) error
}

// lead takes a channel's messages to the log, for as long as this replica holds the lease.
func (s *Server) lead(ctx context.Context, lease adapter.Lease) {
	c := s.channels[lease.Channel]
	s.metrics.leases.WithLabelValues(c.name).Set(1)
	defer s.metrics.leases.WithLabelValues(c.name).Set(0)
	// First hear what the predecessor has written: the rest of what is waiting, it has not.
	if s.persist(ctx, func() error { return s.Log.Wait(ctx) }) != nil {
		return
	}
	var inputs sync.WaitGroup
	defer inputs.Wait() // which may take a while, in which somebody else leads
	c.waiting.lead(true)
	defer c.waiting.lead(false)
	if c.durable {
		inputs.Go(func() { s.consume(ctx, lease, c) })
		if s.Subscriptions != nil {
			inputs.Go(func() { s.Subscriptions.Lead(ctx, c.name) })
		}
	}
	for {
		batch, err := c.waiting.batch(ctx)
		if err != nil {
			return
		}
		messages := make([]message, len(batch))
		for i, h := range batch {
			messages[i].payload = h.payload
		}
		if c.take(ctx, lease, messages) != nil {
			return // what is left is for the successor; should that be us, it is waiting here
		}
		c.waiting.done(batch[len(batch)-1].number)
	}
}

// consume takes a channel's durable input to the log, from where it was left.
func (s *Server) consume(ctx context.Context, lease adapter.Lease, c *channel) {
	stream := s.cfg.InputPrefix + c.name
	defer c.reading.Store(0)
	_ = s.persist(ctx, func() error {
		from, err := s.Log.Cursor(ctx, c.name)
		if err != nil {
			return err
		}
		if trimmed, err := s.Inputs.Trimmed(ctx, stream, from); err != nil {
			return err
		} else if trimmed {
			s.metrics.trimmed.WithLabelValues(c.name).Inc()
			s.Logger.Warn("events may have been trimmed from the input before they were read; give its publishers a higher MAXLEN",
				zap.String("stream", stream), zap.Stringer("after", from))
		}
		return s.Inputs.Consume(ctx, stream, from, func(batch []adapter.Input) error {
			var messages []message
			size := 0
			for i, in := range batch {
				messages = append(messages, message{payload: in.Payload, cursor: in.Position, again: in.Again})
				c.reading.CompareAndSwap(0, int64(in.MS))
				if size += len(in.Payload); size >= batchBytes || len(messages) == c.waiting.most || i == len(batch)-1 {
					if err := c.take(ctx, lease, messages); err != nil {
						return err
					}
					messages, size = nil, 0
					c.reading.Store(0)
				}
			}
			return nil
		})
	})
}

// lag is for how long the oldest event has waited that this replica has to take to the log.
func (c *channel) lag(now time.Time) time.Duration {
	lag := c.waiting.oldest(now)
	if ms := c.reading.Load(); ms != 0 {
		lag = max(lag, now.Sub(time.UnixMilli(ms)))
	}
	return lag
}

// take brings messages to the log, after those that somebody else is bringing there.
func (c *channel) take(ctx context.Context, lease adapter.Lease, messages []message) error {
	c.taking.Lock()
	defer c.taking.Unlock()
	return c.ingest(ctx, lease, messages)
}

// persist tries until it works, the lease is lost, or ctx ends. It tells about the first failure, once a minute about what
// does not mend, and about the end of it.
func (s *Server) persist(ctx context.Context, try func() error) error {
	var since, told time.Time
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := try()
		switch {
		case err == nil:
			if !since.IsZero() {
				s.Logger.Info("the log takes events again", zap.Duration("after", time.Since(since)))
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, adapter.ErrDeposed):
			return err
		case since.IsZero():
			since = time.Now()
			fallthrough
		case time.Since(told) > time.Minute:
			told = time.Now()
			s.Logger.Warn("events wait for the log, trying again", zap.Error(err))
		}
		s.metrics.retries.Inc()
		select {
		case <-time.After(wait/2 + rand.N(wait/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// finishTime is how long what was heard before the end may take to be written.
const finishTime = 2 * time.Second

// finish waits until what was heard on the channels that this replica leads is written: there may be no other replica.
func (s *Server) finish() {
	for end := time.Now().Add(finishTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		left := 0
		for _, c := range s.channels {
			left += c.waiting.toLead()
		}
		if left == 0 {
			return
		}
	}
}

// hear takes in a plain message, whoever leads its channel.
func (s *Server) hear(ctx context.Context, name string, payload []byte) {
	c := s.channels[name]
	if c == nil && name == s.Leaders.Voice() {
		s.Leaders.Heard()
		return
	}
	if c == nil && s.Emitters != nil {
		payload, c = s.Emitters.Heard(name, payload), s.channels[EmitterChannel]
	}
	if c != nil && payload != nil {
		c.waiting.hear(ctx, payload)
	}
}

// forget drops from what is waiting, every so often until ctx ends, what will not show up in the log any more.
func (s *Server) forget(ctx context.Context) error {
	tick := time.NewTicker(overlap)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.forgetOld(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// forgetOld drops what was heard long ago, unless Redis was away or took nothing meanwhile: its leader is waiting, too.
func (s *Server) forgetOld(now time.Time) {
	old := now.Add(-keepUnseen)
	if since := s.Leaders.Beating(); since.IsZero() || since.After(old) {
		return
	}
	for _, c := range s.channels {
		c.waiting.forget(old)
	}
}

// written drops from what is waiting what the log shows to be written.
func (s *Server) written(entries []adapter.Entry) {
	for i := range entries {
		if key := entries[i].Key; key != "" {
			for _, c := range s.channels {
				c.waiting.seen(key)
			}
		}
	}
}
