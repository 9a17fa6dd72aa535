package adapter

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func words(s string) []string { return strings.Fields(s) }

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

// names lists the members by the ids they have in known, in order.
func names(members []Member[note], known map[string]*listener) string {
	var out []string
	for id, l := range known {
		for _, m := range members {
			if m == Member[note](l) {
				out = append(out, id)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// missedBy returns as id in rooms, and leaves again.
func missedBy(r *Rooms[note], id string, rooms []string, after Position) (missed []int, ok bool) {
	s, ok := comeBack(r, id, &listener{}, rooms, after, func(frames []note) {
		for _, f := range frames {
			missed = append(missed, f.n)
		}
	})
	if ok {
		r.Exit(s)
	}
	return missed, ok
}

func TestReturn(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute, MaxBytes: 80}, at(5))
	r.Apply([]Broadcast[note]{
		cast(6, []string{"a"}), // trimmed: there is room for 8 frames
		cast(7, []string{"a"}), // trimmed
		cast(8, []string{"a"}),
		cast(9, nil),
		cast(10, []string{"a", "b", "a"}),
		cast(11, []string{"b"}),
		cast(12, []string{"ann"}),
		cast(13, nil, "a"),
		cast(14, nil, "ann"),
		{Rooms: []string{"a"}, Frame: note{99, 1000}}, // volatile
		cast(20, []string{"a"}),
	})
	tests := []struct {
		name  string
		rooms []string
		after Position
		want  []int
		ok    bool
	}{
		{"all there is", []string{"a", "b"}, at(7), []int{8, 9, 10, 11, 12, 20}, true},
		{"one room", []string{"b"}, at(7), []int{9, 10, 11, 12, 13}, true},
		{"no room", nil, at(7), []int{9, 12, 13}, true},
		{"from the middle", []string{"a", "b"}, at(10), []int{11, 12, 20}, true},
		{"between two positions", []string{"a"}, at(15), nil, false},
		{"nothing missed", []string{"a"}, at(20), nil, true},
		{"a room of the same name as the id", []string{"ann"}, at(11), []int{12, 13}, true},
		{"before the window", []string{"a"}, at(6), nil, false},
		{"before the start", []string{"a"}, at(4), nil, false},
		{"zero", []string{"a"}, Position{}, nil, false},
		{"after the last", []string{"a"}, at(21), nil, false},
		{"another time", []string{"a"}, Position{MS: 2}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := missedBy(r, "ann", tt.rooms, tt.after)
			if ok != tt.ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// Who joins is told what the room got since a position, and gets the rest as it comes.
func TestJoinSince(t *testing.T) {
	t.Parallel()
	batch := []Broadcast[note]{
		cast(6, []string{"a"}), // trimmed: there is room for 8 frames
		cast(7, []string{"a"}), // trimmed
		cast(8, []string{"a"}),
		cast(9, nil), // who is here has it
		cast(10, []string{"a", "b", "a"}),
		cast(11, []string{"b"}),
		cast(12, []string{"ann"}),
		cast(13, []string{"a"}, "ann"),
		cast(14, []string{"a"}, "c"),
		{Position: at(15), Rooms: []string{"a"}, Frame: note{15, 10}, Volatile: true},
		{Rooms: []string{"a"}, Frame: note{99, 1000}}, // has no place in the log
		cast(20, []string{"a"}, "d"),
	}
	tests := []struct {
		name  string
		in    []string // rooms it is in before
		room  string
		since Position
		want  []int
		ok    bool
	}{
		{"all there is", nil, "a", at(7), []int{8, 10, 14, 20}, true},
		{"from the middle", nil, "a", at(10), []int{14, 20}, true},
		{"since a volatile one", nil, "a", at(15), []int{20}, true},
		{"nothing since", nil, "a", at(20), nil, true},
		{"another room", nil, "b", at(7), []int{10, 11}, true},
		{"a new room", nil, "z", at(7), nil, true},
		{"in a room that was excepted", []string{"c"}, "a", at(7), []int{8, 10, 20}, true},
		{"in the room already", []string{"a"}, "a", at(7), []int{8, 10, 14, 20}, true},
		{"before the window", nil, "a", at(6), nil, false},
		{"after the last", nil, "a", at(21), nil, false},
		{"zero", nil, "a", Position{}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := NewRooms[note](RoomsConfig{Window: time.Minute, MaxBytes: 80}, at(5))
			l := &listener{}
			s := enter(r, "ann", l, ignore)
			r.Join(s, tt.in, nil)
			r.Apply(batch)
			l.take()
			var got []int
			told := false
			ok := r.JoinSince(s, tt.room, tt.since, func(p Position, past []Past[note]) {
				told = true
				if p != at(20) {
					t.Errorf("joined at %s, want %s", p, at(20))
				}
				for _, b := range past {
					got = append(got, b.Frame.n)
					if b.Position != at(b.Frame.n) {
						t.Errorf("%d at %s", b.Frame.n, b.Position)
					}
				}
			})
			if ok != tt.ok || told != tt.ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v, told %v, want %v, %v", got, ok, told, tt.want, tt.ok)
			}
			live := []int(nil)
			if tt.ok {
				live = []int{21}
			}
			r.Apply([]Broadcast[note]{cast(21, []string{tt.room})})
			if got := l.take(); !slices.Equal(got, live) {
				t.Errorf("got %v afterwards, want %v", got, live)
			}
			if rooms := r.Of(s); !tt.ok && len(rooms) > 0 {
				t.Errorf("in %q, want no room", rooms)
			}
		})
	}
}

// Nothing is known without a window, and nobody is told who has left.
func TestJoinSinceInVain(t *testing.T) {
	t.Parallel()
	never := func(Position, []Past[note]) { t.Error("told") }
	r := NewRooms[note](RoomsConfig{}, at(0))
	if r.JoinSince(enter(r, "ann", &listener{}, ignore), "a", at(0), never) {
		t.Error("joined, though nothing is kept")
	}
	r = NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
	s := enter(r, "ann", &listener{}, ignore)
	r.Exit(s)
	if r.JoinSince(s, "a", at(0), never); r.Len() > 0 {
		t.Error("one who has left has joined")
	}
}

func TestReturnWithoutAWindow(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{}, at(0))
	if _, ok := missedBy(r, "ann", nil, at(0)); ok {
		t.Error("taken back, though nothing is kept")
	}
}

// Rooms come from a caller who may name one twice.
func TestReturnToTheSameRoomTwice(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
	r.Apply([]Broadcast[note]{cast(1, []string{"a"})})
	l := &listener{}
	s, ok := comeBack(r, "ann", l, []string{"a", "a"}, at(0), func([]note) {})
	if !ok {
		t.Fatal("not taken back")
	}
	if got, want := r.Of(s), []string{"a"}; !slices.Equal(got, want) {
		t.Errorf("is in %v, want %v", got, want)
	}
	r.Leave(s, "a")
	r.Apply([]Broadcast[note]{cast(2, []string{"a"})})
	if got := l.take(); got != nil {
		t.Errorf("got %v after Leave", got)
	}
	r.Exit(s)
	if n := r.Len(); n != 0 {
		t.Errorf("%d rooms have members, want none", n)
	}
}

func TestMaxBytesIsNeverSilent(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute, MaxBytes: 100}, at(0))
	for n := 1; n <= 50; n++ {
		r.Apply([]Broadcast[note]{{Position: at(n), Rooms: []string{"a"}, Frame: note{n, n * 7 % 60}}})
		if r.bytes > 100 {
			t.Fatalf("%d bytes kept, want at most 100", r.bytes)
		}
		for after := range n + 1 {
			got, ok := missedBy(r, "ann", []string{"a"}, at(after))
			if want := n - after; ok && len(got) != want {
				t.Fatalf("after %d of %d: got %v, want %d frames or none at all", after, n, got, want)
			}
		}
	}
	if _, ok := missedBy(r, "ann", []string{"a"}, at(0)); ok {
		t.Error("everything fits into 100 bytes: the test tests nothing")
	}
}

