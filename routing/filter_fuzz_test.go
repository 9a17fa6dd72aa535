package routing

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/events"
)

const fuzzedEvent = `{"x": [1.0],"id":"e","type":"t","data":{"a":"x","b":2,"l":[1,{"y":null}],"a":"y"},"metadata":{"source":"s"},"last":"\u0041"}`

func FuzzTransform(f *testing.F) {
	for _, params := range []string{
		`{"addFields":{"a":1,"b.c":{"x":[]},"l.1.y":"\u0000"},"removeFields":["a","l.0"]}`,
		`{"modifyFields":{"data.a":{"type":"append","value":"\ud800"},"data.b":{"type":"append","value":1e308},"metadata.k.l":{"type":"replace","value":{}}}}`,
		`{"addFields":{"a":1,"a":2},"modifyFields":{"data.l":{"type":"append","value":[[[]]]}}}`,
	} {
		f.Add([]byte(params), []byte(fuzzedEvent))
	}
	f.Add([]byte(`{"addFields":{"\"":1}}`), []byte(`{"id":"e","type":"t","data":{"data":1,"data":{}},"metadata":null,"data":{"\u0022":2}}`))
	f.Fuzz(func(t *testing.T, params, raw []byte) {
		var p problems
		transform := p.transform(params, "params")
		ev, err := events.Decode(raw, 1<<16)
		if len(p) > 0 || err != nil {
			return
		}
		before := string(ev.Raw())
		got, isNew, _, err := transform.apply(&ev, 1<<16)
		if string(ev.Raw()) != before {
			t.Fatalf("the event itself was changed: %s", ev.Raw())
		}
		if err != nil || !isNew {
			return
		}
		again, err := events.Decode(got.Raw(), 0)
		if err != nil || again.ID != ev.ID || again.Type != ev.Type || again.Metadata.Traceparent != ev.Metadata.Traceparent {
			t.Fatalf("%s became %s, %v", before, got.Raw(), err)
		}
		if !json.Valid(got.Raw()) {
			t.Fatalf("%s became %s, which is not JSON", before, got.Raw())
		}
		was, is := others(before), others(string(got.Raw()))
		if !reflect.DeepEqual(was, is) {
			t.Fatalf("%s became %s: other members are %q, were %q", before, got.Raw(), is, was)
		}
	})
}

// others lists the members, as they are written, which a transform has nothing to do with: the last of each name, where
// the first was.
func others(doc string) [][2]string {
	var list [][2]string
	at := map[string]int{}
	gjson.Parse(doc).ForEach(func(key, value gjson.Result) bool {
		switch i, double := at[key.Str]; {
		case key.Str == "data" || key.Str == "metadata":
		case double:
			list[i] = [2]string{key.Raw, value.Raw}
		default:
			at[key.Str] = len(list)
			list = append(list, [2]string{key.Raw, value.Raw})
		}
		return true
	})
	return list
}

func FuzzFilters(f *testing.F) {
	for _, spec := range []string{
		`[{"id":"a","type":"include","conditions":[{"field":"data.a","operator":"in","value":["x",1,null]}],"action":{"type":"drop"}}]`,
		`[{"id":"a","type":"exclude","expr":"data.b > 1 || any(data.l, # == 1)","action":{"type":"throttle","params":{"groupBy":"data.l","limit":1,"window":0.5}}}]`,
		`[{"id":"a","type":"include","direction":"outbound","action":{"type":"route","params":{"rules":[{"type":"client","selector":"data.a"}],"only":true}}}]`,
		`[{"id":"a","type":"include","conditions":[{"field":"data.a","operator":"regex","value":"(?i)[^y]|a+"}],"action":{"type":"transform","params":{"addFields":{"a":1}}}}]`,
		`[{"id":"a","type":"exclude","conditions":[{"field":"data.b","operator":"gt","value":1e999}]}]`,
	} {
		f.Add([]byte(spec), []byte(fuzzedEvent))
	}
	f.Fuzz(func(t *testing.T, spec, raw []byte) {
		specs, err := ParseFilters(spec)
		if err != nil {
			return
		}
		filters, err := CompileFilters(specs, nil)
		if err != nil {
			return
		}
		written, err := json.Marshal(specs)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseFilters(written)
		if err != nil {
			t.Fatalf("%s was written as %s: %v", spec, written, err)
		}
		if _, err = CompileFilters(again, nil); err != nil {
			t.Fatalf("%s was written as %s: %v", spec, written, err)
		}
		ev, err := events.Decode(raw, 1<<16)
		if err != nil {
			return
		}
		rules := compile(t, Default())
		for _, dir := range []Direction{Inbound, Outbound} {
			outs, err := filters.Apply(t.Context(), dir, "photo:upload", []events.Event{ev, ev},
				func(_ context.Context, asks []ThrottleAsk) ([]bool, error) { return make([]bool, len(asks)), nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outs {
				if len(o.Event.Raw()) == 0 || o.Event.ID != ev.ID {
					t.Fatalf("event became %+v", o)
				}
				rules.TargetsWith("photo:upload", o.Event, o)
			}
		}
	})
}

func FuzzExpression(f *testing.F) {
	for _, source := range []string{
		`any(data.l, # == 1 and data.b > 1) ? data.a matches "^y$" : not (data["a"] in ["x"])`,
		`data.l | filter(# != nil) | map(.y ?? 1) | sum() + 1 >= 2 || metadata.source[0:1] == "s"`,
		`(data.none?.x ?? -1) ** 2 / 3 % 2 == {"a": [1]}.a[0]`,
	} {
		f.Add(source)
	}
	ev, err := events.Decode([]byte(fuzzedEvent), 0)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, source string) {
		match, err := CompileMatch(Match{Expr: source}, "")
		if err == nil {
			match(ev)
		}
	})
}
