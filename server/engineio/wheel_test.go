package engineio

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const tick = 10 * time.Millisecond

// advanceUntil counts the ticks until c is due.
func advanceUntil(t *testing.T, w *wheel, c *Conn, limit int) int {
	t.Helper()
	for n := 1; n <= limit; n++ {
		if slices.Contains(w.advance(nil), c) {
			return n
		}
	}
	t.Fatalf("not due within %d ticks", limit)
	return 0
}

func TestWheelDue(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		d    time.Duration
		want int // ticks, one more for the running one
	}{
		{0, 1},
		{1, 2},
		{tick - 1, 2},
		{tick, 2},
		{tick + 1, 3},
		{255 * tick, 256},
		{256 * tick, 257}, // once around
		{257 * tick, 258},
		{10_000 * tick, 10_001},
	} {
		for _, start := range []int{0, 1, 200, 255, 256, 1000} {
			w := &wheel{tick: tick}
			for range start {
				w.advance(nil)
			}
			c := &Conn{}
			w.set(c, test.d)
			if got := advanceUntil(t, w, c, test.want+1); got != test.want {
				t.Errorf("%v, set at tick %d: due after %d ticks, want %d", test.d, start, got, test.want)
			}
			if c.timed != (timed{}) {
				t.Errorf("%v: got %+v, want it off the wheel", test.d, c.timed)
			}
		}
	}
}

func TestWheelTick(t *testing.T) {
	t.Parallel()
	for shortest, want := range map[time.Duration]time.Duration{
		time.Millisecond:       time.Millisecond,
		100 * time.Millisecond: 5 * time.Millisecond,
		5 * time.Second:        250 * time.Millisecond,
		time.Hour:              time.Second,
	} {
		if got := newWheel(shortest).tick; got != want {
			t.Errorf("%v: got a tick of %v, want %v", shortest, got, want)
		}
	}
}

// One slot holds many: taking any of them off leaves the others.
func TestWheelUnlinks(t *testing.T) {
	t.Parallel()
	for gone := range 3 {
		w := &wheel{tick: tick}
		conns := []*Conn{{}, {}, {}}
		for _, c := range conns {
			w.set(c, tick)
		}
		w.remove(conns[gone])
		w.remove(conns[gone]) // does no harm
		w.advance(nil)
		due := w.advance(nil)
		for i, c := range conns {
			if got, want := slices.Contains(due, c), i != gone; got != want {
				t.Errorf("without %d, connection %d: due %v, want %v", gone, i, got, want)
			}
		}
	}
}

// TestWheelModel sets, moves and removes at random and compares with a map.
func TestWheelModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		dice := rand.New(rand.NewPCG(seed, 0))
		w := &wheel{tick: tick}
		conns := make([]*Conn, 40)
		for i := range conns {
			conns[i] = &Conn{}
		}
		model := map[*Conn]int{}
		for now := 1; now <= 3000; now++ {
			for range dice.IntN(4) {
				c := conns[dice.IntN(len(conns))]
				if dice.IntN(4) == 0 {
					w.remove(c)
					delete(model, c)
					continue
				}
				ticks := dice.IntN(600)
				w.set(c, time.Duration(ticks)*tick)
				model[c] = now + ticks // the tick that runs, and so many more
			}
			got := map[*Conn]bool{}
			for _, c := range w.advance(nil) {
				if got[c] {
					t.Fatalf("seed %d, tick %d: a connection is due twice", seed, now)
				}
				got[c] = true
			}
			for c, due := range model {
				if got[c] != (due == now) {
					t.Fatalf("seed %d, tick %d: due %v, want it at %d", seed, now, got[c], due)
				}
				if due == now {
					delete(model, c)
					delete(got, c)
				}
			}
			if len(got) > 0 {
				t.Fatalf("seed %d, tick %d: %d due that were not set", seed, now, len(got))
			}
		}
	}
}