// A frame that does not fit at all leaves an empty window that starts behind it.
func TestMaxBytesSmallerThanAFrame(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Minute, MaxBytes: 5}, at(0))
	r.Apply([]Broadcast[note]{cast(1, []string{"a"})})
	if _, ok := missedBy(r, "ann", []string{"a"}, at(0)); ok {
		t.Error("taken back over a gap")
	}
	if got, ok := missedBy(r, "ann", []string{"a"}, at(1)); !ok || got != nil {
		t.Errorf("got %v, %v, want nothing missed", got, ok)
	}
}

func TestTrim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
		s := enter(r, "ann", &listener{}, ignore)
		r.Join(s, []string{"a"}, nil)
		r.Apply([]Broadcast[note]{cast(1, []string{"a", "b"})})
		time.Sleep(40 * time.Second)
		r.Apply([]Broadcast[note]{cast(2, []string{"a", "c"})})
		r.Exit(s)
		for _, step := range []struct {
			after  time.Duration
			oldest int // the lowest position that one can return from
			rooms  string
		}{
			{20 * time.Second, 0, "a b c"}, // the window is a minute, not less
			{time.Millisecond, 1, "a c"},
			{40 * time.Second, 2, ""},
		} {
			time.Sleep(step.after)
			r.Trim()
			if _, ok := missedBy(r, "bob", nil, at(step.oldest)); !ok {
				t.Errorf("after %s: not taken back from %d", step.after, step.oldest)
			}
			if _, ok := missedBy(r, "bob", nil, at(step.oldest-1)); ok && step.oldest > 0 {
				t.Errorf("after %s: taken back from before %d", step.after, step.oldest)
			}
			if got := strings.Join(slices.Sorted(maps.Keys(r.rooms)), " "); got != step.rooms {
				t.Errorf("after %s: rooms %q, want %q", step.after, got, step.rooms)
			}
		}
	})
}

