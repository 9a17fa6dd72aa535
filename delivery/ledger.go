package delivery

import (
	"sync"

	"github.com/photo-management/event-bus/adapter"
)

// ledger knows which entries a consumer holds: taken, and not known to be acknowledged.
type ledger struct {
	mu      sync.Mutex
	held    map[adapter.Position]int // the size of each, in bytes
	bytes   int                      // of all held
	largest int                      // of all seen
	// What is finished during a claim is remembered until its end: an answer that is on its way may still have it.
	claims   bool
	finished map[adapter.Position]struct{}
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// room is how many more may be held: of queue entries at most, and of some megabytes, as far as that can be told before
// they are seen, by the largest so far.
func (l *ledger) room(queue int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := queue - len(l.held)
	if l.largest > 0 {
		n = min(n, (maxHeldBytes-l.bytes+l.largest-1)/l.largest)
	}
	return max(n, 0)
}

// take holds an entry of so many bytes, and reports whether it was new.
func (l *ledger) take(p adapter.Position, size int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.held[p]; held {
		return false
	}
	if _, finished := l.finished[p]; finished {
		return false
	}
	if l.held == nil {
		l.held = map[adapter.Position]int{}
	}
	l.held[p] = size
	l.bytes += size
	l.largest = max(l.largest, size)
	return true
}

func (l *ledger) drop(ps []adapter.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		l.bytes -= l.held[p]
		delete(l.held, p)
		if l.claims {
			l.finished[p] = struct{}{}
		}
	}
}

// claiming says that a claim begins or ends.
func (l *ledger) claiming(begins bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claims, l.finished = begins, map[adapter.Position]struct{}{}
}
