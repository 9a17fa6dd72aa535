package server

import (
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

func TestBroadcastsAreTimedByRoomType(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	entry := func(rooms ...string) adapter.Entry {
		return adapter.Entry{Message: adapter.Message{Kind: adapter.Other, Rooms: rooms}}
	}
	for _, batch := range [][]adapter.Entry{
		{entry("photo:1"), entry("photo:2", "user:1")}, {entry("user:1")}, {entry("client:1")}, {entry("session:1")},
		{{Message: adapter.Message{Kind: adapter.Other}}}, {entry("lobby")}, {entry("photo:1"), entry("user:1")}, {},
	} {
		b.metrics.delivered(batch, time.Now())
	}
	for _, kind := range []string{"photo", "user", "client", "session", "all", "other", "mixed"} {
		b.wantMetric(1, "room_broadcast_duration_milliseconds", "room_type", kind)
	}
}
