package auth

import "time"

// halves remembers something of the keys seen last, by their hashes, in bounded space.
//
// Those seen go to the young half; after a window, which restores any allowance, the old half is dropped and the young
// one takes its place. When the young half is full that happens early: keys not seen for longest are forgotten and start
// with a whole allowance, so that many keys at once never lock out one more.
type halves[V any] struct {
	young, old map[uint64]V
	turned     time.Duration // when young began, on its user's clock
}

func newHalves[V any]() halves[V] { return halves[V]{young: make(map[uint64]V)} }

// take returns what is known of a key, having made room for it among the young, where its user puts it back.
func (h *halves[V]) take(k uint64, now, window time.Duration, keys int) V {
	v, ok := h.young[k]
	if !ok {
		v = h.old[k]
	}
	if now-h.turned >= window || !ok && len(h.young) >= keys/2 {
		h.old, h.young, h.turned = h.young, make(map[uint64]V), now
	}
	return v
}
