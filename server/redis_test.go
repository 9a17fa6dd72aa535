package server

import (
	"context"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// All together, on the embedded Redis: what an ordinary client publishes there reaches the browsers.
func TestWithRedis(t *testing.T) {
	t.Parallel()
	embedded, err := adapter.StartEmbedded("")
	must(t, err)
	t.Cleanup(embedded.Close)
	r, err := adapter.DialRedis(t.Context(), adapter.RedisConfig{URL: "redis://" + embedded.Addr()}, zap.NewNop())
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	publisher := redis.NewClient(&redis.Options{Addr: embedded.Addr()})
	t.Cleanup(func() { _ = publisher.Close() })
	publish := func(channel, payload string) {
		t.Helper()
		heard, err := publisher.Publish(context.Background(), channel, payload).Result()
		must(t, err)
		if heard != 1 {
			t.Fatalf("%d subscribers hear %s, want one", heard, channel)
		}
	}

	b := newBus(t, setup{redis: r})
	b.run()
	eventually(t, "the server to be ready", func() bool { return b.Ready() == nil })
	alice, bob := b.connect(t, token(t, "alice")), b.connect(t, token(t, "bob"))
	alice.joins("identify", `{"clientId":"a"}`)
	bob.joins("identify", `{"clientId":"b"}`)
	wantDenied(t, alice, "subscribe:photo", `{"photoId":"p"}`)

	uploaded := event("1", "photo.uploaded", `"photoId":"p","userId":"alice"`, `,"clientId":"a"`)
	publish("photo:upload", uploaded)
	publish("photo:upload", uploaded)
	alice.want("upload.event", uploaded)
	alice.joins("subscribe:photo", `{"photoId":"p"}`) // her own from the moment she hears of it
	wantDenied(t, bob, "subscribe:photo", `{"photoId":"p"}`)
	if owner, err := publisher.Get(t.Context(), "eventbus:owner:p").Result(); err != nil || owner != "alice" {
		t.Errorf("in Redis p belongs to %q (%v)", owner, err)
	}

	forged := event("2", "photo.uploaded", `"photoId":"p","userId":"bob"`, `,"clientId":"b"`)
	publish("photo:upload", forged)
	bob.want("upload.event", forged)
	wantDenied(t, bob, "subscribe:photo", `{"photoId":"p"}`)
	b.wantMetric(1, "event_errors_total", "category", "permission", "channel", "photo:upload", "error_type", "owned")
	b.wantMetric(1, "events_duplicate_total", "channel", "photo:upload")

	publish("photo:processing", "nonsense")
	progress := started("3", "p")
	publish("photo:processing", progress)
	alice.want("processing.event", progress)

	deleted := event("4", "photo.deleted", `"photoId":"p"`, `,"clientId":"a"`)
	publish("photo:upload", deleted)
	alice.want("upload.event", deleted)
	wantDenied(t, alice, "subscribe:photo", `{"photoId":"p"}`)

	// Redis goes away: what is open stays open, what cannot be known is denied, and the server stays ready.
	embedded.Close()
	wantDenied(t, alice, "subscribe:photo", `{"photoId":"q"}`)
	alice.joins("subscribe:user", `{"userId":"alice"}`)
	if err := b.Ready(); err != nil {
		t.Errorf("Ready without Redis = %v", err)
	}
	for _, l := range b.logs.All() {
		if strings.Contains(l.Message, "panic") || l.Level > zap.WarnLevel {
			t.Errorf("the log says %v", l)
		}
	}
}
