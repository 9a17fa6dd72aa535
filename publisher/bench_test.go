package publisher

import (
	"errors"
	"fmt"
	"testing"

	"github.com/photo-management/event-bus/events"
)

func BenchmarkPublish(b *testing.B) {
	client := startRedis(b)
	ev := benchEvents(b, 1)[0]
	for _, durable := range []bool{false, true} {
		p := New(client, Config{Durable: durable})
		b.Run(fmt.Sprintf("durable=%t", durable), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Publish(b.Context(), ev); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublishBatch(b *testing.B) {
	client := startRedis(b)
	evs := benchEvents(b, 100)
	for _, durable := range []bool{false, true} {
		p := New(client, Config{Durable: durable})
		b.Run(fmt.Sprintf("durable=%t/of=%d", durable, len(evs)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := errors.Join(p.PublishBatch(b.Context(), evs)...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchEvents(b *testing.B, n int) []events.Event {
	b.Helper()
	evs := make([]events.Event, n)
	for i := range evs {
		var err error
		if evs[i], err = events.New(events.PhotoDeleted, map[string]any{"photoId": "photo-123"}, events.Metadata{Source: "bench"}); err != nil {
			b.Fatal(err)
		}
	}
	return evs
}
