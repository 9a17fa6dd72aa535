package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// sessionChange is something to be done to a session in Redis.
type sessionChange struct {
	pid string
	sessionWork
	fresh bool      // Redis was not known to have it
	until time.Time // as in ourSession, when it was taken off the queue

	done chan struct{}  // closed at the end, once somebody waits; made under the lock
	err  error          // what came of it
	next *sessionChange // the session had changed again when this had to be given up: see what comes of that
}

type sessionWork uint8

const (
	storeSession  sessionWork = iota // write it
	deleteSession                    // and it is not in ours any more
	// Before a question for one of ours it is written too: Redis may have lost it.
	refreshSession
	renewSession // let it live on
)

// Save has the session written, with what state says then, and returns when it is stored. It is written after ctx
// has ended, too, when Redis is back. With ErrTaken it is another server's, and is not written.
//
// The client counts as here from now on, until Release.
func (s *Sessions) Save(ctx context.Context, pid string) error {
	c, err := s.changed(pid, true)
	if err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	for {
		select {
		case <-c.done:
			if c.next != nil {
				c = c.next
				continue
			}
			if c.err != nil && !errors.Is(c.err, ErrTaken) {
				return fmt.Errorf("store session: %w", c.err)
			}
			return c.err
		case <-ctx.Done():
			return s.tooLate(ctx, "store session")
		}
	}
}

// Changed is Save for those who do not wait.
func (s *Sessions) Changed(pid string) { _, _ = s.changed(pid, false) }

func (s *Sessions) changed(pid string, wait bool) (*sessionChange, error) {
	if !validPID(pid) {
		return nil, errSessionID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, errSessionsStopped
	}
	o := s.ours[pid]
	o.until = time.Time{}
	s.ours[pid] = o
	c := s.changeLocked(pid)
	if wait {
		c.awaitLocked()
	}
	return c, nil
}

// Release says that the client is away: its session ends Window from now, unless somebody takes it. It does nothing
// for a session that is not ours.
func (s *Sessions) Release(pid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ours[pid]
	if !ok || s.stopped {
		return
	}
	o.until = time.Now().Add(s.cfg.Window)
	s.ours[pid] = o
	s.changeLocked(pid)
}

// Drop says that the client left for good: its session is deleted, if it is still ours.
func (s *Sessions) Drop(pid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ours[pid]
	if !ok || s.stopped {
		return
	}
	s.forgetLocked(pid, errNoSession)
	if o.stored {
		s.changeLocked(pid).sessionWork = deleteSession
	}
}

// changeLocked is what waits to be done for a session, a write if there was nothing.
func (s *Sessions) changeLocked(pid string) *sessionChange {
	s.nudge()
	if el := s.pending[pid]; el != nil {
		c := el.Value.(*sessionChange)
		if c.sessionWork == deleteSession { // and now there is something to store all the same
			c.sessionWork = storeSession
			o := s.ours[pid]
			o.stored = true
			s.ours[pid] = o
		}
		return c
	}
	c := &sessionChange{pid: pid}
	s.pending[pid] = s.queue.PushBack(c)
	return c
}

// popLocked takes a session's change off the queue, to be sent. It may be nil.
func (s *Sessions) popLocked(pid string) *sessionChange {
	el := s.pending[pid]
	if el == nil {
		return nil
	}
	delete(s.pending, pid)
	return s.sendingLocked(s.queue.Remove(el).(*sessionChange))
}

// sendingLocked notes that c is on its way to Redis.
func (s *Sessions) sendingLocked(c *sessionChange) *sessionChange {
	if o, ok := s.ours[c.pid]; ok {
		c.fresh, c.until = !o.stored, o.until
		o.stored = true
		s.ours[c.pid] = o
	}
	return c
}

// forgetLocked ends what is known and what is waiting for a session, with err for those who wait.
func (s *Sessions) forgetLocked(pid string, err error) {
	if c := s.popLocked(pid); c != nil {
		c.endLocked(err)
	}
	delete(s.ours, pid)
	delete(s.checks, pid)
}

// retryLocked puts back what could not be sent, before all others. Of a session that has changed again the newer
// change stays where it is: it will write the same or more.
func (s *Sessions) retryLocked(failed []*sessionChange) {
	for _, c := range slices.Backward(failed) {
		o, ours := s.ours[c.pid]
		if ours {
			o.stored = !c.fresh
			s.ours[c.pid] = o
		}
		newer := s.pending[c.pid]
		switch {
		case c.sessionWork == refreshSession:
		case c.sessionWork == renewSession:
			if ours {
				s.checks[c.pid] = struct{}{}
			}
		case newer == nil && (ours || c.sessionWork == deleteSession):
			s.pending[c.pid] = s.queue.PushFront(c)
		case newer == nil: // dropped before it was known to be there
			c.endLocked(errNoSession)
		default:
			c.next = newer.Value.(*sessionChange)
			c.next.awaitLocked()
			c.endLocked(nil)
		}
		if newer != nil && !ours && c.fresh { // it was to be deleted
			s.queue.Remove(newer)
			delete(s.pending, c.pid)
			newer.Value.(*sessionChange).endLocked(errNoSession)
		}
	}
}

func (c *sessionChange) awaitLocked() {
	if c.done == nil {
		c.done = make(chan struct{})
	}
}

func (c *sessionChange) endLocked(err error) {
	c.err = err
	if c.done != nil {
		close(c.done)
	}
}

// tooLate is the error of a ctx that ended while its caller waited, with the reason if there is one.
func (s *Sessions) tooLate(ctx context.Context, what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble != nil {
		return fmt.Errorf("%s: %w: %w", what, ctx.Err(), s.trouble)
	}
	return fmt.Errorf("%s: %w", what, ctx.Err())
}

// nudge tells Run that there is something to do.
func (s *Sessions) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
