package delivery

import (
	"time"
	"unicode/utf8"
)

// Reasons for which an event is in the dead letters.
const (
	ReasonValidation   = "validation"           // it is wrong itself
	ReasonRetries      = "max_retries_exceeded" // it was tried as often as may be
	ReasonPermanent    = "permanent"            // trying again would not have helped
	ReasonCircuitOpen  = "circuit_open"         // the breaker was open, and DeadLetterWhenOpen is set
	ReasonUnsubscribed = "unsubscribed"         // it was not yet delivered when its subscription was removed
)

// Retry says what becomes of an event that failed.
type Retry struct {
	Backoff Backoff
	// Never tries nothing again: the first failure is the last.
	Never bool
	// Base overrides the base delay of all categories. Zero means that of Backoff.
	Base time.Duration
}

// verdict is what becomes of an event that failed: it is tried again after a delay, or buried for a reason.
type verdict struct {
	category Category
	again    bool
	delay    time.Duration
	pause    time.Duration // nothing else is sent to the receiver for so long, as it asked
	reason   string
}

// decide is the seed's shouldRetryError and calculateRetryDelay, for the attempt counted from 1 that ended with err.
// jitter is from 0 to 1.
func (r Retry) decide(err error, attempt int, jitter float64) verdict {
	v := verdict{category: CategoryOf(err)}
	backoff := r.Backoff.withBase(r.Base)
	if limited, ok := asRateLimited(err); ok {
		v.pause = min(limited.RetryAfter, backoff.Longest(CategoryRateLimit))
	}
	switch {
	case v.category == CategoryValidation:
		v.reason = ReasonValidation
	case isPermanent(err):
		v.reason = ReasonPermanent
	case r.Never || attempt >= backoff.Attempts(v.category):
		v.reason = ReasonRetries
	default:
		v.again = true
		v.delay = max(backoff.Delay(v.category, attempt, jitter), v.pause)
	}
	return v
}

// maxErrorBytes is how much of an error's text is kept with an event.
const maxErrorBytes = 512

// errorText is an error's text, bounded.
func errorText(err error) string {
	text := err.Error()
	if len(text) <= maxErrorBytes {
		return text
	}
	cut := maxErrorBytes
	for cut > maxErrorBytes-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
