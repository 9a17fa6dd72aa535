package adapter

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Many letters at once are added as one after the other: each once, in their order, and within the bounds.
func testDeadLettersAll(t *testing.T, l *Log) {
	ctx, d := t.Context(), l.DeadLetters(DeadLettersConfig{MaxLen: 4})
	letter := func(event string) DeadLetter {
		return DeadLetter{Channel: "c", Reason: "validation", Event: []byte(event)}
	}
	bury(t, d, letter("1"), true)
	added, err := d.AddAll(ctx, []DeadLetter{letter("2"), letter("1"), letter("2"), letter(""), letter(strings.Repeat("x", MaxDeadEvent+1))})
	if err != nil || !slices.Equal(added, []bool{true, false, false, true, true}) {
		t.Errorf("added are %v, %v", added, err)
	}
	lettersWant(t, d, 4)
	if added, err := d.AddAll(ctx, nil); err != nil || len(added) != 0 {
		t.Errorf("of none, added are %v, %v", added, err)
	}
	long := letter("3")
	long.Channel = strings.Repeat("c", maxText+1)
	if _, err := d.AddAll(ctx, []DeadLetter{letter("4"), long}); err == nil {
		t.Error("a channel that is too long: no error")
	}
	page, _, err := d.List(ctx, DeadLetterQuery{})
	if err != nil || len(page) != 4 || string(page[1].Event) != "2" || page[3].Truncated != true {
		t.Errorf("letters are %.300v, %v", page, err)
	}
	if _, err := d.AddAll(ctx, []DeadLetter{letter("5"), letter("6")}); err != nil {
		t.Error(err)
	}
	lettersWant(t, d, 4) // the oldest are gone

	if err := l.Table(TableConfig{Name: "t", MaxBytes: 3}).Insert(ctx, "id", []byte("long")); !errors.Is(err, ErrRow) {
		t.Errorf("a row that is too long: %v", err)
	}
}
