package delivery

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// The seed's formula, word for word: min(base*2^(attempt-1) + random*0.1*that, max).
func TestDelayIsTheSeeds(t *testing.T) {
	t.Parallel()
	b := Backoff{
		BaseRetryDelay: map[Category]time.Duration{CategoryDefault: 700 * time.Millisecond, CategoryTimeout: 3 * time.Second},
		MaxRetryDelay:  map[Category]time.Duration{CategoryDefault: time.Minute, CategoryNetwork: time.Hour},
	}
	ms := func(m map[Category]time.Duration, c Category) float64 {
		if d, ok := m[c]; ok {
			return float64(d)
		}
		return float64(m[CategoryDefault])
	}
	for range 10_000 {
		c, attempt, jitter := Categories()[rand.N(5)], 1+rand.N(80), rand.Float64()
		exponential := ms(b.BaseRetryDelay, c) * math.Pow(2, float64(attempt-1))
		want := min(exponential+jitter*0.1*exponential, ms(b.MaxRetryDelay, c))
		if got := b.Delay(c, attempt, jitter); math.Abs(float64(got)-want) > 2 {
			t.Fatalf("%s, attempt %d, jitter %v: %s, want %s", c, attempt, jitter, got, time.Duration(want))
		}
	}
}

func TestBackoffDefaults(t *testing.T) {
	t.Parallel()
	var b Backoff
	for _, c := range Categories() {
		if n := b.Attempts(c); (n == 1) != (c == CategoryValidation) || n < 1 {
			t.Errorf("%s: %d attempts", c, n)
		}
		if b.Delay(c, 1, 0) <= 0 || b.Delay(c, 1000, 1) != b.Longest(c) || b.Delay(c, -1, 0) != b.Delay(c, 1, 0) {
			t.Errorf("%s: first %s, last %s", c, b.Delay(c, 1, 0), b.Delay(c, 1000, 1))
		}
	}
	b.MaxRetries = map[Category]int{CategoryDefault: 7, CategoryValidation: 9}
	if b.Attempts(CategoryNetwork) != 7 || b.Attempts(CategoryValidation) != 1 {
		t.Error("the default does not count, or validation errors are tried again")
	}
}

func TestBackoffValidate(t *testing.T) {
	t.Parallel()
	if err := (Backoff{}).Validate(); err != nil {
		t.Error(err)
	}
	err := Backoff{
		MaxRetries:     map[Category]int{"netwrok": 1, CategoryTimeout: -1, CategoryUnknown: 5000},
		BaseRetryDelay: map[Category]time.Duration{CategoryNetwork: -time.Second},
		MaxRetryDelay:  map[Category]time.Duration{CategoryDefault: 48 * time.Hour},
	}.Validate()
	wantProblems(t, err, "resilience.maxRetries.netwrok", "resilience.maxRetries.timeout is -1", "resilience.maxRetries.unknown is 5000",
		"resilience.baseRetryDelay.network is -1s", "resilience.maxRetryDelay.default is 48h")
	err = Backoff{BaseRetryDelay: map[Category]time.Duration{CategoryNetwork: time.Hour}}.Validate()
	wantProblems(t, err, "resilience.baseRetryDelay.network is 1h0m0s: want at most maxRetryDelay.network")
}

// wantProblems checks that an error has these lines, in whatever words they go on, and no others.
func wantProblems(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	for i, line := range got {
		if i >= len(want) || !strings.Contains(line, want[i]) {
			t.Errorf("problem %d: %s\nwant %q", i, line, append(want, "no more")[min(i, len(want))])
		}
	}
	if len(got) < len(want) {
		t.Errorf("%d problems, want %d: %v", len(got), len(want), err)
	}
}
