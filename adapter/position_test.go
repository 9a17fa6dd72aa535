package adapter

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestParsePosition(t *testing.T) {
	t.Parallel()
	tests := []struct {
		in   string
		want Position
		ok   bool
	}{
		{"0-0", Position{}, true},
		{"1700000000000-0", Position{1700000000000, 0}, true},
		{"1-2", Position{1, 2}, true},
		{"18446744073709551615-18446744073709551615", Position{math.MaxUint64, math.MaxUint64}, true},
		{"", Position{}, false},
		{"-", Position{}, false},
		{"1", Position{}, false},
		{"1-", Position{}, false},
		{"-1", Position{}, false},
		{"1-2-3", Position{}, false},
		{"+1-2", Position{}, false},
		{"1--2", Position{}, false},
		{" 1-2", Position{}, false},
		{"1-2 ", Position{}, false},
		{"1_0-2", Position{}, false},
		{"0x1-2", Position{}, false},
		{"18446744073709551616-0", Position{}, false},
		{"0-18446744073709551616", Position{}, false},
		{"000000000000000000000000000000000000000001-1", Position{}, false}, // over 41 bytes
		{"$", Position{}, false},
	}
	for _, tt := range tests {
		got, err := ParsePosition(tt.in)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("ParsePosition(%q) is %v, %v, want %v, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
	}
}

func TestPositionAppend(t *testing.T) {
	t.Parallel()
	if got, want := string(Position{7, 9}.Append([]byte("at "))), "at 7-9"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fmt.Sprint(Position{7, 9}), "7-9"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPositionCompare(t *testing.T) {
	t.Parallel()
	order := []Position{
		{0, 0}, {0, 1}, {0, math.MaxUint64}, {1, 0}, {1, 9}, {1, 10}, {10, 0}, {math.MaxUint64, 0}, {math.MaxUint64, 1},
	}
	for i, p := range order {
		for j, q := range order {
			if got, want := p.Compare(q), cmp.Compare(i, j); got != want {
				t.Errorf("%v.Compare(%v) is %d, want %d", p, q, got, want)
			}
		}
	}
}

// Whatever the clock does, positions rise, and none is ahead of both the clock and its predecessor.
func TestPositionNext(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 3))
	clock := time.UnixMilli(1_700_000_000_000)
	p := Position{}
	all := []Position{p}
	for range 10_000 {
		switch dice.IntN(4) {
		case 0:
			clock = clock.Add(time.Duration(dice.IntN(5)) * time.Millisecond)
		case 1:
			clock = clock.Add(-time.Duration(dice.IntN(5)) * time.Millisecond)
		case 2:
			clock = clock.Add(time.Duration(dice.IntN(999)) * time.Microsecond)
		}
		next := p.Next(clock)
		if next.Compare(p) <= 0 {
			t.Fatalf("%v follows %v", next, p)
		}
		if want := max(p.MS, uint64(clock.UnixMilli())); next.MS != want {
			t.Fatalf("%v follows %v at %d, want %d ms", next, p, clock.UnixMilli(), want)
		}
		p = next
		all = append(all, p)
	}
	if !slices.IsSortedFunc(all, Position.Compare) {
		t.Error("Compare does not see that positions rise")
	}
}

// A clock that was never set says 1970 or earlier.
func TestPositionNextBeforeTheEpoch(t *testing.T) {
	t.Parallel()
	p := Position{MS: 1_700_000_000_000, Seq: 4}
	for _, clock := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(0)} {
		if got, want := p.Next(clock), (Position{p.MS, 5}); got != want {
			t.Errorf("at %s: %v follows %v, want %v", clock.UTC(), got, p, want)
		}
	}
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"0-0", "1700000000000-12", "18446744073709551615-18446744073709551615", "01-2", "-", "1-2-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			if p != (Position{}) {
				t.Errorf("ParsePosition(%q) is %v beside an error", s, p)
			}
			return
		}
		again, err := ParsePosition(p.String())
		if err != nil || again != p {
			t.Errorf("ParsePosition(%q) is %v, again %v, %v", s, p, again, err)
		}
		if next := p.Next(time.UnixMilli(0)); p.Seq < math.MaxUint64 && next.Compare(p) <= 0 {
			t.Errorf("%v follows %v", next, p)
		}
	})
}
