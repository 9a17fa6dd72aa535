package delivery

import (
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/photo-management/event-bus/events"
)

// seedBreaker is the seed's CircuitBreaker, line by line. Where it lets any number of calls through while half-open, ours
// lets three: one at a time, as here, that is the same.
type seedBreaker struct {
	state               string
	failures, successes int
	nextAttempt         time.Time
	threshold           int
	reset               time.Duration
}

func (b *seedBreaker) canExecute() bool {
	switch b.state {
	case "open":
		if !time.Now().Before(b.nextAttempt) {
			b.state = "half-open"
			return true
		}
		return false
	case "half-open":
		return b.successes < 3
	}
	return true
}

func (b *seedBreaker) record(ok bool) {
	if ok {
		b.successes++
		b.failures = 0
		if b.state == "half-open" && b.successes >= 3 {
			b.state = "closed"
		}
		return
	}
	b.failures++
	b.successes = 0
	if b.state == "closed" && b.failures >= b.threshold || b.state == "half-open" {
		b.state = "open"
		b.nextAttempt = time.Now().Add(b.reset)
	}
}

func TestBreakerIsTheSeeds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 1))
			reset := time.Duration(1+dice.IntN(30)) * time.Second
			model := &seedBreaker{state: "closed", threshold: 1 + dice.IntN(6), reset: reset}
			// The seed has a window and makes no use of it.
			b := NewBreaker(BreakerConfig{FailureThreshold: model.threshold, ResetTimeout: reset, MonitoringWindow: maxDelay}, nil)
			for step := range 500 {
				time.Sleep(time.Duration(dice.IntN(4)) * reset / 3)
				want := model.canExecute()
				done, wait := b.Allow()
				if (done != nil) != want {
					t.Fatalf("seed %d, step %d: allowed %v in state %s, want %v", seed, step, done != nil, b.State(), want)
				}
				if done == nil {
					if at := time.Now().Add(wait); !at.Equal(model.nextAttempt) {
						t.Fatalf("seed %d, step %d: to ask again in %s, want %s", seed, step, wait, time.Until(model.nextAttempt))
					}
					continue
				}
				ok := dice.IntN(3) > 0
				model.record(ok)
				if ok {
					done(nil)
				} else {
					done(errors.New("x"))
				}
				if b.State() != model.state {
					t.Fatalf("seed %d, step %d: %s, want %s", seed, step, b.State(), model.state)
				}
			}
		})
	}
}

func TestBreakerTrials(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		closed := true
		b := NewBreaker(BreakerConfig{FailureThreshold: 2}, func(c bool) { closed = c })
		call := func(err error) {
			t.Helper()
			done, _ := b.Allow()
			if done == nil {
				t.Fatal("not allowed")
			}
			done(err)
		}
		// What is wrong with an event says nothing of the receiver.
		for range 5 {
			call(events.ErrInvalid)
			call(RateLimited{})
			call(Permanent(HTTPError{422}))
			call(Permanent(errors.New("a handler's own")))
		}
		call(Permanent(HTTPError{401}))
		call(HTTPError{500})
		if b.State() != "open" || closed {
			t.Fatalf("%s, closed %v after two failures", b.State(), closed)
		}
		time.Sleep(30 * time.Second)
		var trial []func(error)
		for range 3 {
			done, _ := b.Allow()
			trial = append(trial, done)
		}
		if done, wait := b.Allow(); done != nil || wait != 0 {
			t.Fatal("a fourth trial is allowed, or is to wait for a time")
		}
		trial[0](errAbandoned) // makes room for another one
		done, _ := b.Allow()
		if done == nil {
			t.Fatal("an abandoned trial keeps its place")
		}
		trial[1](nil)
		trial[2](nil)
		if b.State() != "half-open" || closed {
			t.Fatal("closed after two successes")
		}
		done(nil)
		if b.State() != "closed" || !closed {
			t.Fatal("not closed after three successes")
		}
		// Failures of a window before do not count.
		call(HTTPError{500})
		time.Sleep(61 * time.Second)
		call(HTTPError{500})
		if b.State() != "closed" {
			t.Error("failures count for longer than the window")
		}
	})
}

func TestBreakerValidate(t *testing.T) {
	t.Parallel()
	if err := (BreakerConfig{}).Validate(); err != nil {
		t.Error(err)
	}
	err := BreakerConfig{FailureThreshold: -1, ResetTimeout: -1, MonitoringWindow: 48 * time.Hour, WhenOpen: "drop"}.Validate()
	wantProblems(t, err, "resilience.circuitBreaker.failureThreshold is -1", "resilience.circuitBreaker.resetTimeout is -1ns",
		"resilience.circuitBreaker.monitoringWindow is 48h", `resilience.circuitBreaker.whenOpen is "drop": want wait or deadLetter`)
}
