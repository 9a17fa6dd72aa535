package adapter

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Frame is a broadcast in the form that its members take, encoded once.
type Frame interface {
	// Len is its size in bytes.
	Len() int
}

// Member is somebody who can be in rooms.
type Member[F Frame] interface {
	// Enqueue takes a frame without I/O: it is called under the lock of the rooms.
	Enqueue(F)
	// Flush sends what was queued. It must not block.
	Flush()
}

// Broadcast is a frame for everybody in some rooms, or for everybody when Rooms is nil, but for those in Except.
// A member in several of the rooms gets it once. Positions must rise from one to the next; a zero position says
// that it has no place in the log.
type Broadcast[F Frame] struct {
	Position Position
	Rooms    []string
	Except   []string
	Frame    F
	// Volatile ones are not kept: of their place in the log nothing but the position is known later.
	Volatile bool
	// At is when it was written. Zero means now.
	At time.Time
}

// RoomsConfig configures Rooms. The zero value keeps no window.
type RoomsConfig struct {
	// Window is how long broadcasts are kept for those who return. Zero means not at all.
	Window time.Duration
	// MaxBytes bounds the frames kept. The oldest go first, and a client that needs one of those is told so
	// instead of being left with a gap. Zero means 256 MiB.
	MaxBytes int
	// Occupied is told, under the lock, when a room gets its first member and when it has lost its last. Nil means that
	// nobody wants to know.
	Occupied func(room string, yes bool)
}

// Rooms is the index of rooms and members, both ways, together with the recent broadcasts by room. One lock
// guards both, so that whoever joins or returns misses nothing and gets nothing twice.
type Rooms[F Frame] struct {
	cfg RoomsConfig

	mu       sync.Mutex
	rooms    map[string]*room[F]
	seats    map[string]*Seat[F] // by member id: everybody is alone in a room of that name
	everyone room[F]
	occupied int    // rooms that have members
	mark     uint64 // of the broadcast under way, see Seat

	last    Position // of the last broadcast
	trimmed Position // broadcasts up to here are no longer kept
	kept    []*kept[F]
	bytes   int
	waiting []waiter // for positions to come, in their order

	dirty sync.Pool // of *[]*Seat[F]
}

// Seat is a member's place in Rooms. It belongs to the member, and is used for one Enter or Return.
type Seat[F Frame] struct {
	id     string
	member Member[F]
	places []place[F] // places[0] is in everyone
	mark   uint64     // the last broadcast that reached it, or passed it over
	dirty  bool       // it has something to flush
}

// place is a room, and where in its members the seat is.
type place[F Frame] struct {
	room  *room[F]
	index int
}

// room exists while it has members or recent broadcasts.
type room[F Frame] struct {
	name    string
	members []*Seat[F]
	recent  []*kept[F]
}

// kept is a broadcast in the window. Of a volatile one only the position is known.
type kept[F Frame] struct {
	Position
	at       time.Time
	everyone bool // it was for all, whatever their rooms
	rooms    []string
	except   []string
	frame    F
	size     int // of the frame, in bytes
}

// NewRooms makes empty rooms whose log begins at start.
func NewRooms[F Frame](cfg RoomsConfig, start Position) *Rooms[F] {
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 256<<20)
	return &Rooms[F]{
		cfg:     cfg,
		rooms:   map[string]*room[F]{},
		seats:   map[string]*Seat[F]{},
		last:    start,
		trimmed: start,
		dirty:   sync.Pool{New: func() any { return new([]*Seat[F]) }},
	}
}

// Apply gives broadcasts, in order, to the members they are for, and keeps them for those who will return. What a
// member gets goes out in one flush.
func (r *Rooms[F]) Apply(batch []Broadcast[F]) {
	list := r.dirty.Get().(*[]*Seat[F])
	dirty := (*list)[:0]
	r.mu.Lock()
	now := time.Now()
	for i := range batch {
		b := &batch[i]
		r.keepLocked(b, now)
		r.passOverLocked(b.Except)
		if b.Rooms == nil {
			dirty = r.giveLocked(r.everyone.members, b.Frame, dirty)
		}
		for _, name := range b.Rooms {
			members, alone := r.membersLocked(name)
			dirty = r.giveLocked(members, b.Frame, dirty)
			dirty = r.giveLocked(alone, b.Frame, dirty)
		}
	}
	for _, s := range dirty {
		s.dirty = false
	}
	r.mu.Unlock()
	for _, s := range dirty {
		s.member.Flush()
	}
	clear(dirty)
	*list = dirty
	r.dirty.Put(list)
}

