package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/events"
)

func include(id, action, params string, conditions ...Condition) Filter {
	return Filter{ID: id, Type: "include", Conditions: conditions, Action: Action{action, json.RawMessage(params)}}
}

// numbered are events with the ids e0, e1, …, each with its number as data.n.
func numbered(t testing.TB, n int) []events.Event {
	t.Helper()
	evs := make([]events.Event, n)
	for i := range evs {
		var err error
		raw := fmt.Sprintf(`{"id":"e%d","type":"t%d","data":{"n":%d,"user":"u%d"}}`, i, i%3, i, i%2)
		if evs[i], err = events.Decode([]byte(raw), 0); err != nil {
			t.Fatal(err)
		}
	}
	return evs
}

func TestChainGoesOnWithTheChangedEvent(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		Filter{ID: "never", Type: "exclude", Conditions: []Condition{{"data.stage", "eq", "two"}}, Action: Action{Type: "drop"}},
		include("one", "transform", `{"addFields":{"stage":"one"},"removeFields":["n"]}`, Condition{"data.n", "eq", 1}),
		include("also", "transform", `{"addFields":{"x":1}}`, Condition{"data.n", "eq", 1}), // n is gone
		include("two", "transform", `{"modifyFields":{"data.stage":{"type":"replace","value":"two"}}}`, Condition{"data.stage", "eq", "one"}),
		include("route", "route", `{"rules":[{"type":"broadcast"}]}`, Condition{"data.stage", "in", []any{"two"}}),
		Filter{ID: "expr", Type: "include", Expr: `data.stage == "two"`, Action: Action{"transform", json.RawMessage(`{"addFields":{"seen":true}}`)}},
	)
	ev := event(t, `{"n":1}`, `{"source":"s"}`)
	outs := apply(t, f, Inbound, "c", ev)
	if len(outs) != 1 || outs[0].Dropped != "" || !outs[0].Changed || len(outs[0].Routes) != 1 ||
		string(outs[0].Event.Raw()) != `{"id":"e","type":"t","data":{"stage":"two","seen":true},"metadata":{"source":"s"}}` {
		t.Errorf("outcome is %s, %+v", outs[0].Event.Raw(), outs[0])
	}
	if string(ev.Data) != `{"n":1}` {
		t.Errorf("the event itself was changed: %s", ev.Raw())
	}
	var got []string
	for _, s := range f.Stats() {
		got = append(got, fmt.Sprintf("%s %d %d %d", s.ID, s.Matched, s.Transformed, s.Routed))
	}
	if want := "never 0 0 0,one 1 1 0,also 0 0 0,two 1 1 0,route 1 0 1,expr 1 1 0"; strings.Join(got, ",") != want {
		t.Errorf("stats are %q, want %s", got, want)
	}
}

func TestChangedEventThatIsNone(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		include("grow", "transform", `{"addFields":{"x":"0123456789"}}`, Condition{"data.n", "eq", 1}),
		include("after", "route", `{"rules":[{"type":"broadcast"}]}`))
	evs := numbered(t, 2)
	f.MaxEvent = len(evs[1].Raw()) + 5
	outs := apply(t, f, Outbound, "c", evs...)
	if outs[0].Err != nil || outs[0].Dropped != "" || len(outs[0].Routes) != 1 {
		t.Errorf("outcome of the neighbour is %+v", outs[0])
	}
	o := outs[1]
	if !errors.Is(o.Err, events.ErrTooLarge) || o.Dropped != "grow" || o.Changed || o.Routes != nil || o.Event.ID != "e1" ||
		!strings.HasPrefix(o.Err.Error(), `event after filter "grow": event too large: `) {
		t.Errorf("outcome is %+v", o)
	}
	if s := f.Stats(); s[0] != (FilterStats{ID: "grow", Matched: 1, Dropped: 1, Failed: 1}) || s[1].Matched != 1 {
		t.Errorf("stats are %+v", s)
	}
}

func TestThrottleRounds(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		include("tag", "transform", `{"addFields":{"tag":true}}`, Condition{"data.n", "lt", 3}),
		include("all", "throttle", `{"key":"all","limit":4,"window":60}`, Condition{"data.n", "ne", 2}),
		include("user", "throttle", `{"groupBy":"data.user","limit":1,"window":0.5}`),
		include("end", "transform", `{"addFields":{"end":true}}`, Condition{"data.n", "gt", 2}),
	)
	evs := numbered(t, 5)
	var rounds [][]ThrottleAsk
	throttle := func(_ context.Context, asks []ThrottleAsk) ([]bool, error) {
		rounds = append(rounds, asks)
		allowed := make([]bool, len(asks))
		for i, a := range asks {
			allowed[i] = a.Member != "c\x00e0" && (a.Key == `throttle:all:"global"` || a.Member != "c\x00e3")
		}
		return allowed, nil
	}
	outs, err := f.Apply(t.Context(), Inbound, "c", evs, throttle)
	if err != nil {
		t.Fatal(err)
	}
	all := func(n int) ThrottleAsk {
		return ThrottleAsk{`throttle:all:"global"`, fmt.Sprintf("c\x00e%d", n), 4, time.Minute}
	}
	user := func(n int) ThrottleAsk {
		return ThrottleAsk{fmt.Sprintf(`throttle:t%d:"u%d"`, n%3, n%2), fmt.Sprintf("c\x00e%d", n), 1, 500 * time.Millisecond}
	}
	want := [][]ThrottleAsk{{all(0), all(1), user(2), all(3), all(4)}, {user(1), user(3), user(4)}}
	if !reflect.DeepEqual(rounds, want) {
		t.Errorf("rounds are %+v\nwant %+v", rounds, want)
	}
	var got []string
	for _, o := range outs {
		got = append(got, fmt.Sprintf("%s %s %v %v", o.Event.Data, o.Dropped, o.Throttled, o.Changed))
	}
	wantOuts := []string{
		`{"n":0,"user":"u0","tag":true} all true true`,
		`{"n":1,"user":"u1","tag":true}  false true`,
		`{"n":2,"user":"u0","tag":true}  false true`,
		`{"n":3,"user":"u1"} user true false`,
		`{"n":4,"user":"u0","end":true}  false true`,
	}
	if !reflect.DeepEqual(got, wantOuts) {
		t.Errorf("outcomes are %q\nwant %q", got, wantOuts)
	}
	stats := f.Stats()
	if stats[1] != (FilterStats{ID: "all", Matched: 4, Throttled: 1}) || stats[2] != (FilterStats{ID: "user", Matched: 4, Throttled: 1}) {
		t.Errorf("stats are %+v", stats)
	}
}

