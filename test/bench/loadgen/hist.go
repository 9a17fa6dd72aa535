//go:build linux

package main

import "math/bits"

const (
	histBits = 6 // 64 buckets an octave: a bucket is at most 1.6 % wide
	histSub  = 1 << histBits
)

// hist is a histogram of nanoseconds that never allocates. Its buckets are exact below 64 and logarithmic from there,
// linear within each octave.
type hist struct {
	buckets [(64 - histBits) * histSub]uint32
	n       uint64
	max     int64
}

// add counts v; a negative one, of clocks that disagree, as zero.
func (h *hist) add(v int64) {
	v = max(v, 0)
	h.max = max(h.max, v)
	h.buckets[bucket(v)]++
	h.n++
}

// quantile returns the lower edge of the bucket in which share p, from 0 to 1, of all values is reached; zero if there
// are none.
func (h *hist) quantile(p float64) int64 {
	if h.n == 0 {
		return 0
	}
	target := min(uint64(p*float64(h.n)), h.n-1)
	var below uint64
	for i, count := range h.buckets {
		if below += uint64(count); below > target {
			return lowerEdge(i)
		}
	}
	return h.max
}

// bucket is the place of v: the octave, then the six bits after the leading one.
func bucket(v int64) int {
	shift := bits.Len64(uint64(v)) - histBits - 1
	if shift < 0 {
		return int(v)
	}
	return (shift+1)*histSub + int(v>>shift)&(histSub-1)
}

func lowerEdge(i int) int64 {
	if i < histSub {
		return int64(i)
	}
	return int64(histSub|i%histSub) << (i/histSub - 1)
}
