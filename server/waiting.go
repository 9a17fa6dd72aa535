package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/adapter"
)

const (
	// batchLen, unless configuration says otherwise, and batchBytes bound what goes to the log at once.
	batchLen   = 128
	maxBatch   = 1024
	batchBytes = 1 << 20
	// waitingLen and waitingBytes bound what waits on a channel.
	waitingLen   = 1 << 16
	waitingBytes = 64 << 20
	// overlap is by how much replicas may differ in when, and in which order, they hear the messages of a channel.
	overlap = 5 * time.Second
	// keepUnseen is how long a replica that does not lead keeps what does not show up in the log. What a filter has dropped,
	// or was refused, never does. It is far longer than a leader that lives takes for a message.
	keepUnseen = time.Minute
)

// waiting is what was heard on a channel and, for all we know, is not in the log yet. Who leads the channel takes it
// from there; on all others it is kept until it shows up in the log, or has not for long, so that whoever leads next can
// write what its predecessor could not. What the predecessor has let end there, it decides anew, to no effect: the log
// knows the key, the dead letters have it already.
type waiting struct {
	channel string
	id      func(payload []byte) string // of a message, empty for what is none
	most    int                         // messages in a batch
	flush   time.Duration               // how long the oldest one may wait for a batch to fill

	mu      sync.Mutex
	items   []heard             // oldest first
	index   map[string][]uint64 // numbers of the items of a key, oldest first; nil while leading
	early   sightings           // keys that were in the log before they were heard
	bytes   int
	next    uint64 // number of the next item
	dropped uint64
	more    chan struct{} // something came
	less    chan struct{} // something went
}

// heard is one message. Without a payload it is gone already.
type heard struct {
	number  uint64
	at      time.Time
	payload []byte
}

func newWaiting(channel string, id func([]byte) string) *waiting {
	return &waiting{
		channel: channel, id: id, most: batchLen,
		index: map[string][]uint64{}, more: make(chan struct{}, 1), less: make(chan struct{}, 1),
	}
}

// eventID is the id of an event, however it looks otherwise.
func eventID(payload []byte) string {
	if id := gjson.GetBytes(payload, "id"); id.Type == gjson.String {
		return id.Str
	}
	return ""
}

// key is what a message counts as in the log, empty for what is none.
func (w *waiting) key(payload []byte) string {
	if id := w.id(payload); id != "" {
		return adapter.Key(w.channel, id)
	}
	return ""
}

