package routing

import (
	"errors"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

// transformOf compiles the params of a transform.
func transformOf(t testing.TB, params string) *transform {
	t.Helper()
	var p problems
	compiled := p.transform([]byte(params), "params")
	if len(p) > 0 {
		t.Fatal(errors.Join(p...))
	}
	return compiled
}

func TestTransform(t *testing.T) {
	t.Parallel()
	const (
		head = `{"x-first": [1.0, 2e3],"id":"e", "type":"t","data":`
		tail = `,"timestamp":"now","last":"\u0041"}`
		meta = `,"metadata":{"clientId":"c","source":"s"}`
	)
	tests := []struct {
		name, params, data, want string
		unfit                    int
		asIs                     bool
	}{
		{"add", `{"addFields":{"b":1,"a":{"x":[true]}}}`, `{"z":1.50, "y":"\u0041"}`, `{"z":1.50,"y":"\u0041","b":1,"a":{"x":[true]}}`, 0, false},
		{"add over", `{"addFields":{"a":2}}`, `{"a":1,"b":1}`, `{"a":2,"b":1}`, 0, false},
		{"add over the last of one name", `{"addFields":{"a":3}}`, `{"a":1,"b":1,"a":2}`, `{"a":3,"b":1}`, 0, false},
		{"add nested", `{"addFields":{"a.b":1,"a.c.d":2,"n.x":3}}`, `{"a":{"z":0},"n":null}`, `{"a":{"z":0,"b":1,"c":{"d":2}},"n":{"x":3}}`, 0, false},
		{"add into a list", `{"addFields":{"l.1.x":1,"l.0":2}}`, `{"l":[1,{"y":2}]}`, `{"l":[2,{"y":2,"x":1}]}`, 0, false},
		{"add where it does not fit", `{"addFields":{"s.x":1,"l.5":1,"l.x":1,"ok":1}}`, `{"s":"x","l":[]}`, `{"s":"x","l":[],"ok":1}`, 3, false},
		{"add then under it", `{"addFields":{"a":{},"a.b":1}}`, `{}`, `{"a":{"b":1}}`, 0, false},
		{"add a name to escape", `{"addFields":{"a\"\u000b<é\t":1}}`, `{}`, `{"a\"\u000b<é\t":1}`, 0, false},
		{"remove", `{"removeFields":["a","none","o.x","l.0","none.deep","s.x"]}`, `{"a":1,"o":{"x":1,"y":2},"l":[1,2],"s":""}`, `{"o":{"y":2},"l":[2],"s":""}`, 0, false},
		{"remove the only", `{"removeFields":["a"]}`, `{"a":1}`, `{}`, 0, false},
		{"remove after add", `{"addFields":{"a":1},"removeFields":["a"]}`, `{"b":2}`, `{"b":2}`, 0, false},
		{"append to a string", `{"modifyFields":{"data.a":{"type":"append","value":" (copy)"}}}`, `{"a":"h\u00f6"}`, `{"a":"hö (copy)"}`, 0, false},
		{"append others to a string", `{"modifyFields":{"data.a":{"type":"append","value":1.50},"data.b":{"type":"append","value":true},"data.c":{"type":"append","value":null}}}`,
			`{"a":"1","b":"","c":"x"}`, `{"a":"11.5","b":"true","c":"xnull"}`, 0, false},
		{"append numbers", `{"modifyFields":{"data.a":{"type":"append","value":0.2}}}`, `{"a":0.1}`, `{"a":0.30000000000000004}`, 0, false},
		{"append beyond numbers", `{"modifyFields":{"data.a":{"type":"append","value":1.7e308}}}`, `{"a":1.7e308}`, `{"a":1.7e308}`, 1, true},
		{"append to a list", `{"modifyFields":{"data.a":{"type":"append","value":{"x":1}}}}`, `{"a":[ 1]}`, `{"a":[1,{"x":1}]}`, 0, false},
		{"append to an empty list", `{"modifyFields":{"data.a":{"type":"append","value":[]}}}`, `{"a":[]}`, `{"a":[[]]}`, 0, false},
		{"append to nothing", `{"modifyFields":{"data.a.b":{"type":"append","value":"x"}}}`, `{}`, `{"a":{"b":"x"}}`, 0, false},
		{"append where it does not fit", `{"modifyFields":{"data.n":{"type":"append","value":"x"},"data.s":{"type":"append","value":{}},"data.o":{"type":"append","value":1},
			"data.t":{"type":"append","value":true},"data.z":{"type":"append","value":"x"}}}`,
			`{"n":1,"s":"x","o":{},"t":true,"z":null}`, `{"n":1,"s":"x","o":{},"t":true,"z":null}`, 5, true},
		{"replace", `{"modifyFields":{"data.a":{"type":"replace","value":null},"data.b.c":{"type":"replace","value":[1]}}}`, `{"a":1}`, `{"a":null,"b":{"c":[1]}}`, 0, false},
		{"in order", `{"modifyFields":{"data.b":{"type":"append","value":"1"},"data.a":{"type":"replace","value":"y"},"data.c":{"type":"append","value":"2"}}}`,
			`{"a":"x"}`, `{"a":"y","b":"1","c":"2"}`, 0, false},
		{"nothing to do", `{"removeFields":["x"]}`, `{"a" : 1}`, `{"a" : 1}`, 0, true},
	}
	for _, tt := range tests {
		for _, rest := range []string{meta + tail, tail} {
			ev, err := events.Decode([]byte(head+tt.data+rest), 0)
			if err != nil {
				t.Fatal(err)
			}
			before := string(ev.Raw())
			got, isNew, unfit, err := transformOf(t, tt.params).apply(&ev, 0)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			if isNew == tt.asIs {
				t.Errorf("%s: isNew %v", tt.name, isNew)
			}
			if !isNew {
				got = ev
			}
			if string(ev.Raw()) != before {
				t.Errorf("%s: the event itself is %s now, was %s", tt.name, ev.Raw(), before)
			}
			if string(got.Data) != tt.want || unfit != tt.unfit {
				t.Errorf("%s: data is %s, %d did not fit\nwant: %s, %d", tt.name, got.Data, unfit, tt.want, tt.unfit)
			}
			want := strings.Replace(`{"x-first":[1.0, 2e3],"id":"e","type":"t","data":`+tt.want+rest, "\n", "", 1)
			if isNew && string(got.Raw()) != want {
				t.Errorf("%s: event is %s\nwant: %s", tt.name, got.Raw(), want)
			}
		}
	}
}

func TestTransformMetadata(t *testing.T) {
	t.Parallel()
	const params = `{"modifyFields":{"metadata.clientId":{"type":"append","value":"2"},"metadata.extra.x":{"type":"replace","value":1}}}`
	for metadata, want := range map[string]string{
		`{"clientId":"c","traceparent":"p"}`: `{"clientId":"c2","traceparent":"p","extra":{"x":1}}`,
		`null`:                               `{"clientId":"2","extra":{"x":1}}`,
	} {
		ev := event(t, `{}`, metadata)
		got, _, unfit, err := transformOf(t, params).apply(&ev, 0)
		if err != nil || unfit != 0 || !strings.Contains(string(got.Raw()), `"metadata":`+want) {
			t.Errorf("event with metadata %s is %s, %d did not fit, %v, want metadata %s", metadata, got.Raw(), unfit, err, want)
		}
		if got.ID != ev.ID || got.Type != ev.Type || !strings.HasSuffix(got.Metadata.ClientID, "2") {
			t.Errorf("event is %+v", got)
		}
	}
	ev, err := events.Decode([]byte(`{"id":"e","type":"t","data":{}}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _, err := transformOf(t, params).apply(&ev, 0); err != nil ||
		string(got.Raw()) != `{"id":"e","type":"t","data":{},"metadata":{"clientId":"2","extra":{"x":1}}}` {
		t.Errorf("event without metadata is %s, %v", got.Raw(), err)
	}
}

func TestTransformMakesNoEvent(t *testing.T) {
	t.Parallel()
	grow := transformOf(t, `{"modifyFields":{"data.s":{"type":"append","value":"0123456789"}}}`)
	ev := event(t, `{"s":"x"}`, `{}`)
	size := len(ev.Raw()) + 10
	if _, _, _, err := grow.apply(&ev, size); err != nil {
		t.Errorf("an event of just the size: %v", err)
	}
	if _, _, _, err := grow.apply(&ev, size-1); !errors.Is(err, events.ErrTooLarge) {
		t.Errorf("a larger event: %v, want %v", err, events.ErrTooLarge)
	}
	value := strings.Repeat("[", 126) + strings.Repeat("]", 126) // in an array it is too deep
	nest := transformOf(t, `{"modifyFields":{"data.l":{"type":"append","value":`+value+`}}}`)
	ev = event(t, `{"l":[]}`, `{}`)
	if _, _, _, err := nest.apply(&ev, 0); !errors.Is(err, events.ErrMalformed) {
		t.Errorf("a deep event: %v, want %v", err, events.ErrMalformed)
	}
}

func TestTransformRefused(t *testing.T) {
	t.Parallel()
	many := strings.Repeat(`"x",`, 100) + `"x"`
	tests := []struct {
		params string
		want   []string
	}{
		{``, []string{`params: changes nothing: want addFields, removeFields or modifyFields`}},
		{`{"addFields":{}}`, []string{`params: changes nothing: want addFields, removeFields or modifyFields`}},
		{`{"add":{}}`, []string{`params: unknown field "add": want addFields, removeFields or modifyFields`}},
		{`[]`, []string{`params: a JSON array: want an object`}},
		{`{"removeFields":"x"}`, []string{`params.removeFields: a JSON string: want an array`}},
		{`{"removeFields":[` + many + `]}`, []string{`params.removeFields: has 101: want at most 100`}},
		{`{"addFields":{"":1,"a..b":1},"removeFields":[""],"modifyFields":{"id":{"type":"replace","value":"x"}}}`, []string{
			`params.addFields[""]: field path "data.": want a name on both sides of each dot`,
			`params.addFields["a..b"]: field path "data.a..b": want a name on both sides of each dot`,
			`params.removeFields[0]: field path "data.": want a name on both sides of each dot`,
			`params.modifyFields["id"]: want a field of data or metadata, such as data.title`,
		}},
		{`{"addFields":[1]}`, []string{`params.addFields: want an object`}},
		{`{"modifyFields":{"data":{"type":"replace","value":{}}}}`, []string{`params.modifyFields["data"]: want a field of data or metadata, such as data.title`}},
		{`{"modifyFields":{"title":{"type":"replace","value":{}}}}`, []string{`params.modifyFields["title"]: field path "title" cannot exist: want it to begin with id, type, data, metadata or timestamp`}},
		{`{"modifyFields":{"metadata.traceparent":{"type":"replace","value":""}}}`, []string{`params.modifyFields["metadata.traceparent"]: the trace context cannot be changed`}},
		{`{"modifyFields":{"metadata.clientId":{"type":"replace","value":1}}}`, []string{`params.modifyFields["metadata.clientId"].value: want a string: metadata.clientId is one`}},
		{`{"modifyFields":{"metadata.source.x":{"type":"replace","value":"x"}}}`, []string{`params.modifyFields["metadata.source.x"]: cannot exist: metadata.source is a string`}},
		{`{"modifyFields":{"data.x":{"type":"prepend","value":1}}}`, []string{`params.modifyFields["data.x"].type: "prepend": want append or replace`}},
		{`{"modifyFields":{"data.x":{"type":"append"}}}`, []string{`params.modifyFields["data.x"].value: want a value`}},
		{`{"modifyFields":{"data.x":{"type":"append","values":1}}}`, []string{`params.modifyFields["data.x"]: unknown field "values": want type or value`}},
		{`{"modifyFields":{"data.x":7}}`, []string{`params.modifyFields["data.x"]: a JSON number: want an object`}},
		{`{"addFields":{"x":` + strings.Repeat("[", 130) + strings.Repeat("]", 130) + `}}`, []string{`params: no event would be left: malformed event: want at most 128 levels of nesting`}},
		{"{\"addFields\":{\"x\":\"\xff\"}}", []string{`params: want UTF-8`}},
	}
	for _, tt := range tests {
		var p problems
		p.transform([]byte(tt.params), "params")
		err := errors.Join(p...)
		if want := strings.Join(tt.want, "\n"); err == nil || err.Error() != want {
			t.Errorf("%.70s: %v\nwant: %s", tt.params, err, want)
		}
	}
}
