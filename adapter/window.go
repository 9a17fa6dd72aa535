package adapter

import "time"

// keepLocked puts a broadcast into the window.
func (r *Rooms[F]) keepLocked(b *Broadcast[F], now time.Time) {
	if b.Position == (Position{}) {
		return
	}
	r.last = b.Position
	if r.cfg.Window == 0 {
		return
	}
	k := &kept[F]{Broadcast: *b, at: now}
	r.kept = append(r.kept, k)
	r.bytes += b.Frame.Len()
	if b.Rooms == nil {
		r.everyone.recent = append(r.everyone.recent, k)
	}
	for _, name := range b.Rooms {
		x := r.roomLocked(name)
		x.recent = append(x.recent, k)
	}
	r.trimLocked(now)
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
		k := r.kept[0]
		r.kept = pop(r.kept)
		r.bytes -= k.Frame.Len()
		r.trimmed = k.Position
		if k.Rooms == nil {
			r.everyone.recent = pop(r.everyone.recent)
		}
		for _, name := range k.Rooms {
			x := r.rooms[name]
			x.recent = pop(x.recent)
			r.dropLocked(x)
		}
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
