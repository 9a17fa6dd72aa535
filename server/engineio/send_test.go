package engineio

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gobwas/ws"
)

// A client that does not read is closed; Send does not wait for it, and another client gets everything.
func TestSlowClientHurtsNobodyElse(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		h := serve(t, Options{MaxQueue: 1 << 20}, nil)
		slow, quick := h.websocket(), h.websocket()
		shrink(slow.Conn)
		received := make(chan int, 1000)
		go func() {
			defer close(received)
			for {
				f, err := quick.read()
				if err != nil || f.Header.OpCode != ws.OpText {
					return
				}
				n, _ := strconv.Atoi(string(f.Payload[1:8]))
				received <- n
			}
		}()
		filler := strings.Repeat("x", 64<<10)
		n := 0
		for ; !slow.recorder.conn.closed.Load() && n < 2000; n++ {
			m := text(fmt.Sprintf("%07d%s", n, filler))
			slow.conn.Enqueue(m)
			slow.conn.Flush()
			quick.conn.Send(m)
			if got := <-received; got != n {
				t.Fatalf("the quick client got message %d, want %d", got, n)
			}
		}
		slow.wantClosed(SlowClient)
		quick.conn.Close()
		for range received {
			t.Error("the quick client got more than was sent")
		}
	})
}

// shrink makes the kernel take little for a client that does not read.
func shrink(nc net.Conn) {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = over.NetConn()
	}
	_ = nc.(*net.TCPConn).SetReadBuffer(4 << 10)
}

// Many goroutines send to one connection: each one's messages arrive once and in its order.
func TestSendOrder(t *testing.T) {
	const senders, each = 8, 500
	inOrder := func(t *testing.T, next func() string) {
		t.Helper()
		seen := [senders]int{}
		for range senders * each {
			var who, n int
			packet := next()
			if _, err := fmt.Sscanf(packet, "4%d:%d", &who, &n); err != nil || n != seen[who] {
				t.Fatalf("got %q, want message %d of sender %d", packet, seen[who], who)
			}
			seen[who]++
		}
	}
	send := func(c *Conn) *sync.WaitGroup {
		var wg sync.WaitGroup
		for who := range senders {
			wg.Go(func() {
				for n := range each {
					if m := text(fmt.Sprintf("%d:%d", who, n)); n%3 == 0 {
						c.Send(m)
					} else {
						c.Enqueue(m)
					}
				}
				c.Flush()
			})
		}
		return &wg
	}
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		defer send(p.conn).Wait()
		var waiting []string
		inOrder(t, func() (packet string) {
			if len(waiting) == 0 {
				waiting = strings.Split(p.get().body, "\x1e")
			}
			packet, waiting = waiting[0], waiting[1:]
			return packet
		})
	})
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, nil).websocket()
		defer send(c.conn).Wait()
		inOrder(t, c.readText)
	})
}