// hear takes a message in. When too much waits, a leader's caller waits too; others let the oldest go, which is in the
// log in all likelihood.
func (w *waiting) hear(ctx context.Context, payload []byte) {
	w.mu.Lock()
	for w.index == nil && w.fullLocked() {
		w.mu.Unlock()
		select {
		case <-w.less:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	now := time.Now()
	if w.index != nil {
		key := w.key(payload)
		if key == "" || w.early.take(key) {
			return
		}
		w.index[key] = append(w.index[key], w.next)
	}
	w.items = append(w.items, heard{w.next, now, payload})
	w.next++
	w.bytes += len(payload)
	for w.index != nil && w.fullLocked() {
		w.dropped++
		w.dropLocked(0)
	}
	wake(w.more)
}

func (w *waiting) fullLocked() bool { return len(w.items) >= waitingLen || w.bytes >= waitingBytes }

// lead says whether this replica leads the channel from now on.
func (w *waiting) lead(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.early = sightings{}
	if yes {
		w.index = nil
		w.items = slices.DeleteFunc(w.items, func(h heard) bool { return h.payload == nil })
		return
	}
	w.index = map[string][]uint64{}
	for _, h := range w.items {
		if key := w.key(h.payload); key != "" {
			w.index[key] = append(w.index[key], h.number)
		}
	}
	wake(w.less) // nobody waits for room any more
}

// batch returns the oldest messages, once there are some and they are enough or have waited long enough. They stay until
// done.
func (w *waiting) batch(ctx context.Context) ([]heard, error) {
	for ctx.Err() == nil {
		w.mu.Lock()
		size, n := 0, 0
		for n < min(len(w.items), w.most) && (n == 0 || size+len(w.items[n].payload) <= batchBytes) {
			size += len(w.items[n].payload)
			n++
		}
		batch := slices.Clone(w.items[:n])
		full := n == w.most || n < len(w.items)
		w.mu.Unlock()
		var due <-chan time.Time // never, while there is nothing
		if n > 0 {
			left := w.flush - time.Since(batch[0].at)
			if full || left <= 0 {
				return batch, nil
			}
			due = time.After(left)
		}
		select {
		case <-w.more:
		case <-due:
		case <-ctx.Done():
		}
	}
	return nil, ctx.Err()
}

// done removes the messages up to a number.
func (w *waiting) done(number uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.items) > 0 && w.items[0].number <= number {
		w.dropLocked(0)
	}
	wake(w.less)
}

// seen removes the message of a key that is in the log, and those that were heard well before it: a leader takes them
// in order. A leader has nothing to remove.
func (w *waiting) seen(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index == nil || !adapter.IsKeyOf(key, w.channel) {
		return
	}
	numbers := w.index[key]
	if len(numbers) == 0 {
		w.early.add(key, time.Now())
		return
	}
	i, _ := slices.BinarySearchFunc(w.items, numbers[0], func(h heard, n uint64) int { return int(h.number) - int(n) })
	at := w.items[i].at
	w.dropLocked(i)
	for len(w.items) > 0 && at.Sub(w.items[0].at) > overlap {
		w.dropLocked(0)
	}
}

// forget lets go what was heard before a time. A leader forgets nothing.
func (w *waiting) forget(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.index != nil && len(w.items) > 0 && w.items[0].at.Before(before) {
		w.dropLocked(0)
	}
}

// dropLocked lets the i-th item go, and with it those at the front that were gone already.
func (w *waiting) dropLocked(i int) {
	h := &w.items[i]
	if w.index != nil {
		key := w.key(h.payload)
		if rest := slices.DeleteFunc(w.index[key], func(n uint64) bool { return n == h.number }); len(rest) > 0 {
			w.index[key] = rest
		} else {
			delete(w.index, key)
		}
	}
	w.bytes -= len(h.payload)
	h.payload = nil
	for len(w.items) > 0 && w.items[0].payload == nil {
		w.items = w.items[1:]
	}
	if len(w.items) == 0 {
		w.items = nil // and what it stood in
	}
}

// count is how many messages wait.
func (w *waiting) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.items)
}

// toLead is how many messages wait to be taken to the log by this replica, none if it does not lead.
func (w *waiting) toLead() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index != nil {
		return 0
	}
	return len(w.items)
}

// oldest is for how long the oldest message waits for this replica to take it to the log, zero if it does not lead.
func (w *waiting) oldest(now time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index != nil || len(w.items) == 0 {
		return 0
	}
	return now.Sub(w.items[0].at)
}

// forgotten is how many were let go because there were too many.
func (w *waiting) forgotten() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}

// sightings are keys that were seen lately, each as often as it was seen.
type sightings struct {
	recent, older map[string]int
	since         time.Time // of recent
}

func (s *sightings) add(key string, now time.Time) {
	if now.Sub(s.since) > overlap || len(s.recent) >= waitingLen {
		s.older, s.recent, s.since = s.recent, map[string]int{}, now
	}
	s.recent[key]++
}

// take reports whether key was seen, and forgets one time.
func (s *sightings) take(key string) bool {
	for _, m := range []map[string]int{s.older, s.recent} {
		switch m[key] {
		case 0:
			continue
		case 1:
			delete(m, key)
		default:
			m[key]--
		}
		return true
	}
	return false
}

// wake wakes whoever waits on c, or will.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
