package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// fakeFeed is a channel's feed in memory, for tests of time and of what goes wrong.
type fakeFeed struct {
	mu      sync.Mutex
	entries []adapter.FeedEntry
	groups  map[string]*fakeGroup
	letters []adapter.DeadLetter
	added   chan struct{} // closed and made anew with each entry
	fail    func(what string) error
	claims  int
	trims   int      // of the dead letters
	passed  []string // what Trim says
}

type fakeGroup struct {
	made    int // how often
	next    int // index of the first entry that was not read
	pending []adapter.FeedEntry
	notes   map[adapter.Position]adapter.Note
}

func newFakeFeed() *fakeFeed {
	return &fakeFeed{groups: map[string]*fakeGroup{}, added: make(chan struct{})}
}

func (f *fakeFeed) open(string) (feed, func(group, consumer string) reader) {
	return f, func(group, _ string) reader { return &fakeReader{f, group} }
}

func (f *fakeFeed) trimLetters(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trims++
	if f.fail != nil {
		return f.fail("trim letters")
	}
	return nil
}

// add puts an event into the feed.
func (f *fakeFeed) add(raw []byte) adapter.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := adapter.Position{MS: uint64(len(f.entries) + 1)}
	f.entries = append(f.entries, adapter.FeedEntry{Position: p, Event: raw})
	close(f.added)
	f.added = make(chan struct{})
	return p
}

// do runs one operation, or fails it.
func (f *fakeFeed) do(what, group string, op func(*fakeGroup)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		if err := f.fail(what); err != nil {
			return err
		}
	}
	g := f.groups[group]
	if g == nil {
		return adapter.ErrNoGroup
	}
	op(g)
	return nil
}

func (f *fakeFeed) Create(_ context.Context, group string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups[group] == nil {
		f.groups[group] = &fakeGroup{next: len(f.entries), notes: map[adapter.Position]adapter.Note{}}
	}
	f.groups[group].made++
	return nil
}

func (f *fakeFeed) Made(_ context.Context, group string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.groups[group]; g != nil {
		return fmt.Sprintf("%p %d", g, g.made), nil
	}
	return "", nil
}

func (f *fakeFeed) DestroyMade(ctx context.Context, group, made string) (bool, error) {
	if now, err := f.Made(ctx, group); err != nil || now != made {
		return false, err
	}
	return true, f.Destroy(ctx, group)
}

func (f *fakeFeed) Destroy(_ context.Context, group string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.groups, group)
	return nil
}

func (f *fakeFeed) Groups(context.Context) (all []adapter.FeedGroup, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, g := range f.groups {
		all = append(all, adapter.FeedGroup{Name: name, Pending: int64(len(g.pending)), Lag: int64(len(f.entries) - g.next)})
	}
	return all, nil
}

func (f *fakeFeed) Trim(context.Context, time.Duration, int64) ([]string, error) {
	return f.passed, nil
}

func (f *fakeFeed) Claim(_ context.Context, group, _ string, after adapter.Position, count int) (all []adapter.FeedEntry, err error) {
	err = f.do("claim", group, func(g *fakeGroup) {
		f.claims++
		for _, e := range g.pending {
			if e.Compare(after) > 0 && len(all) < count {
				all = append(all, e)
			}
		}
	})
	return all, err
}

func (f *fakeFeed) Ack(_ context.Context, group string, ps ...adapter.Position) error {
	err := f.do("ack", group, func(g *fakeGroup) {
		g.pending = slices.DeleteFunc(g.pending, func(e adapter.FeedEntry) bool { return slices.Contains(ps, e.Position) })
		for _, p := range ps {
			delete(g.notes, p)
		}
	})
	if errors.Is(err, adapter.ErrNoGroup) {
		return nil
	}
	return err
}

func (f *fakeFeed) Note(_ context.Context, group string, p adapter.Position, n adapter.Note) error {
	return f.do("note", group, func(g *fakeGroup) { g.notes[p] = n })
}

func (f *fakeFeed) Notes(_ context.Context, group string) (notes map[adapter.Position]adapter.Note, err error) {
	err = f.do("notes", group, func(g *fakeGroup) {
		notes = map[adapter.Position]adapter.Note{}
		for p, n := range g.notes {
			notes[p] = n
		}
	})
	return notes, err
}

func (f *fakeFeed) Bury(ctx context.Context, group string, p adapter.Position, d adapter.DeadLetter) error {
	if err := f.do("bury", group, func(*fakeGroup) { f.letters = append(f.letters, d) }); err != nil {
		return err
	}
	return f.Ack(ctx, group, p)
}

// dead are the dead letters as "reason id attempts".
func (f *fakeFeed) dead() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.letters {
		all = append(all, fmt.Sprintf("%s %s %d", d.Reason, d.EventID, d.Attempts))
	}
	return all
}

// pending is how many entries of a group are, -1 if there is no such group.
func (f *fakeFeed) pending(group string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if g := f.groups[group]; g != nil {
		return len(g.pending)
	}
	return -1
}

type fakeReader struct {
	f     *fakeFeed
	group string
}

func (r *fakeReader) Read(ctx context.Context, count int) (got []adapter.FeedEntry, err error) {
	for end := time.After(time.Second); ; {
		r.f.mu.Lock()
		added := r.f.added
		r.f.mu.Unlock()
		var lost error
		err := r.f.do("read", r.group, func(g *fakeGroup) {
			got = slices.Clone(r.f.entries[g.next:min(g.next+count, len(r.f.entries))])
			g.next += len(got)
			g.pending = append(g.pending, got...)
			if len(got) > 0 && r.f.fail != nil { // the answer may be lost on its way
				lost = r.f.fail("answer")
			}
		})
		err = cmp.Or(err, lost)
		if err != nil || len(got) > 0 {
			return got, err
		}
		select {
		case <-added:
		case <-end:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *fakeReader) Close() error { return nil }

// eventOf is the JSON of an event of a photo.
func eventOf(t testing.TB, id, photo string) events.Event {
	t.Helper()
	raw := fmt.Sprintf(`{"id":%q,"type":"photo.deleted","data":{"photoId":%q},"metadata":{"source":"test","version":"1.0"},"timestamp":"2026-01-31T12:00:00.000Z"}`, id, photo)
	ev, err := events.Decode([]byte(raw), 0)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}
