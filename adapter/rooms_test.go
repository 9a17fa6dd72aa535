package adapter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// note is a frame that is a number, of whatever size the test wants.
type note struct{ n, size int }

func (f note) Len() int { return f.size }

// listener is a member that keeps what it was sent.
type listener struct{ queued, got []int }

func (l *listener) Enqueue(f note) { l.queued = append(l.queued, f.n) }

func (l *listener) Flush() {
	l.got = append(l.got, l.queued...)
	l.queued = nil
}

// take is what was flushed since the last call.
func (l *listener) take() []int {
	got := l.got
	l.got = nil
	return got
}

func ignore(Position) {}

// enter seats a member.
func enter(r *Rooms[note], id string, m Member[note], welcome func(Position)) *Seat[note] {
	s := new(Seat[note])
	r.Enter(s, id, m, welcome)
	return s
}

// comeBack seats a member again, if it can be.
func comeBack(r *Rooms[note], id string, m Member[note], rooms []string, after Position, welcome func([]note)) (*Seat[note], bool) {
	s := new(Seat[note])
	ok := r.Return(s, id, m, rooms, after, welcome)
	return s, ok
}

// at is the n-th position of the tests' logs.
func at(n int) Position { return Position{MS: 1, Seq: uint64(n)} }

// cast is the n-th broadcast, of 10 bytes.
func cast(n int, rooms []string, except ...string) Broadcast[note] {
	return Broadcast[note]{Position: at(n), Rooms: rooms, Except: except, Frame: note{n, 10}}
}

func TestApplyReaches(t *testing.T) {
	t.Parallel()
	// ann is in a and b, bob in b, cid in no room but has its own id's; dan sits in a room named like bob.
	tests := []struct {
		name   string
		rooms  []string
		except []string
		want   string
	}{
		{"everybody", nil, nil, "ann bob cid dan"},
		{"nobody", []string{}, nil, ""},
		{"one room", []string{"a"}, nil, "ann"},
		{"two rooms, each once", []string{"a", "b"}, nil, "ann bob"},
		{"the same room twice", []string{"b", "b", "b"}, nil, "ann bob"},
		{"unknown room", []string{"z"}, nil, ""},
		{"an id", []string{"cid"}, nil, "cid"},
		{"an id and its room", []string{"a", "ann"}, nil, "ann"},
		{"an id that others have joined as a room", []string{"bob"}, nil, "bob dan"},
		{"all but a room", nil, []string{"b"}, "cid dan"},
		{"all but an id", nil, []string{"cid"}, "ann bob dan"},
		{"all but an id that others have joined as a room", nil, []string{"bob"}, "ann cid"},
		{"room without itself", []string{"a"}, []string{"a"}, ""},
		{"room without an id", []string{"b"}, []string{"bob"}, "ann"},
		{"except an unknown", []string{"b"}, []string{"z"}, "ann bob"},
	}
	for _, window := range []time.Duration{0, time.Minute} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("window %s/%s", window, tt.name), func(t *testing.T) {
				t.Parallel()
				r := NewRooms[note](RoomsConfig{Window: window}, at(0))
				members := map[string]*listener{}
				join := func(id string, rooms ...string) {
					members[id] = &listener{}
					r.Join(enter(r, id, members[id], ignore), rooms, nil)
				}
				join("ann", "a", "b")
				join("bob", "b")
				join("cid")
				join("dan", "bob")
				// Twice, as the first leaves traces in the window.
				r.Apply([]Broadcast[note]{cast(1, tt.rooms, tt.except...)})
				r.Apply([]Broadcast[note]{cast(2, tt.rooms, tt.except...)})
				for id, l := range members {
					want := []int(nil)
					if slices.Contains(words(tt.want), id) {
						want = []int{1, 2}
					}
					if got := l.take(); !slices.Equal(got, want) {
						t.Errorf("%s got %v, want %v", id, got, want)
					}
				}
				if got, want := names(r.Members(tt.rooms, tt.except), members), tt.want; got != want {
					t.Errorf("Members are %q, want %q", got, want)
				}
			})
		}
	}
}

func TestBatchIsOneFlush(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{}, at(0))
	l := &counter{}
	s := enter(r, "ann", l, ignore)
	r.Join(s, []string{"a", "b"}, nil)
	r.Apply([]Broadcast[note]{cast(1, []string{"a"}), cast(2, []string{"b"}), cast(3, nil), cast(4, []string{"z"})})
	if l.enqueued != 3 || l.flushed != 1 {
		t.Errorf("got %d frames in %d flushes, want 3 in 1", l.enqueued, l.flushed)
	}
}

type counter struct{ enqueued, flushed int }

func (c *counter) Enqueue(note) { c.enqueued++ }
func (c *counter) Flush()       { c.flushed++ }

