package engineio

import (
	"slices"
	"sync"
	"testing"
)

// What is done in turn never overlaps a handler call, and keeps its order.
func TestDoInTurn(t *testing.T) {
	t.Parallel()
	var order []string // the race detector sees any overlap
	c, l, r := fakeConn(t, Options{})
	r.on = func(data []byte, _ bool) {
		c.Do(func() { order = append(order, "done for "+string(data)) })
		order = append(order, "message "+string(data))
	}
	l.input(append(clientFrame(1, true, "4a"), clientFrame(1, true, "4b")...))
	c.srv.work.Wait()
	for _, before := range [][2]string{{"message a", "done for a"}, {"message b", "done for b"}, {"done for a", "done for b"}} {
		if i, j := slices.Index(order, before[0]), slices.Index(order, before[1]); i < 0 || i > j {
			t.Errorf("got %q, want %q before %q", order, before[0], before[1])
		}
	}
}

func TestDoWhileBusy(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 200
	next := [senders]int{} // the race detector sees any overlap
	c, l, r := fakeConn(t, Options{})
	total := 0
	r.on = func([]byte, bool) { total++ }
	var wg sync.WaitGroup
	for who := range senders {
		wg.Go(func() {
			for n := range each {
				c.Do(func() {
					if next[who] != n {
						t.Errorf("sender %d: got %d, want %d", who, n, next[who])
					}
					next[who]++
					total++
				})
			}
		})
	}
	for range each {
		l.input(clientFrame(1, true, "4x"))
	}
	wg.Wait()
	c.srv.work.Wait()
	if want := (senders + 1) * each; total != want {
		t.Errorf("got %d calls, want %d", total, want)
	}
}

// What is to be done before the end is done before Closed says that this was the end.
func TestDoBeforeClosed(t *testing.T) {
	t.Parallel()
	c, _, r := fakeConn(t, Options{})
	before := false
	c.Do(func() { before = true })
	c.Close()
	r.wantClosed(ForcedClose)
	if !before {
		t.Error("Closed came first, want it last")
	}
}
