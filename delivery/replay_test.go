package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/photo-management/event-bus/adapter"
)

// intake is what came in anew, as "stream id again", and may fail.
type intake struct {
	mu   sync.Mutex
	got  []string
	fail error
	then func() // called after each; nil: nothing
}

func (in *intake) Offer(_ context.Context, stream string, event []byte, again string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.fail != nil {
		return in.fail
	}
	in.got = append(in.got, fmt.Sprintf("%s %s %s", stream, event, again))
	if in.then != nil {
		in.then()
	}
	return nil
}

func (in *intake) want(t *testing.T, want ...string) {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	if !slices.Equal(in.got, want) {
		t.Errorf("came in: %q, want %q", in.got, want)
	}
}

// mortuary is dead letters in a real Redis, and who replays them.
type mortuary struct {
	Replayer
	t  *testing.T
	in *intake
}

func newMortuary(t *testing.T) *mortuary {
	store, in := newStore(t), &intake{}
	return &mortuary{Replayer{store, store.DeadLetters(adapter.DeadLettersConfig{}), in, "in:"}, t, in}
}

// add adds the letter of an event of a subscription, and gives it with its id.
func (m *mortuary) add(subscription, event string) adapter.DeadLetter {
	m.t.Helper()
	l := adapter.DeadLetter{Channel: channel, Subscription: subscription, Reason: ReasonRetries, Event: []byte(event)}
	if added, err := m.Letters.Add(m.t.Context(), l); err != nil || !added {
		m.t.Fatalf("added %v, %v", added, err)
	}
	all := m.letters()
	return all[len(all)-1]
}

func (m *mortuary) letters() []adapter.DeadLetter {
	m.t.Helper()
	all, _, err := m.Letters.List(m.t.Context(), adapter.DeadLetterQuery{Limit: 1000})
	if err != nil {
		m.t.Fatal(err)
	}
	return all
}

// wantLetters wants letters of so many.
func (m *mortuary) wantLetters(want ...string) {
	m.t.Helper()
	var got []string
	for _, l := range m.letters() {
		got = append(got, string(l.Event))
	}
	if !slices.Equal(got, want) {
		m.t.Errorf("dead letters of %q, want %q", got, want)
	}
}

// create makes groups.
func (m *mortuary) create(groups ...string) {
	m.t.Helper()
	for _, g := range groups {
		if err := m.Store.Feed(channel).Create(m.t.Context(), g); err != nil {
			m.t.Fatal(err)
		}
	}
}

// feed is what there is for a group and was not read, without what is for others.
func (m *mortuary) feed(group string) (all []string) {
	m.t.Helper()
	r := m.Store.Feed(channel).Reader(group, "c")
	defer r.Close()
	entries, err := r.Read(m.t.Context(), 1000)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, string(e.Event))
	}
	return all
}

func TestReplay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		subscription string
		browsers     bool
		feed         string // the group that gets it
		in           bool
	}{
		"to a webhook alone":        {subscription: "a", feed: "hook:a"},
		"to a handler alone":        {subscription: "go:a", feed: "go:a"},
		"to services alone":         {subscription: "svc:a", feed: "svc:a"},
		"refused":                   {in: true},
		"refused, with browsers":    {browsers: true, in: true},
		"to a webhook and browsers": {subscription: "a", browsers: true, in: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMortuary(t)
			groups := []string{"hook:a", "hook:b", "go:a", "svc:a"}
			m.create(groups...)
			l := m.add(c.subscription, `{"id":"1"}`)
			if err := m.Replay(t.Context(), l, c.browsers); err != nil {
				t.Fatal(err)
			}
			m.wantLetters()
			for _, g := range groups {
				var want []string
				if g == c.feed {
					want = []string{`{"id":"1"}`}
				}
				if got := m.feed(g); !slices.Equal(got, want) {
					t.Errorf("for %s there is %q, want %q", g, got, want)
				}
			}
			again := ""
			if c.browsers {
				again = l.ID
			}
			if c.in {
				m.in.want(t, fmt.Sprintf(`in:%s {"id":"1"} %s`, channel, again))
			} else {
				m.in.want(t)
			}
			if err := m.Replay(t.Context(), l, c.browsers); err != nil {
				t.Errorf("replayed again: %v", err)
			}
			m.add(c.subscription, `{"id":"1"}`) // it may become a letter again at once
		})
	}
}

// What cannot be replayed stays, and its event is still known: it makes no second letter.
func TestNotReplayable(t *testing.T) {
	t.Parallel()
	m := newMortuary(t)
	m.create("hook:other")
	for _, elsewhere := range []func() error{
		func() error { return m.Store.Feed(channel).Destroy(t.Context(), "hook:other") }, // and there is no feed
		func() error { return nil },
	} {
		l := m.add("gone", fmt.Sprint("{}", len(m.letters())))
		if err := m.Replay(t.Context(), l, false); !errors.Is(err, ErrNotReplayable) {
			t.Errorf("the subscription is gone: %v, want ErrNotReplayable", err)
		}
		if err := elsewhere(); err != nil {
			t.Fatal(err)
		}
		if added, err := m.Letters.Add(t.Context(), l); added || err != nil {
			t.Errorf("added %v, %v, want the letter to be there still", added, err)
		}
	}
	m.wantLetters("{}0", "{}1")

	l := m.add("gone", string(make([]byte, adapter.MaxDeadEvent+1)))
	for _, browsers := range []bool{false, true} {
		if err := m.Replay(t.Context(), l, browsers); !errors.Is(err, ErrNotReplayable) {
			t.Errorf("only its beginning is there: %v, want ErrNotReplayable", err)
		}
	}
	m.in.want(t)
	l.ID = "nonsense"
	l.Truncated = false
	if err := m.Replay(t.Context(), l, false); !errors.Is(err, adapter.ErrDeadLetterID) {
		t.Errorf("nonsense: %v, want ErrDeadLetterID", err)
	}
}

