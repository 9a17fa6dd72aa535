package delivery

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// BenchmarkConsume takes events from a feed in a real Redis, to a handler that does nothing, or to a webhook.
func BenchmarkConsume(b *testing.B) {
	for _, order := range []Order{Unordered, PerPhoto} {
		b.Run(fmt.Sprintf("handler/ordered=%t", order != Unordered), func(b *testing.B) {
			benchConsume(b, order, func(context.Context, events.Event) error { return nil })
		})
	}
	b.Run("webhook", func(b *testing.B) {
		rec := serve(b, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		s := newSender(loopback)
		defer s.close()
		hook := &Webhook{URL: rec.URL, Secret: secret}
		benchConsume(b, Unordered, func(ctx context.Context, ev events.Event) error { return s.post(ctx, hook, "s", ev) })
	})
}

func benchConsume(b *testing.B, order Order, handle func(context.Context, events.Event) error) {
	store := newStore(b)
	feed := store.Feed(channel)
	if err := feed.Create(b.Context(), "g"); err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		if err := feed.Offer(b.Context(), eventOf(b, fmt.Sprint(i), fmt.Sprint(i%50)).Raw(), ""); err != nil {
			b.Fatal(err)
		}
	}
	done, handled := make(chan struct{}), make(chan struct{}, batchLen)
	cfg := ConsumerConfig{Handle: handle, Attempted: func(Attempt) { handled <- struct{}{} }}
	if order == PerPhoto {
		cfg.Lane = PhotoLane
	}
	m := openMember(openStore(store), channel, "g")
	defer m.Close()
	c := NewConsumer(m, cfg, zap.NewNop())
	ctx, cancel := context.WithCancel(b.Context())
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		defer close(done)
		_ = c.Run(ctx)
	}()
	for range b.N {
		<-handled
	}
	b.StopTimer()
	cancel()
	<-done
	if groups, err := feed.Groups(context.Background()); err != nil || len(groups) != 1 || groups[0] != (adapter.FeedGroup{Name: "g"}) {
		b.Errorf("left: %+v, %v", groups, err)
	}
}
