package engineio

import (
	"bytes"
	"net/http/httptest"
	"testing"
)

// fakeLink is the link of a connection that needs no network: it takes what the test allows it to.
type fakeLink struct {
	t    *websocket
	test testing.TB
	room int // how many more bytes it takes; below zero any number
	err  error

	took          []byte
	writes        int
	shutOff       bool
	closed        bool
	forgetWritten bool // for benchmarks
}

func (l *fakeLink) start([]byte) {}

func (l *fakeLink) write(p []byte) (int, error) {
	if l.err != nil || l.closed {
		return 0, l.err
	}
	l.writes++
	if l.shutOff {
		l.test.Error("write after the end")
	}
	n := len(p)
	if l.room >= 0 {
		n = min(n, l.room)
		l.room -= n
	}
	if !l.forgetWritten {
		l.took = append(l.took, p[:n]...)
	}
	return n, nil
}

func (l *fakeLink) end(p []byte) {
	_, _ = l.write(p)
	l.shutOff = true
}

func (l *fakeLink) close() { l.closed = true }

// input is what the client sent, in one piece.
func (l *fakeLink) input(p []byte) { l.t.input(bytes.Clone(p)) }

// wantTook compares what was written since the last look.
func (l *fakeLink) wantTook(want []byte) {
	l.test.Helper()
	l.t.conn.mu.Lock()
	got := l.took
	l.took = nil
	l.t.conn.mu.Unlock()
	if !bytes.Equal(got, want) {
		l.test.Fatalf("written: got %d bytes %.80q, want %d bytes %.80q", len(got), got, len(want), want)
	}
}

// clientView is what messages look like on the wire.
func clientView(messages ...*Message) (wire []byte) {
	for _, m := range messages {
		wire = append(wire, m.wire...)
	}
	return wire
}

// fakeConn is a connection over a websocket on a fakeLink. Its OPEN packet has been written and forgotten; its
// server does not run.
func fakeConn(t testing.TB, opts Options) (*Conn, *fakeLink, *recorder) {
	t.Helper()
	var r *recorder
	srv, err := New(opts, func(c *Conn) Handler {
		r = newRecorder(t, c)
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
	l := addFakeConn(t, srv)
	t.Cleanup(func() {
		l.t.conn.CloseAs(TransportClose)
		srv.work.Wait()
	})
	return l.t.conn, l, r
}

func addFakeConn(t testing.TB, srv *Server) *fakeLink {
	c := srv.newConn(httptest.NewRequest("GET", "/", nil))
	l := &fakeLink{test: t, room: -1}
	l.t = &websocket{conn: c, link: l}
	c.ws = l.t
	srv.start(c)
	l.took, l.writes = nil, 0
	return l
}