func TestSeatThatHasLeft(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
	l := &listener{}
	s := enter(r, "ann", l, ignore)
	r.Join(s, []string{"a", "b"}, nil)
	rooms := r.Exit(s)
	slices.Sort(rooms)
	if want := []string{"a", "b"}; !slices.Equal(rooms, want) {
		t.Errorf("Exit returns %v, want %v", rooms, want)
	}
	r.Join(s, []string{"c"}, func(Position) { t.Error("Join of one who has left calls back") })
	r.Leave(s, "a")
	if again := r.Exit(s); again != nil {
		t.Errorf("second Exit returns %v, want nil", again)
	}
	r.Apply([]Broadcast[note]{cast(1, nil), cast(2, []string{"a", "c", "ann"})})
	if got := l.take(); got != nil {
		t.Errorf("got %v after leaving", got)
	}
	if n := r.Len(); n != 0 {
		t.Errorf("%d rooms have members, want none", n)
	}
}

// An old seat's end must not take the new one of the same id along: that is how a session is taken over.
func TestExitOfAnOldSeat(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
	before := enter(r, "ann", &listener{}, ignore)
	r.Join(before, []string{"a"}, nil)
	r.Exit(before)
	l := &listener{}
	if _, ok := comeBack(r, "ann", l, []string{"a"}, at(0), func([]note) {}); !ok {
		t.Fatal("not taken back")
	}
	r.Exit(before)
	r.Apply([]Broadcast[note]{cast(1, []string{"a"})})
	if got, want := l.take(), []int{1}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Everything at random, compared with plain maps. Time is virtual.
func TestRoomsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed)
				for range 600 {
					m.step()
					m.check()
				}
				m.end()
			})
		})
	}
}

type model struct {
	t       *testing.T
	dice    *rand.Rand
	cfg     RoomsConfig
	rooms   *Rooms[note]
	seated  map[string]*modelMember
	kept    []modelEntry
	last    int // number of the last broadcast with a position
	trimmed int
}

type modelMember struct {
	id    string
	rooms map[string]bool
	want  []int
	seat  *Seat[note]
	*listener
}

type modelEntry struct {
	Broadcast[note]
	at time.Time
}

// modelIDs are rooms too.
var (
	modelIDs   = []string{"i0", "i1", "i2", "i3", "i4", "i5"}
	modelRooms = append([]string{"a", "b", "c", "d", "e", ""}, modelIDs[:3]...)
)

func newModel(t *testing.T, seed uint64) *model {
	m := &model{t: t, dice: rand.New(rand.NewPCG(seed, 1)), seated: map[string]*modelMember{}}
	if seed%5 > 0 {
		m.cfg = RoomsConfig{Window: 10 * time.Second, MaxBytes: []int{0, 60, 600}[seed%3]}
	}
	m.rooms = NewRooms[note](m.cfg, at(0))
	return m
}

// some picks up to n names, the same one twice at times.
func (m *model) some(n int, from []string) []string {
	out := make([]string, m.dice.IntN(n+1))
	for i := range out {
		out[i] = from[m.dice.IntN(len(from))]
	}
	return out
}

func (m *model) step() {
	id := modelIDs[m.dice.IntN(len(modelIDs))]
	who := m.seated[id]
	switch op := m.dice.IntN(20); {
	case op < 9:
		m.apply()
	case op == 9:
		time.Sleep(time.Duration(m.dice.IntN(4000)) * time.Millisecond)
	case op == 10:
		m.rooms.Trim()
		m.trim()
	case op < 13 && who == nil:
		m.enter(id)
	case who == nil:
		m.returns(id)
	case op < 15:
		m.join(who)
	case op < 18:
		rooms := m.some(3, modelRooms)
		m.rooms.Leave(who.seat, rooms...)
		for _, name := range rooms {
			delete(who.rooms, name)
		}
	default:
		m.exit(who)
	}
}

func (m *model) enter(id string) {
	who := &modelMember{id: id, rooms: map[string]bool{}, listener: &listener{}}
	called := 0
	who.seat = enter(m.rooms, id, who, func(p Position) {
		called++
		if p != at(m.last) {
			m.t.Errorf("welcome at %v, want %v", p, at(m.last))
		}
	})
	if called != 1 {
		m.t.Errorf("welcome called %d times", called)
	}
	m.seated[id] = who
}

func (m *model) join(who *modelMember) {
	rooms := m.some(3, modelRooms)
	m.rooms.Join(who.seat, rooms, func(p Position) {
		if p != at(m.last) {
			m.t.Errorf("joined at %v, want %v", p, at(m.last))
		}
	})
	for _, name := range rooms {
		who.rooms[name] = true
	}
}

func (m *model) exit(who *modelMember) {
	got := m.rooms.Exit(who.seat)
	slices.Sort(got)
	if want := sorted(who.rooms); !slices.Equal(got, want) {
		m.t.Errorf("%s was in %v, want %v", who.id, got, want)
	}
	delete(m.seated, who.id)
}

