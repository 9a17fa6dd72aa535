package engineio

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// These tests count what the whole process uses, so none of them runs in parallel with anything.

// usage is how many goroutines and descriptors there are, leaving aside idle HTTP connections and the readers that
// are kept for the next client who says something.
func usage(t *testing.T, servers ...*harness) (goroutines, descriptors int) {
	t.Helper()
	for _, h := range servers {
		h.web.Client().CloseIdleConnections()
		r := &h.poller.readers
		r.mu.Lock()
		goroutines -= r.idling
		r.mu.Unlock()
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return goroutines + runtime.NumGoroutine(), len(fds)
}

// others is how many goroutines may have begun since the count that have to do with no client: fewer than one for
// each of the clients in these tests.
const others = 3

// wantUsage waits until no more is used than the given numbers, and others.
func wantUsage(t *testing.T, goroutines, descriptors int, servers ...*harness) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		g, d := usage(t, servers...)
		if g <= goroutines+others && d <= descriptors {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines and %d descriptors in use, want no more than %d and %d", g, d, goroutines, descriptors)
		}
	}
}

func TestIdleWebSocketsHaveNoGoroutine(t *testing.T) {
	h := serve(t, Options{}, echo)
	goroutines, descriptors := usage(t, h)
	const n = 200
	clients := make([]*wsClient, n)
	for i := range clients {
		clients[i] = h.websocket()
		clients[i].sendText("4x") // it has read, and is idle again
		clients[i].wantText("4x")
	}
	wantUsage(t, goroutines, descriptors+2*n, h) // two ends each
	if got := h.Len(); got != n {
		t.Errorf("Len: got %d, want %d", got, n)
	}
	for _, c := range clients {
		c.conn.mu.Lock()
		if cap(c.conn.queue) > 8 || c.conn.ws.partial != nil {
			t.Errorf("an idle connection holds a queue of %d and %v", cap(c.conn.queue), c.conn.ws.partial)
		}
		c.conn.mu.Unlock()
		c.Close()
	}
	wantUsage(t, goroutines, descriptors, h)
}

// Clients that do something and then nothing, but keep their end open, cost their own descriptor and nothing else.
func TestNothingIsLeftOfClients(t *testing.T) {
	short := Options{PingInterval: 200 * time.Millisecond, PingTimeout: 200 * time.Millisecond,
		UpgradeTimeout: 200 * time.Millisecond, MaxPayload: 32 << 20, MaxQueue: 32 << 20}
	big := text(strings.Repeat("x", 24<<20)) // more than the kernel takes
	for _, test := range []struct {
		name      string
		plainOnly bool
		client    func(h *harness) net.Conn // which stays open
	}{
		{"silent websocket", false, func(h *harness) net.Conn { return h.websocket() }},
		{"half a frame", false, func(h *harness) net.Conn {
			c := h.websocket()
			c.raw(clientFrame(ws.OpText, true, "4x")[:7])
			return c
		}},
		{"refused websocket", false, func(h *harness) net.Conn {
			c := h.websocket()
			c.raw([]byte("nonsense"))
			return c
		}},
		{"websocket that does not read", false, func(h *harness) net.Conn {
			c := h.websocket()
			shrink(c.Conn)
			c.conn.Send(big)
			return c
		}},
		{"websocket handshake, not awaited", true, func(h *harness) net.Conn {
			return h.dialPlain("GET /?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n" +
				"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
		}},
		{"polling handshake, not awaited", true, func(h *harness) net.Conn {
			return h.dialPlain("GET /?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		}},
		{"half an upgrade", false, func(h *harness) net.Conn { return h.polling().probe() }},
		{"slow POST", true, func(h *harness) net.Conn {
			return h.dialPlain("POST /?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n4slow", h.polling().query)
		}},
		{"poll that is not read", true, func(h *harness) net.Conn {
			p := h.polling()
			p.conn.Send(big)
			nc := h.dialPlain("GET /?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", p.query)
			eventually(h.t, "the poll is answered", func() bool {
				p.conn.mu.Lock()
				defer p.conn.mu.Unlock()
				return len(p.conn.queue) == 0
			})
			return nc
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			servers := []*harness{serve(t, short, nil), serveTLS(t, short, nil)}
			if test.plainOnly {
				servers = servers[:1]
			}
			goroutines, descriptors := usage(t, servers...)
			const n = 5
			for _, h := range servers {
				for range n {
					nc := test.client(h)
					t.Cleanup(func() { nc.Close() })
				}
			}
			wantUsage(t, goroutines, descriptors+n*len(servers), servers...)
			for _, h := range servers {
				eventually(t, "all sessions are forgotten", func() bool { return len(h.list()) == 0 })
			}
		})
	}
}

// dialPlain sends a request of which nothing more comes, and does not read the answer.
func (h *harness) dialPlain(format string, args ...any) net.Conn {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.web.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	shrink(nc)
	if _, err := fmt.Fprintf(nc, format, args...); err != nil {
		h.t.Fatal(err)
	}
	return nc
}

func TestNothingIsLeftOfChurn(t *testing.T) {
	for name, serve := range map[string]serveFunc{"tcp": serve, "tls": serveTLS} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, Options{UpgradeTimeout: time.Minute}, echo)
			goroutines, descriptors := usage(t, h)
			for i := range 60 {
				switch i % 6 {
				case 0:
					h.websocket().Close()
				case 1:
					c := h.websocket()
					c.send(ws.OpClose, "")
					c.wantClosed(TransportClose)
					c.Close()
				case 2:
					reset(h.websocket().Conn)
				case 3:
					c := h.websocket()
					c.conn.Close()
					c.wantClosed(ForcedClose)
					c.Close()
				case 4: // an upgrade, left half way: by the client, then by the server
					p := h.polling()
					p.probe().Close()
					eventually(t, "the upgrade is given up", p.notUpgrading)
					p.connect()
					p.conn.CloseAs(TransportClose)
				case 5:
					p := h.polling()
					c := p.connect()
					c.sendText("5", "4x")
					c.wantText("4x")
					c.conn.Close()
					c.wantCloseFrame(0)
					c.Close()
				}
			}
			wantUsage(t, goroutines, descriptors+10, h) // the clients of case 4 close with the test
		})
	}
}
