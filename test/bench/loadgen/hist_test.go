//go:build linux

package main

import (
	"math"
	"testing"
)

func TestHistBuckets(t *testing.T) {
	t.Parallel()
	for _, v := range []int64{0, 1, 63, 64, 65, 127, 128, 1000, 12_345_678, 1 << 40, math.MaxInt64} {
		i := bucket(v)
		low := lowerEdge(i)
		if low > v || float64(v-low) > float64(v)/histSub {
			t.Errorf("%d is in the bucket from %d: off by more than 1/64", v, low)
		}
		if v > 0 && bucket(low-1) != i-1 && low > 0 {
			t.Errorf("%d, just below the bucket from %d, is not in the one before", low-1, low)
		}
	}
}

func TestHistQuantiles(t *testing.T) {
	t.Parallel()
	var h hist
	if got := h.quantile(.5); got != 0 {
		t.Errorf("median of nothing: got %d, want 0", got)
	}
	for v := int64(1000); v >= 1; v-- {
		h.add(v * 1000)
	}
	h.add(-5)
	for p, want := range map[float64]int64{0: 0, .5: 500_000, .99: 990_000, 1: 1_000_000} {
		if got := h.quantile(p); got > want || float64(want-got) > float64(want)/histSub {
			t.Errorf("quantile %v: got %d, want %d less at most 1/64", p, got, want)
		}
	}
	if h.max != 1_000_000 || h.n != 1001 {
		t.Errorf("got maximum %d of %d values, want 1000000 of 1001", h.max, h.n)
	}
}
