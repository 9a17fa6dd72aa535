package adapter

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxTurn is the most changes, renewals and questions, of each, in one pipeline.
	maxTurn = 500
	// turnTimeout is how long Redis may take for one.
	turnTimeout = 3 * time.Second
)

// sessionTurn is what goes to Redis at once: first the changes, then the questions.
type sessionTurn struct {
	changes []*sessionChange
	asks    []*sessionAsk
	calls   []*sessionCall
	// changed and asked are the calls of each change and question; nil where there is nothing to send, and then unsent
	// says why, maybe.
	changed, asked []*sessionCall
	unsent         []error
}

// turn does what waits, up to a pipeline's worth. It says whether Redis was needed, and returns what went wrong with it.
func (s *Sessions) turn(state func(string) (StoredSession, bool), taken func(string)) (sent bool, err error) {
	now := time.Now()
	t := s.next(now)
	s.compose(t, now, state)
	if len(t.calls) > 0 {
		// Not the context of Run: what is under way is worth its answer.
		ctx, cancel := context.WithTimeout(context.Background(), turnTimeout)
		err = s.send(ctx, t.calls)
		cancel()
	}
	for _, pid := range s.settleChanges(t) {
		taken(pid)
	}
	s.settleAsks(t, now, state)
	return len(t.calls) > 0, err
}

// next takes from what waits the oldest changes, some renewals and the oldest questions.
func (s *Sessions) next(now time.Time) *sessionTurn {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &sessionTurn{}
	for s.queue.Len() > 0 && len(t.changes) < maxTurn {
		t.changes = append(t.changes, s.popLocked(s.queue.Front().Value.(*sessionChange).pid))
	}
	seen := make(map[string]bool, len(t.changes))
	for _, c := range t.changes {
		seen[c.pid] = true
	}
	add := func(c *sessionChange) {
		seen[c.pid] = true
		t.changes = append(t.changes, c)
	}
	for pid := range s.checks {
		if len(t.changes) >= 2*maxTurn {
			break
		}
		delete(s.checks, pid)
		if s.ours[pid].stored && !seen[pid] {
			add(s.sendingLocked(&sessionChange{pid: pid, sessionWork: renewSession}))
		}
	}
	for len(s.asks) > 0 && len(t.asks) < maxTurn {
		a := s.asks[0]
		if s.asks = pop(s.asks); a.abandoned {
			continue
		}
		t.asks = append(t.asks, a)
		if c := s.popLocked(a.pid); c != nil {
			add(c)
		} else if o, ok := s.ours[a.pid]; ok && !seen[a.pid] && s.cfg.lifetime(o.until, now) > 0 {
			add(s.sendingLocked(&sessionChange{pid: a.pid, sessionWork: refreshSession}))
		}
	}
	return t
}

// compose makes the commands.
func (s *Sessions) compose(t *sessionTurn, now time.Time, state func(string) (StoredSession, bool)) {
	call := func(script *redis.Script, pid string, args ...any) *sessionCall {
		c := &sessionCall{script: script, pid: pid, args: args}
		t.calls = append(t.calls, c)
		return c
	}
	t.changed, t.unsent = make([]*sessionCall, len(t.changes)), make([]error, len(t.changes))
	for i, c := range t.changes {
		ttl := s.cfg.lifetime(c.until, now).Milliseconds()
		value, err := s.value(c, ttl, state)
		t.unsent[i] = err
		switch {
		case c.sessionWork == deleteSession, err != nil && c.sessionWork == storeSession && !c.fresh:
			t.changed[i] = call(dropSession, c.pid, s.cfg.ID)
		case err != nil:
		case c.sessionWork == renewSession:
			t.changed[i] = call(keepSession, c.pid, s.cfg.ID, ttl)
		default:
			t.changed[i] = call(keepSession, c.pid, s.cfg.ID, ttl, value)
		}
	}
	t.asked = make([]*sessionCall, len(t.asks))
	for i, a := range t.asks {
		if a.take {
			t.asked[i] = call(takeSession, a.pid, s.cfg.ID, s.cfg.Window.Milliseconds(), s.takenChannel(), a.pid)
		} else {
			t.asked[i] = call(nil, a.pid)
		}
	}
}

// value is what c writes, if it writes; or why there is nothing to be kept.
func (s *Sessions) value(c *sessionChange, ttl int64, state func(string) (StoredSession, bool)) (string, error) {
	switch {
	case c.sessionWork == deleteSession:
		return "", nil
	case ttl < 1:
		return "", errNoSession
	case c.sessionWork == renewSession && !c.until.IsZero():
		return "", nil // it ends by itself
	}
	st, ok := state(c.pid)
	if !ok {
		return "", errNoSession
	}
	if c.sessionWork == renewSession {
		return "", nil
	}
	st.PID = c.pid
	b, err := s.encode(st)
	if err == nil && len(b) > maxSession {
		err = errSessionSize
	}
	if err != nil {
		s.refused.Add(1)
		return "", fmt.Errorf("encode: %w", err)
	}
	return b, nil
}
