package auth

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const maxAllowance = 1_000_000 // LimitConfig.Max

func validWindow(w time.Duration) bool { return w == 0 || w >= time.Second && w <= 24*time.Hour }

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

// each is the time in which one attempt is restored.
func (c *LimitConfig) each() time.Duration { return c.Window / time.Duration(c.Max) }

// Validate reports all that is wrong with the configuration, and what would be right.
func (c LimitConfig) Validate() error {
	var errs []error
	if c.Max < 0 || c.Max > maxAllowance {
		errs = append(errs, fmt.Errorf("security.rateLimit.maxRequests: %d; give 0 (60) up to %d", c.Max, maxAllowance))
	}
	if !validWindow(c.Window) {
		errs = append(errs, fmt.Errorf("security.rateLimit.windowMs: %v; give 0 (1m), or 1s up to 24h", c.Window))
	}
	if c.Keys < 0 || c.Keys == 1 {
		errs = append(errs, fmt.Errorf("security.rateLimit.keys: %d; give 0 (100000), or 2 or more", c.Keys))
	}
	return errors.Join(errs...)
}

// Limiter is a token bucket per key, in the form of the generic cell rate algorithm: all it keeps of a key is the time
// at which its allowance will be whole again. It counts on this replica alone; SharedLimiter counts on all. It is safe
// for concurrent use.
type Limiter struct {
	cfg   atomic.Pointer[LimitConfig]
	start time.Time
	seed  maphash.Seed

	mu   sync.Mutex
	keys halves[time.Duration] // when the allowance is whole again, since start
}

// NewLimiter checks the configuration.
func NewLimiter(cfg LimitConfig) (*Limiter, error) {
	l := &Limiter{
		start: time.Now(),
		seed:  maphash.MakeSeed(), // of our own, so that nobody can choose keys that collide
		keys:  newHalves[time.Duration](),
	}
	if err := l.Reload(cfg); err != nil {
		return nil, err
	}
	return l, nil
}

// Reload changes the configuration, or leaves it as it was if there is something wrong with the new one. What has been
// counted counts on.
func (l *Limiter) Reload(cfg LimitConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg = cfg.withDefaults()
	l.cfg.Store(&cfg)
	return nil
}

// Allow counts one attempt of the key. If it is one too many, it is not counted, and retryAfter is the time until
// the next would pass.
func (l *Limiter) Allow(key string) (ok bool, retryAfter time.Duration) { return l.AllowN(key, 1) }

// AllowN counts n attempts of the key, or none of them, as Allow does. More than LimitConfig.Max never pass; they are
// told to come back after a whole window.
func (l *Limiter) AllowN(key string, n int) (ok bool, retryAfter time.Duration) {
	return l.allow(l.cfg.Load(), l.hash(key), n)
}

func (l *Limiter) hash(key string) uint64 { return maphash.String(l.seed, key) }

func (l *Limiter) now() time.Duration { return time.Since(l.start) }

func (l *Limiter) allow(cfg *LimitConfig, k uint64, n int) (ok bool, retryAfter time.Duration) {
	switch {
	case !cfg.Enabled || n <= 0:
		return true, 0
	case n > cfg.Max:
		return false, cfg.Window
	}
	need := time.Duration(n) * cfg.each()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	whole := min(max(l.keys.take(k, now, cfg.Window, cfg.Keys), now), now+cfg.Window) // a window may have been longer once
	if wait := whole + need - now - cfg.Window; wait > 0 {
		l.keys.young[k] = whole
		return false, wait
	}
	l.keys.young[k] = whole + need
	return true, 0
}

// giveBack uncounts n attempts that have been counted, and did not pass after all.
func (l *Limiter) giveBack(cfg *LimitConfig, k uint64, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys.young[k] = l.keys.take(k, l.now(), cfg.Window, cfg.Keys) - time.Duration(n)*cfg.each()
}
