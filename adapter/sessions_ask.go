package adapter

import (
	"context"
	"fmt"
	"time"
)

// sessionAsk is somebody waiting for a session.
type sessionAsk struct {
	pid  string
	take bool
	done chan struct{} // closed when it is answered

	// These are guarded by the lock until done is closed.
	answered  bool
	abandoned bool           // nobody waits any more
	value     string         // as in Redis; empty if there is none
	own       *StoredSession // the same of one of ours that Redis has not got
	from      string
	err       error
}

// Look shows a session without a change. Without one, or with a pid that cannot be one, ok is false.
func (s *Sessions) Look(ctx context.Context, pid string) (got StoredSession, ok bool, err error) {
	if !validPID(pid) {
		return StoredSession{}, false, nil
	}
	a := &sessionAsk{pid: pid, done: make(chan struct{})}
	if err := s.ask(ctx, a); err != nil {
		return StoredSession{}, false, fmt.Errorf("look for session: %w", err)
	}
	got, ok = s.read(a)
	return got, ok, nil
}

// Take makes a session ours, whoever had it, and shows it. Of several takers each gets it, one after the other, and the
// last one keeps it. from is the id of the server that had it, which is told: our own if it was ours already, also
// with an earlier connection that is the caller's to close; empty if a Node server left it behind.
//
// Nobody takes its client for here before Save or Changed: until then it is kept as after Release. With an error it
// may be ours all the same, and can be taken again.
func (s *Sessions) Take(ctx context.Context, pid string) (got StoredSession, from string, ok bool, err error) {
	if !validPID(pid) {
		return StoredSession{}, "", false, nil
	}
	a := &sessionAsk{pid: pid, take: true, done: make(chan struct{})}
	if err := s.ask(ctx, a); err != nil {
		return StoredSession{}, "", false, fmt.Errorf("take session: %w", err)
	}
	got, ok = s.read(a)
	if !ok && a.value != "" {
		s.Drop(pid)
	}
	if !ok {
		return StoredSession{}, "", false, nil
	}
	return got, a.from, true, nil
}

// ask hands a to Run and waits for the answer.
func (s *Sessions) ask(ctx context.Context, a *sessionAsk) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return errSessionsStopped
	}
	s.asks = append(s.asks, a)
	s.nudge()
	s.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		s.mu.Lock()
		a.abandoned = !a.answered
		s.mu.Unlock()
		if a.abandoned {
			return ctx.Err()
		}
		<-a.done
	}
	return a.err
}

// read is the session in an answer. One that makes no sense is none.
func (s *Sessions) read(a *sessionAsk) (got StoredSession, ok bool) {
	if a.own != nil {
		return *a.own, true
	}
	if a.value == "" {
		return StoredSession{}, false
	}
	if len(a.value) <= maxSession {
		var err error
		if got, err = s.decode(a.value); err == nil && got.PID == a.pid && got.ID != "" {
			return got, true
		}
	}
	s.refused.Add(1)
	return StoredSession{}, false
}

// answerLocked notes what came of a. One that is taken is ours, if somebody still waits for it; if not, it stays as it
// is in Redis, for whoever comes next.
func (s *Sessions) answerLocked(a *sessionAsk, now time.Time) {
	if a.answered = !a.abandoned; a.abandoned {
		return
	}
	if a.take && a.err == nil && a.value != "" && len(a.value) <= maxSession {
		s.ours[a.pid] = ourSession{until: now.Add(s.cfg.Window), stored: true}
	}
}

// stop answers all who wait, and everybody from now on, with an error.
func (s *Sessions) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for el := s.queue.Front(); el != nil; el = el.Next() {
		el.Value.(*sessionChange).endLocked(errSessionsStopped)
	}
	for _, a := range s.asks {
		a.err, a.answered = errSessionsStopped, true
		close(a.done)
	}
	s.queue.Init()
	clear(s.pending)
	clear(s.checks)
	s.asks = nil
}
