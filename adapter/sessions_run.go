package adapter

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// lastTurns is how long what still waits may take to be stored when Run is to end.
const lastTurns = time.Second

// Run writes, renews, asks and listens until ctx ends, and then stores what still waits, if Redis is there. Its nil comes
// within a second then, or a few more if Redis hangs. From then on every call is refused. It runs once.
//
// state says what is to be kept of a session now, whether its client is here or away and not expired; false says that
// there is nothing any more, and it is deleted. It is asked when the session is about to be written. taken is called
// when a session became another server's: its connection here is to be closed. Both are called on Run's goroutine,
// without a lock, and must not wait for anything of Sessions but may call Changed, Release and Drop.
func (s *Sessions) Run(ctx context.Context, state func(pid string) (StoredSession, bool), taken func(pid string)) error {
	s.mu.Lock()
	again := s.started
	s.started = true
	s.mu.Unlock()
	if again {
		return errors.New("sessions: run twice")
	}
	var listener sync.WaitGroup
	defer listener.Wait()
	listener.Go(func() { s.listen(ctx) })

	if s.work(ctx, state, taken) {
		for end := time.Now().Add(lastTurns); s.more() && time.Now().Before(end); {
			if _, err := s.turn(state, taken); err != nil {
				break
			}
		}
	}
	s.stop() // before the listener is gone, which may be making a connection
	return nil
}

// work takes turn after turn until ctx ends. It says whether Redis was there in the end.
func (s *Sessions) work(ctx context.Context, state func(string) (StoredSession, bool), taken func(string)) bool {
	tick := time.NewTicker(s.cfg.Renew)
	defer tick.Stop()
	var lost time.Time         // zero while nothing is wrong, so that a loss and a return are each reported once
	var pause <-chan time.Time // after a failure
	for attempt := 0; ; {
		wake := s.wake
		if pause != nil {
			wake = nil
		}
		select {
		case <-ctx.Done():
			return lost.IsZero()
		case now := <-tick.C:
			s.renew(now)
			continue
		case <-pause:
		case <-wake:
		}
		pause = nil
		sent, err := s.turn(state, taken)
		switch {
		case err != nil:
			if lost.IsZero() {
				lost = time.Now()
				s.log.Warn("sessions are not stored, trying again", zap.Error(err))
			}
			pause = time.After(reconnectDelay(min(attempt, 1), rand.Float64()))
			attempt++
		case sent && !lost.IsZero():
			s.log.Info("sessions are stored again", zap.Duration("away", time.Since(lost)))
			lost, attempt = time.Time{}, 0
		}
		if sent {
			s.report(err)
		}
		if s.more() {
			s.nudge()
		}
	}
}

// report keeps what is wrong with Redis for those who wait in vain.
func (s *Sessions) report(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
}

func (s *Sessions) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.Len() > 0 || len(s.checks) > 0 || len(s.asks) > 0
}

// renew has all sessions of ours renewed, and forgets those that have ended.
func (s *Sessions) renew(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid, o := range s.ours {
		if s.cfg.lifetime(o.until, now) > 0 {
			s.checks[pid] = struct{}{}
		} else {
			s.forgetLocked(pid, errNoSession)
		}
	}
	s.nudge()
}

// listen hears, until ctx ends, which sessions of ours were taken. It does not believe it, as it may be old news: that
// session is renewed, which shows. After each new subscription all are, as news may have been missed.
//
// Any error ends a subscription: see Redis.listen, also for what attend is for.
func (s *Sessions) listen(ctx context.Context) {
	var lost time.Time
	for attempt := 0; ; attempt++ {
		var up time.Time
		err := func() error {
			ps := s.client.Subscribe(ctx)
			defer ps.Close()
			if err := ps.Subscribe(ctx, s.takenChannel()+s.cfg.ID); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			var attendant sync.WaitGroup
			defer attendant.Wait()
			defer cancel()
			attendant.Go(func() { attend(ctx, ps, s.idle) })
			for ctx.Err() == nil {
				m, err := ps.ReceiveTimeout(ctx, s.idle+s.answer)
				if err != nil {
					return err
				}
				switch m := m.(type) {
				case *redis.Message:
					s.doubt(m.Payload)
				case *redis.Subscription:
					up = time.Now()
					s.renew(up)
					if !lost.IsZero() {
						s.log.Info("takeovers of sessions are heard of again", zap.Duration("away", up.Sub(lost)))
						lost = time.Time{}
					}
				}
			}
			return ctx.Err()
		}()
		if ctx.Err() != nil {
			return
		}
		if lost.IsZero() {
			lost = time.Now()
			s.log.Warn("takeovers of sessions are not heard of, trying again", zap.Error(err))
		}
		if !up.IsZero() && time.Since(up) > maxReconnect { // a shorter life is the same trouble
			attempt = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(reconnectDelay(attempt, rand.Float64())):
		}
	}
}

// doubt has a session renewed, if it is ours by then: it may have been taken from us before we had Redis's answer that
// we have it.
func (s *Sessions) doubt(pid string) {
	if !validPID(pid) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.checks[pid] = struct{}{}
		s.nudge()
	}
}
