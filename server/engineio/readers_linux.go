package engineio

import "sync"

// maxIdle is how many readers are kept for links to come, with stacks that have grown to what handlers need.
const maxIdle = 64

// readers are the goroutines that read links which have something to read. One goes on from link to link as long as
// there are any. Whoever takes a link while others wait wakes one more reader: it finds nothing left when all went
// quickly, and takes over at once when a handler blocks. So a quick handler costs no change of goroutine, and a slow
// one holds up nobody.
type readers struct {
	mu      sync.Mutex
	waiting []*epollLink
	next    int // of waiting
	idle    sync.Cond
	idling  int
	waking  bool // a reader is on its way
	stopped bool
}

// push gives l a reader.
func (r *readers) push(l *epollLink) {
	r.mu.Lock()
	r.waiting = append(r.waiting, l)
	r.wakeLocked()
	r.mu.Unlock()
}

// wakeLocked sees to it that somebody comes for what waits.
func (r *readers) wakeLocked() {
	if r.waking || r.next == len(r.waiting) {
		return
	}
	r.waking = true
	if r.idling > 0 {
		r.idling--
		r.idle.Signal()
		return
	}
	r.waiting[r.next].t.conn.srv.spawn(r.run)
}

// run is a reader.
func (r *readers) run() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waking = false
	for {
		for r.next == len(r.waiting) {
			if r.stopped || r.idling == maxIdle {
				return
			}
			r.idling++
			r.idle.L = &r.mu
			r.idle.Wait()
			r.waking = false
		}
		l := r.takeLocked()
		r.wakeLocked()
		r.mu.Unlock()
		l.read()
		r.mu.Lock()
	}
}

func (r *readers) takeLocked() *epollLink {
	l := r.waiting[r.next]
	r.waiting[r.next] = nil
	r.next++
	if r.next == len(r.waiting) {
		r.waiting, r.next = r.waiting[:0], 0
		if cap(r.waiting) > 4096 { // after a rush
			r.waiting = nil
		}
	}
	return l
}

// stop ends the readers that are idle, and the others once nothing waits.
func (r *readers) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	r.idling = 0
	r.idle.Broadcast()
}
