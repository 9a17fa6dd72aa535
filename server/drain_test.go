package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

const drainTime = time.Second

// draining starts a bus with ten clients and returns a channel that hears of each client's end.
func draining(t *testing.T) (b *bus, ends <-chan *browser) {
	t.Helper()
	b = start(t, setup{config: Config{Drain: drainTime}})
	heard := make(chan *browser, 10)
	for i := range 10 {
		c := b.connect(t, token(t, fmt.Sprint("user", i)))
		c.quiet()
		go func() {
			<-c.gone
			heard <- c
		}()
	}
	return b, heard
}

// wantSpread checks that connections are closed one after the other. There is nearly all of drainTime to see that.
func wantSpread(t *testing.T, b *bus, ends <-chan *browser) {
	t.Helper()
	select {
	case <-ends:
	case <-time.After(deadline):
		t.Fatal("no connection is closed")
	}
	if n := b.Connections(); n == 0 {
		t.Error("all connections are closed at once, want them spread over Config.Drain")
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	b, ends := draining(t)
	began := time.Now()
	b.stop()
	wantSpread(t, b, ends)
	if err := b.Ready(); err == nil || err.Error() != "draining" {
		t.Errorf("Ready = %v, want draining", err)
	}
	url := strings.Replace(b.http.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	if conn, _, _, err := ws.Dial(context.Background(), url); err == nil {
		conn.Close()
		t.Error("a connection is taken while draining")
	} else if status := ws.StatusError(0); !errors.As(err, &status) || status != 503 {
		t.Errorf("a connection is refused with %v, want status 503", err)
	}
	select {
	case b.source.in <- incoming{"photo:upload", nil, make(chan struct{})}:
		t.Error("a message is taken while draining")
	case <-b.done:
	}
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if took := time.Since(began); took < drainTime*9/10 {
		t.Errorf("drained in %v, want %v", took, drainTime)
	}
	for range 9 {
		(<-ends).wantClosed() // the transport, without a DISCONNECT packet: they are to come back to others
	}
	b.wantMetric(10, "websocket_disconnections_total", "reason", "server shutting down")
	lines := b.logs.FilterMessage("draining").All()
	if len(lines) != 1 || lines[0].ContextMap()["connections"] != int64(10) {
		t.Errorf("the log says %v, want how many are drained", lines)
	}
}

// Run's promise to drain is for a failing part, too: the clients are not to blame, nor are the replicas they go to.
func TestDrainAfterAFailure(t *testing.T) {
	t.Parallel()
	b, ends := draining(t)
	began := time.Now()
	b.source.fail <- errors.New("boom")
	wantSpread(t, b, ends)
	if err := b.ended(); err == nil || err.Error() != "redis: boom" {
		t.Errorf("Run = %v, want redis: boom", err)
	}
	if took := time.Since(began); took < drainTime*9/10 {
		t.Errorf("drained in %v, want %v", took, drainTime)
	}
}

// What failed first is what Run returns, even if somebody loses patience meanwhile.
func TestStopAfterAFailure(t *testing.T) {
	t.Parallel()
	b, _ := draining(t)
	b.source.fail <- errors.New("boom")
	eventually(t, "the drain", func() bool { return b.Ready() != nil })
	b.stop()
	if err := b.ended(); err == nil || err.Error() != "redis: boom" {
		t.Errorf("Run = %v, want redis: boom", err)
	}
}

// With nobody connected there is nothing to wait for.
func TestDrainNobody(t *testing.T) {
	t.Parallel()
	b := start(t, setup{config: Config{Drain: time.Hour}})
	c := b.connect(t, token(t, "alice"))
	c.leave()
	b.wantMetric(0, "websocket_active_connections")
	b.stop()
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if n := b.logs.Len(); n > 0 {
		t.Errorf("the log says %v, want nothing", b.logs.All())
	}
}
