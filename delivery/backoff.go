package delivery

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	maxAttempts = 1000
	maxDelay    = 24 * time.Hour
	// jitterShare is by how much of itself jitter lengthens a delay at most, as in the seed.
	jitterShare = 0.1
)

// Backoff says how often and how soon an event is tried again after an error of a category. What a map does not have
// under the category it has under "default"; what it has under neither, the built-in figures say (defaultBackoff).
type Backoff struct {
	// MaxRetries is the number of attempts, the first included: with 1, nothing is tried again. Validation errors
	// never are.
	MaxRetries map[Category]int
	// BaseRetryDelay is how long the second attempt waits for; each further one waits twice as long, and up to a tenth more.
	BaseRetryDelay map[Category]time.Duration
	// MaxRetryDelay is the longest that an attempt waits, also where the receiver asked for more.
	MaxRetryDelay map[Category]time.Duration
}

// defaultBackoff has a receiver that restarts, or that is away for some minutes, miss nothing, and one which answers
// with an error that we do not understand tell it soon.
var defaultBackoff = struct {
	attempts  map[Category]int
	base, max map[Category]time.Duration
}{
	map[Category]int{
		CategoryTimeout: 5, CategoryNetwork: 8, CategoryValidation: 1, CategoryRateLimit: 10, CategoryUnknown: 5,
	},
	map[Category]time.Duration{
		CategoryTimeout: 2 * time.Second, CategoryNetwork: time.Second, CategoryValidation: time.Second,
		CategoryRateLimit: 5 * time.Second, CategoryUnknown: time.Second,
	},
	map[Category]time.Duration{
		CategoryTimeout: time.Minute, CategoryNetwork: time.Minute, CategoryValidation: time.Minute,
		CategoryRateLimit: 5 * time.Minute, CategoryUnknown: time.Minute,
	},
}

// of looks a figure up.
func of[T comparable](configured, builtin map[Category]T, c Category) T {
	return cmp.Or(configured[c], configured[CategoryDefault], builtin[c])
}

// Attempts is how many attempts an error of the category allows, the first included.
func (b Backoff) Attempts(c Category) int {
	if c == CategoryValidation {
		return 1
	}
	return of(b.MaxRetries, defaultBackoff.attempts, c)
}

// Longest is the longest delay after an error of the category.
func (b Backoff) Longest(c Category) time.Duration {
	return of(b.MaxRetryDelay, defaultBackoff.max, c)
}

// Delay is how long to wait after the attempt, counted from 1, as in the seed: base × 2^(attempt-1), and jitter from 0
// to 1 adds up to a tenth of it; never more than the longest.
func (b Backoff) Delay(c Category, attempt int, jitter float64) time.Duration {
	longest := b.Longest(c)
	d := float64(of(b.BaseRetryDelay, defaultBackoff.base, c)) * math.Pow(2, float64(max(attempt, 1)-1))
	d += jitter * jitterShare * d
	if d >= float64(longest) { // +Inf, too
		return longest
	}
	return time.Duration(d)
}

// withBase is the same with another base delay for all categories; zero changes nothing. The longest delay is no less.
func (b Backoff) withBase(base time.Duration) Backoff {
	if base == 0 {
		return b
	}
	longest := map[Category]time.Duration{}
	for _, c := range Categories() {
		longest[c] = max(b.Longest(c), base)
	}
	b.BaseRetryDelay, b.MaxRetryDelay = map[Category]time.Duration{CategoryDefault: base}, longest
	return b
}

// Validate reports all problems at once, by key.
func (b Backoff) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("resilience."+format, args...))
	}
	checkCategories(b.MaxRetries, "maxRetries", wrong)
	checkCategories(b.BaseRetryDelay, "baseRetryDelay", wrong)
	checkCategories(b.MaxRetryDelay, "maxRetryDelay", wrong)
	for _, c := range sorted(b.MaxRetries) {
		if n := b.MaxRetries[c]; n < 0 || n > maxAttempts {
			wrong("maxRetries.%s is %d: want 1 to %d attempts, the first included, or 0 for the default", c, n, maxAttempts)
		}
	}
	for _, m := range []struct {
		name   string
		delays map[Category]time.Duration
	}{{"baseRetryDelay", b.BaseRetryDelay}, {"maxRetryDelay", b.MaxRetryDelay}} {
		for _, c := range sorted(m.delays) {
			if d := m.delays[c]; d != 0 && (d < time.Millisecond || d > maxDelay) {
				wrong("%s.%s is %s: want 1ms to %s, or 0 for the default", m.name, c, d, maxDelay)
			}
		}
	}
	for _, c := range Categories() {
		base, longest := of(b.BaseRetryDelay, defaultBackoff.base, c), b.Longest(c)
		if len(errs) == 0 && base > longest {
			wrong("baseRetryDelay.%s is %s: want at most maxRetryDelay.%s, which is %s", c, base, c, longest)
		}
	}
	return errors.Join(errs...)
}

func checkCategories[T any](m map[Category]T, name string, wrong func(string, ...any)) {
	for _, c := range sorted(m) {
		if c != CategoryDefault && !slices.Contains(Categories(), c) {
			wrong("%s.%s: no such category; want timeout, network, validation, rate_limit, unknown or default", name, c)
		}
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
