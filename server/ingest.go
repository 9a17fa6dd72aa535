package server

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
	"github.com/photo-management/event-bus/server/socketio"
)

// message is one incoming message, with its place if it comes from a durable input.
type message struct {
	payload []byte
	cursor  adapter.Position
	again   string // sets it apart from one that was delivered under its id
}

// arrival is a message on its way to the log, and what became of it so far.
type arrival struct {
	message
	event   events.Event          // as it came
	key     string                // what it counts as; empty if it is no event
	limits  []routing.ThrottleAsk // that it must keep
	refused error                 // why it goes to the dead letters instead
	dropped string                // the filter that let it end here
	result  events.Event          // as it goes on
	targets []routing.Target      // where it goes
	fresh   bool                  // it was not there before
}

// goesOn reports whether nothing has stopped it.
func (in *arrival) goesOn() bool { return in.refused == nil && in.dropped == "" }

// reason is that of its dead letter, and also the category.
func (in *arrival) reason() string {
	if errors.Is(in.refused, ErrLimited) {
		return "rate_limit"
	}
	return "validation"
}

// ingest takes incoming messages of a channel to the log, in their order and together, however long that takes: it
// fails only when the lease is gone. What is no event, or not allowed, goes to the dead letters, and the others are
// taken. It runs on the channel's leader only. Each step may be tried again, and the whole by a successor.
func (s *Server) ingest(ctx context.Context, lease adapter.Lease, messages []message) (err error) {
	channel, d := lease.Channel, s.decisions.Load()
	batch := make([]arrival, len(messages))
	for i, m := range messages {
		batch[i] = s.receive(d, channel, m)
	}
	spans := s.tracing.consume(ctx, channel, batch)
	defer func() { s.tracing.consumed(spans, batch, err) }()
	var fresh []bool
	for _, step := range []func() error{
		func() error { return s.limit(ctx, batch) },
		func() error { return s.decide(ctx, d, channel, batch) },
		func() error { return s.bury(ctx, channel, batch) },
		func() error { return s.noteOwners(ctx, channel, batch) },
		func() (err error) {
			if records := records(batch); len(records) > 0 {
				fresh, err = s.Log.Append(ctx, lease, records)
			}
			return err
		},
	} {
		if err := s.persist(ctx, step); err != nil {
			return err
		}
	}
	s.account(channel, batch, fresh)
	return nil
}

// receive makes of a message an event, if it is one that may come in.
func (s *Server) receive(d *decisions, channel string, m message) arrival {
	in := arrival{message: m}
	if in.event, in.refused = events.Decode(m.payload, s.cfg.MaxEvent); in.refused != nil {
		return in
	}
	in.key = adapter.Key(channel, in.event.ID)
	if m.again != "" {
		in.key = adapter.Key(channel, in.event.ID+"\x00"+m.again)
	}
	in.limits, in.refused = d.admit(channel, in.event)
	return in
}

// decide has the filters say what becomes of each event that the limits have let pass, and the rules where it goes.
func (s *Server) decide(ctx context.Context, d *decisions, channel string, batch []arrival) error {
	evs := make([]events.Event, 0, len(batch))
	of := make([]int, 0, len(batch))
	for i := range batch {
		if batch[i].refused == nil {
			evs, of = append(evs, batch[i].event), append(of, i)
		}
	}
	outcomes, err := d.filters.Apply(ctx, routing.Inbound, channel, evs, s.throttle)
	if err != nil {
		return err
	}
	for j, i := range of {
		in, out := &batch[i], routing.Outcome{Event: evs[j]}
		if outcomes != nil {
			out = outcomes[j]
		}
		in.refused, in.dropped = out.Err, out.Dropped
		if in.goesOn() {
			in.result = out.Event
			in.targets = d.rules.TargetsWith(channel, out.Event, out)
		}
	}
	return nil
}

// records are what goes into the log: the events, and of what ends here that it has been dealt with.
func records(batch []arrival) []adapter.Record {
	all := make([]adapter.Record, 0, len(batch))
	for i := range batch {
		in := &batch[i]
		switch {
		case in.goesOn():
			r := adapter.Record{Key: in.key, Cursor: in.cursor, Event: in.result.Raw()}
			for _, t := range in.targets {
				r.Messages = append(r.Messages, adapter.Message{Rooms: t.Rooms, Args: socketio.Args(t.Event, in.result.Raw())})
			}
			all = append(all, r)
		case in.refused == nil: // should a successor decide otherwise, it does not count
			all = append(all, adapter.Record{Key: in.key, Cursor: in.cursor})
		case in.cursor != (adapter.Position{}): // it must not be read again
			all = append(all, adapter.Record{Cursor: in.cursor})
		}
	}
	return all
}

