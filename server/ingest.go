package server

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// handle takes one message in and sees to what goes wrong. A bad message is counted, told once a burst, and gone;
// the next one is handled.
func (s *Server) handle(ctx context.Context, channel string, payload []byte) {
	err := s.ingest(ctx, channel, payload)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.metrics.ingestError(channel, err)
	s.dropped.Do(func() {
		s.Logger.Warn("message dropped", zap.String("channel", channel), zap.Int("bytes", len(payload)), zap.Error(err))
	})
}

// ingest takes one incoming message to the log, in the order of its channel.
func (s *Server) ingest(ctx context.Context, channel string, payload []byte) error {
	ev, err := events.Decode(payload, s.cfg.MaxEvent)
	if err != nil {
		return fmt.Errorf("message on %q: %w", channel, err)
	}
	if err := s.noteOwner(ctx, ev); err != nil {
		return err
	}
	var messages []adapter.Message
	for _, t := range s.Rules.Targets(channel, ev) {
		messages = append(messages, adapter.Message{Event: t.Event, Rooms: t.Rooms, Payload: ev.Raw()})
	}
	// Ids are the publishers' own: the same one on two channels may well be two events.
	fresh, err := s.Log.Append(ctx, channel+"\x00"+ev.ID, messages...)
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
// when that fails: its readers are not to blame.
func (s *Server) noteOwner(ctx context.Context, ev events.Event) error {
	if ev.Type != events.PhotoUploaded && ev.Type != events.PhotoDeleted {
		return nil
	}
	photo, ok := ev.Lookup(photoPath)
	if !ok {
		return nil
	}
	var err error
	if ev.Type == events.PhotoDeleted {
		err = s.Owners.Delete(ctx, photo.String())
	} else if user, ok := ev.Lookup(userPath); ok {
		err = s.Owners.Set(ctx, photo.String(), user.String())
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, adapter.ErrOwned) {
		s.metrics.errors.WithLabelValues(events.ChannelUpload, "owned", "permission").Inc()
	}
	if err != nil {
		s.dropped.Do(func() { s.Logger.Warn("owner of photo not kept", zap.Error(err)) })
	}
	return nil
}
