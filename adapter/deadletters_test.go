package adapter

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

func bury(t *testing.T, d *DeadLetters, l DeadLetter, want bool) {
	t.Helper()
	if added, err := d.Add(t.Context(), l); err != nil || added != want {
		t.Fatalf("added is %v, want %v, %v", added, want, err)
	}
}

func lettersWant(t *testing.T, d *DeadLetters, want int64) {
	t.Helper()
	ctx := t.Context()
	if n, err := d.Len(ctx); err != nil || n != want {
		t.Errorf("%d letters, want %d, %v", n, want, err)
	}
	if n := d.store.db.client.HLen(ctx, d.index).Val(); n > want {
		t.Errorf("the index knows %d letters of %d", n, want)
	}
}

func testDeadLetters(t *testing.T, l *Log) {
	ctx, d := t.Context(), l.DeadLetters(DeadLettersConfig{})
	full := DeadLetter{
		Channel: "c", Subscription: "s", Reason: "max_retries_exceeded", Category: "timeout", Error: "no answer",
		Attempts: 4, EventID: "id", EventType: "photo.uploaded", Event: []byte("{\"no json"), At: time.UnixMilli(1_700_000_000_123),
	}
	bury(t, d, full, true)
	bury(t, d, full, false)
	again := full
	again.Reason, again.Attempts = "other", 9
	bury(t, d, again, false) // the event counts
	for i, change := range []func(*DeadLetter){
		func(l *DeadLetter) { l.Channel = "c2" }, func(l *DeadLetter) { l.Subscription = "" },
		func(l *DeadLetter) { l.Event = []byte("{}") }, func(l *DeadLetter) { l.Channel, l.Subscription = "", "cs" },
	} {
		another := full
		change(&another)
		bury(t, d, another, true)
		lettersWant(t, d, int64(i)+2)
	}
	page, next, err := d.List(ctx, DeadLetterQuery{})
	if err != nil || len(page) != 5 || next != "" {
		t.Fatalf("%d letters, next %q, %v", len(page), next, err)
	}
	full.ID = page[0].ID
	if !reflect.DeepEqual(page[0], full) {
		t.Errorf("got %+v, want %+v", page[0], full)
	}
	if got, ok, err := d.Get(ctx, full.ID); err != nil || !ok || !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	if _, ok, err := d.Get(ctx, "1-1"); ok || err != nil {
		t.Errorf("there is a letter 1-1: %v, %v", ok, err)
	}
	for _, id := range []string{"", "x", "-", "+", "1", "1-1; DEL", "99999999999999999999-1"} {
		if _, ok, err := d.Get(ctx, id); ok || !errors.Is(err, ErrDeadLetterID) {
			t.Errorf("Get(%q) is %v, %v", id, ok, err)
		}
		if n, err := d.Remove(ctx, full.ID, id); n != 0 || !errors.Is(err, ErrDeadLetterID) {
			t.Errorf("Remove(%q) is %d, %v", id, n, err)
		}
	}
	if n, err := d.Remove(ctx, full.ID, "1-1", full.ID); n != 1 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	lettersWant(t, d, 4)
	bury(t, d, full, true) // as it is there no more: a replay that fails again is not lost

	// Sizes are bounded.
	huge := DeadLetter{Channel: "huge", Error: strings.Repeat("€", 2000), EventID: strings.Repeat("i", 2000), Event: bytes.Repeat([]byte("x"), MaxDeadEvent+1)}
	bury(t, d, huge, true)
	bury(t, d, huge, false)
	huge.Event[MaxDeadEvent] = 'y' // another event that begins alike
	bury(t, d, huge, true)
	huge.Event = huge.Event[:MaxDeadEvent]
	bury(t, d, huge, true)
	page, _, err = d.List(ctx, DeadLetterQuery{Channel: "huge"})
	if err != nil || len(page) != 3 {
		t.Fatalf("%d letters, %v", len(page), err)
	}
	for i, l := range page {
		size, truncated := cutEvent, true
		if i == 2 {
			size, truncated = MaxDeadEvent, false
		}
		if len(l.Event) != size || l.Truncated != truncated || len(l.EventID) != maxText || len(l.Error) > maxReason || !strings.HasSuffix(l.Error, "€") || time.Since(l.At).Abs() > time.Minute {
			t.Errorf("letter %d has an event of %d bytes, truncated: %v, an error of %d, at %s", i, len(l.Event), l.Truncated, len(l.Error), l.At)
		}
	}
	if _, err := d.Add(ctx, DeadLetter{Channel: strings.Repeat("c", maxText+1)}); err == nil {
		t.Error("a name of any length is taken")
	}
}

