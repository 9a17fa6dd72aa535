package server

import (
	"context"
	"crypto/rand"

	"github.com/photo-management/event-bus/adapter"
)

// EmitterChannel is what is led, like a channel, for what comes from @socket.io/redis-emitter.
const EmitterChannel = "#emitter"

// wholePayload is the id of what has none. The same payload twice is two messages.
func wholePayload(payload []byte) string { return string(payload) }

// ingestEmitted takes what emitters published to the log. Its keys are each used once: they say what is written, so that
// the other replicas need not keep it, and that an attempt whose outcome is unknown is not made twice.
func (s *Server) ingestEmitted(ctx context.Context, lease adapter.Lease, messages []message) error {
	var records []adapter.Record
	for _, m := range messages {
		decoded, err := s.Emitters.Decode(m.payload)
		if err != nil {
			s.metrics.errors.WithLabelValues(EmitterChannel, "malformed", "validation").Inc()
			continue
		}
		records = append(records, adapter.Record{
			Key:      adapter.Key(EmitterChannel, wholePayload(m.payload)) + "." + rand.Text()[:12],
			Messages: []adapter.Message{decoded},
		})
	}
	if len(records) == 0 {
		return nil
	}
	return s.persist(ctx, func() error {
		_, err := s.Log.Append(ctx, lease, records)
		return err
	})
}
