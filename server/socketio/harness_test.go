package socketio

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// deadline is for what should happen at once. A test that passes never waits for it.
const deadline = 10 * time.Second

// testServer is a Server that runs on a free port until its test ends.
type testServer struct {
	*Server
	http *httptest.Server
	stop func() // ends Run and waits for it
}

func serve(t testing.TB, opts Options, register func(*Server)) *testServer {
	t.Helper()
	srv, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if register != nil {
		register(srv)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	s := &testServer{Server: srv, http: httptest.NewServer(srv)}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		s.stop()
		s.http.Close()
	})
	return s
}

// raw is a client that speaks the protocol by hand over a websocket. It answers pings.
type raw struct {
	t    testing.TB
	conn net.Conn
	in   chan string   // Socket.IO packets; attachments as "binary:" and what is in them
	gone chan struct{} // nothing comes any more
	done chan struct{} // nobody asks for more

	mu     sync.Mutex // of writing
	paused sync.Mutex // held while it is not to read
}

// dial opens a connection, in no namespace yet. The server may be about to run only.
func (s *testServer) dial(t testing.TB) *raw {
	t.Helper()
	url := strings.Replace(s.http.URL, "http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
	var conn net.Conn
	var early *bufio.Reader
	eventually(t, "the server to take connections", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		var err error
		conn, early, _, err = ws.Dial(ctx, url)
		if status := ws.StatusError(0); err != nil && (!errors.As(err, &status) || status != 503) {
			t.Fatal(err)
		}
		return err == nil
	})
	if early == nil {
		early = bufio.NewReader(conn)
	}
	c := &raw{t: t, conn: conn, in: make(chan string, 4096), gone: make(chan struct{}), done: make(chan struct{})}
	opened := make(chan struct{})
	go c.read(early, opened)
	t.Cleanup(func() {
		close(c.done)
		c.drop()
		<-c.gone
	})
	wait(t, "OPEN", opened)
	return c
}

func (c *raw) read(from *bufio.Reader, opened chan struct{}) {
	defer close(c.gone)
	defer close(c.in)
	for {
		c.paused.Lock()
		//lint:ignore SA2001 it is a gate, and guards nothing
		c.paused.Unlock()
		f, err := readFrame(from)
		if err != nil {
			return
		}
		switch f.Header.OpCode {
		case ws.OpBinary:
			c.take("binary:" + string(f.Payload))
		case ws.OpClose:
			c.frame(f)
			c.conn.Close()
			return
		case ws.OpText:
			switch f.Payload[0] {
			case '0':
				close(opened)
			case '2':
				c.frame(ws.NewTextFrame([]byte("3")))
			case '4':
				c.take(string(f.Payload[1:]))
			}
		}
	}
}

func (c *raw) take(packet string) {
	select {
	case c.in <- packet:
	case <-c.done:
	}
}

func readFrame(from io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(from); err != nil {
		return f, err
	}
	f.Payload = make([]byte, f.Header.Length) // our own server says it
	_, err = io.ReadFull(from, f.Payload)
	return f, err
}

// frame writes f. An error means that the connection has ended, which reading tells.
func (c *raw) frame(f ws.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = ws.WriteFrame(c.conn, ws.MaskFrame(f))
}

func (c *raw) send(packets ...string) {
	for _, p := range packets {
		c.frame(ws.NewTextFrame([]byte("4" + p)))
	}
}

func (c *raw) sendBinary(p string) { c.frame(ws.NewBinaryFrame([]byte(p))) }

// pause stops reading, until paused is unlocked, and has the kernel read little ahead.
func (c *raw) pause() {
	c.paused.Lock()
	_ = c.conn.(*net.TCPConn).SetReadBuffer(256 << 10)
}

// drop ends the connection without a word.
func (c *raw) drop() { c.conn.Close() }

// next is the packet that comes next.
func (c *raw) next() string {
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

// want checks which packets come next.
func (c *raw) want(packets ...string) {
	c.t.Helper()
	for _, want := range packets {
		if got := c.next(); got != want {
			c.t.Fatalf("got  %.300s\nwant %.300s", got, want)
		}
	}
}

// wantNothing checks that nothing is under way: a question that is always answered is answered next.
func (c *raw) wantNothing() {
	c.t.Helper()
	c.send("0/nowhere,")
	c.want(`4/nowhere,{"message":"Invalid namespace"}`)
}

// wantClosed checks that the server closes the connection and that nothing but these packets comes before.
func (c *raw) wantClosed(packets ...string) {
	c.t.Helper()
	wait(c.t, "the connection to close", c.gone)
	var got []string
	for p := range c.in {
		got = append(got, p)
	}
	if !slices.Equal(got, packets) {
		c.t.Fatalf("got %.300q before the end, want %q", got, packets)
	}
}

// identity is what a client is told in CONNECT.
type identity struct {
	SID string `json:"sid"`
	PID string `json:"pid"`
}

// enter connects to a namespace; auth is a JSON object or empty.
func (c *raw) enter(namespace, auth string) identity {
	c.t.Helper()
	prefix := "0"
	if namespace != "/" {
		prefix += namespace + ","
	}
	c.send(prefix + auth)
	got := c.next()
	var id identity
	rest, ok := strings.CutPrefix(got, prefix)
	if !ok || json.Unmarshal([]byte(rest), &id) != nil || id.SID == "" {
		c.t.Fatalf("CONNECT is answered with %.300s", got)
	}
	return id
}

// client opens a connection to the namespace "/".
func (s *testServer) client(t testing.TB) *raw {
	t.Helper()
	c := s.dial(t)
	c.enter("/", "")
	return c
}

// journal is what callbacks noted, in order.
type journal chan string

func newJournal() journal { return make(journal, 1000) }

func (j journal) note(s string) { j <- s }

func (j journal) want(t testing.TB, lines ...string) {
	t.Helper()
	for _, want := range lines {
		select {
		case got := <-j:
			if got != want {
				t.Fatalf("noted %q, want %q", got, want)
			}
		case <-time.After(deadline):
			t.Fatalf("nothing noted, want %q", want)
		}
	}
}

func (j journal) wantNothing(t testing.TB) {
	t.Helper()
	select {
	case got := <-j:
		t.Fatalf("noted %q, want nothing", got)
	default:
	}
}

func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatalf("waited %s for %s", deadline, what)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", deadline, what)
		}
	}
}

// asText is an event's arguments as one string.
func asText(args []json.RawMessage) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = string(a)
	}
	return strings.Join(out, " ")
}