func (m *model) apply() {
	batch := make([]Broadcast[note], 1+m.dice.IntN(3))
	for i := range batch {
		b := Broadcast[note]{Frame: note{m.dice.Int(), 1 + m.dice.IntN(30)}}
		if m.dice.IntN(5) > 0 {
			b.Rooms = m.some(3, append(modelRooms, modelIDs...))
		}
		if m.dice.IntN(4) == 0 {
			b.Except = m.some(2, append(modelRooms, modelIDs...))
		}
		if m.dice.IntN(5) > 0 {
			m.last++
			b.Position = at(m.last)
			b.Frame.n = m.last
			if m.cfg.Window > 0 {
				m.kept = append(m.kept, modelEntry{b, time.Now()})
				m.trim()
			}
		}
		for _, who := range m.seated {
			if who.addressed(b) {
				who.want = append(who.want, b.Frame.n)
			}
		}
		batch[i] = b
	}
	m.rooms.Apply(batch)
}

func (who *modelMember) in(name string) bool { return name == who.id || who.rooms[name] }

func (who *modelMember) addressed(b Broadcast[note]) bool {
	return (b.Rooms == nil || slices.ContainsFunc(b.Rooms, who.in)) && !slices.ContainsFunc(b.Except, who.in)
}

func (m *model) trim() {
	bytes := 0
	for _, k := range m.kept {
		bytes += k.Frame.Len()
	}
	limit := m.cfg.MaxBytes
	if limit == 0 {
		limit = 256 << 20
	}
	for len(m.kept) > 0 && (time.Since(m.kept[0].at) > m.cfg.Window || bytes > limit) {
		bytes -= m.kept[0].Frame.Len()
		m.trimmed = int(m.kept[0].Position.Seq)
		m.kept = m.kept[1:]
	}
}

func (m *model) returns(id string) {
	who := &modelMember{id: id, rooms: map[string]bool{}, listener: &listener{}}
	rooms := m.some(4, modelRooms)
	for _, name := range rooms {
		who.rooms[name] = true
	}
	after := m.dice.IntN(m.last + 3) // the last two are not there yet
	var want []int
	for _, k := range m.kept {
		if k.Position.Compare(at(after)) > 0 && who.addressed(k.Broadcast) {
			want = append(want, k.Frame.n)
		}
	}
	wantOK := m.cfg.Window > 0 && after >= m.trimmed && after <= m.last

	var got []int
	called := 0
	seat, ok := comeBack(m.rooms, id, who, rooms, at(after), func(missed []note) {
		called++
		for _, f := range missed {
			got = append(got, f.n)
		}
	})
	if ok != wantOK || (called == 1) != wantOK {
		m.t.Fatalf("Return after %d of %d, trimmed %d: %v, welcome called %d times", after, m.last, m.trimmed, ok, called)
	}
	if !ok {
		return
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("%s in %v after %d missed %v, want %v", id, rooms, after, got, want)
	}
	who.seat = seat
	m.seated[id] = who
}

// check compares everything that can be seen.
func (m *model) check() {
	m.t.Helper()
	occupied := map[string]bool{}
	for id, who := range m.seated {
		if got := who.take(); !slices.Equal(got, who.want) || who.queued != nil {
			m.t.Errorf("%s in %v got %v and has %v queued, want %v", id, sorted(who.rooms), got, who.queued, who.want)
		}
		who.want = nil
		got := m.rooms.Of(who.seat)
		slices.Sort(got)
		if want := sorted(who.rooms); !slices.Equal(got, want) {
			m.t.Errorf("%s is in %v, want %v", id, got, want)
		}
		for name := range who.rooms {
			occupied[name] = true
		}
	}
	if got, want := m.rooms.Len(), len(occupied); got != want {
		m.t.Errorf("%d rooms have members, want %d", got, want)
	}
	if got, want := m.rooms.Position(), at(m.last); got != want {
		m.t.Errorf("position is %v, want %v", got, want)
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

// end empties the rooms: nothing may be left of them once the window has passed.
func (m *model) end() {
	for _, who := range m.seated {
		m.exit(who)
	}
	time.Sleep(m.cfg.Window + time.Second)
	m.rooms.Trim()
	r := m.rooms
	if len(r.rooms)+len(r.seats)+len(r.everyone.members)+len(r.everyone.recent)+len(r.kept)+r.bytes+r.occupied != 0 {
		m.t.Errorf("left over: rooms %v, seats %v, kept %d of %d bytes", r.rooms, r.seats, len(r.kept), r.bytes)
	}
}

func BenchmarkApply(b *testing.B) {
	for _, shape := range []struct{ rooms, members int }{{1, 1000}, {500, 10}} {
		b.Run(fmt.Sprintf("%d rooms of %d", shape.rooms, shape.members), func(b *testing.B) {
			r := NewRooms[note](RoomsConfig{Window: time.Minute, MaxBytes: 1 << 20}, at(0))
			batch := make([]Broadcast[note], shape.rooms)
			for i := range batch {
				name := fmt.Sprint("room", i)
				for j := range shape.members {
					r.Join(enter(r, fmt.Sprint(i, "/", j), &counter{}, ignore), []string{name}, nil)
				}
				batch[i] = cast(0, []string{name})
			}
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				for i := range batch {
					n++
					batch[i].Position = at(n)
				}
				r.Apply(batch)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*shape.rooms*shape.members), "ns/delivery")
		})
	}
}
