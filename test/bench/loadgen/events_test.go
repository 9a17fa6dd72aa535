//go:build linux

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		seen          []int32
		late, repeats int
		lost          int // of the numbers up to 5
	}{
		{"all", []int32{1, 2, 3, 4, 5}, 0, 0, 0},
		{"nothing", nil, 0, 0, 5},
		{"end missing", []int32{1, 2, 3}, 0, 0, 2},
		{"gap", []int32{1, 4, 5}, 0, 0, 2},
		{"swapped", []int32{1, 3, 2, 4, 5}, 1, 0, 0},
		{"repeated", []int32{1, 2, 2, 3, 4, 5, 1}, 0, 2, 0},
		{"late and repeated", []int32{1, 3, 2, 2, 5}, 1, 1, 1},
	} {
		var y tally
		var nLate, nRepeats int
		for _, n := range c.seen {
			switch y.see(n) {
			case late:
				nLate++
			case repeated:
				nRepeats++
			}
		}
		if lost := y.lost(5); nLate != c.late || nRepeats != c.repeats || lost != c.lost {
			t.Errorf("%s: got %d late, %d repeated, %d lost, want %d, %d, %d", c.name, nLate, nRepeats, lost, c.late, c.repeats, c.lost)
		}
	}
}

func TestMark(t *testing.T) {
	t.Parallel()
	want := mark{seq: 7, room: 12, event: 345, at: 9_876_543_210}
	event := appendEvent(nil, want, 400)
	if len(event) != 400 {
		t.Errorf("got an event of %d bytes, want 400", len(event))
	}
	if next := appendEvent(nil, mark{seq: 7, room: 12, event: 346, at: 9_876_543_210}, 400); eventID(t, next) == eventID(t, event) {
		t.Errorf("two events with id %s", eventID(t, event))
	}
	var fields struct {
		Data struct{ PhotoID string }
	}
	if err := json.Unmarshal(event, &fields); err != nil || fields.Data.PhotoID != "p12" {
		t.Errorf("got %+v, %v from %s, want photo p12", fields, err, event)
	}
	if got, ok := parseMark(event); !ok || got != want {
		t.Errorf("got %+v, %v, want %+v", got, ok, want)
	}
	for _, bad := range []string{``, `"mark":"`, `"mark":"1.2.3"`, `"mark":"1.2.x.4."`, `"mark":"...."`, `"mark":"` + strings.Repeat("1", 99)} {
		if got, ok := parseMark([]byte(bad)); ok {
			t.Errorf("got %+v from %q", got, bad)
		}
	}
}

func eventID(t *testing.T, event []byte) string {
	t.Helper()
	var fields struct{ ID string }
	if err := json.Unmarshal(event, &fields); err != nil {
		t.Fatal(err)
	}
	return fields.ID
}