func TestThrottleFails(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		include("tag", "transform", `{"addFields":{"tag":true}}`),
		Filter{ID: "expr", Type: "exclude", Expr: "data.n > data.user", Action: Action{Type: "drop"}},
		include("slow", "throttle", `{"limit":1,"window":1}`))
	evs := numbered(t, 2)
	away := errors.New("Redis is away")
	tests := []struct {
		throttle func(context.Context, []ThrottleAsk) ([]bool, error)
		want     string
	}{
		{func(context.Context, []ThrottleAsk) ([]bool, error) { return nil, away }, "Redis is away"},
		{func(context.Context, []ThrottleAsk) ([]bool, error) { return make([]bool, 1), nil }, "throttle: 1 answers to 2 questions"},
		{nil, `filter "slow" throttles: nobody is there to ask`},
	}
	for _, tt := range tests {
		outs, err := f.Apply(t.Context(), Inbound, "c", evs, tt.throttle)
		if outs != nil || err == nil || err.Error() != tt.want {
			t.Errorf("Apply = %v, %v, want %s", outs, err, tt.want)
		}
		for _, s := range f.Stats() {
			if s != (FilterStats{ID: s.ID}) {
				t.Errorf("stats are %+v, want none", s)
			}
		}
	}
	outs, err := f.Apply(t.Context(), Inbound, "c", evs, func(_ context.Context, asks []ThrottleAsk) ([]bool, error) {
		return []bool{true, false}, nil
	})
	if err != nil || outs[0].Dropped != "" || !outs[0].Changed || outs[1].Dropped != "slow" || !outs[1].Throttled {
		t.Errorf("Apply = %+v, %v", outs, err)
	}
	if got := f.ExprErrors(); got != 2 {
		t.Errorf("ExprErrors() = %d, want 2", got)
	}
	if s := f.Stats(); s[1].Failed != 2 || s[0].Transformed != 2 || s[2].Matched != 2 || s[2].Throttled != 1 {
		t.Errorf("stats are %+v", s)
	}
}

func TestStatsInherit(t *testing.T) {
	t.Parallel()
	a, b := include("a", "route", `{"rules":[{"type":"broadcast"}]}`), include("b", "transform", `{"addFields":{"s.x":1}}`)
	old := compileFilters(t, a, b, Filter{ID: "x", Type: "include", Expr: "data.s > 1", Action: Action{Type: "drop"}})
	ev := event(t, `{"s":""}`, `{}`)
	apply(t, old, Inbound, "c", ev)
	f := compileFilters(t, b, include("c", "route", `{"rules":[{"type":"broadcast"}]}`))
	f.Inherit(old)
	apply(t, f, Inbound, "c", ev)
	want := []FilterStats{{ID: "b", Matched: 2, Failed: 2}, {ID: "c", Matched: 1, Routed: 1}}
	if got := f.Stats(); !reflect.DeepEqual(got, want) || f.ExprErrors() != 1 {
		t.Errorf("stats are %+v, %d errors, want %+v, 1", got, f.ExprErrors(), want)
	}
}

func TestApplyConcurrently(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		include("even", "transform", `{"addFields":{"x":1}}`, Condition{"data.user", "eq", "u0"}, Condition{"data.n", "gt", -1}),
		Filter{ID: "expr", Type: "include", Expr: "data.n % 2 == 0", Action: Action{"transform", json.RawMessage(`{"addFields":{"y":1}}`)}},
		include("some", "throttle", `{"limit":1,"window":1}`, Condition{"data.user", "eq", "u1"}),
		Filter{ID: "drop", Type: "exclude", Conditions: []Condition{{"type", "eq", "t2"}}, Action: Action{Type: "drop"}})
	evs := numbered(t, 12)
	const workers, rounds = 8, 50
	all := func(_ context.Context, asks []ThrottleAsk) ([]bool, error) {
		return []bool{true, true, true, true, true, true}[:len(asks)], nil
	}
	want, err := f.Apply(t.Context(), Inbound, "c", evs, all)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for range rounds {
				outs, err := f.Apply(t.Context(), Inbound, "c", evs, all)
				if err != nil || !reflect.DeepEqual(outs, want) {
					t.Errorf("Apply = %+v, %v, want %+v", outs, err, want)
					return
				}
				f.Stats()
			}
		})
	}
	done.Wait()
	const n = workers*rounds + 1
	wantStats := []FilterStats{{ID: "even", Matched: 6 * n, Transformed: 6 * n}, {ID: "expr", Matched: 6 * n, Transformed: 6 * n},
		{ID: "some", Matched: 6 * n}, {ID: "drop", Matched: 4 * n, Dropped: 4 * n}}
	if got := f.Stats(); !reflect.DeepEqual(got, wantStats) {
		t.Errorf("stats are %+v, want %+v", got, wantStats)
	}
}
