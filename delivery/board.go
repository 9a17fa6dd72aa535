package delivery

import (
	"container/heap"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// item is an event that a subscription has taken from the feed and not yet finished.
type item struct {
	adapter.Position
	event   events.Event
	lane    string    // items of one lane come one after the other; empty: it waits for none
	attempt int       // how many were made
	due     time.Time // when the next may be made; zero: at once
}

// board says which of the items held is next. Each is in one place: ready, waiting for its time, behind another of its
// lane, or out, with who called next. It asks no clock and knows no goroutines.
type board struct {
	ready   queue[*item]
	waiting dueHeap
	lanes   map[string]*queue[*item] // of each lane that has an item: those behind it
}

func newBoard() *board { return &board{lanes: map[string]*queue[*item]{}} }

// add takes in what was read, in the order of the feed.
func (b *board) add(it *item) {
	if it.lane != "" {
		if behind, busy := b.lanes[it.lane]; busy {
			behind.push(it)
			return
		}
		b.lanes[it.lane] = &queue[*item]{}
	}
	b.place(it)
}

func (b *board) place(it *item) {
	if it.due.IsZero() {
		b.ready.push(it)
	} else {
		heap.Push(&b.waiting, it)
	}
}

// some reports whether an item could be handed out.
func (b *board) some(now time.Time) bool { return b.isDue(now) || b.ready.len() > 0 }

func (b *board) isDue(now time.Time) bool {
	return len(b.waiting) > 0 && !b.waiting[0].due.After(now)
}

// next hands out an item, those first that have waited for their time; nil if there is none. done or again bring it back.
func (b *board) next(now time.Time) *item {
	if b.isDue(now) {
		return heap.Pop(&b.waiting).(*item)
	}
	it, _ := b.ready.pop()
	return it
}

// done ends an item that was out: the next one of its lane has its turn.
func (b *board) done(it *item) {
	if it.lane == "" {
		return
	}
	if behind, ok := b.lanes[it.lane].pop(); ok {
		b.place(behind)
		return
	}
	delete(b.lanes, it.lane)
}

// again puts an item that was out among those that wait for their time. Its lane waits with it.
func (b *board) again(it *item) { heap.Push(&b.waiting, it) }

// wake is when the first of those that wait for their time is due; false: none waits.
func (b *board) wake() (time.Time, bool) {
	if len(b.waiting) == 0 {
		return time.Time{}, false
	}
	return b.waiting[0].due, true
}

// dueHeap is a container/heap by due, and by position where that is the same.
type dueHeap []*item

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].Compare(h[j].Position) < 0
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(*item)) }
func (h *dueHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// queue is first in, first out. It gives up memory as it empties.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) pop() (first T, ok bool) {
	if q.len() == 0 {
		return first, false
	}
	var none T
	first, q.items[q.head] = q.items[q.head], none
	q.head++
	if q.head > 64 && q.head > len(q.items)/2 {
		q.items, q.head = append([]T(nil), q.items[q.head:]...), 0
	} else if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return first, true
}
