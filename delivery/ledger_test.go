package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// Room is what the queue has left, and what the megabytes have left by the largest event so far.
func TestLedgerRoom(t *testing.T) {
	t.Parallel()
	var l ledger
	p := func(n int) adapter.Position { return adapter.Position{MS: uint64(n)} }
	want := func(queue, want int) {
		t.Helper()
		if got := l.room(queue); got != want {
			t.Errorf("room of %d is %d, want %d", queue, got, want)
		}
	}
	want(100, 100)
	l.take(p(1), 10)
	l.take(p(1), 10) // held already
	want(100, 99)
	want(1, 0)
	want(0, 0)
	l.take(p(2), 1<<20)
	want(100, 15)
	for i := range 14 {
		l.take(p(3+i), 1<<20)
	}
	want(100, 1)
	l.take(p(20), 1<<20)
	want(100, 0)
	l.drop([]adapter.Position{p(2), p(2), p(99)})
	want(100, 1)
	for i := range 20 {
		l.drop([]adapter.Position{p(i + 1)})
	}
	want(100, 16)
	want(5, 5)
	if l.bytes != 0 || l.len() != 0 {
		t.Errorf("%d bytes of %d entries are held", l.bytes, l.len())
	}
}

// Large events that wait fill the queue before it has so many, and it goes on when they are done.
func TestLargeEventsAreHeldInPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		b := newBench(t, ConsumerConfig{Handle: func(context.Context, events.Event) error { <-release; return nil }})
		c, stop := b.run()
		defer stop()
		photo := strings.Repeat("x", 900<<10)
		b.add("first", photo)
		pass(time.Second)
		for i := range 40 {
			b.add(fmt.Sprint(i), photo)
		}
		pass(time.Minute)
		if n := c.Held(); n != 19 { // the last one passes the limit
			t.Errorf("%d events of 900 KiB are held, want 19", n)
		}
		close(release)
		pass(time.Second)
		if n := len(b.got()); n != 41 || c.Held() != 0 {
			t.Errorf("%d are handled, %d held, want all 41 and none", n, c.Held())
		}
	})
}