func (r *Rooms[F]) giveLocked(members []*Seat[F], f F, dirty []*Seat[F]) []*Seat[F] {
	for _, s := range members {
		if s.mark == r.mark {
			continue
		}
		s.mark = r.mark
		s.member.Enqueue(f)
		if !s.dirty {
			s.dirty = true
			dirty = append(dirty, s)
		}
	}
	return dirty
}

// membersLocked is who is in the named room, and who is in it alone because the name is its id.
func (r *Rooms[F]) membersLocked(name string) (members, alone []*Seat[F]) {
	if room := r.rooms[name]; room != nil {
		members = room.members
	}
	if s := r.seats[name]; s != nil {
		p := s.places[0]
		alone = p.room.members[p.index : p.index+1]
	}
	return members, alone
}

// passOverLocked begins a broadcast that must not reach the members of the rooms.
func (r *Rooms[F]) passOverLocked(rooms []string) {
	r.mark++
	for _, name := range rooms {
		members, alone := r.membersLocked(name)
		for _, s := range members {
			s.mark = r.mark
		}
		for _, s := range alone {
			s.mark = r.mark
		}
	}
}

// Enter seats a member, in no room but the one of its id, and calls welcome under the lock, with the position
// of the last broadcast that it will not get. welcome may Enqueue.
func (r *Rooms[F]) Enter(s *Seat[F], id string, m Member[F], welcome func(Position)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enterLocked(s, id, m)
	welcome(r.last)
}

func (r *Rooms[F]) enterLocked(s *Seat[F], id string, m Member[F]) {
	*s = Seat[F]{id: id, member: m}
	r.seats[id] = s
	r.joinLocked(s, &r.everyone)
}

// Return seats a member again in the rooms it was in, and calls welcome under the lock, with what was broadcast
// to it after the given position. It is false, and nobody is seated, when that is not known: too long ago, or
// no position that ever was.
func (r *Rooms[F]) Return(s *Seat[F], id string, m Member[F], rooms []string, after Position, welcome func(missed []F)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.knownLocked(after) {
		return false
	}
	missed := r.missedLocked(id, rooms, after)
	r.enterLocked(s, id, m)
	r.joinAllLocked(s, rooms)
	welcome(missed)
	return true
}

// missedLocked merges the recent broadcasts of the rooms, each once, in order.
func (r *Rooms[F]) missedLocked(id string, rooms []string, after Position) []F {
	found := slices.Concat(r.everyone.after(after), r.rooms[id].after(after))
	for _, name := range rooms {
		found = append(found, r.rooms[name].after(after)...)
	}
	slices.SortFunc(found, func(a, b *kept[F]) int { return a.Position.Compare(b.Position) })
	found = slices.Compact(found)
	missed := make([]F, 0, len(found))
	for _, k := range found {
		if !k.passes(id, rooms) {
			missed = append(missed, k.frame)
		}
	}
	return missed
}

// Join puts a member into rooms, and calls then, which may be nil, under the lock, with the position of the last
// broadcast before it was in them. then may Enqueue. It reports whether the member is in any of them only now.
func (r *Rooms[F]) Join(s *Seat[F], rooms []string, then func(Position)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seats[s.id] != s {
		return false // it has left
	}
	before := len(s.places)
	r.joinAllLocked(s, rooms)
	if then != nil {
		then(r.last)
	}
	return len(s.places) > before
}

// Leave takes a member out of rooms, and reports whether it was in any of them.
func (r *Rooms[F]) Leave(s *Seat[F], rooms ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(s.places)
	for _, name := range rooms {
		if i := r.findLocked(s, name); i > 0 {
			r.leaveLocked(s, i)
		}
	}
	return len(s.places) < before
}