// account counts a batch that is dealt with. fresh is for each of its records.
func (s *Server) account(channel string, batch []arrival, fresh []bool) {
	next := 0
	for i := range batch {
		in := &batch[i]
		if in.refused == nil || in.cursor != (adapter.Position{}) {
			in.fresh = fresh[next]
			next++
		}
		switch {
		case in.refused != nil:
			s.metrics.ingestError(channel, in.refused)
			s.dropLog.Do(func() {
				s.Logger.Warn("message dropped", zap.String("channel", channel), zap.Int("bytes", len(in.payload)), zap.Error(in.refused))
			})
		case in.dropped != "" && in.fresh:
			s.metrics.filtered("inbound", channel, in.event.Type)
		default:
			s.metrics.received(channel, in.event.Type, in.fresh)
		}
	}
}

// bury puts what was refused among the dead letters. Letters that are there already are not doubled.
func (s *Server) bury(ctx context.Context, channel string, batch []arrival) error {
	if s.DeadLetters == nil {
		return nil
	}
	var refused []*arrival
	var letters []adapter.DeadLetter
	for i := range batch {
		if in := &batch[i]; in.refused != nil {
			refused = append(refused, in)
			letters = append(letters, adapter.DeadLetter{
				Channel: channel, Reason: in.reason(), Category: in.reason(), Error: in.refused.Error(), Attempts: 1,
				EventID: in.event.ID, EventType: in.event.Type, Event: in.payload, At: time.Now(),
			})
		}
	}
	added, err := s.DeadLetters.AddAll(ctx, letters)
	if err != nil {
		return err
	}
	for i, in := range refused {
		if added[i] {
			s.metrics.deadLetters.WithLabelValues(channel, in.reason()).Inc()
			s.auditRefusal(channel, in)
		}
	}
	return nil
}

// What uploaded and deleted photos tell about.
var (
	photoPath = mustPath("data.photoId")
	userPath  = mustPath("data.userId")
)

func mustPath(p string) events.Path {
	path, err := events.ParsePath(p)
	if err != nil {
		panic(err) // a constant of ours
	}
	return path
}

// noteOwners keeps whose a photo is, before its event is out and somebody asks for the photo. The event goes on when
// that fails: its readers are not to blame. One that came before changes nothing.
func (s *Server) noteOwners(ctx context.Context, channel string, batch []arrival) error {
	var about []events.Event
	var keys []string
	for i := range batch {
		ev := batch[i].event
		if batch[i].goesOn() && (ev.Type == events.PhotoUploaded || ev.Type == events.PhotoDeleted) && name(ev, photoPath) != "" {
			about = append(about, ev)
			keys = append(keys, batch[i].key)
		}
	}
	if len(about) == 0 {
		return nil
	}
	known, err := s.Log.Known(ctx, keys)
	if err != nil {
		return err
	}
	for i, ev := range about {
		if !known[i] {
			s.noteOwner(ctx, channel, ev)
		}
	}
	return ctx.Err()
}

func (s *Server) noteOwner(ctx context.Context, channel string, ev events.Event) {
	var err error
	if ev.Type == events.PhotoDeleted {
		err = s.Owners.Delete(ctx, name(ev, photoPath))
	} else if user := name(ev, userPath); user != "" {
		err = s.Owners.Set(ctx, name(ev, photoPath), user)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	if errors.Is(err, adapter.ErrOwned) {
		s.metrics.errors.WithLabelValues(channel, "owned", "permission").Inc()
	}
	s.ownerLog.Do(func() { s.Logger.Warn("owner of photo not kept", zap.Error(err)) })
}

// name is the id that an event has there: a string, or a number, which rooms are named by as well.
func name(ev events.Event, path events.Path) string {
	if v, ok := ev.Lookup(path); ok && (v.Kind == events.String || v.Kind == events.Number) {
		return v.String()
	}
	return ""
}
