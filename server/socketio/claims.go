package socketio

import (
	"context"
	"sync"
	"time"
)

// claims are the sessions that clients are coming back for at the moment, by pid: one client after the other for each,
// as what it takes to have one is done in steps when there are other servers.
type claims struct {
	mu    sync.Mutex
	under map[string]*claiming
}

type claiming struct {
	done   chan struct{}
	lost   bool // another server has taken it since
	unsure bool // one may have, while this one took it
}

// claimTimeout is how long a client may wait for another one that asks for the same session.
const claimTimeout = 5 * time.Second

// begin waits until nobody else is claiming the session. It is false when that takes too long.
func (c *claims) begin(ctx context.Context, pid string) bool {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	for {
		c.mu.Lock()
		other := c.under[pid]
		if other == nil {
			c.under[pid] = &claiming{done: make(chan struct{})}
			c.mu.Unlock()
			return true
		}
		c.mu.Unlock()
		select {
		case <-other.done:
		case <-ctx.Done():
			return false
		}
	}
}

// end lets the next one in.
func (c *claims) end(pid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.under[pid].done)
	delete(c.under, pid)
}

// won notes that this server has taken the session. If lose was called before, that may have been about an earlier
// time or about the time since: it is unsure.
func (c *claims) won(pid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.under[pid]
	x.lost, x.unsure = false, x.lost
}

// unsure reports whether it is to be seen whose the session is.
func (c *claims) unsure(pid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.under[pid]
	return x != nil && x.unsure
}

// lose notes that the session is another server's as of now.
func (c *claims) lose(pid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if x := c.under[pid]; x != nil {
		x.lost = true
	}
}

// lost reports whether lose was called since won.
func (c *claims) lost(pid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.under[pid]
	return x != nil && x.lost
}
