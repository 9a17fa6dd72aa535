//go:build linux

package main

// tally checks one connection's events by their sequence numbers: 1, 2, 3 and so on.
type tally struct {
	last    int32              // highest number seen
	missing map[int32]struct{} // lower ones not seen
}

type verdict int

const (
	inOrder verdict = iota // new; what it skips is missing for now
	late                   // new, but after a higher one
	repeated
)

// see takes note of number n. The caller has made sure that it was published, which bounds what can be missing.
func (t *tally) see(n int32) verdict {
	if n > t.last {
		for skipped := t.last + 1; skipped < n; skipped++ {
			if t.missing == nil {
				t.missing = map[int32]struct{}{}
			}
			t.missing[skipped] = struct{}{}
		}
		t.last = n
		return inOrder
	}
	if _, ok := t.missing[n]; !ok {
		return repeated
	}
	delete(t.missing, n)
	return late
}

// lost is how many of the numbers up to published were not seen.
func (t *tally) lost(published int32) int {
	return len(t.missing) + int(published-t.last)
}
