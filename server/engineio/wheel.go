package engineio

import (
	"sync"
	"time"
)

const wheelSlots = 256

// wheel times the heartbeats of all connections with one ticker. A connection is on it at most once and is
// linked in by fields of its own, so being timed costs no allocation. Times are rounded up to a tick.
type wheel struct {
	tick time.Duration

	mu    sync.Mutex
	now   uint64 // ticks since the start
	slots [wheelSlots]*Conn
}

// timed is a connection's place on the wheel, guarded by wheel.mu.
type timed struct {
	next, prev *Conn
	due        uint64 // tick; zero means not on the wheel
}

// newWheel picks a tick fine enough that rounding does not matter beside the shortest time measured.
func newWheel(shortest time.Duration) *wheel {
	return &wheel{tick: min(max(shortest/20, time.Millisecond), time.Second)}
}

// set (re)starts c's timer.
func (w *wheel) set(c *Conn, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlinkLocked(c)
	t := &c.timed
	t.due = w.now + 1 + uint64((d+w.tick-1)/w.tick) // the running tick is partly over
	head := &w.slots[t.due%wheelSlots]
	if t.next = *head; t.next != nil {
		t.next.timed.prev = c
	}
	*head = c
}

// remove takes c off for good.
func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlinkLocked(c)
}

// has reports whether c's timer runs.
func (w *wheel) has(c *Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return c.timed.due != 0
}

func (w *wheel) unlinkLocked(c *Conn) {
	t := &c.timed
	if t.due == 0 {
		return
	}
	if t.prev != nil {
		t.prev.timed.next = t.next
	} else {
		w.slots[t.due%wheelSlots] = t.next
	}
	if t.next != nil {
		t.next.timed.prev = t.prev
	}
	*t = timed{}
}

// advance moves one tick on and appends the connections whose time has come to due.
func (w *wheel) advance(due []*Conn) []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now++
	for c := w.slots[w.now%wheelSlots]; c != nil; {
		next := c.timed.next
		if c.timed.due <= w.now {
			w.unlinkLocked(c)
			due = append(due, c)
		}
		c = next
	}
	return due
}
