package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tailed collects what a Tail applies.
type tailed struct {
	mu      sync.Mutex
	batches [][]Entry
	hold    chan struct{} // if not nil, apply waits for it
}

func (l *tailed) apply(batch []Entry) {
	if l.hold != nil {
		<-l.hold
	}
	l.mu.Lock()
	l.batches = append(l.batches, batch)
	l.mu.Unlock()
}

func (l *tailed) events() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range slices.Concat(l.batches...) {
		out = append(out, string(e.Args))
	}
	return out
}

// tail runs m.Tail until the test ends.
func tail(t *testing.T, m *Memory, l *tailed) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Tail(ctx, l.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Tail: %v", err)
		}
	})
}

func add(t *testing.T, m *Memory, id string, events ...string) bool {
	t.Helper()
	messages := make([]Message, len(events))
	for i, e := range events {
		messages[i] = Message{Rooms: []string{"room"}, Args: []byte(e)}
	}
	fresh, err := m.Append(t.Context(), id, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestMemoryOrderAndBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{})
		start := m.Start()
		add(t, m, "1", "a", "b")
		add(t, m, "2", "c")
		l := &tailed{hold: make(chan struct{})}
		tail(t, m, l)
		synctest.Wait() // the first batch is held: what comes now waits, and makes the second
		add(t, m, "3", "d")
		add(t, m, "4", "e")
		close(l.hold)
		synctest.Wait()

		if got, want := l.events(), []string{"a", "b", "c", "d", "e"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if n := len(l.batches); n != 2 {
			t.Errorf("got %d batches, want 2", n)
		}
		last := start
		for _, e := range slices.Concat(l.batches...) {
			if e.Position.Compare(last) <= 0 {
				t.Errorf("%v after %v", e.Position, last)
			}
			last = e.Position
			if !slices.Equal(e.Rooms, []string{"room"}) {
				t.Errorf("entry changed: %+v", e)
			}
		}
	})
}

func TestMemoryDedupe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Dedupe: time.Hour, MaxIDs: 3})
		steps := []struct {
			id    string
			after time.Duration
			want  bool
		}{
			{"a", 0, true},
			{"a", 0, false},
			{"b", 30 * time.Minute, true},
			{"a", 30 * time.Minute, false}, // an hour is still remembered
			{"a", time.Second, true},       // and no longer
			{"a", 0, false},
			{"b", 0, false},
			{"c", 0, true},
			{"d", 0, true}, // the fourth: b is forgotten early
			{"a", 0, false},
			{"b", 0, true},
			{"c", 0, false},
		}
		for i, s := range steps {
			time.Sleep(s.after)
			if got := add(t, m, s.id, "e"); got != s.want {
				t.Fatalf("step %d: Append %q is %v, want %v", i, s.id, got, s.want)
			}
			if len(m.ids) > 3 || len(m.ids) != len(m.order) {
				t.Fatalf("step %d: %d ids, %d in order, want at most 3", i, len(m.ids), len(m.order))
			}
		}
	})
}

func TestMemoryAppended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{Dedupe: time.Hour})
		add(t, m, "a", "e")
		for _, step := range []struct {
			id    string
			after time.Duration
			want  bool
		}{
			{"a", 0, true},
			{"b", 0, false},
			{"a", time.Hour, true},
			{"a", time.Second, false}, // as Append would say
		} {
			time.Sleep(step.after)
			if got, err := m.Appended(t.Context(), step.id); got != step.want || err != nil {
				t.Errorf("Appended %q after another %s is %v, %v, want %v", step.id, step.after, got, err, step.want)
			}
		}
	})
}

func TestMemoryStartStays(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryConfig{})
	start := m.Start()
	add(t, m, "1", "a")
	if got := m.Start(); got != start {
		t.Errorf("Start is %v after an Append, was %v", got, start)
	}
	if len(m.pending) != 1 || m.pending[0].Position.Compare(start) <= 0 {
		t.Errorf("pending is %v, want one entry after %v", m.pending, start)
	}
}

func TestMemoryNothingToAppend(t *testing.T) {
	t.Parallel()
	m := NewMemory(MemoryConfig{})
	if !add(t, m, "1") {
		t.Error("an event for nobody is not new")
	}
	if add(t, m, "1", "a") {
		t.Error("the id of an event for nobody is not remembered")
	}
}

func TestMemoryFullWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{MaxPending: 2})
		add(t, m, "1", "a", "b")
		ctx, cancel := context.WithCancelCause(context.Background())
		gaveUp, appended := make(chan error, 1), make(chan error, 1)
		go func() {
			fresh, err := m.Append(ctx, "2", Message{Args: []byte("never")})
			if fresh {
				err = errors.New("appended")
			}
			gaveUp <- err
		}()
		go func() {
			fresh, err := m.Append(context.Background(), "3", Message{Args: []byte("c")})
			if !fresh {
				err = errors.New("not appended")
			}
			appended <- err
		}()
		synctest.Wait()
		if len(appended)+len(gaveUp) != 0 || len(m.pending) != 2 {
			t.Fatal("Append to a full log does not wait")
		}
		cancel(nil)
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context canceled", err)
		}
		l := &tailed{}
		tail(t, m, l)
		if err := <-appended; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got, want := l.events(), []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if !add(t, m, "2", "d") {
			t.Error("an id whose Append gave up counts as appended")
		}
	})
}

// Whoever is woken and does not fill the log, as its id is known, must not leave the others waiting.
func TestMemoryDuplicateWakesTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(MemoryConfig{MaxPending: 1})
		add(t, m, "1", "a")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		duplicate, fresh := make(chan bool, 1), make(chan bool, 1)
		put := func(id string, answer chan bool) {
			ok, _ := m.Append(ctx, id, Message{Args: []byte("b")})
			answer <- ok
		}
		go put("1", duplicate)
		synctest.Wait() // it waits first, so it is woken first
		go put("2", fresh)
		synctest.Wait()
		tail(t, m, &tailed{})
		if <-duplicate {
			t.Error("appended twice")
		}
		if !<-fresh {
			t.Error("gave up after a minute, with an empty log")
		}
	})
}

func TestMemoryConcurrentAppends(t *testing.T) {
	t.Parallel()
	const publishers, each = 4, 200
	m := NewMemory(MemoryConfig{MaxPending: 16})
	l := &tailed{}
	tail(t, m, l)
	var work sync.WaitGroup
	for p := range publishers {
		work.Go(func() {
			for i := range each {
				// Two publishers each send the same ids: one of the two counts.
				id := fmt.Sprint(p/2, "-", i)
				if _, err := m.Append(t.Context(), id, Message{Args: []byte(id)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	eventually := time.Now().Add(10 * time.Second)
	for len(l.events()) < publishers/2*each && time.Now().Before(eventually) {
		time.Sleep(time.Millisecond)
	}
	next := map[string]int{}
	for _, e := range l.events() {
		var p, i int
		if _, err := fmt.Sscanf(e, "%d-%d", &p, &i); err != nil {
			t.Fatal(err)
		}
		who := fmt.Sprint(p)
		if i != next[who] {
			t.Fatalf("publisher %d: got %d, want %d", p, i, next[who])
		}
		next[who]++
	}
	if next["0"] != each || next["1"] != each {
		t.Errorf("got %v, want %d of each", next, each)
	}
}
