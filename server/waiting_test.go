package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// hearsAll has w hear events of these ids.
func hearsAll(t *testing.T, w *waiting, ids ...string) {
	for _, id := range ids {
		w.hear(t.Context(), fmt.Appendf(nil, `{"id":%q}`, id))
	}
}

// waits are the ids of what waits, as a leader would take it.
func waits(t *testing.T, w *waiting) []string {
	t.Helper()
	w.lead(true)
	defer w.lead(false)
	ids := []string{}
	if w.count() == 0 {
		return ids
	}
	batch, err := w.batch(t.Context())
	must(t, err)
	for _, h := range batch {
		ids = append(ids, eventID(h.payload))
	}
	return ids
}

func sees(w *waiting, ids ...string) {
	for _, id := range ids {
		w.seen(adapter.Key("c", id))
	}
}

func TestWaitingLosesWhatIsSeen(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(w *waiting)
		want []string
	}{
		"nothing seen":         {func(w *waiting) { hearsAll(t, w, "1", "2") }, []string{"1", "2"}},
		"in order":             {func(w *waiting) { hearsAll(t, w, "1", "2", "3"); sees(w, "1", "2") }, []string{"3"}},
		"the middle":           {func(w *waiting) { hearsAll(t, w, "1", "2", "3"); sees(w, "2") }, []string{"1", "3"}},
		"backwards":            {func(w *waiting) { hearsAll(t, w, "1", "2", "3"); sees(w, "3", "2", "1") }, []string{}},
		"seen before heard":    {func(w *waiting) { sees(w, "1"); hearsAll(t, w, "1", "2") }, []string{"2"}},
		"early, and once more": {func(w *waiting) { sees(w, "1"); hearsAll(t, w, "1", "1") }, []string{"1"}},
		"twice heard":          {func(w *waiting) { hearsAll(t, w, "1", "2", "1"); sees(w, "1") }, []string{"2", "1"}},
		"twice both":           {func(w *waiting) { hearsAll(t, w, "1", "1", "2"); sees(w, "1", "1") }, []string{"2"}},
		"of another channel":   {func(w *waiting) { hearsAll(t, w, "1"); w.seen(adapter.Key("d", "1")) }, []string{"1"}},
		"no event":             {func(w *waiting) { w.hear(t.Context(), []byte("nonsense")); hearsAll(t, w, "1") }, []string{"1"}},
		"while it led":         {func(w *waiting) { w.lead(true); hearsAll(t, w, "1"); sees(w, "1"); w.lead(false) }, []string{"1"}},
		"led, then seen":       {func(w *waiting) { w.lead(true); hearsAll(t, w, "1", "2"); w.lead(false); sees(w, "1") }, []string{"2"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWaiting("c", eventID)
			tt.do(w)
			if got := waits(t, w); !slices.Equal(got, tt.want) {
				t.Errorf("%q waits, want %q", got, tt.want)
			}
		})
	}
}

func TestWaitingForgetsWhatCameWellBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting("c", eventID)
		hearsAll(t, w, "1") // goes to nobody, so it never shows
		time.Sleep(overlap)
		hearsAll(t, w, "2")
		time.Sleep(time.Millisecond)
		hearsAll(t, w, "3")
		sees(w, "3")
		if got := waits(t, w); !slices.Equal(got, []string{"2"}) {
			t.Errorf("%q waits, want 2 alone", got)
		}
		sees(w, "4", "5")
		time.Sleep(overlap + 1)
		sees(w, "6")
		time.Sleep(overlap + 1)
		sees(w, "7")
		hearsAll(t, w, "4", "6")
		if got := waits(t, w); !slices.Equal(got, []string{"2", "4"}) {
			t.Errorf("%q waits, want 2 and 4, which was early too long ago", got)
		}
	})
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting("c", eventID)
		for i := range waitingLen + 10 {
			hearsAll(t, w, fmt.Sprint(i))
		}
		if n := w.count(); n != waitingLen-1 || w.forgotten() != 11 {
			t.Errorf("%d wait, %d are forgotten, want %d and 11", n, w.forgotten(), waitingLen-1)
		}
		w.lead(true)
		hearsAll(t, w, "last")
		ctx, cancel := context.WithCancel(t.Context())
		blocked := make(chan struct{})
		go func() {
			defer close(blocked)
			w.hear(ctx, []byte(`{"id":"never"}`))
		}()
		go func() {
			hearsAll(t, w, "more")
		}()
		synctest.Wait()
		if n := w.count(); n != waitingLen {
			t.Fatalf("%d wait, want %d: a leader takes no more", n, waitingLen)
		}
		cancel()
		<-blocked
		batch, err := w.batch(t.Context())
		must(t, err)
		if len(batch) != batchLen {
			t.Fatalf("a batch of %d, want %d", len(batch), batchLen)
		}
		w.done(batch[0].number)
		synctest.Wait()
		if n := w.count(); n != waitingLen {
			t.Errorf("%d wait, want %d: one went and one came", n, waitingLen)
		}
	})
}

func TestWaitingBatches(t *testing.T) {
	t.Parallel()
	w := newWaiting("c", eventID)
	w.lead(true)
	big := fmt.Appendf(nil, `{"id":"big","data":"%s"}`, strings.Repeat("x", batchBytes))
	w.hear(t.Context(), []byte(`{"id":"1"}`))
	w.hear(t.Context(), big)
	w.hear(t.Context(), []byte(`{"id":"2"}`))
	for _, want := range []string{"1", "big", "2"} {
		batch, err := w.batch(t.Context())
		must(t, err)
		if len(batch) != 1 || eventID(batch[0].payload) != want {
			t.Fatalf("a batch of %d, want %q alone", len(batch), want)
		}
		w.done(batch[0].number)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.batch(ctx); err == nil {
		t.Error("a batch of nothing")
	}
}

// A batch goes when it is full, or when its oldest message has waited for the flush interval: no sooner and no later.
func TestWaitingFillsABatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting("c", eventID)
		w.most, w.flush = 3, time.Second
		w.lead(true)
		start := time.Now()
		take := func(want int) {
			t.Helper()
			batch, err := w.batch(t.Context())
			must(t, err)
			if len(batch) != want {
				t.Errorf("a batch of %d, want %d", len(batch), want)
			}
			w.done(batch[len(batch)-1].number)
		}
		hearsAll(t, w, "1", "2", "3", "4")
		take(3)
		if waited := time.Since(start); waited != 0 {
			t.Errorf("a full batch waited %s", waited)
		}
		time.Sleep(400 * time.Millisecond)
		hearsAll(t, w, "5")
		take(2)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("the rest went after %s, want 1s", waited)
		}
	})
}
