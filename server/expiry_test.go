package server

import (
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// At exp the transport is closed, not the socket: after a DISCONNECT packet clients do not come back.
func TestExpiry(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name         string
		exp, expires time.Duration // from now; expires is when the server gives up
	}{
		{"ahead", time.Second, time.Second},
		{"within the leeway for clocks", -2 * time.Second, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, setup{jwt: auth.Config{Leeway: 10 * time.Minute}})
			now := time.Now()
			c := b.connect(t, tokenUntil(t, now.Add(tt.exp)))
			c.wantClosed()
			if took := time.Since(now); took < tt.expires-time.Millisecond { // claims are in milliseconds here
				t.Errorf("closed after %v, want %v", took, tt.expires)
			}
			b.wantMetric(1, "websocket_disconnections_total", "reason", "forced close")
			b.wantMetric(0, "websocket_active_connections")
		})
	}
}

// A client whose token was renewed goes on as it was, and with the new token's time.
func TestExpiryThenRecovery(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	first := b.connect(t, tokenUntil(t, time.Now().Add(time.Second)))
	offset := first.joins("subscribe:user", `{"userId":"alice"}`)
	first.wantClosed()
	missed := event("1", "photo.processing.started", `"userId":"alice"`, "")
	b.publish("photo:processing", missed)
	second := b.back(t, first, token(t, "alice"), offset)
	if second.sid != first.sid {
		t.Errorf("came back as %s, want %s", second.sid, first.sid)
	}
	second.want("processing.event", missed)
	second.quiet() // so that it is connected
	if b.only().timer() != nil {
		t.Error("a token that never expires has a timer")
	}
}

// A client that has left holds no timer.
func TestExpiryTimerStops(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, tokenUntil(t, time.Now().Add(time.Hour)))
	c.quiet() // so that it is connected
	timer := b.only().timer()
	if timer == nil {
		t.Fatal("no timer for a token that expires")
	}
	c.leave()
	b.wantMetric(1, "websocket_disconnections_total", "reason", "transport close")
	if timer.Stop() {
		t.Error("the timer of a client that has left is running")
	}
}

// only is what is known of the only client.
func (b *bus) only() *client {
	b.t.Helper()
	sockets := b.clients.To().Sockets()
	if len(sockets) != 1 {
		b.t.Fatalf("%d sockets, want one", len(sockets))
	}
	return of(sockets[0])
}

func (c *client) timer() *time.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expiry
}