// Exit takes a member out of everything and returns the rooms it was in.
func (r *Rooms[F]) Exit(s *Seat[F]) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seats[s.id] != s {
		return nil
	}
	rooms := s.roomsLocked()
	for i := len(s.places) - 1; i >= 0; i-- {
		r.leaveLocked(s, i)
	}
	delete(r.seats, s.id)
	return rooms
}

func (s *Seat[F]) roomsLocked() []string {
	names := make([]string, 0, len(s.places))
	for _, p := range s.places[min(1, len(s.places)):] {
		names = append(names, p.room.name)
	}
	return names
}

// Of lists the rooms a member is in, but for the one of its id.
func (r *Rooms[F]) Of(s *Seat[F]) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.roomsLocked()
}

// Members lists who is in at least one of the rooms, or everybody for nil.
func (r *Rooms[F]) Members(rooms, except []string) []Member[F] {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.passOverLocked(except)
	var out []Member[F]
	add := func(seats []*Seat[F]) {
		for _, s := range seats {
			if s.mark != r.mark {
				s.mark = r.mark
				out = append(out, s.member)
			}
		}
	}
	if rooms == nil {
		add(r.everyone.members)
	}
	for _, name := range rooms {
		members, alone := r.membersLocked(name)
		add(members)
		add(alone)
	}
	return out
}

// Len is the number of rooms that have members.
func (r *Rooms[F]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.occupied
}

// Position is that of the last broadcast.
func (r *Rooms[F]) Position() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func (r *Rooms[F]) roomLocked(name string) *room[F] {
	x := r.rooms[name]
	if x == nil {
		x = &room[F]{name: name}
		r.rooms[name] = x
	}
	return x
}

func (r *Rooms[F]) joinAllLocked(s *Seat[F], rooms []string) {
	for _, name := range rooms {
		if r.findLocked(s, name) < 0 {
			r.joinLocked(s, r.roomLocked(name))
		}
	}
}

func (r *Rooms[F]) joinLocked(s *Seat[F], x *room[F]) {
	if len(x.members) == 0 && x != &r.everyone {
		r.occupied++
		r.tellLocked(x, true)
	}
	s.places = append(s.places, place[F]{x, len(x.members)})
	x.members = append(x.members, s)
}

// leaveLocked takes s out of its i-th place. The room's last member takes the place over.
func (r *Rooms[F]) leaveLocked(s *Seat[F], i int) {
	p := s.places[i]
	x, end := p.room, len(p.room.members)-1
	moved := x.members[end]
	x.members[p.index] = moved
	x.members[end] = nil
	x.members = x.members[:end]
	if moved != s {
		for j := range moved.places {
			if moved.places[j].room == x {
				moved.places[j].index = p.index
				break
			}
		}
	}
	s.places = slices.Delete(s.places, i, i+1)
	if end == 0 && x != &r.everyone {
		r.occupied--
		r.tellLocked(x, false)
		x.members = nil
		r.dropLocked(x)
	}
}

func (r *Rooms[F]) tellLocked(x *room[F], occupied bool) {
	if r.cfg.Occupied != nil {
		r.cfg.Occupied(x.name, occupied)
	}
}

// Names lists the rooms that have members, and the ids of all members.
func (r *Rooms[F]) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, r.occupied+len(r.seats))
	for name, x := range r.rooms {
		if len(x.members) > 0 {
			names = append(names, name)
		}
	}
	for id := range r.seats {
		names = append(names, id)
	}
	return names
}

// findLocked is the index of the place s has in the named room, or -1.
func (r *Rooms[F]) findLocked(s *Seat[F], name string) int {
	for i, p := range s.places[min(1, len(s.places)):] {
		if p.room.name == name {
			return i + 1
		}
	}
	return -1
}

// dropLocked forgets a room that nobody is in and nobody can ask about.
func (r *Rooms[F]) dropLocked(x *room[F]) {
	if len(x.members) == 0 && len(x.recent) == 0 && x != &r.everyone {
		delete(r.rooms, x.name)
	}
}
