package server

import (
	"crypto/rand"
	"testing"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/server/socketio"
)

// What is counted follows what happens.
func TestMetricsOfClients(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoPermission}})
	wantNow := func(active, rooms, connected float64) {
		t.Helper()
		b.wantMetric(active, "websocket_active_connections")
		b.wantMetric(rooms, "active_rooms_total")
		b.wantMetric(connected, "websocket_connections_total")
		b.wantMetric(connected, "recoveries_total", "outcome", "new")
	}
	wantNow(0, 0, 0)
	bare := b.dial(t, nil)
	wantNow(1, 0, 0) // in no namespace yet
	one, two := b.connect(t, token(t, "alice", "photo:read:p")), b.connect(t, token(t, "alice"))
	wantNow(3, 0, 2)
	one.joins("identify", `{"clientId":"c","sessionId":"s"}`)
	two.joins("identify", `{"clientId":"c"}`)
	wantNow(3, 3, 2)
	one.joins("subscribe:photo", `{"photoId":"p"}`)
	wantNow(3, 4, 2)
	wantDenied(t, two, "subscribe:photo", `{"photoId":"p"}`)
	b.wantMetric(1, "subscriptions_denied_total")
	one.joins("unsubscribe:photo", `{"photoId":"p"}`)
	wantNow(3, 3, 2)
	wantRefused(t, two, "nonsense", "Unknown event")
	b.wantMetric(1, "client_events_refused_total")

	one.send("1")
	b.wantMetric(1, "websocket_disconnections_total", "reason", "client namespace disconnect")
	wantNow(3, 2, 2) // its transport stays
	one.leave()
	two.leave()
	bare.leave()
	wantNow(0, 0, 2)
	b.wantMetric(1, "websocket_disconnections_total", "reason", "transport close") // those that were no sockets do not count
	broken := b.connect(t, token(t, "alice"))
	broken.send("nonsense")
	broken.wantClosed()
	b.wantMetric(1, "websocket_disconnections_total", "reason", "parse error")
	if n := b.Connections(); n != 0 {
		t.Errorf("Connections = %d, want 0", n)
	}
}

func TestMetricsOfEvents(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	received := func(want float64, channel, kind string) {
		t.Helper()
		b.wantMetric(want, "events_received_total", "channel", channel, "event_type", kind)
	}
	received(0, "photo:upload", "photo.uploaded")
	b.publish("photo:upload", event("1", "photo.uploaded", ``, `,"clientId":"c"`))
	b.publish("photo:upload", event("2", "photo.uploaded", ``, `,"clientId":"c"`))
	b.publish("photo:upload", event("2", "photo.uploaded", ``, `,"clientId":"c"`))
	b.publish("photo:completion", event("3", "photo.processing.failed", ``, ``)) // for nobody
	b.publish("photo:completion", event("4", "publishers may\nwrite anything", `"photoId":"p"`, ``))
	b.publish("photo:completion", "nonsense")
	received(2, "photo:upload", "photo.uploaded")
	received(1, "photo:completion", "photo.processing.failed")
	received(1, "photo:completion", "other")
	received(0, "photo:processing", "photo.processing.started")
	b.wantMetric(1, "events_duplicate_total", "channel", "photo:upload")
	b.wantMetric(1, "event_errors_total", "category", "validation", "channel", "photo:completion", "error_type", "malformed")
	b.wantMetric(3, "log_entries_total") // what is for nobody is not broadcast
	n := 0.0
	for _, kind := range []string{"client", "photo", "mixed"} {
		n += b.metric("room_broadcast_duration_milliseconds", "room_type", kind)
	}
	if n < 1 || n > 3 {
		t.Errorf("%v batches were timed, want 1 to 3", n)
	}
}

// Labels come from our own short lists: publishers and clients cannot add to them.
func TestMetricsAreBounded(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	series := func() (n int) {
		families, err := b.registry.Gather()
		must(t, err)
		for _, f := range families {
			n += len(f.GetMetric())
		}
		return n
	}
	noise := func() {
		for _, kind := range []string{"a", "b", "c", "photo.uploaded2"} {
			b.publish("photo:upload", event(rand.Text(), kind, ``, ``))
		}
		c := b.connect(t, token(t, rand.Text()))
		wantRefused(t, c, rand.Text(), "Unknown event")
		c.leave()
		b.wantMetric(0, "websocket_active_connections")
	}
	noise()
	b.wantMetric(1, "websocket_disconnections_total", "reason", "transport close")
	before := series()
	noise()
	b.wantMetric(2, "websocket_disconnections_total", "reason", "transport close")
	if after := series(); after != before {
		t.Errorf("%d series have become %d", before, after)
	}
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"client namespace disconnect": "client namespace disconnect", "server namespace disconnect": "server namespace disconnect",
		"transport close": "transport close", "transport error": "transport error", "ping timeout": "ping timeout",
		"parse error": "parse error", "forced close": "forced close", "server shutting down": "server shutting down",
		"slow client": "slow client", "what else": "other", "": "other",
	} {
		if got := reason(socketio.Reason(in)); got != want {
			t.Errorf("reason(%q) = %q, want %q", in, got, want)
		}
	}
}
