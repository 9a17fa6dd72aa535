package delivery

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// Whatever comes back when, items of a lane are out one at a time, in order, and none before it is due; at the end all
// have been out and nothing is left on the board.
func TestBoard(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		dice := rand.New(rand.NewPCG(seed, 2))
		b, now := newBoard(), time.Unix(1, 0)
		const n = 300
		added, finished := 0, 0
		last, busy := map[string]uint64{}, map[string]bool{}
		var out []*item
		for finished < n {
			now = now.Add(time.Duration(dice.IntN(3)) * time.Second)
			switch dice.IntN(3) {
			case 0:
				if added < n {
					added++
					lane := fmt.Sprint(dice.IntN(5))
					if lane == "0" {
						lane = ""
					}
					it := &item{Position: adapter.Position{MS: uint64(added)}, lane: lane}
					if dice.IntN(10) == 0 { // as if claimed with a note
						it.due = now.Add(time.Minute)
					}
					b.add(it)
				}
			case 1:
				some := b.some(now)
				it := b.next(now)
				if some != (it != nil) {
					t.Fatalf("some says %v, next gives %v", some, it)
				}
				if it == nil {
					if wake, ok := b.wake(); ok && added == n && len(out) == 0 {
						now = wake
					}
					break
				}
				if it.due.After(now) {
					t.Fatalf("item %d is out before it is due", it.MS)
				}
				if it.lane != "" && (busy[it.lane] || it.MS < last[it.lane]) {
					t.Fatalf("item %d of lane %s is out, busy %v, after %d", it.MS, it.lane, busy[it.lane], last[it.lane])
				}
				busy[it.lane] = true
				last[it.lane] = it.MS
				out = append(out, it)
			case 2:
				if len(out) == 0 {
					break
				}
				i := dice.IntN(len(out))
				it := out[i]
				out = append(out[:i], out[i+1:]...)
				busy[it.lane] = false
				if dice.IntN(3) == 0 {
					it.due = now.Add(time.Duration(dice.IntN(10)) * time.Second)
					b.again(it)
				} else {
					finished++
					b.done(it)
				}
			}
		}
		if len(b.lanes) != 0 || len(b.waiting) != 0 || b.ready.len() != 0 {
			t.Fatalf("left: %d lanes, %d waiting, %d ready", len(b.lanes), len(b.waiting), b.ready.len())
		}
	}
}

func TestQueueGivesUpMemory(t *testing.T) {
	t.Parallel()
	var q queue[int]
	next := 0
	for i := range 100_000 {
		q.push(i)
		if i > 10 {
			if got, ok := q.pop(); !ok || got != next {
				t.Fatalf("%d, %v, want %d", got, ok, next)
			}
			next++
		}
	}
	if len(q.items) > 1000 {
		t.Errorf("%d places for %d items", len(q.items), q.len())
	}
}
