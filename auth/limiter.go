package auth

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// LimitConfig says how often a key, such as a user connecting, may come.
type LimitConfig struct {
	// Enabled false lets everything pass.
	Enabled bool
	// Max is how often a key may come at once, and per Window in the long run. Zero means 60.
	Max int
	// Window is the time in which a used-up allowance is restored. Zero means a minute.
	Window time.Duration
	// Keys is how many keys are remembered, at 20 to 40 bytes each. Zero means 100,000.
	Keys int
}

func (c LimitConfig) withDefaults() LimitConfig {
	c.Max = cmp.Or(c.Max, 60)
	c.Window = cmp.Or(c.Window, time.Minute)
	c.Keys = cmp.Or(c.Keys, 100_000)
	return c
}

// Validate reports all that is wrong with the configuration, and what would be right.
func (c LimitConfig) Validate() error {
	var errs []error
	if c.Max < 0 || c.Max > 1_000_000 {
		errs = append(errs, fmt.Errorf("security.rateLimit.max: %d; give 0 (60) up to 1000000", c.Max))
	}
	if c.Window != 0 && (c.Window < time.Second || c.Window > 24*time.Hour) {
		errs = append(errs, fmt.Errorf("security.rateLimit.window: %v; give 0 (1m), or 1s up to 24h", c.Window))
	}
	if c.Keys < 0 || c.Keys == 1 {
		errs = append(errs, fmt.Errorf("security.rateLimit.keys: %d; give 0 (100000), or 2 or more", c.Keys))
	}
	return errors.Join(errs...)
}

// Limiter is a token bucket per key, in the form of the generic cell rate algorithm: all it keeps of a key is the time
// at which its allowance will be whole again. It counts on this replica alone. It is safe for concurrent use.
//
// Keys live in two halves. Those seen go to the young one; after a Window, which restores any allowance, the old half is
// dropped and the young one takes its place. When the young half is full that happens early: keys not seen for longest are
// forgotten and start with a whole allowance, so that many users at once never lock out one more.
type Limiter struct {
	cfg   LimitConfig
	start time.Time
	seed  maphash.Seed

	mu         sync.Mutex
	young, old map[uint64]time.Duration // by hash of the key: when it is whole again, since start
	turned     time.Duration            // when young began, since start
}

// NewLimiter checks the configuration.
func NewLimiter(cfg LimitConfig) (*Limiter, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Limiter{
		cfg:   cfg.withDefaults(),
		start: time.Now(),
		seed:  maphash.MakeSeed(), // of our own, so that nobody can choose keys that collide
		young: make(map[uint64]time.Duration),
	}, nil
}

// Allow counts one attempt of the key. If it is one too many, it is not counted, and retryAfter is the time until
// the next would pass.
func (l *Limiter) Allow(key string) (ok bool, retryAfter time.Duration) {
	if !l.cfg.Enabled {
		return true, 0
	}
	k, each := maphash.String(l.seed, key), l.cfg.Window/time.Duration(l.cfg.Max)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	whole := max(l.takeLocked(k, now), now)
	if wait := whole + each - now - l.cfg.Window; wait > 0 {
		l.young[k] = whole
		return false, wait
	}
	l.young[k] = whole + each
	return true, 0
}

// takeLocked returns what is known of a key, having made room for it among the young.
func (l *Limiter) takeLocked(k uint64, now time.Duration) time.Duration {
	whole, ok := l.young[k]
	if !ok {
		whole = l.old[k]
	}
	if now-l.turned >= l.cfg.Window || !ok && len(l.young) >= l.cfg.Keys/2 {
		l.old, l.young, l.turned = l.young, make(map[uint64]time.Duration), now
	}
	return whole
}
