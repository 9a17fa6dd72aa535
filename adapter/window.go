package adapter

import (
	"context"
	"slices"
	"time"
)

// keepLocked puts a broadcast into the window.
func (r *Rooms[F]) keepLocked(b *Broadcast[F], now time.Time) {
	if b.Position == (Position{}) {
		return
	}
	r.last = b.Position
	if len(r.waiting) > 0 {
		r.wakeLocked()
	}
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

// after is the room's recent broadcasts after a position. There need not be such a room.
func (x *room[F]) after(p Position) []*kept[F] {
	if x == nil {
		return nil
	}
	from, _ := slices.BinarySearchFunc(x.recent, p, func(k *kept[F], p Position) int {
		if k.Position.Compare(p) <= 0 {
			return -1
		}
		return 1
	})
	return x.recent[from:]
}

// passes reports whether k was not for the member of that id, which is in the rooms, although it was for one of them.
func (k *kept[F]) passes(id string, rooms []string) bool {
	return slices.ContainsFunc(k.except, func(e string) bool { return e == id || slices.Contains(rooms, e) })
}

// Past is a broadcast to a room from before a member was in it.
type Past[F Frame] struct {
	Position
	Frame F
}

// JoinSince puts a member into a room, and calls then under the lock, with the position of the last broadcast before it
// was in the room, and with what the room got after an earlier position up to there, oldest first: but for what the
// member would have been excepted from, and what was volatile. then may Enqueue. It is false, and the member is in no
// more rooms than before, when what came since is not all kept: too long ago, or no position that ever was.
func (r *Rooms[F]) JoinSince(s *Seat[F], name string, since Position, then func(at Position, past []Past[F])) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.seats[s.id] != s:
		return true // it has left: nobody is to be told of anything
	case !r.knownLocked(since):
		return false
	}
	r.joinAllLocked(s, []string{name})
	var past []Past[F]
	if recent := r.rooms[name].after(since); len(recent) > 0 {
		rooms := s.roomsLocked()
		for i, k := range recent {
			again := i > 0 && k == recent[i-1] // the room was named twice
			if !again && !k.passes(s.id, rooms) {
				past = append(past, Past[F]{k.Position, k.frame})
			}
		}
	}
	then(r.last, past)
	return true
}

// waiter waits for the broadcast at a position, or a later one.
type waiter struct {
	Position
	reached chan struct{}
}

// Await waits until everything up to p has been broadcast, and reports false if ctx ends before.
func (r *Rooms[F]) Await(ctx context.Context, p Position) bool {
	r.mu.Lock()
	if r.last.Compare(p) >= 0 {
		r.mu.Unlock()
		return true
	}
	w := waiter{p, make(chan struct{})}
	i, _ := slices.BinarySearchFunc(r.waiting, p, func(w waiter, p Position) int { return w.Compare(p) })
	r.waiting = slices.Insert(r.waiting, i, w)
	r.mu.Unlock()
	select {
	case <-w.reached:
		return true
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i = slices.Index(r.waiting, w)
	if i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	}
	return i < 0
}

// wakeLocked ends the waits for positions up to the last.
func (r *Rooms[F]) wakeLocked() {
	n := 0
	for n < len(r.waiting) && r.waiting[n].Compare(r.last) <= 0 {
		close(r.waiting[n].reached)
		n++
	}
	r.waiting = slices.Delete(r.waiting, 0, n)
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
	r.wakeLocked()
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

// Waiting is how many are in Await.
func (r *Rooms[F]) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.waiting)
}
