package server

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// browser is a client that speaks Socket.IO by hand over a websocket. It answers pings and close frames.
type browser struct {
	t    testing.TB
	conn net.Conn
	in   chan string   // Socket.IO packets
	gone chan struct{} // nothing comes any more
	asks int           // acks asked for

	mu sync.Mutex // of writing

	sid, pid string // of its CONNECT
}

// dial opens a connection, in no namespace yet.
func (b *bus) dial(t testing.TB, header http.Header) *browser {
	t.Helper()
	url := strings.Replace(b.http.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header)}
	var conn net.Conn
	var early *bufio.Reader
	eventually(t, "the server to take connections", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		var err error
		conn, early, _, err = dialer.Dial(ctx, url)
		if status := ws.StatusError(0); err != nil && (!errors.As(err, &status) || status != 503) {
			t.Fatal(err)
		}
		return err == nil
	})
	if early == nil {
		early = bufio.NewReader(conn)
	}
	c := &browser{t: t, conn: conn, in: make(chan string, 1<<14), gone: make(chan struct{})}
	go c.read(early)
	t.Cleanup(func() {
		c.conn.Close()
		<-c.gone
	})
	return c
}

func (c *browser) read(from *bufio.Reader) {
	defer close(c.gone)
	defer close(c.in)
	for {
		f, err := readFrame(from)
		switch {
		case err != nil:
			return
		case f.Header.OpCode == ws.OpClose:
			c.write(f)
			c.conn.Close()
			return
		case len(f.Payload) > 0 && f.Payload[0] == '2':
			c.write(ws.NewTextFrame([]byte("3")))
		case len(f.Payload) > 0 && f.Payload[0] == '4':
			c.in <- string(f.Payload[1:])
		}
	}
}

// readFrame reads one frame of the server's.
func readFrame(from io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(from)
	if err != nil || h.Length > 8<<20 {
		return ws.Frame{}, cmp.Or(err, errors.New("frame too large"))
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(from, f.Payload)
	return f, err
}

// write sends f. An error means that the connection has ended, which reading tells.
func (c *browser) write(f ws.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = ws.WriteFrame(c.conn, ws.MaskFrame(f))
}

// send sends a Socket.IO packet.
func (c *browser) send(packet string) { c.write(ws.NewTextFrame([]byte("4" + packet))) }

// binary sends an attachment.
func (c *browser) binary(data string) { c.write(ws.NewBinaryFrame([]byte(data))) }

// follow opens a connection that sends one event and has heard the answer. What comes then is the caller's to read.
func (b *bus) follow(t testing.TB, packet, answer string) (net.Conn, *bufio.Reader) {
	t.Helper()
	url := strings.Replace(b.http.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	conn, from, _, err := ws.Dial(context.Background(), url)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	if from == nil {
		from = bufio.NewReader(conn)
	}
	for _, p := range []string{`40{"token":"` + token(t, "follower") + `"}`, "42" + packet} {
		must(t, ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(p)))))
	}
	for {
		f, err := readFrame(from)
		must(t, err)
		if strings.HasPrefix(string(f.Payload), `42["`+answer+`"`) {
			return conn, from
		}
	}
}

// next is the packet that comes next.
func (c *browser) next() string {
	c.t.Helper()
	select {
	case p, ok := <-c.in:
		if !ok {
			c.t.Fatal("connection closed, want a packet")
		}
		return p
	case <-time.After(deadline):
		c.t.Fatalf("no packet within %s", deadline)
	}
	return ""
}

// connect opens a connection and enters the namespace with a token.
func (b *bus) connect(t testing.TB, token string) *browser {
	t.Helper()
	c := b.dial(t, nil)
	c.enter(`{"token":"` + token + `"}`)
	return c
}

// back returns as the client that left, after what it has heard up to offset.
func (b *bus) back(t testing.TB, left *browser, token, offset string) *browser {
	t.Helper()
	c := b.dial(t, nil)
	c.enter(fmt.Sprintf(`{"token":%q,"pid":%q,"offset":%q}`, token, left.pid, offset))
	return c
}

// enter connects to the namespace, which must be allowed.
func (c *browser) enter(auth string) {
	c.t.Helper()
	c.send("0" + auth)
	got := c.next()
	var id struct{ SID, PID string }
	if !strings.HasPrefix(got, "0") || json.Unmarshal([]byte(got[1:]), &id) != nil || id.SID == "" {
		c.t.Fatalf("CONNECT is answered with %.300s", got)
	}
	c.sid, c.pid = id.SID, id.PID
}

// emitted is an event of the server's.
type emitted struct {
	name   string
	arg    string // the first argument
	offset string // the second one, if there is one
}

// event is the event that comes next.
func (c *browser) event() emitted {
	c.t.Helper()
	got := c.next()
	var parts []json.RawMessage
	var e emitted
	if !strings.HasPrefix(got, "2[") || json.Unmarshal([]byte(got[1:]), &parts) != nil || len(parts) < 2 || len(parts) > 3 ||
		json.Unmarshal(parts[0], &e.name) != nil || len(parts) == 3 && json.Unmarshal(parts[2], &e.offset) != nil {
		c.t.Fatalf("got %.300s, want an event with an argument", got)
	}
	e.arg = string(parts[1])
	return e
}

// want checks that this event comes next, and returns its offset.
func (c *browser) want(name, arg string) string {
	c.t.Helper()
	e := c.event()
	if e.name != name || e.arg != arg {
		c.t.Fatalf("got  %s %.300s\nwant %s %.300s", e.name, e.arg, name, arg)
	}
	return e.offset
}

// call sends an event and returns what comes next: an event and the ack's argument.
func (c *browser) call(event string, args ...string) (emitted, string) {
	c.t.Helper()
	c.asks++
	name, _ := json.Marshal(event)
	c.send(fmt.Sprintf("2%d[%s]", c.asks, strings.Join(append([]string{string(name)}, args...), ",")))
	answer := c.event()
	ack, ok := strings.CutPrefix(c.next(), fmt.Sprintf("3%d[", c.asks))
	if !ok {
		c.t.Fatalf("%.100s %.100q is not acknowledged", event, args)
	}
	return answer, strings.TrimSuffix(ack, "]")
}

// quiet checks that nothing is under way for the client: a heartbeat is answered next.
func (c *browser) quiet() {
	c.t.Helper()
	if e, _ := c.call("heartbeat"); e.name != "heartbeat" {
		c.t.Fatalf("got %s %.300s, want nothing", e.name, e.arg)
	}
}

// joins sends an event that must succeed, and returns the offset that came with the answer.
func (c *browser) joins(event, payload string) string {
	c.t.Helper()
	e, ack := c.call(event, payload)
	if !strings.HasPrefix(ack, `{"ok":true,`) {
		c.t.Fatalf("%s %s is answered with %s %s and acknowledged with %s", event, payload, e.name, e.arg, ack)
	}
	return e.offset
}

// leave ends the connection without a word.
func (c *browser) leave() {
	c.t.Helper()
	c.conn.Close()
	wait(c.t, "the connection to end", c.gone)
}

// wantClosed checks that the server closes the transport, saying nothing before.
func (c *browser) wantClosed() {
	c.t.Helper()
	wait(c.t, "the server to close the transport", c.gone)
	for p := range c.in {
		c.t.Errorf("got %.300s before the end, want nothing", p)
	}
}