func testDeadLettersBounds(t *testing.T, l *Log) {
	ctx, d := t.Context(), l.DeadLetters(DeadLettersConfig{MaxLen: 5})
	add := func(d *DeadLetters, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			bury(t, d, DeadLetter{Channel: "c", Event: fmt.Append(nil, i)}, true)
		}
	}
	add(d, 0, 8)
	lettersWant(t, d, 5)
	page, _, err := d.List(ctx, DeadLetterQuery{})
	if err != nil || len(page) != 5 || string(page[0].Event) != "3" || string(page[4].Event) != "7" {
		t.Errorf("letters are %+v, %v", page, err)
	}
	add(d, 0, 1) // it went, so it is new
	lettersWant(t, d, 5)

	wide := l.DeadLetters(DeadLettersConfig{})
	add(wide, 100, 350)
	lettersWant(t, wide, 255)
	must(t, d.Trim(ctx))
	lettersWant(t, d, 5)
	time.Sleep(2 * time.Millisecond) // the letters are older than what is kept, by the clock of Redis
	brief := l.DeadLetters(DeadLettersConfig{Retention: time.Millisecond})
	must(t, l.TrimDeadLetters(ctx)) // by the bounds given last
	lettersWant(t, d, 0)
	must(t, brief.Trim(ctx))

	for _, cfg := range []DeadLettersConfig{{MaxLen: -1}, {MaxLen: 2_000_000}, {Retention: time.Second}} {
		if cfg.Validate() == nil {
			t.Errorf("%+v is valid", cfg)
		}
	}
	must(t, DeadLettersConfig{}.Validate())
}

func testDeadLettersList(t *testing.T, l *Log) {
	ctx, d := t.Context(), l.DeadLetters(DeadLettersConfig{})
	for i := range 60 {
		bury(t, d, DeadLetter{Channel: fmt.Sprint("c", i%2), Subscription: fmt.Sprint("s", i%3), Reason: fmt.Sprint("r", i/30), Event: fmt.Append(nil, i)}, true)
	}
	// Pages have all that is meant, once and in order.
	for _, tt := range []struct {
		query DeadLetterQuery
		want  func(i int) bool
	}{
		{DeadLetterQuery{}, func(int) bool { return true }},
		{DeadLetterQuery{Limit: 1}, func(int) bool { return true }},
		{DeadLetterQuery{Limit: 7, Channel: "c1"}, func(i int) bool { return i%2 == 1 }},
		{DeadLetterQuery{Limit: 2, Channel: "c0", Subscription: "s2", Reason: "r1"}, func(i int) bool { return i%2 == 0 && i%3 == 2 && i >= 30 }},
		{DeadLetterQuery{Limit: 3, Channel: "none"}, func(int) bool { return false }},
	} {
		var got, want []string
		for i := range 60 {
			if tt.want(i) {
				want = append(want, fmt.Sprint(i))
			}
		}
		pages := 0
		for q := tt.query; ; pages++ {
			page, next, err := d.List(ctx, q)
			must(t, err)
			if q.Limit > 0 && len(page) > q.Limit {
				t.Errorf("a page of %d, want %d", len(page), q.Limit)
			}
			for _, l := range page {
				got = append(got, string(l.Event))
			}
			if q.After = next; next == "" || pages > 100 {
				break
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: got %v, want %v", tt.query, got, want)
		}
	}
	if page, next, err := d.List(ctx, DeadLetterQuery{Channel: "none", Limit: 3}); err != nil || len(page) != 0 || next == "" {
		t.Errorf("a page that looked at 30 of 60 letters: %d, %q, %v", len(page), next, err)
	}
	for _, q := range []DeadLetterQuery{{Limit: -1}, {Limit: maxPage + 1}, {After: "x"}} {
		_, _, err := d.List(ctx, q)
		_, err2 := d.Purge(ctx, q)
		if err == nil || err2 == nil {
			t.Errorf("%+v is taken", q)
		}
	}
	purge := func(q DeadLetterQuery, want int, left int64) {
		t.Helper()
		if n, err := d.Purge(ctx, q); n != want || err != nil {
			t.Errorf("purged %d, want %d, %v", n, want, err)
		}
		lettersWant(t, d, left)
	}
	purge(DeadLetterQuery{Channel: "none"}, 0, 60)
	purge(DeadLetterQuery{Channel: "c1", Subscription: "s0"}, 10, 50)
	purge(DeadLetterQuery{Reason: "r0", Limit: 4}, 4, 46)
	page, _, err := d.List(ctx, DeadLetterQuery{Limit: 10})
	must(t, err)
	purge(DeadLetterQuery{After: page[9].ID}, 36, 10)
	purge(DeadLetterQuery{}, 10, 0)
	purge(DeadLetterQuery{}, 0, 0)
}
