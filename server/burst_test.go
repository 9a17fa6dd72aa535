package server

import (
	"context"
	"fmt"
	"testing"

	"github.com/photo-management/event-bus/adapter"
)

// gated is a log whose tail waits until open is called; then all that was appended comes at once.
func gated() (log *fakeLog, open func()) {
	log = newFakeLog()
	gate := make(chan struct{})
	log.tail = func(ctx context.Context, apply func([]adapter.Entry)) error {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil
		}
		return log.memory(ctx, apply)
	}
	return log, func() { close(gate) }
}

// burst publishes n events for the client c and opens the gate.
func burst(t *testing.T, config Config, n int) (c *browser, sent []string) {
	t.Helper()
	log, open := gated()
	b := start(t, setup{config: config, log: log})
	c = b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	for i := range n {
		sent = append(sent, event(fmt.Sprint(i), "photo.uploaded", ``, `,"clientId":"c"`))
		b.publish("photo:upload", sent[i])
	}
	open()
	return c, sent
}

// A burst reaches a client that reads, whole and in order.
func TestBurst(t *testing.T) {
	t.Parallel()
	c, sent := burst(t, Config{}, 5000)
	for _, want := range sent {
		c.want("upload.event", want)
	}
}

// Its size alone does not make a client slow, whose kernel would have taken all of it.
func TestBurstOverMaxQueue(t *testing.T) {
	t.Parallel()
	var config Config
	config.Socket.Engine.MaxQueue = 64 << 10
	c, sent := burst(t, config, 400)
	for _, want := range sent {
		c.want("upload.event", want)
	}
}

// A client that reads nothing is closed when MaxQueue is full; nobody waits for it.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	var config Config
	config.Socket.Engine.MaxQueue = 256 << 10
	b := start(t, setup{config: config})
	healthy := b.connect(t, token(t, "alice"))
	healthy.joins("identify", `{"clientId":"c"}`)
	slow, _ := b.follow(t, `["identify",{"clientId":"c"}]`, "identified")
	big := fmt.Sprintf(`"a":"%050000d"`, 0)
	for i := 0; b.metric("websocket_disconnections_total", "reason", "slow client") == 0; i++ {
		if i == 10_000 {
			t.Fatal("500 MB wait for a client that reads nothing")
		}
		payload := event(fmt.Sprint(i), "photo.uploaded", big, `,"clientId":"c"`)
		b.publish("photo:upload", payload)
		healthy.want("upload.event", payload)
	}
	slow.Close()
	b.wantMetric(1, "websocket_active_connections")
}
