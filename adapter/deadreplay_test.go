package adapter

import (
	"errors"
	"testing"
)

func TestDeadLettersRelease(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	d := r.Store("").DeadLetters(DeadLettersConfig{})
	letter := DeadLetter{Channel: "c", Subscription: "s", Reason: "permanent", EventID: "e", Event: []byte(`{"id":"e"}`)}
	add := func(want bool) {
		t.Helper()
		if added, err := d.Add(t.Context(), letter); err != nil || added != want {
			t.Errorf("Add: got %v, %v, want %v", added, err, want)
		}
	}
	add(true)
	add(false)
	page, _, err := d.List(t.Context(), DeadLetterQuery{})
	if err != nil || len(page) != 1 {
		t.Fatalf("List: got %v, %v, want one letter", page, err)
	}
	if there, err := d.Release(t.Context(), page[0].ID); err != nil || !there {
		t.Errorf("Release: got %v, %v, want true", there, err)
	}
	add(true) // it has failed again, before the first letter is removed
	if n, err := d.Remove(t.Context(), page[0].ID); err != nil || n != 1 {
		t.Errorf("Remove: got %d, %v, want 1", n, err)
	}
	add(false) // the second one is still known
	if n, err := d.Len(t.Context()); err != nil || n != 1 {
		t.Errorf("Len: got %d, %v, want the second letter", n, err)
	}
	if there, err := d.Release(t.Context(), page[0].ID); err != nil || there {
		t.Errorf("Release of a letter that is gone: got %v, %v, want false", there, err)
	}
	if _, err := d.Release(t.Context(), "nonsense"); !errors.Is(err, ErrDeadLetterID) {
		t.Errorf("Release of nonsense: got %v, want ErrDeadLetterID", err)
	}
}

// A letter becomes an entry for one group, as long as there is that group.
func testFeedReturn(t *testing.T, l *Log) {
	ctx, d, f := t.Context(), l.DeadLetters(DeadLettersConfig{}), l.Feed("c")
	letter := DeadLetter{Channel: "c", Subscription: "g", Event: []byte(`{"id":"1"}`)}
	if added, err := d.Add(ctx, letter); err != nil || !added {
		t.Fatalf("added %v, %v", added, err)
	}
	id, err := d.Last(ctx)
	must(t, err)
	if _, err := f.Return(ctx, id, "g"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("without a feed it is %v, want ErrNoGroup", err)
	}
	must(t, f.Create(ctx, "other"))
	if _, err := f.Return(ctx, id, "g"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("without the group it is %v, want ErrNoGroup", err)
	}
	if added, err := d.Add(ctx, letter); err != nil || added {
		t.Errorf("added %v, %v, want it to be known still", added, err)
	}
	must(t, f.Create(ctx, "g"))
	for _, want := range []bool{true, false} {
		if there, err := f.Return(ctx, id, "g"); err != nil || there != want {
			t.Errorf("returned %v, %v, want %v", there, err, want)
		}
	}
	got := read(t, reading(t, f, "g"), 10, "1")
	if len(got) == 1 && got[0].Only != "g" {
		t.Errorf("it is for %q", got[0].Only)
	}
	read(t, reading(t, f, "other"), 10)
	if n, err := d.Len(ctx); err != nil || n != 0 {
		t.Errorf("%d letters are left, %v", n, err)
	}
	if n := l.redis.client.HLen(ctx, d.index).Val(); n != 0 {
		t.Errorf("the index has %d", n)
	}
	if _, err := f.Return(ctx, "nonsense", "g"); !errors.Is(err, ErrDeadLetterID) {
		t.Errorf("nonsense is %v, want ErrDeadLetterID", err)
	}
}

func TestDeadLettersDisabled(t *testing.T) {
	t.Parallel()
	s := dialTest(t, "redis://"+startRedis(t).addr).Store("")
	d := s.DeadLetters(DeadLettersConfig{Disabled: true})
	if added, err := d.Add(t.Context(), DeadLetter{Channel: "c", Event: []byte("{}")}); err != nil || added {
		t.Errorf("Add: got %v, %v, want nothing added", added, err)
	}
	f := s.Feed("c")
	if err := f.Create(t.Context(), "g"); err != nil {
		t.Fatal(err)
	}
	if err := f.Offer(t.Context(), []byte("{}"), "g"); err != nil {
		t.Fatal(err)
	}
	r := f.Reader("g", "consumer")
	defer r.Close()
	entries, err := r.Read(t.Context(), 1)
	if err != nil || len(entries) != 1 {
		t.Fatalf("Read: got %v, %v, want the entry", entries, err)
	}
	if err := f.Bury(t.Context(), "g", entries[0].Position, DeadLetter{Event: entries[0].Event}); err != nil {
		t.Fatal(err)
	}
	groups, err := f.Groups(t.Context())
	if err != nil || len(groups) != 1 || groups[0].Pending != 0 {
		t.Errorf("groups are %v, %v, want nothing pending", groups, err)
	}
	if n, err := d.Len(t.Context()); err != nil || n != 0 {
		t.Errorf("%d dead letters, %v, want none", n, err)
	}
}
