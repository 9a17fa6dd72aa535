package auth

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/time/rate"
)

const minRate = 0.001 // Bucket.Rate

// Limits says how often what may happen. The zero value limits nothing. Connections.Enabled false turns all of them off;
// of the others, each is off until it is given.
type Limits struct {
	// Connections are the handshakes of one user.
	Connections LimitConfig
	// PerIP are the handshakes from one address, or IPv6 network of 64 bits: see AddrKey. Whole offices share one, and
	// without server.trustedProxies everybody behind a proxy does.
	PerIP Allowance
	// Events are what clients send.
	Events EventLimits
	// Publish are the events published over HTTP.
	Publish PublishLimits
}

// EventLimits are those of client events.
type EventLimits struct {
	PerConnection Bucket
	PerUser       Allowance // over all connections and replicas
}

// PublishLimits are those of publishing over HTTP.
type PublishLimits struct {
	PerUser Allowance // over all replicas
}

// Allowance is how often a key may come: Max at once, and per Window in the long run.
type Allowance struct {
	Max    int           // zero means no limit
	Window time.Duration // zero means a minute
}

// Bucket is how often one connection may do something.
type Bucket struct {
	Rate  float64 // per second in the long run; zero means no limit
	Burst int     // at once; zero means ten seconds' worth
}

func (b Bucket) withDefaults() Bucket {
	b.Burst = cmp.Or(b.Burst, int(math.Ceil(10*b.Rate)))
	return b
}

// Validate reports all that is wrong with the limits, and what would be right.
func (l Limits) Validate() error {
	return errors.Join(
		l.Connections.Validate(),
		l.PerIP.validate("perIP"),
		l.Events.PerConnection.validate("events.perConnection"),
		l.Events.PerUser.validate("events.perUser"),
		l.Publish.PerUser.validate("publish.perUser"),
	)
}

func (a Allowance) validate(key string) error {
	var errs []error
	if a.Max < 0 || a.Max > maxAllowance {
		errs = append(errs, fmt.Errorf("security.rateLimit.%s.max: %d; give 0 (no limit) up to %d", key, a.Max, maxAllowance))
	}
	if !validWindow(a.Window) {
		errs = append(errs, fmt.Errorf("security.rateLimit.%s.window: %v; give 0 (1m), or 1s up to 24h", key, a.Window))
	}
	return errors.Join(errs...)
}

func (b Bucket) validate(key string) error {
	var errs []error
	if b.Rate != 0 && !(b.Rate >= minRate && b.Rate <= maxAllowance) { // nor NaN
		errs = append(errs, fmt.Errorf("security.rateLimit.%s.rate: %v; give 0 (no limit), or %v to %d a second", key, b.Rate, minRate, maxAllowance))
	}
	if b.Burst < 0 || b.Burst > 10*maxAllowance {
		errs = append(errs, fmt.Errorf("security.rateLimit.%s.burst: %d; give 0 (ten seconds' worth) up to %d", key, b.Burst, 10*maxAllowance))
	}
	return errors.Join(errs...)
}

// Of returns the configuration of a Limiter or SharedLimiter for one of these allowances.
func (l Limits) Of(a Allowance) LimitConfig {
	return LimitConfig{Enabled: l.Connections.Enabled && a.Max > 0, Max: a.Max, Window: a.Window, Keys: l.Connections.Keys}
}

// Pace returns what a new connection counts its events with.
func (l Limits) Pace() Pace {
	b := l.Events.PerConnection.withDefaults()
	if !l.Connections.Enabled || b.Rate <= 0 {
		return Pace{}
	}
	return Pace{rate.NewLimiter(rate.Limit(b.Rate), b.Burst)}
}

// Pace is the token bucket of one connection: 80 bytes, and nothing if there is no limit. The zero value lets all pass. It
// keeps the limit it was made with.
type Pace struct{ bucket *rate.Limiter }

// Allow counts one event. If it is one too many, it is not counted, and retryAfter is the time until the next would pass.
func (p Pace) Allow() (ok bool, retryAfter time.Duration) {
	if p.bucket == nil {
		return true, 0
	}
	now := time.Now()
	if p.bucket.AllowN(now, 1) {
		return true, 0
	}
	missing := 1 - p.bucket.TokensAt(now)
	return false, max(1, time.Duration(missing/float64(p.bucket.Limit())*float64(time.Second)))
}
