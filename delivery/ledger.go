package delivery

import (
	"sync"

	"github.com/photo-management/event-bus/adapter"
)

// ledger knows which entries a consumer holds: taken, and not known to be acknowledged.
type ledger struct {
	mu   sync.Mutex
	held map[adapter.Position]struct{}
	// What is finished during a claim is remembered until its end: an answer that is on its way may still have it.
	claims   bool
	finished map[adapter.Position]struct{}
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.held)
}

// take holds an entry, and reports whether it was new.
func (l *ledger) take(p adapter.Position) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, held := l.held[p]; held {
		return false
	}
	if _, finished := l.finished[p]; finished {
		return false
	}
	if l.held == nil {
		l.held = map[adapter.Position]struct{}{}
	}
	l.held[p] = struct{}{}
	return true
}

func (l *ledger) drop(ps []adapter.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
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
