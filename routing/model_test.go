package routing

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

// TestApplyIsTheModel holds Apply, with its index and caches, against a plain interpreter of the same filters.
func TestApplyIsTheModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1_000) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		specs := g.filters()
		f, err := CompileFilters(specs, nil)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		evs := make([]events.Event, 1+g.IntN(6))
		for i := range evs {
			if evs[i], err = events.Decode(g.event(i), 0); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		dir, channel := Direction(g.IntN(2)), pick(g, "c", "d", "other")
		outs, err := f.Apply(t.Context(), dir, channel, evs, func(_ context.Context, asks []ThrottleAsk) ([]bool, error) {
			allowed := make([]bool, len(asks))
			for i, a := range asks {
				allowed[i] = allow(a.Key, a.Member)
			}
			return allowed, nil
		})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		stats := make([]FilterStats, len(specs))
		for i := range evs {
			want := model(specs, stats, dir, channel, evs[i])
			got := modelOutcome{event: decoded(t, evs[i])}
			if outs != nil {
				o := outs[i]
				got = modelOutcome{event: decoded(t, o.Event), changed: o.Changed, dropped: o.Dropped, throttled: o.Throttled}
				for _, r := range o.Routes {
					got.routes = append(got.routes, slices.IndexFunc(f.filters, func(f filter) bool { return f.route == r }))
				}
				if o.Err != nil {
					t.Errorf("seed %d: event %s: %v", seed, evs[i].Raw(), o.Err)
				}
			}
			if !reflect.DeepEqual(got, want) {
				raw, _ := json.Marshal(specs)
				t.Fatalf("seed %d: %s, direction %d, channel %s\nevent %s\nbecame %+v\n want  %+v", seed, raw, dir, channel, evs[i].Raw(), got, want)
			}
		}
		if got := f.Stats(); !reflect.DeepEqual(got, stats) {
			t.Fatalf("seed %d: stats are %+v\nwant %+v", seed, got, stats)
		}
	}
}

