package routing

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

func compileFilters(t testing.TB, specs ...Filter) *Filters {
	t.Helper()
	f, err := CompileFilters(specs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// apply takes events through the filters, and has nobody to throttle.
func apply(t testing.TB, f *Filters, dir Direction, channel string, evs ...events.Event) []Outcome {
	t.Helper()
	outs, err := f.Apply(t.Context(), dir, channel, evs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return outs
}

var is1 = []Condition{{"data.n", "eq", 1}}

func TestFilterTypes(t *testing.T) {
	t.Parallel()
	drop := Action{Type: "drop"}
	mark := Action{Type: "transform", Params: json.RawMessage(`{"addFields":{"marked":true}}`)}
	tests := []struct {
		kind   string
		action Action
		spec   Filter
		want   string // of the events 1 and 2, what happens to each
	}{
		{"exclude", drop, Filter{Conditions: is1}, "dropped,as is"},
		{"include", drop, Filter{Conditions: is1}, "as is,dropped"},
		{"exclude", drop, Filter{}, "dropped,dropped"},
		{"include", drop, Filter{}, "as is,as is"},
		{"include", mark, Filter{Conditions: is1}, "changed,as is"},
		{"exclude", mark, Filter{Conditions: is1}, "as is,changed"},
		{"include", mark, Filter{}, "changed,changed"},
		{"include", mark, Filter{Expr: "data.n == 2"}, "as is,changed"},
		{"include", mark, Filter{Expr: "data.n > 0", Conditions: is1}, "changed,as is"},
		{"include", mark, Filter{Expr: "data.n > 1", Conditions: is1}, "as is,as is"},
		{"exclude", drop, Filter{Expr: `channel == "c" && data.n == 1`}, "dropped,as is"},
		{"exclude", drop, Filter{Expr: `data.n > "x"`}, "as is,as is"}, // it fails: no match
		{"include", drop, Filter{Expr: `data.n > "x"`}, "dropped,dropped"},
		{"exclude", drop, Filter{Direction: "inbound"}, "dropped,dropped"},
		{"exclude", drop, Filter{Direction: "outbound"}, "as is,as is"},
		{"include", drop, Filter{Direction: "outbound", Conditions: is1}, "as is,as is"},
		{"exclude", drop, Filter{Channels: []string{"b", "c", "c"}}, "dropped,dropped"},
		{"exclude", drop, Filter{Channels: []string{"b"}}, "as is,as is"},
		{"include", drop, Filter{Channels: []string{"b"}, Conditions: is1}, "as is,as is"},
		{"include", drop, Filter{Conditions: []Condition{{"type", "eq", "t"}}}, "as is,as is"},
		{"include", drop, Filter{Conditions: []Condition{{"type", "eq", "u"}}}, "dropped,dropped"},
		{"exclude", drop, Filter{Conditions: []Condition{{"type", "in", []any{"u", "t"}}, {"type", "eq", "t"}}}, "dropped,dropped"},
		{"exclude", drop, Filter{Conditions: []Condition{{"type", "in", []any{"u", 5, nil}}}}, "as is,as is"},
	}
	evs := []events.Event{event(t, `{"n":1}`, `{}`), event(t, `{"n":2}`, `{}`)}
	for i, tt := range tests {
		tt.spec.ID, tt.spec.Type, tt.spec.Action = "f", tt.kind, tt.action
		f := compileFilters(t, tt.spec)
		outs := apply(t, f, Inbound, "c", evs...)
		got := []string{"as is", "as is"}
		for i, o := range outs {
			switch {
			case o.Dropped == "f" && !o.Changed && o.Event.ID == "e":
				got[i] = "dropped"
			case o.Changed && string(o.Event.Data) == fmt.Sprintf(`{"n":%d,"marked":true}`, i+1):
				got[i] = "changed"
			case !reflect.DeepEqual(o, Outcome{Event: evs[i]}):
				got[i] = fmt.Sprintf("%+v", o)
			}
		}
		if strings.Join(got, ",") != tt.want {
			t.Errorf("%d: %s %s %+v: %q, want %s", i, tt.kind, tt.action.Type, tt.spec, got, tt.want)
		}
		if (outs == nil) != (tt.want == "as is,as is") {
			t.Errorf("%d: outcomes are %v", i, outs)
		}
	}
}

func TestCompileFiltersRefuses(t *testing.T) {
	t.Parallel()
	ok := Filter{ID: "a", Type: "exclude", Action: Action{Type: "drop"}}
	change := func(f func(*Filter)) []Filter {
		changed := ok
		changed.ID = "b"
		f(&changed)
		return []Filter{ok, changed}
	}
	action := func(kind, params string) []Filter {
		return change(func(f *Filter) { f.Action = Action{kind, json.RawMessage(params)} })
	}
	tests := []struct {
		name  string
		specs []Filter
		want  string
	}{
		{"empty id", change(func(f *Filter) { f.ID = "" }), `filters[1].id: "": want 1 to 128 of A-Z a-z 0-9 . _ : -`},
		{"id with a blank", change(func(f *Filter) { f.ID = "a b" }), `filters[1].id: "a b": want 1 to 128 of A-Z a-z 0-9 . _ : -`},
		{"id with a line", change(func(f *Filter) { f.ID = "a\n" }), `filters[1].id: "a\n": want 1 to 128 of A-Z a-z 0-9 . _ : -`},
		{"long id", change(func(f *Filter) { f.ID = strings.Repeat("a", 129) }),
			`filters[1].id: "` + strings.Repeat("a", 64) + `…": want 1 to 128 of A-Z a-z 0-9 . _ : -`},
		{"id twice", change(func(f *Filter) { f.ID = "a" }), `filters[1].id: "a" is that of filters[0] already: want another`},
		{"type", change(func(f *Filter) { f.Type = "" }), `filters[1].type: "": want include or exclude`},
		{"direction", change(func(f *Filter) { f.Direction = "both" }), `filters[1].direction: "both": want inbound, outbound, or nothing for both`},
		{"unknown channel", change(func(f *Filter) { f.Channels = []string{"c", "d"} }), `filters[1].channels[1]: unknown channel "d": want one of ["c"]`},
		{"empty channel", change(func(f *Filter) { f.Channels = []string{""} }), `filters[1].channels[0]: has 0 bytes: want the name of a channel, 1 to 256 bytes`},
		{"many channels", change(func(f *Filter) { f.Channels = make([]string, 101) }), `filters[1].channels: has 101: want at most 100`},
		{"many conditions", change(func(f *Filter) { f.Conditions = make([]Condition, 51) }), `filters[1].conditions: has 51: want at most 50`},
		{"expression", change(func(f *Filter) { f.Expr = "user == 1" }),
			`filters[1].expr: unknown name user (1:1): want an expression of id, type, data, metadata, channel and timestamp that is true or false`},
		{"action", action("delete", ``), `filters[1].action.type: "delete": want drop, transform, route or throttle`},
		{"drop with params", action("drop", `{"x":1}`), `filters[1].action.params: drop has none: leave them out`},
		{"large params", action("transform", `{"addFields":{"x":"`+strings.Repeat("x", 64<<10)+`"}}`),
			`filters[1].action.params: has 65558 bytes: want at most 65536`},
		{"throttle", action("throttle", `{"limit":-1,"window":1}`), `filters[1].action.params.limit: -1: want 1 to 100000 events`},
		{"route without rules", action("route", `{"only":true}`), `filters[1].action.params.rules: want at least one rule`},
		{"route", action("route", `{"rules":[{"type":"rooms","selector":"id"}]}`), `filters[1].action.params.rules[0].type: "rooms": want room, client, broadcast or multi`},
		{"route unknown field", action("route", `{"rules":[{"type":"multi","rules":[{"type":"room","select":"id"}]}]}`),
			`filters[1].action.params.rules[0].rules[0]: unknown field "select": want type, selector, targetPrefix, eventName or rules`},
		{"route too many", action("route", `{"rules":[{"type":"broadcast"}`+strings.Repeat(`,{"type":"broadcast"}`, 100)+`]}`),
			`filters[1].action.params.rules: has 101 rules: want at most 100`},
		{"many filters", make([]Filter, MaxFilters+1), `filters: has 5001: want at most 5000`},
		{"all at once", []Filter{{Type: "both", Direction: "in", Conditions: []Condition{{"x", "is", nil}}, Expr: "1", Action: Action{Type: "x"}}}, `filters[0].id: "": want 1 to 128 of A-Z a-z 0-9 . _ : -
filters[0].direction: "in": want inbound, outbound, or nothing for both
filters[0].conditions[0].field: field path "x" cannot exist: want it to begin with id, type, data, metadata or timestamp
filters[0].conditions[0].operator: "is": want eq, ne, in, contains, regex, gt or lt
filters[0].expr: expected bool, but got int: want an expression of id, type, data, metadata, channel and timestamp that is true or false
filters[0].type: "both": want include or exclude
filters[0].action.type: "x": want drop, transform, route or throttle`},
	}
	for _, tt := range tests {
		f, err := CompileFilters(tt.specs, []string{"c"})
		if f != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v\nwant: %s", tt.name, err, tt.want)
		}
	}
	if _, err := CompileFilters(change(func(f *Filter) { f.Action.Params = json.RawMessage("{}"); f.Channels = []string{"c"} }), []string{"c"}); err != nil {
		t.Errorf("good filters: %v", err)
	}
}

func TestNoFilters(t *testing.T) {
	t.Parallel()
	var none *Filters
	empty := compileFilters(t)
	for _, f := range []*Filters{none, empty} {
		if outs := apply(t, f, Inbound, "c", event(t, `{}`, `{}`)); outs != nil || len(f.Stats()) != 0 || f.ExprErrors() != 0 {
			t.Errorf("outcomes are %v", outs)
		}
	}
	empty.Inherit(none)
}
