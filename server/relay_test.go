package server

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/photo-management/event-bus/server/engineio"
)

// relayed is the client's end of a websocket.
type relayed struct {
	net.Conn
	t    testing.TB
	from *bufio.Reader
}

// websocket opens one for the session, through a replica or the balancer.
func (p *poller) websocket(base string) *relayed {
	p.t.Helper()
	url := strings.Replace(base+p.query, "http", "ws", 1)
	conn, from, _, err := ws.Dial(context.Background(), strings.Replace(url, "=polling", "=websocket", 1))
	must(p.t, err)
	p.t.Cleanup(func() { conn.Close() })
	must(p.t, conn.SetDeadline(time.Now().Add(deadline)))
	if from == nil {
		from = bufio.NewReader(conn)
	}
	return &relayed{conn, p.t, from}
}

// upgrade opens a websocket and moves the session to it.
func (p *poller) upgrade(base string) *relayed {
	p.t.Helper()
	c := p.websocket(base)
	c.say("2probe")
	c.hear("3probe")
	c.say("5")
	return c
}

func (c *relayed) say(packet string) {
	c.t.Helper()
	must(c.t, wsutil.WriteClientText(c, []byte(packet)))
}

func (c *relayed) hear(want string) {
	c.t.Helper()
	f, err := readFrame(c.from)
	if err != nil || string(f.Payload) != want {
		c.t.Fatalf("got %.100q, %v, want %.100q", f.Payload, err, want)
	}
}

// wantEnd wants nothing more.
func (c *relayed) wantEnd() {
	c.t.Helper()
	if b, err := c.from.ReadByte(); err == nil || strings.Contains(err.Error(), "timeout") {
		c.t.Fatalf("got %#x, %v, want the end", b, err)
	}
}

func TestRelayUpgrade(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{PingInterval: 100 * time.Millisecond, PingTimeout: deadline})
	home, other := c.replicas[0], c.replicas[1]
	p := c.connect(home)
	p.wantPost(other.public.URL, "4polled", 200, "ok")
	p.wantGet(other.public.URL, 200, "4polled")
	parked := p.park(other)
	upgraded := p.websocket(other.public.URL)
	upgraded.say("2probe")
	upgraded.hear("3probe")
	poll := <-parked
	if poll.body != "6" && poll.body != "2" {
		t.Fatalf("the poll during the probe brought %d %q", poll.status, poll.body)
	}
	upgraded.say("5")
	if poll.body == "2" {
		upgraded.say("3")
	}
	large := strings.Repeat("large ", 150_000)
	pings := 0
	for i := range 50 {
		sent := fmt.Sprintf("4message %d %s", i, large[:min(i*i*i*8, len(large))])
		upgraded.say(sent)
		for {
			f, err := readFrame(upgraded.from)
			if err != nil {
				panic(fmt.Sprint(i, " ", len(sent), " ", err, pings, p.Transport(), len(p.closed), polls(poll)))
			}
			if string(f.Payload) == "2" {
				pings++
				upgraded.say("3")
				continue
			}
			if string(f.Payload) != sent {
				t.Fatalf("got %d bytes %.100q, want %d", len(f.Payload), f.Payload, len(sent))
			}
			break
		}
	}
	for pings < 3 {
		upgraded.hear("2")
		pings++
		upgraded.say("3")
	}
	if got := p.Transport(); got != engineio.WebSocket {
		t.Errorf("transport: got %s", got)
	}
	p.wantGet(other.public.URL, 400, `{"code":3,"message":"Bad request"}`)
	upgraded.Close()
	p.wantClosed(t, engineio.TransportClose)
}

// What comes close behind the two handshakes is not lost.
func TestRelayEarlyBytes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	p := c.connect(c.replicas[0])
	conn := dialRaw(t, c.replicas[1].public.URL)
	probe := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("2probe"))))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n%s",
		strings.Replace(p.query, "=polling", "=websocket", 1), probe)
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, nil)
	must(t, err)
	if res.StatusCode != 101 {
		t.Fatalf("got %s", res.Status)
	}
	(&relayed{conn, t, from}).hear("3probe")
}