func decoded(t testing.TB, ev events.Event) any {
	var v any
	if err := json.Unmarshal(ev.Raw(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func allow(key, member string) bool {
	h := fnv.New32a()
	h.Write([]byte(key + member))
	return h.Sum32()%3 != 0
}

type modelOutcome struct {
	event     any
	changed   bool
	dropped   string
	throttled bool
	routes    []int
}

// model is the seed's applyFilters, with our meaning of include and exclude, and the chain going on.
func model(specs []Filter, stats []FilterStats, dir Direction, channel string, ev events.Event) modelOutcome {
	var doc map[string]any
	if err := json.Unmarshal(ev.Raw(), &doc); err != nil {
		panic(err)
	}
	o := modelOutcome{event: doc}
	for i, f := range specs {
		s := &stats[i]
		s.ID = f.ID
		if o.dropped != "" || f.Direction != "" && f.Direction != []string{"inbound", "outbound"}[dir] ||
			len(f.Channels) > 0 && !slices.Contains(f.Channels, channel) {
			continue
		}
		matches := true
		for _, c := range f.Conditions {
			matches = matches && modelCondition(doc, c)
		}
		if matches && f.Expr != "" {
			var ok bool
			if matches, ok = modelExprs[f.Expr](doc, channel); !ok {
				s.Failed++
			}
		}
		if matches {
			s.Matched++
		}
		acts := matches == (f.Type == "include")
		if f.Action.Type == "drop" {
			acts = !acts
		}
		if !acts {
			continue
		}
		switch f.Action.Type {
		case "drop":
			s.Dropped++
			o.dropped = f.ID
		case "transform":
			changed, unfit := modelTransform(doc, f.Action.Params)
			s.Failed += uint64(unfit)
			if changed {
				o.changed = true
				s.Transformed++
			}
		case "route":
			s.Routed++
			o.routes = append(o.routes, i)
		case "throttle":
			if !allow(modelKey(doc, f.Action.Params), channel+"\x00"+ev.ID) {
				s.Throttled++
				o.dropped, o.throttled = f.ID, true
			}
		}
	}
	return o
}

// modelField is the seed's getEventFieldValue; absent is undefined.
func modelField(v any, path string) (any, bool) {
	for part := range strings.SplitSeq(path, ".") {
		var ok bool
		switch at := v.(type) {
		case map[string]any:
			v, ok = at[part]
		case []any:
			var i int
			if _, err := fmt.Sscanf(part, "%d", &i); err == nil && i >= 0 && i < len(at) {
				v, ok = at[i], true
			}
		}
		if !ok {
			return nil, false
		}
	}
	return v, true
}

func isPrimitive(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

func modelCondition(doc any, c Condition) bool {
	v, ok := modelField(doc, c.Field)
	same := func(w any) bool { return ok && isPrimitive(v) && v == w }
	text, isText := v.(string)
	number, isNumber := v.(float64)
	switch c.Operator {
	case "eq":
		return same(c.Value)
	case "ne":
		return !same(c.Value)
	case "in":
		return slices.ContainsFunc(c.Value.([]any), same)
	case "contains":
		return isText && strings.Contains(text, c.Value.(string))
	case "regex":
		return isText && regexp.MustCompile(c.Value.(string)).MatchString(text)
	case "gt":
		return isNumber && number > c.Value.(float64)
	case "lt":
		return isNumber && number < c.Value.(float64)
	}
	panic(c.Operator)
}

// modelExprs are the expressions the generator knows; the second result is false if it fails.
var modelExprs = map[string]func(doc any, channel string) (bool, bool){
	`data.a == "x" || channel == "d"`: func(doc any, channel string) (bool, bool) {
		v, _ := modelField(doc, "data.a")
		return v == "x" || channel == "d", true
	},
	`data.b > 1`: func(doc any, _ string) (bool, bool) {
		v, _ := modelField(doc, "data.b")
		n, ok := v.(float64)
		return n > 1, ok
	},
	`type in ["t1", "t2"] and data.none == nil`: func(doc any, _ string) (bool, bool) {
		v, _ := modelField(doc, "type")
		return v == "t1" || v == "t2", true
	},
}

func modelKey(doc any, params []byte) string {
	var p ThrottleParams
	if err := json.Unmarshal(params, &p); err != nil {
		panic(err)
	}
	var group any = "global"
	if p.GroupBy != "" {
		group, _ = modelField(doc, p.GroupBy)
	}
	raw, err := json.Marshal(group)
	if err != nil {
		panic(err)
	}
	if p.Key == "" {
		v, _ := modelField(doc, "type")
		p.Key = v.(string)
	}
	return "throttle:" + p.Key + ":" + string(raw)
}

// modelTransform changes doc in place, as the seed does. The generator's names are top-level ones, where maps do.
func modelTransform(doc map[string]any, params []byte) (changed bool, unfit int) {
	var p struct {
		AddFields    map[string]any
		RemoveFields []string
		ModifyFields map[string]struct {
			Type  string
			Value any
		}
	}
	if err := json.Unmarshal(params, &p); err != nil {
		panic(err)
	}
	data := doc["data"].(map[string]any)
	for name, value := range p.AddFields {
		data[name], changed = value, true
	}
	for _, name := range p.RemoveFields {
		if _, ok := data[name]; ok {
			changed = true
		}
		delete(data, name)
	}
	for path, m := range p.ModifyFields {
		first, name, _ := strings.Cut(path, ".")
		if doc[first] == nil {
			doc[first] = map[string]any{}
		}
		in := doc[first].(map[string]any)
		was, ok := in[name]
		value, fits := modelAppend(was, m.Value)
		switch {
		case m.Type == "replace" || !ok:
			in[name], changed = m.Value, true
		case fits:
			in[name], changed = value, true
		default:
			unfit++
		}
	}
	return changed, unfit
}

func modelAppend(was, more any) (any, bool) {
	switch was := was.(type) {
	case []any:
		return append(slices.Clone(was), more), true
	case float64:
		n, ok := more.(float64)
		return was + n, ok
	case string:
		switch more := more.(type) {
		case string:
			return was + more, true
		case float64:
			return was + strconv.FormatFloat(more, 'f', -1, 64), true
		case bool:
			return was + strconv.FormatBool(more), true
		case nil:
			return was + "null", true
		}
	}
	return nil, false
}

// generator makes small filters and events out of few names and values, so that they have much to do with each other.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) event(i int) []byte {
	data := map[string]any{}
	for _, name := range []string{"a", "b", "c"} {
		if g.IntN(4) > 0 {
			data[name] = g.value(true)
		}
	}
	doc := map[string]any{"id": fmt.Sprintf("e%d", i), "type": pick(g, "t1", "t2", "t3"), "data": data}
	if g.IntN(3) > 0 {
		doc["metadata"] = map[string]any{"clientId": pick(g, "x", "y", ""), "k": g.value(true)}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	return raw
}

func (g generator) value(nested bool) any {
	if nested && g.IntN(4) == 0 {
		return pick[any](g, map[string]any{"x": g.value(false)}, []any{g.value(false)}, []any{})
	}
	return pick[any](g, "x", "y", "xy", "", "1", 0.0, 1.0, 2.0, -0.5, true, false, nil)
}

func (g generator) filters() []Filter {
	specs := make([]Filter, g.IntN(9))
	for i := range specs {
		f := &specs[i]
		f.ID, f.Type = fmt.Sprintf("f%d", i), pick(g, "include", "include", "exclude")
		f.Direction = pick(g, "", "", "inbound", "outbound")
		f.Channels = pick(g, nil, nil, []string{"c"}, []string{"c", "d"}, []string{"d"})
		for range g.IntN(3) {
			f.Conditions = append(f.Conditions, g.condition())
		}
		if g.IntN(5) == 0 {
			f.Expr = pick(g, `data.a == "x" || channel == "d"`, `data.b > 1`, `type in ["t1", "t2"] and data.none == nil`)
		}
		f.Action.Type = pick(g, "drop", "transform", "transform", "route", "throttle")
		if f.Action.Type == "drop" && len(f.Conditions) == 0 {
			f.Conditions = append(f.Conditions, g.condition())
		}
		f.Action.Params = g.params(f.Action.Type)
	}
	return specs
}

func (g generator) condition() Condition {
	c := Condition{Field: pick(g, "type", "data.a", "data.a", "data.b", "data.c.x", "data.c.0", "metadata.clientId", "metadata.k", "id"),
		Operator: pick(g, "eq", "eq", "ne", "in", "in", "contains", "regex", "gt", "lt")}
	value := func() any {
		if c.Field == "type" && g.IntN(4) > 0 {
			return pick(g, "t1", "t2", "t3")
		}
		return g.value(false)
	}
	switch c.Operator {
	case "in":
		list := make([]any, 1+g.IntN(12))
		for i := range list {
			list[i] = value()
		}
		c.Value = list
	case "contains":
		c.Value = pick(g, "", "x", "t")
	case "regex":
		c.Value = pick(g, "^x", "y$", "[12]", "")
	case "gt", "lt":
		c.Value = pick(g, 0.0, 1.0, -1.0)
	default:
		c.Value = value()
	}
	return c
}

func (g generator) params(action string) json.RawMessage {
	var params any
	switch action {
	case "transform":
		modify := map[string]any{}
		for _, path := range []string{"data.a", "data.b", "metadata.k"} {
			if g.IntN(3) == 0 {
				modify[path] = map[string]any{"type": pick(g, "append", "append", "replace"), "value": g.value(true)}
			}
		}
		params = map[string]any{"addFields": map[string]any{pick(g, "a", "b", "new"): g.value(true)},
			"removeFields": pick(g, nil, []string{"a"}, []string{"b", "none"}), "modifyFields": modify}
	case "route":
		params = map[string]any{"rules": []any{map[string]any{"type": "broadcast"}}, "only": g.IntN(2) == 0}
	case "throttle":
		params = map[string]any{"key": pick(g, "", "k"), "groupBy": pick(g, "", "data.a", "data.c", "data.none"), "limit": 1, "window": 1}
	default:
		return nil
	}
	raw, err := json.Marshal(params)
	if err != nil {
		panic(err)
	}
	return raw
}
