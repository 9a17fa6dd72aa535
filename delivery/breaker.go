package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// What happens to events while a breaker is open.
const (
	// WaitWhenOpen leaves them where they are: nothing is sent, and no attempt counts.
	WaitWhenOpen = "wait"
	// DeadLetterWhenOpen puts them into the dead letters with the reason circuit_open, as the seed does.
	DeadLetterWhenOpen = "deadLetter"
)

// trials is how many calls a half-open breaker lets through, and how many must succeed for it to close, as in the seed.
const trials = 3

// BreakerConfig says when a subscription's receiver is left alone for a while.
type BreakerConfig struct {
	// FailureThreshold is how many calls must fail one after the other. Zero means 5.
	FailureThreshold int
	// ResetTimeout is how long nothing is sent then, before some calls try whether it works again. Zero means 30 s.
	ResetTimeout time.Duration
	// MonitoringWindow is after how long failures no longer count, while the breaker is closed: time is cut into windows
	// of this length, and each begins at nought. Zero means 60 s.
	MonitoringWindow time.Duration
	// WhenOpen is WaitWhenOpen or DeadLetterWhenOpen. Zero means the former.
	WhenOpen string
}

func (c BreakerConfig) withDefaults() BreakerConfig {
	c.FailureThreshold = cmp.Or(c.FailureThreshold, 5)
	c.ResetTimeout = cmp.Or(c.ResetTimeout, 30*time.Second)
	c.MonitoringWindow = cmp.Or(c.MonitoringWindow, time.Minute)
	c.WhenOpen = cmp.Or(c.WhenOpen, WaitWhenOpen)
	return c
}

// Validate reports all problems at once, by key.
func (c BreakerConfig) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("resilience.circuitBreaker."+format, args...))
	}
	c = c.withDefaults()
	if c.FailureThreshold < 1 || c.FailureThreshold > 1_000_000 {
		wrong("failureThreshold is %d: want 1 to 1000000 failures, or 0 for 5", c.FailureThreshold)
	}
	if c.ResetTimeout < time.Millisecond || c.ResetTimeout > maxDelay {
		wrong("resetTimeout is %s: want 1ms to %s, or 0 for 30s", c.ResetTimeout, maxDelay)
	}
	if c.MonitoringWindow < time.Millisecond || c.MonitoringWindow > maxDelay {
		wrong("monitoringWindow is %s: want 1ms to %s, or 0 for 1m", c.MonitoringWindow, maxDelay)
	}
	if c.WhenOpen != WaitWhenOpen && c.WhenOpen != DeadLetterWhenOpen {
		wrong("whenOpen is %.40q: want %s or %s", c.WhenOpen, WaitWhenOpen, DeadLetterWhenOpen)
	}
	return errors.Join(errs...)
}

// Breaker leaves a receiver alone that fails again and again. It asks the time, but keeps no timer: the step from open
// to half-open is taken by the next question.
type Breaker struct {
	machine *gobreaker.TwoStepCircuitBreaker[struct{}]
	reset   time.Duration
	changed func(closed bool)

	mu     sync.Mutex
	until  time.Time // it stays open
	closed bool
}

// NewBreaker makes a closed one. changed hears when it is no longer closed, and when it is again; it must not wait for
// anything, nor call the breaker, and may be nil.
func NewBreaker(cfg BreakerConfig, changed func(closed bool)) *Breaker {
	cfg = cfg.withDefaults()
	b := &Breaker{reset: cfg.ResetTimeout, changed: changed, closed: true}
	b.machine = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: trials,
		Interval:    cfg.MonitoringWindow,
		Timeout:     cfg.ResetTimeout - 1, // it is open for longer than that, the seed's for this long
		ReadyToTrip: func(counts gobreaker.Counts) bool {
			return counts.ConsecutiveFailures >= uint32(cfg.FailureThreshold)
		},
		OnStateChange: func(_ string, _, to gobreaker.State) { b.turned(to) },
		IsExcluded:    func(err error) bool { return err != nil && (errors.Is(err, errAbandoned) || aboutEvent(err)) },
	})
	return b
}

// errAbandoned is the outcome of a call that came to none.
var errAbandoned = errors.New("abandoned")

func (b *Breaker) turned(to gobreaker.State) {
	b.mu.Lock()
	before := b.closed
	b.closed = to == gobreaker.StateClosed
	if to == gobreaker.StateOpen {
		b.until = time.Now().Add(b.reset)
	}
	now := b.closed
	b.mu.Unlock()
	if now != before && b.changed != nil {
		b.changed(now)
	}
}

// Allow asks for leave to make one call, whose outcome done must hear. Without leave done is nil, and wait says when to
// ask again: zero means after the outcome of a call under way.
func (b *Breaker) Allow() (done func(error), wait time.Duration) {
	done, err := b.machine.Allow()
	switch {
	case err == nil:
		return done, 0
	case errors.Is(err, gobreaker.ErrOpenState):
		b.mu.Lock()
		defer b.mu.Unlock()
		return nil, max(time.Until(b.until), 1)
	}
	return nil, 0
}

// State is "closed", "open" or "half-open".
func (b *Breaker) State() string { return b.machine.State().String() }
