package server

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/server/socketio"
)

// handle takes one message in and sees to what goes wrong. A bad message is counted, told once a burst, and gone;
// the next one is handled.
func (s *Server) handle(ctx context.Context, channel string, payload []byte) {
	err := s.ingest(ctx, channel, payload)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.metrics.ingestError(channel, err)
	s.dropLog.Do(func() {
		s.Logger.Warn("message dropped", zap.String("channel", channel), zap.Int("bytes", len(payload)), zap.Error(err))
	})
}

// ingest takes one incoming message to the log, in the order of its channel.
func (s *Server) ingest(ctx context.Context, channel string, payload []byte) error {
	ev, err := events.Decode(payload, s.cfg.MaxEvent)
	if err != nil {
		return fmt.Errorf("message on %q: %w", channel, err)
	}
	// Ids are the publishers' own: the same one on two channels may well be two events.
	key := channel + "\x00" + ev.ID
	if err := s.noteOwner(ctx, channel, key, ev); err != nil {
		return err
	}
	var messages []adapter.Message
	for _, t := range s.Rules.Targets(channel, ev) {
		messages = append(messages, adapter.Message{Rooms: t.Rooms, Args: socketio.Args(t.Event, ev.Raw())})
	}
	fresh, err := s.Log.Append(ctx, key, messages...)
	if err != nil {
		return fmt.Errorf("append event of %q: %w", channel, err)
	}
	s.metrics.received(channel, ev.Type, fresh)
	return nil
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

// noteOwner keeps whose a photo is, before its event is out and somebody asks for the photo. The event goes on
// when that fails: its readers are not to blame. One that came before changes nothing.
func (s *Server) noteOwner(ctx context.Context, channel, key string, ev events.Event) error {
	if ev.Type != events.PhotoUploaded && ev.Type != events.PhotoDeleted {
		return nil
	}
	photo := name(ev, photoPath)
	if photo == "" {
		return nil
	}
	if known, err := s.Log.Appended(ctx, key); known || err != nil {
		return err
	}
	var err error
	if ev.Type == events.PhotoDeleted {
		err = s.Owners.Delete(ctx, photo)
	} else if user := name(ev, userPath); user != "" {
		err = s.Owners.Set(ctx, photo, user)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, adapter.ErrOwned) {
		s.metrics.errors.WithLabelValues(channel, "owned", "permission").Inc()
	}
	if err != nil {
		s.ownerLog.Do(func() { s.Logger.Warn("owner of photo not kept", zap.Error(err)) })
	}
	return nil
}

// name is the id that an event has there: a string, or a number, which rooms are named by as well.
func name(ev events.Event, path events.Path) string {
	if v, ok := ev.Lookup(path); ok && (v.Kind == events.String || v.Kind == events.Number) {
		return v.String()
	}
	return ""
}