// An event that comes in anew is neither lost nor made something else, wherever a replay of it ends.
func TestReplayEndsInBetween(t *testing.T) {
	t.Parallel()
	m := newMortuary(t)
	l := m.add("", "{}")
	m.in.fail = errBroken
	if err := m.Replay(t.Context(), l, true); !errors.Is(err, errBroken) {
		t.Errorf("replayed: %v", err)
	}
	m.wantLetters("{}")

	m.in.fail = nil
	ctx, cancel := context.WithCancel(t.Context())
	m.in.then = cancel // it dies before the letter is removed
	if err := m.Replay(ctx, l, true); !errors.Is(err, context.Canceled) {
		t.Errorf("replayed: %v", err)
	}
	m.wantLetters("{}")
	m.in.then = nil
	if err := m.Replay(t.Context(), l, true); err != nil {
		t.Error(err)
	}
	m.wantLetters()
	one := fmt.Sprintf("in:%s {} %s", channel, l.ID)
	m.in.want(t, one, one) // of which the bus takes one, as again is the same

	// It is refused again before the letter is removed: that one stays.
	l = m.add("", "{}")
	m.in.then = func() { m.add("", "{}") }
	if err := m.Replay(t.Context(), l, false); err != nil {
		t.Error(err)
	}
	if left := m.letters(); len(left) != 1 || left[0].ID == l.ID {
		t.Errorf("letters left: %+v, want the second one", left)
	}
}

// However many replay a letter at the same time, its subscription gets the event once.
func TestReplaysAtTheSameTime(t *testing.T) {
	t.Parallel()
	m := newMortuary(t)
	m.create("hook:a")
	const n = 50
	var want []string
	for i := range n {
		m.add("a", fmt.Sprint(i))
		want = append(want, fmt.Sprint(i))
	}
	var all sync.WaitGroup
	var replayed atomic.Int64
	for range 4 {
		all.Go(func() {
			k, failed, err := m.ReplayAll(t.Context(), adapter.DeadLetterQuery{}, false)
			replayed.Add(int64(k))
			if failed != 0 || err != nil {
				t.Errorf("failed %d, %v", failed, err)
			}
		})
	}
	all.Wait()
	got := m.feed("hook:a")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || replayed.Load() < n {
		t.Errorf("the feed has %v, %d were replayed, want each of %d once", got, replayed.Load(), n)
	}
	m.wantLetters()
}

func TestReplayAll(t *testing.T) {
	t.Parallel()
	m := newMortuary(t)
	if replayed, failed, err := m.ReplayAll(t.Context(), adapter.DeadLetterQuery{}, false); replayed+failed != 0 || err != nil {
		t.Errorf("of no letters: %d, %d, %v", replayed, failed, err)
	}
	m.create("hook:a", "hook:b")
	for i := range 150 {
		m.add([]string{"a", "b", "gone"}[i%3], fmt.Sprint(i))
	}
	replay := func(which adapter.DeadLetterQuery, wantReplayed, wantFailed int, left int) {
		t.Helper()
		replayed, failed, err := m.ReplayAll(t.Context(), which, false)
		if replayed != wantReplayed || failed != wantFailed || errors.Is(err, ErrNotReplayable) != (wantFailed > 0) {
			t.Errorf("%+v: replayed %d, failed %d, %v, want %d and %d", which, replayed, failed, err, wantReplayed, wantFailed)
		}
		if n := len(m.letters()); n != left {
			t.Errorf("%+v: %d letters are left, want %d", which, n, left)
		}
	}
	replay(adapter.DeadLetterQuery{Reason: "another"}, 0, 0, 150)
	replay(adapter.DeadLetterQuery{Subscription: "a", Limit: 7}, 7, 0, 143)
	replay(adapter.DeadLetterQuery{Subscription: "a"}, 43, 0, 100)
	replay(adapter.DeadLetterQuery{Limit: 3}, 2, 1, 98)
	replay(adapter.DeadLetterQuery{}, 48, 50, 50)
	if a, b := m.feed("hook:a"), m.feed("hook:b"); len(a) != 50 || len(b) != 50 {
		t.Errorf("the feed has %d and %d events, want 50 each", len(a), len(b))
	}
	if _, _, err := m.ReplayAll(t.Context(), adapter.DeadLetterQuery{After: "nonsense"}, false); !errors.Is(err, adapter.ErrDeadLetterID) {
		t.Errorf("after nonsense: %v", err)
	}
}

// Events that fail again meanwhile are left alone.
func TestReplayAllStops(t *testing.T) {
	t.Parallel()
	m := newMortuary(t)
	const n = 120 // more than a page
	for i := range n {
		m.add("", fmt.Sprint(i))
	}
	next := 0
	m.in.then = func() { // each is refused again at once
		m.add("", fmt.Sprint(next))
		next++
	}
	replayed, failed, err := m.ReplayAll(t.Context(), adapter.DeadLetterQuery{}, false)
	if replayed != n || failed != 0 || err != nil {
		t.Errorf("replayed %d, failed %d, %v, want %d", replayed, failed, err, n)
	}
	if left := len(m.letters()); left != n {
		t.Errorf("%d letters are left, want %d", left, n)
	}
}