// Each way to end a websocket ends both halves of a relay.
func TestRelayEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		do  func(c *cluster, p *poller, client *relayed)
		why engineio.Reason
	}{
		"client closes":        {func(_ *cluster, _ *poller, client *relayed) { client.Close() }, engineio.TransportClose},
		"client resets":        {func(_ *cluster, _ *poller, client *relayed) { reset(client.Conn) }, engineio.TransportClose},
		"client ends sending":  {func(_ *cluster, _ *poller, client *relayed) { _ = client.Conn.(*net.TCPConn).CloseWrite() }, engineio.TransportClose},
		"server closes":        {func(_ *cluster, p *poller, _ *relayed) { p.Close() }, engineio.ForcedClose},
		"server drops":         {func(_ *cluster, p *poller, _ *relayed) { p.CloseAs(engineio.SlowClient) }, engineio.SlowClient},
		"session's replica":    {func(c *cluster, _ *poller, _ *relayed) { c.replicas[0].stop() }, engineio.ShuttingDown},
		"replica between":      {func(c *cluster, _ *poller, _ *relayed) { c.replicas[1].stop() }, engineio.TransportClose},
		"replica between goes": {func(c *cluster, _ *poller, _ *relayed) { c.replicas[1].forwarder.drain(t.Context(), 0) }, engineio.TransportClose},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 2, engineio.Options{})
			p := c.connect(c.replicas[0])
			client := p.upgrade(c.replicas[1].public.URL)
			client.say("4x")
			client.hear("4x")
			end.do(c, p, client)
			p.wantClosed(t, end.why)
			if end.why == engineio.ForcedClose || end.why == engineio.ShuttingDown {
				client.hear("") // a close frame
			}
			if name != "client closes" && name != "client resets" {
				client.wantEnd()
			}
			client.Close()
			eventually(t, "the relay to end", func() bool { return len(c.replicas[1].forwarder.trips()) == 0 })
		})
	}
}

func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// A client that the session's replica refuses gets its answer, but no way into the internal port.
func TestRelayRefused(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{CORSOrigins: []string{"*"}})
	home, other := c.replicas[0], c.replicas[1]
	conn := dialRaw(t, other.public.URL)
	fmt.Fprintf(conn, "GET /socket.io/?EIO=4&transport=websocket&sid=%s.a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"+
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"+
		"GET /secret HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", strings.Repeat("s", 20))
	from := bufio.NewReader(conn)
	res, err := http.ReadResponse(from, nil)
	must(t, err)
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 400 || string(body) != unknownSession || len(res.Header.Values("Access-Control-Allow-Origin")) != 1 {
		t.Errorf("got %s %s %v", res.Status, body, res.Header)
	}
	_, _ = io.Copy(io.Discard, from) // our own server has answered the second request
	if n := home.secrets.Load(); n != 0 {
		t.Errorf("%d requests got through", n)
	}
	other.wantOutcomes(1, "served")

	home.kill()
	got := ask(t, "GET", other.public.URL+"/socket.io/?EIO=4&transport=websocket&sid="+strings.Repeat("s", 20)+".a", "",
		http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}})
	want(t, got, 400, unknownSession)
	other.wantOutcomes(1, "failed")
}

// A websocket passes the request on as a poll does.
func TestRelayPassesRequestOn(t *testing.T) {
	t.Parallel()
	var got *http.Request
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r }))
	t.Cleanup(peer.Close)
	url, _ := standIn(t, engineio.Options{}, peer.Listener.Addr().String())
	url = strings.Replace(url, "/socket.io/", "/socket.io/%2e%2e/secret", 1) + "&t=1"
	answer := ask(t, "GET", strings.Replace(url, "=polling", "=websocket", 1), "a body", http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Origin": {"https://app.example"}, "Cookie": {"a=b"},
		"Sec-Websocket-Extensions": {"permessage-deflate"}, "X-Forwarded-For": {"203.0.113.9"},
	})
	if answer.status != 200 {
		t.Errorf("got %d", answer.status)
	}
	if got.URL.Path != "/socket.io/" || got.URL.Query().Get("t") != "1" || got.ContentLength != 0 {
		t.Errorf("got %s, %d bytes", got.URL, got.ContentLength)
	}
	for name, want := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "https://app.example", "Cookie": "a=b",
		"Sec-Websocket-Extensions": "permessage-deflate", "X-Forwarded-For": "203.0.113.9, 127.0.0.1",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("%s: got %q, want %q", name, v, want)
		}
	}
}

// BenchmarkRelay is a message over a websocket and back, with and without a replica between.
func BenchmarkRelay(b *testing.B) {
	c := startCluster(b, 2, engineio.Options{})
	for name, through := range map[string]*replica{"direct": c.replicas[0], "relayed": c.replicas[1]} {
		b.Run(name, func(b *testing.B) {
			client := c.connect(c.replicas[0])
			client.t = b
			conn := client.upgrade(through.public.URL)
			must(b, conn.SetDeadline(time.Time{}))
			b.ReportAllocs()
			for b.Loop() {
				conn.say("4x")
				conn.hear("4x")
			}
		})
	}
}

// BenchmarkForward is a message in a POST and back in a GET, with and without a replica between.
func BenchmarkForward(b *testing.B) {
	c := startCluster(b, 2, engineio.Options{})
	for name, through := range map[string]*replica{"direct": c.replicas[0], "forwarded": c.replicas[1]} {
		b.Run(name, func(b *testing.B) {
			p := c.connect(c.replicas[0])
			p.t = b
			b.ReportAllocs()
			for b.Loop() {
				p.wantPost(through.public.URL, "4x", 200, "ok")
				p.wantGet(through.public.URL, 200, "4x")
			}
		})
	}
}

func polls(a answer) string { return a.body }
