package adapter

import (
	"slices"
	"time"
)

// keepLocked puts a broadcast into the window.
func (r *Rooms[F]) keepLocked(b *Broadcast[F], now time.Time) {
	if b.Position == (Position{}) {
		return
	}
	r.last = b.Position
	if r.cfg.Window == 0 {
		return
	}
	k := &kept[F]{Position: b.Position, at: now}
	if !b.At.IsZero() && b.At.Before(now) {
		k.at = b.At
	}
	r.kept = append(r.kept, k)
	if b.Volatile {
		r.trimLocked(now)
		return
	}
	k.frame, k.rooms, k.except, k.size = b.Frame, b.Rooms, b.Except, b.Frame.Len()
	r.bytes += k.size
	if b.Rooms == nil {
		k.everyone = true
		r.everyone.recent = append(r.everyone.recent, k)
	}
	for _, name := range b.Rooms {
		x := r.roomLocked(name)
		x.recent = append(x.recent, k)
	}
	r.trimLocked(now)
}

// knownLocked reports whether p is a position whose broadcasts since are all kept.
func (r *Rooms[F]) knownLocked(p Position) bool {
	if r.cfg.Window == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(r.kept, p, func(k *kept[F], p Position) int { return k.Position.Compare(p) })
	return found || p == r.trimmed
}

// Reset forgets what was broadcast: the log goes on after start, and what was before cannot be made up for. Members
// and rooms stay; it is for the caller to see that those who are here learn of the gap.
func (r *Rooms[F]) Reset(start Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.kept) > 0 {
		r.forgetLocked()
	}
	r.last, r.trimmed = start, start
}

// Trim forgets what is older than the window. Apply does so too; this is for times when nothing is broadcast.
func (r *Rooms[F]) Trim() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trimLocked(time.Now())
}

// trimLocked drops the oldest first: in the window and in every room it is at the front.
func (r *Rooms[F]) trimLocked(now time.Time) {
	for len(r.kept) > 0 && (now.Sub(r.kept[0].at) > r.cfg.Window || r.bytes > r.cfg.MaxBytes) {
		r.forgetLocked()
	}
}

// forgetLocked drops the oldest broadcast.
func (r *Rooms[F]) forgetLocked() {
	k := r.kept[0]
	r.kept = pop(r.kept)
	r.bytes -= k.size
	r.trimmed = k.Position
	if k.everyone {
		r.everyone.recent = pop(r.everyone.recent)
	}
	for _, name := range k.rooms {
		x := r.rooms[name]
		x.recent = pop(x.recent)
		r.dropLocked(x)
	}
}

// pop takes the first element off without holding on to it, and lets an empty slice's memory go.
func pop[T any](s []*T) []*T {
	s[0] = nil
	if len(s) == 1 {
		return nil
	}
	return s[1:]
}
