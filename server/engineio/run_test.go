package engineio

import (
	"context"
	"sync"
	"testing"

	"github.com/gobwas/ws"
)

// Run may end while clients are in the middle of arriving.
func TestRunEndsWhileClientsArrive(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		for range 5 {
			h := serve(t, Options{}, echo)
			var clients sync.WaitGroup
			var some sync.WaitGroup
			for range 4 {
				some.Add(3)
				clients.Go(func() {
					for arrived := 0; ; arrived++ {
						c, err := h.tryConnect("EIO=4&transport=websocket")
						if arrived < 3 {
							some.Done()
						}
						if err != nil {
							if arrived < 3 {
								t.Errorf("handshake: %v", err)
							}
							return // not accepting any more
						}
						defer c.Close()
						_, _ = c.Write(clientFrame(ws.OpText, true, "4x"))
					}
				})
			}
			some.Wait()
			h.end()
			clients.Wait()
			if got := h.Len(); got != 0 {
				t.Errorf("Len: got %d after Run, want 0", got)
			}
		}
	})
}

func TestRunEndsConnections(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{}, nil)
		p, c, half := h.polling(), h.websocket(), h.polling()
		waiting := p.poll()
		probing := half.probe()
		h.end()
		p.want(<-waiting, 200, "1")
		p.wantClosed(ShuttingDown)
		half.wantClosed(ShuttingDown)
		probing.wantEnd()
		c.wantClosed(ShuttingDown)
		c.wantCloseFrame(0)
		if got := h.Ended()[ShuttingDown]; got != 3 {
			t.Errorf("Ended: got %d, want 3", got)
		}
	})
}

func TestDrain(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	p := h.polling()
	clients := make([]*wsClient, 150)
	for i := range clients {
		clients[i] = h.websocket()
	}
	p.conn.Send(text("last"))
	drained := make(chan bool)
	go func() {
		h.Drain(t.Context(), patience/100)
		close(drained)
	}()
	for _, c := range clients {
		c.wantCloseFrame(0)
		c.wantClosed(ShuttingDown)
		c.Close()
	}
	p.wantClosed(ShuttingDown)
	p.wantGet(200, "4last\x1e1")
	<-drained
	if got := h.Len(); got != 0 {
		t.Errorf("Len: got %d, want 0", got)
	}
	if got := h.do("GET", "EIO=4&transport=polling", "", nil); got.status != 503 {
		t.Errorf("handshake: got %d, want 503", got.status)
	}
}

func TestDrainIsSpread(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	clients := []*wsClient{h.websocket(), h.websocket(), h.websocket(), h.websocket()}
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan bool)
	go func() {
		h.Drain(ctx, 1000*patience) // a connection each 2500 s
		close(drained)
	}()
	eventually(t, "it drains", func() bool {
		return h.do("GET", "EIO=4&transport=polling", "", nil).status == 503
	})
	cancel()
	<-drained
	if got := h.Len(); got < len(clients)-1 {
		t.Errorf("Len: got %d, want %d at least: their turn was to come later", got, len(clients)-1)
	}
}