// tracker is a member that checks, under the lock of the rooms, that it gets 1, 2, 3… from where it joined.
type tracker struct {
	mu   sync.Mutex
	in   bool
	last int
	bad  []string
}

func (k *tracker) Flush() {}

func (k *tracker) Enqueue(f note) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.in:
		k.bad = append(k.bad, fmt.Sprintf("%d outside of the room", f.n))
	case f.n != k.last+1:
		k.bad = append(k.bad, fmt.Sprintf("%d after %d", f.n, k.last))
	}
	k.last = f.n
}

func (k *tracker) join(last int) {
	k.mu.Lock()
	k.in, k.last = true, last
	k.mu.Unlock()
}

// leave is the number that it got last.
func (k *tracker) leave() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.in = false
	return k.last
}

// Members come, join, leave, go and return while one broadcasts: each has everything from its join to its leave.
func TestConcurrentMembers(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{Window: time.Hour}, at(0))
	stop := make(chan struct{})
	var broadcaster, members sync.WaitGroup
	broadcaster.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				r.Apply([]Broadcast[note]{cast(n, []string{"a", fmt.Sprint("other", n%3)})})
			}
		}
	})
	for i := range 6 {
		members.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(i), 2))
			id := fmt.Sprint("m", i)
			for range 40 {
				trackOnce(t, r, id, dice)
			}
		})
	}
	members.Wait()
	close(stop)
	broadcaster.Wait()
	if r.Position() == at(0) {
		t.Error("nothing was broadcast: the test tests nothing")
	}
}

