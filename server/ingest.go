package server

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/server/socketio"
)

// message is one incoming message, with its place if it comes from a durable input.
type message struct {
	payload []byte
	cursor  adapter.Position
}

// ingest takes incoming messages of a channel to the log, in their order and together, however long that takes: it
// fails only when the lease is gone. A bad message is counted, told once a burst, and gone; the others are taken. It
// runs on the channel's leader only.
func (s *Server) ingest(ctx context.Context, lease adapter.Lease, messages []message) error {
	channel := lease.Channel
	decoded := make([]events.Event, 0, len(messages))
	records := make([]adapter.Record, 0, len(messages))
	for _, m := range messages {
		ev, err := events.Decode(m.payload, s.cfg.MaxEvent)
		switch {
		case err == nil:
			records = append(records, s.route(channel, ev, m.cursor))
		case m.cursor != (adapter.Position{}):
			s.drop(channel, m, err)
			records = append(records, adapter.Record{Cursor: m.cursor}) // it must not be read again
		default:
			s.drop(channel, m, err)
			continue
		}
		decoded = append(decoded, ev)
	}
	if len(records) == 0 {
		return nil
	}
	var fresh []bool
	err := s.persist(ctx, func() (err error) {
		if err = s.noteOwners(ctx, channel, decoded, records); err == nil {
			fresh, err = s.Log.Append(ctx, lease, records)
		}
		return err
	})
	if err != nil {
		return err
	}
	for i, ev := range decoded {
		if records[i].Key != "" {
			s.metrics.received(channel, ev.Type, fresh[i])
		}
	}
	return nil
}

func (s *Server) drop(channel string, m message, err error) {
	s.metrics.ingestError(channel, err)
	s.dropLog.Do(func() {
		s.Logger.Warn("message dropped", zap.String("channel", channel), zap.Int("bytes", len(m.payload)), zap.Error(err))
	})
}

// route makes of an event what goes to its rooms.
func (s *Server) route(channel string, ev events.Event, cursor adapter.Position) adapter.Record {
	r := adapter.Record{Key: adapter.Key(channel, ev.ID), Cursor: cursor}
	for _, t := range s.Rules.Targets(channel, ev) {
		r.Messages = append(r.Messages, adapter.Message{Rooms: t.Rooms, Args: socketio.Args(t.Event, ev.Raw())})
	}
	return r
}

// owner is what uploaded and deleted photos tell about.
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
func (s *Server) noteOwners(ctx context.Context, channel string, evs []events.Event, records []adapter.Record) error {
	var about []events.Event
	var keys []string
	for i, ev := range evs {
		if (ev.Type == events.PhotoUploaded || ev.Type == events.PhotoDeleted) && name(ev, photoPath) != "" {
			about = append(about, ev)
			keys = append(keys, records[i].Key)
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
