package adapter

import (
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The answers of keepSession that are not a success.
const (
	sessionMissing = int64(0)
	sessionTaken   = int64(-1)
)

// settleChanges notes what came of the changes, and returns those of our sessions that are somebody else's now.
func (s *Sessions) settleChanges(t *sessionTurn) (lost []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed []*sessionChange
	for i, c := range t.changes {
		call := t.changed[i]
		switch {
		case call == nil:
			s.unsentLocked(c, t.unsent[i])
		case call.err != nil:
			failed = append(failed, c)
		case call.answer == sessionTaken:
			if _, ok := s.ours[c.pid]; ok {
				lost = append(lost, c.pid)
			}
			s.forgetLocked(c.pid, ErrTaken)
			c.endLocked(ErrTaken)
		case call.answer == sessionMissing:
			if o, ok := s.ours[c.pid]; ok { // Redis lost it
				o.stored = false
				s.ours[c.pid] = o
				s.changeLocked(c.pid)
			}
		case t.unsent[i] != nil: // so it was deleted
			c.fresh = true
			s.unsentLocked(c, t.unsent[i])
		default:
			c.endLocked(nil)
		}
	}
	s.retryLocked(failed)
	return lost
}

// unsentLocked ends a change by which nothing was stored, as there is nothing to store, or it cannot be.
func (s *Sessions) unsentLocked(c *sessionChange, err error) {
	c.endLocked(err)
	o, ok := s.ours[c.pid]
	if !ok {
		return
	}
	o.stored = !c.fresh
	s.ours[c.pid] = o
	if !errors.Is(err, errNoSession) || s.pending[c.pid] != nil {
		return
	}
	switch c.sessionWork {
	case storeSession:
		s.forgetLocked(c.pid, err)
	case renewSession:
		s.changeLocked(c.pid) // which deletes it
	}
}

// settleAsks answers the questions.
func (s *Sessions) settleAsks(t *sessionTurn, now time.Time, state func(string) (StoredSession, bool)) {
	for i, a := range t.asks {
		call := t.asked[i]
		switch {
		case redis.HasErrorPrefix(call.err, "WRONGTYPE"):
			a.value = "?" // as scripts say
		case call.err != nil:
			a.err = call.err
		default:
			a.value, a.from = sessionAnswer(call.answer)
		}
		if a.value == "" && s.unstored(a.pid, now) {
			if own, ok := state(a.pid); ok {
				own.PID = a.pid
				a.own, a.from, a.err = &own, s.cfg.ID, nil
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range t.asks {
		s.answerLocked(a, now)
		close(a.done)
	}
}

// unstored says whether a session is ours and not in Redis, so that nobody else can have it.
func (s *Sessions) unstored(pid string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.ours[pid]
	return ok && !o.stored && s.cfg.lifetime(o.until, now) > 0
}

// sessionAnswer reads the answer to a question: that of takeSession has two parts.
func sessionAnswer(answer any) (value, from string) {
	if both, ok := answer.([]any); ok && len(both) == 2 {
		value, _ = both[0].(string)
		from, _ = both[1].(string)
		return value, from
	}
	value, _ = answer.(string)
	return value, ""
}
