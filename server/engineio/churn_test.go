package engineio

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gobwas/ws"
)

// Connections come and go in every way there is while the server broadcasts to all: each may only ever see what was
// sent to itself, gapless. A descriptor that is closed too late or used too long shows here.
func TestChurn(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		const workers, each = 6, 40
		var mu sync.Mutex
		open := map[*Conn]int{} // and how much each was sent
		h := serve(t, Options{}, func(r *recorder) {
			mu.Lock()
			defer mu.Unlock()
			open[r.conn] = 0
		})
		var done atomic.Bool
		var broadcaster sync.WaitGroup
		broadcaster.Go(func() {
			for ; !done.Load(); runtime.Gosched() {
				mu.Lock()
				for c, n := range open {
					c.Enqueue(text(fmt.Sprintf("%s:%d", c.ID(), n)))
					open[c]++
				}
				for c := range open {
					c.Flush()
					if c.closed.Load() && open[c] > 100 {
						delete(open, c) // as late as a room might
					}
				}
				mu.Unlock()
			}
		})
		var clients sync.WaitGroup
		for w := range workers {
			clients.Go(func() {
				dice := rand.New(rand.NewPCG(1, uint64(w)))
				for range each {
					visit(t, h, dice)
				}
			})
		}
		clients.Wait()
		done.Store(true)
		broadcaster.Wait()
		eventually(t, "all connections have ended", func() bool { return h.Len() == 0 })
		h.mu.Lock()
		defer h.mu.Unlock()
		for sid, r := range h.recorders {
			eventually(t, "Closed was called for "+sid, r.ended.Load)
		}
	})
}

// visit is one client: it connects, hears some broadcasts, and goes.
func visit(t *testing.T, h *harness, dice *rand.Rand) {
	c, err := h.tryConnect("EIO=4&transport=websocket")
	if err != nil {
		t.Errorf("handshake: %v", err)
		return
	}
	defer c.Close()
	f, err := c.read()
	_, rest, _ := strings.Cut(string(f.Payload), `"sid":"`)
	sid, _, ok := strings.Cut(rest, `"`)
	if err != nil || !ok {
		t.Errorf("got %q, %v, want OPEN", f.Payload, err)
		return
	}
	for n := range dice.IntN(20) {
		f, err := c.read()
		if want := fmt.Sprintf("4%s:%d", sid, n); err != nil || string(f.Payload) != want {
			t.Errorf("got %q, %v, want %q", f.Payload, err, want)
			return
		}
	}
	switch dice.IntN(5) {
	case 0:
		_, _ = c.Write(clientFrame(ws.OpClose, true, ""))
	case 1:
		_, _ = c.Write(clientFrame(ws.OpText, true, "1"))
	case 2:
		_, _ = c.Write(clientFrame(ws.OpText, true, "4not quite whole")[:9])
	case 3:
		h.recorder(sid).conn.Close()
	case 4:
		reset(c.Conn)
	}
}