func trackOnce(t *testing.T, r *Rooms[note], id string, dice *rand.Rand) {
	k := &tracker{}
	// awhile is over after a few broadcasts, so that there is something to miss.
	awhile := func() {
		for until := r.Position().Seq + uint64(dice.IntN(30)); r.Position().Seq < until; {
			time.Sleep(time.Microsecond)
		}
	}
	reached := func(what string, last int, before, after Position) {
		if last < int(before.Seq) || last > int(after.Seq) {
			t.Errorf("%s %s with %d as its last, want %d to %d", id, what, last, before.Seq, after.Seq)
		}
	}
	s := enter(r, id, k, ignore)
	awhile()
	if dice.IntN(2) == 0 {
		r.Join(s, []string{"a"}, func(p Position) { k.join(int(p.Seq)) })
	} else {
		since := r.Position()
		awhile()
		r.JoinSince(s, "a", since, func(p Position, past []Past[note]) {
			for i, b := range past {
				if want := int(since.Seq) + 1 + i; b.Frame.n != want || b.Position != at(want) {
					t.Errorf("%s joined with %d at %s, want %d", id, b.Frame.n, b.Position, want)
				}
			}
			if want := int(since.Seq) + len(past); p != at(want) {
				t.Errorf("%s joined at %s, want %s", id, p, at(want))
			}
			k.join(int(p.Seq))
		})
	}
	awhile()
	before := r.Position()
	if dice.IntN(2) == 0 {
		r.Leave(s, "a")
		reached("left", k.leave(), before, r.Position())
		awhile() // it would say if it got something now
		r.Exit(s)
	} else {
		r.Exit(s)
		last := k.leave()
		reached("went", last, before, r.Position())
		awhile()
		var ok bool
		s, ok = comeBack(r, id, k, []string{"a"}, at(last), func(missed []note) {
			for i, f := range missed {
				if f.n != last+1+i {
					t.Errorf("%s missed %d, want %d", id, f.n, last+1+i)
				}
			}
			k.join(last + len(missed))
		})
		if !ok {
			t.Errorf("%s not taken back from %d", id, last)
			return
		}
		awhile()
		before = r.Position()
		r.Exit(s)
		reached("went again", k.leave(), before, r.Position())
	}
	if k.bad != nil {
		t.Errorf("%s got %s", id, strings.Join(k.bad, ", "))
	}
}

// Who awaits a position goes on with it or a later one, and with nothing before; a context ends the wait.
func TestAwait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := NewRooms[note](RoomsConfig{Window: time.Minute}, at(0))
		var reached []string
		var mu sync.Mutex
		await := func(ctx context.Context, n int) {
			go func() {
				ok := r.Await(ctx, at(n))
				mu.Lock()
				defer mu.Unlock()
				reached = append(reached, fmt.Sprint(n, " ", ok))
			}()
			synctest.Wait()
		}
		want := func(waiting int, now ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			slices.Sort(reached)
			if !slices.Equal(reached, now) || r.Waiting() != waiting {
				t.Errorf("reached %q, %d waiting, want %q, %d", reached, r.Waiting(), now, waiting)
			}
			reached = nil
		}
		ctx := t.Context()
		await(ctx, 0)
		want(0, "0 true")
		for _, n := range []int{5, 2, 9, 2, 7} {
			await(ctx, n)
		}
		r.Apply([]Broadcast[note]{cast(1, nil)})
		want(5)
		r.Apply([]Broadcast[note]{cast(2, nil), {Frame: note{99, 1}}})
		want(3, "2 true", "2 true")
		r.Apply([]Broadcast[note]{{Position: at(6), Rooms: []string{}, Volatile: true}}) // past 5, for nobody
		want(2, "5 true")
		brief, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		await(brief, 8)
		want(3)
		time.Sleep(time.Second)
		want(2, "8 false")
		r.Reset(at(7))
		want(1, "7 true")
		r.Apply([]Broadcast[note]{cast(10, nil)})
		want(0, "9 true")
	})
}

// Join and Leave tell whether they changed anything.
func TestJoinAndLeaveTell(t *testing.T) {
	t.Parallel()
	r := NewRooms[note](RoomsConfig{}, at(0))
	s := enter(r, "ann", &listener{}, ignore)
	for i, got := range []bool{
		r.Join(s, []string{"a", "b"}, nil), !r.Join(s, []string{"b", "a"}, nil), r.Join(s, []string{"b", "c"}, nil),
		!r.Leave(s, "z", "ann"), r.Leave(s, "z", "a"), !r.Leave(s, "a"), !r.Join(s, nil, nil),
	} {
		if !got {
			t.Errorf("call %d says the opposite", i)
		}
	}
	r.Exit(s)
	if r.Join(s, []string{"a"}, nil) || r.Leave(s, "b") {
		t.Error("who has left has joined or left")
	}
}
