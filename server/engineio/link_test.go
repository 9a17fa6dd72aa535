package engineio

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The end of the stream is noticed even when it came together with data while the handler was busy.
func TestEndBehindData(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		busy, release := make(chan bool, 1), make(chan bool)
		h := serve(t, Options{}, func(r *recorder) {
			r.on = func(data []byte, _ bool) {
				if string(data) == "busy" {
					busy <- true
					<-release
				}
			}
		})
		c, other := h.websocket(), h.websocket()
		c.sendText("4busy")
		<-busy
		c.sendText("4last")
		if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			t.Fatal("the connection could not be half closed")
		}
		other.sendText("4x") // when this is here, so is what was sent before
		other.wantTexts("x")
		close(release)
		c.wantTexts("busy", "last")
		c.wantClosed(TransportClose)
	})
}

func TestResetIsNoticed(t *testing.T) {
	eachLink(t, func(t *testing.T, serve serveFunc) {
		c := serve(t, Options{}, nil).websocket()
		reset(c.Conn)
		c.wantClosed(TransportClose)
	})
}

// reset closes without the words of goodbye that TCP has.
func reset(nc net.Conn) {
	if over, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = over.NetConn()
	}
	_ = nc.(*net.TCPConn).SetLinger(0)
	nc.Close()
}

// stallingConn is a net.Conn whose peer takes the first writes and then nothing more.
type stallingConn struct {
	net.Conn
	takes   atomic.Int32
	stalled chan bool
	closed  chan bool
	once    sync.Once
}

func (c *stallingConn) Write(p []byte) (int, error) {
	if c.takes.Add(-1) >= 0 {
		return c.Conn.Write(p)
	}
	select {
	case c.stalled <- true:
	default:
	}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stallingConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TLS has a goodbye of its own, which may have to wait for the peer. Nothing else may wait with it.
func TestStalledGoodbyeBlocksNobody(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	stalling := &stallingConn{Conn: near, stalled: make(chan bool, 1), closed: make(chan bool)}
	stalling.takes.Store(1 << 20)
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	cfg := web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName = "127.0.0.1"
	client, server := tls.Client(far, cfg), tls.Server(stalling, web.TLS)
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := server.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}

	c, l, _ := fakeConn(t, Options{})
	link, err := c.srv.newLink(l.t, server)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	l.t.link = link
	c.mu.Unlock()
	received := make(chan bool)
	go func() { // whatever comes, for as long as something does
		defer close(received)
		buf := make([]byte, 100)
		for {
			if _, err := client.Read(buf); err != nil {
				return
			}
		}
	}()
	stalling.takes.Store(1) // the close frame, but not the TLS alert after it
	c.Close()
	select {
	case <-stalling.stalled:
	case <-time.After(patience):
		t.Error("TLS was not ended")
	}
	sent := make(chan bool)
	go func() {
		c.Send(text("x"))
		close(sent)
	}()
	select {
	case <-sent:
	case <-time.After(2 * time.Second):
		t.Error("Send waits for the TLS alert of a stalled client")
	}
	stalling.Close()
	<-received
	<-sent
}

// A peer that takes nothing does not keep a link that says goodbye and is closed: Run waits for it.
func TestGoodbyeToStalledPeerIsShort(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*netLink){
		"idle":    func(*netLink) {},
		"writing": func(l *netLink) { _, _ = l.write([]byte("x")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near, far := net.Pipe() // nobody reads far
			defer far.Close()
			c, fake, _ := fakeConn(t, Options{})
			link := &netLink{t: fake.t, conn: near}
			c.mu.Lock()
			fake.t.link = link
			prepare(link)
			c.mu.Unlock()
			gone := make(chan bool)
			go func() {
				c.Close()
				c.mu.Lock()
				c.deadLocked()
				c.mu.Unlock()
				c.srv.work.Wait()
				close(gone)
			}()
			select {
			case <-gone:
			case <-time.After(patience):
				t.Errorf("goroutines are left after %v", patience)
				far.Close()
				<-gone
			}
		})
	}
}
