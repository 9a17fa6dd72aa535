package engineio

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestEnqueueAndFlushMerge(t *testing.T) {
	t.Parallel()
	c, l, _ := fakeConn(t, Options{})
	var all []*Message
	for i := range 100 {
		m := text(fmt.Sprint("message ", i))
		all = append(all, m)
		c.Enqueue(m)
	}
	if l.writes != 0 {
		t.Errorf("got %d writes before Flush, want none", l.writes)
	}
	c.Flush()
	if l.writes != 1 {
		t.Errorf("got %d writes, want 1", l.writes)
	}
	l.wantTook(clientView(all...))
	c.Flush()
	if l.writes != 1 {
		t.Errorf("got a write with nothing queued")
	}
	if c.queue != nil {
		t.Errorf("an idle connection holds a queue of %d places, want none", cap(c.queue))
	}
}

// However little the kernel takes at a time, the bytes are those of the messages.
func TestPartialWrites(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ size, room int }{
		{100, 1}, {100, 2}, {100, 3}, {100, 7}, {100, 1000},
		{40_000, 1000}, {40_000, 32 << 10}, {40_000, 64 << 10}, {70_000, 1000}, {70_000, 64 << 10}, {70_000, 1 << 20},
	} {
		all := []*Message{text("a"), NewBinaryMessage([]byte("b"), []byte("bb"), nil), text(strings.Repeat("c", test.size)),
			text(""), text(strings.Repeat("d", test.size)), text("e"), text(strings.Repeat("f", test.size/2)), text("g")}
		c, l, _ := fakeConn(t, Options{})
		l.room = 0
		for _, m := range all {
			c.Send(m)
		}
		for c.blocked {
			l.room = test.room
			l.t.writable()
		}
		l.wantTook(clientView(all...))
		if c.queued != 0 || c.sent != 0 || len(c.queue) != 0 {
			t.Errorf("%+v: %d bytes queued, %d sent of the first, want 0", test, c.queued, c.sent)
		}
	}
}

func TestVolatileIsDroppedWhereItWouldWait(t *testing.T) {
	t.Parallel()
	fleeting := func(data string) *Message {
		m := text(data)
		m.Volatile = true
		return m
	}
	t.Run("websocket", func(t *testing.T) {
		t.Parallel()
		c, l, _ := fakeConn(t, Options{})
		c.Send(fleeting("a"))
		l.room = 3
		c.Send(text("b")) // cut in two
		c.Send(fleeting("dropped"))
		c.Send(text("c"))
		l.room = -1
		l.t.writable()
		c.Send(fleeting("d"))
		l.wantTook(clientView(text("a"), text("b"), text("c"), text("d")))
	})
	t.Run("polling", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		p.conn.Send(fleeting("dropped"))
		p.conn.Send(text("a"))
		p.wantGet(200, "4a")
		got := p.poll()
		p.conn.Send(fleeting("b"))
		p.want(<-got, 200, "4b")
	})
}

func TestSlowClientIsClosed(t *testing.T) {
	t.Parallel()
	c, l, r := fakeConn(t, Options{MaxQueue: 1000})
	l.room = 0
	m := text(strings.Repeat("x", 97)) // 100 bytes with header
	for i := range 10 {
		c.Send(m)
		if c.closed.Load() {
			t.Fatalf("closed with %d bytes waiting, want it at more than 1000", 100*(i+1))
		}
	}
	c.Enqueue(m)
	if c.closed.Load() {
		t.Error("closed by Enqueue, want it in Flush")
	}
	c.Enqueue(m) // dropped: the queue has its bound
	if c.queued > 1100 {
		t.Errorf("%d bytes queued, want no more than one message over 1000", c.queued)
	}
	c.Flush()
	r.wantClosed(SlowClient)
	if !l.closed || c.queue != nil {
		t.Errorf("link closed %v, %d messages queued, want true, none", l.closed, len(c.queue))
	}
	c.Send(m)
	c.Flush()
	if c.queue != nil {
		t.Error("a closed connection queues")
	}
}

func TestSlowPollerIsClosed(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{MaxQueue: 1000}, nil).polling()
	for range 11 {
		p.conn.Send(text(strings.Repeat("x", 97)))
	}
	p.wantClosed(SlowClient)
}

func TestBacklogIsNotSlowness(t *testing.T) {
	t.Parallel()
	c, l, r := fakeConn(t, Options{MaxQueue: 1000})
	m := text(strings.Repeat("x", 97))
	l.room = 0
	c.EnqueueBacklog([]*Message{m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m, m})
	for range 10 { // 1000 bytes more may wait
		c.Send(m)
	}
	if c.closed.Load() {
		t.Fatal("closed by a backlog")
	}
	l.room = -1
	l.t.writable()
	if got, want := len(l.took), 30*100; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
	l.room = 0
	for range 11 { // the backlog has gone, and its allowance with it
		c.Send(m)
	}
	r.wantClosed(SlowClient)
}

func TestCloseDeliversTheQueue(t *testing.T) {
	t.Parallel()
	c, l, r := fakeConn(t, Options{})
	l.room = 3
	c.Send(text("one"))
	c.Send(text("two"))
	c.Close()
	r.wantClosed(ForcedClose)
	if l.closed || l.shutOff {
		t.Error("closed while messages wait")
	}
	l.room = -1
	l.t.writable()
	l.wantTook(append(clientView(text("one"), text("two")), closeFrame...))
	if !l.shutOff {
		t.Error("sending goes on, want it ended behind the close frame")
	}
	l.t.closed() // the client has closed its side too
	if !l.closed || c.srv.lookup(c.ID()) != nil {
		t.Errorf("link closed %v, session kept %v, want true, false", l.closed, c.srv.lookup(c.ID()) != nil)
	}
}

// A close frame within another frame would be taken for its payload.
func TestNoCloseFrameWithinAnother(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string][]byte{
		"protocol error": ws.MustCompileFrame(ws.NewTextFrame([]byte("4x"))), // not masked
		"close frame":    clientFrame(ws.OpClose, true, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, l, _ := fakeConn(t, Options{})
			l.room = 5
			c.Send(text("a message cut off"))
			l.room = -1 // the kernel has room again, and has not said so yet
			l.input(sent)
			l.wantTook(text("a message cut off").wire[:5])
		})
	}
}

func TestWriteErrorCloses(t *testing.T) {
	t.Parallel()
	c, l, r := fakeConn(t, Options{})
	l.err = errors.New("broken pipe")
	c.Send(text("x"))
	r.wantClosed(TransportClose)
	if !l.closed {
		t.Error("the link is open, want it closed")
	}
}
