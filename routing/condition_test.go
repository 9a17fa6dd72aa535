package routing

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

func TestConditions(t *testing.T) {
	t.Parallel()
	const data = `{"s":"holiday","empty":"","n":5,"zero":0,"neg":-0,"big":1e400,"yes":true,"no":false,"null":null,
		"list":["a"],"one":[5],"object":{"s":"x"},"five":"5","deep":{"list":[{"x":"y"}]},"twice":1,"twice":2}`
	tests := []struct {
		field, operator, value string
		want                   bool
	}{
		{"data.s", "eq", `"holiday"`, true},
		{"data.s", "eq", `"Holiday"`, false},
		{"data.n", "eq", `5`, true},
		{"data.n", "eq", `5.0`, true},
		{"data.n", "eq", `"5"`, false}, // === does not convert
		{"data.five", "eq", `5`, false},
		{"data.zero", "eq", `false`, false},
		{"data.zero", "eq", `-0`, true},
		{"data.neg", "eq", `0`, true},
		{"data.empty", "eq", `""`, true},
		{"data.empty", "eq", `null`, false},
		{"data.yes", "eq", `true`, true},
		{"data.yes", "eq", `1`, false},
		{"data.no", "eq", `false`, true},
		{"data.null", "eq", `null`, true},
		{"data.none", "eq", `null`, false}, // undefined === null
		{"data.none.deeper", "eq", `"x"`, false},
		{"data.list", "eq", `"a"`, false},
		{"data.one", "eq", `5`, false},
		{"data.object", "eq", `null`, false},
		{"data.deep.list.0.x", "eq", `"y"`, true},
		{"data.deep.list.1.x", "eq", `"y"`, false},
		{"data.twice", "eq", `2`, true},
		{"type", "eq", `"t"`, true},
		{"id", "eq", `"e"`, true},
		{"timestamp", "eq", `"2026-01-31T12:00:00.000Z"`, true},
		{"metadata.clientId", "eq", `"c"`, true},
		{"metadata.extra.x", "eq", `1`, true},

		{"data.s", "ne", `"holiday"`, false},
		{"data.s", "ne", `"x"`, true},
		{"data.n", "ne", `"5"`, true},
		{"data.none", "ne", `"x"`, true},
		{"data.none", "ne", `null`, true},
		{"data.null", "ne", `null`, false},
		{"data.list", "ne", `"a"`, true},

		{"data.s", "in", `["x","holiday"]`, true},
		{"data.s", "in", `["x"]`, false},
		{"data.n", "in", `["5",5]`, true},
		{"data.n", "in", `["5"]`, false},
		{"data.null", "in", `[null]`, true},
		{"data.none", "in", `[null,"undefined"]`, false},
		{"data.list", "in", `["a"]`, false},
		{"data.neg", "in", `[1,2,3,4,5,6,7,8,9,0]`, true}, // many: by hash
		{"data.five", "in", `[1,2,3,4,5,6,7,8,9,0]`, false},

		{"data.s", "contains", `"lid"`, true},
		{"data.s", "contains", `""`, true},
		{"data.s", "contains", `"Lid"`, false},
		{"data.list", "contains", `"a"`, false}, // only strings contain
		{"data.n", "contains", `"5"`, false},
		{"data.none", "contains", `""`, false},

		{"data.s", "regex", `"^h.l"`, true},
		{"data.s", "regex", `"day"`, true},
		{"data.s", "regex", `"^day"`, false},
		{"data.s", "regex", `"(?i)HOLI"`, true},
		{"data.empty", "regex", `"^$"`, true},
		{"data.n", "regex", `"5"`, false},
		{"data.none", "regex", `""`, false},

		{"data.n", "gt", `4.9`, true},
		{"data.n", "gt", `5`, false},
		{"data.big", "gt", `1e308`, true},
		{"data.five", "gt", `1`, false},
		{"data.yes", "gt", `0`, false},
		{"data.null", "gt", `-1`, false},
		{"data.none", "gt", `-1`, false},
		{"data.n", "lt", `5.1`, true},
		{"data.n", "lt", `5`, false},
		{"data.null", "lt", `1`, false},
		{"data.none", "lt", `1`, false},
		{"data.list", "lt", `1`, false},
	}
	ev, err := events.Decode([]byte(`{"id":"e","type":"t","data":`+data+
		`,"metadata":{"clientId":"c","extra":{"x":1}},"timestamp":"2026-01-31T12:00:00.000Z"}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		raw := `{"field":"` + tt.field + `","operator":"` + tt.operator + `","value":` + tt.value + `}`
		var c Condition
		if err := json.Unmarshal([]byte(raw), &c); err != nil {
			t.Fatal(err)
		}
		match, err := CompileMatch(Match{Conditions: []Condition{c}}, "")
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if got := match(ev); got != tt.want {
			t.Errorf("%s = %v, want %v", raw, got, tt.want)
		}
	}
}

func TestConditionsRefused(t *testing.T) {
	t.Parallel()
	list := func(n int) []any {
		l := make([]any, n)
		for i := range l {
			l[i] = i
		}
		return l
	}
	tests := []struct {
		c    Condition
		want string
	}{
		{Condition{"data.x", "like", "x"}, `operator: "like": want eq, ne, in, contains, regex, gt or lt`},
		{Condition{"data.x", "", "x"}, `operator: "": want eq, ne, in, contains, regex, gt or lt`},
		{Condition{"", "eq", "x"}, `field: field path has 0 bytes: want 1 to 512`},
		{Condition{"data..x", "eq", "x"}, `field: field path "data..x": want a name on both sides of each dot`},
		{Condition{"photoId", "eq", "x"}, `field: field path "photoId" cannot exist: want it to begin with id, type, data, metadata or timestamp`},
		{Condition{"id.x", "eq", "x"}, `field: field path "id.x" cannot exist: id is a string`},
		{Condition{"timestamp.0", "eq", "x"}, `field: field path "timestamp.0" cannot exist: timestamp is a string`},
		{Condition{"data.x", "eq", []any{"x"}}, `value: an array: want a string, number, boolean or null (an object or array equals nothing)`},
		{Condition{"data.x", "ne", map[string]any{}}, `value: an object: want a string, number, boolean or null (an object or array equals nothing)`},
		{Condition{"data.x", "eq", struct{}{}}, `value: a struct {}: want a string, number, boolean or null (an object or array equals nothing)`},
		{Condition{"data.x", "eq", strings.Repeat("x", 4097)}, `value: has 4097 bytes: want at most 4096`},
		{Condition{"data.x", "in", "x"}, `value: a string: want an array of strings, numbers, booleans or nulls`},
		{Condition{"data.x", "in", []any{}}, `value: has 0 elements: want 1 to 1000`},
		{Condition{"data.x", "in", list(1001)}, `value: has 1001 elements: want 1 to 1000`},
		{Condition{"data.x", "in", []any{"a", []any{}}}, `value: element 1 is an array: want a string (of at most 4096 bytes), number, boolean or null`},
		{Condition{"data.x", "contains", 5.0}, `value: a number: want a string`},
		{Condition{"data.x", "regex", nil}, `value: null: want a string, a pattern`},
		{Condition{"data.x", "gt", "5"}, `value: a string: want a number`},
		{Condition{"data.x", "lt", true}, `value: a boolean: want a number`},
		{Condition{"data.x", "regex", "("}, "value: error parsing regexp: missing closing ): `(`: want a pattern in RE2's syntax"},
		{Condition{"data.x", "regex", "a(?=b)"}, "value: error parsing regexp: invalid or unsupported Perl syntax: `(?=`: RE2 has no lookahead or lookbehind"},
		{Condition{"data.x", "regex", "(?<!a)b"}, "value: error parsing regexp: invalid named capture: `(?<!a)b`: RE2 has no lookahead or lookbehind"},
		{Condition{"data.x", "regex", `(a)\1`}, "value: error parsing regexp: invalid escape sequence: `\\1`: RE2 has no backreferences"},
		{Condition{"data.x", "regex", strings.Repeat("x", 1025)}, `value: pattern has 1025 bytes: want at most 1024`},
	}
	for _, tt := range tests {
		_, err := CompileMatch(Match{Conditions: []Condition{{"id", "eq", "x"}, tt.c}}, "filter")
		if want := "filter.conditions[1]." + tt.want; err == nil || err.Error() != want {
			t.Errorf("%+.80v: %v\nwant: %s", tt.c, err, want)
		}
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	photo := Condition{"data.photoId", "eq", "p"}
	tests := []struct {
		name string
		m    Match
		want bool
	}{
		{"zero", Match{}, true},
		{"type", Match{EventTypes: []string{"x", "t"}}, true},
		{"other type", Match{EventTypes: []string{"x"}}, false},
		{"all true", Match{EventTypes: []string{"t"}, Conditions: []Condition{photo}, Expr: `data.n > 4`}, true},
		{"not the type", Match{EventTypes: []string{"x"}, Conditions: []Condition{photo}, Expr: `data.n > 4`}, false},
		{"not a condition", Match{Conditions: []Condition{photo, {"data.n", "lt", 5}}, Expr: `data.n > 4`}, false},
		{"not the expression", Match{Conditions: []Condition{photo}, Expr: `data.n > 5`}, false},
		{"expression fails", Match{Expr: `data.photoId > 5`}, false},
		{"Go values", Match{Conditions: []Condition{{"data.n", "in", []string{"5"}}, {"data.n", "eq", int64(5)}}}, false},
		{"JSON number", Match{Conditions: []Condition{{"data.n", "eq", json.Number("5.0")}}}, true},
	}
	ev := event(t, `{"photoId":"p","n":5}`, `{}`)
	for _, tt := range tests {
		match, err := CompileMatch(tt.m, "m")
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got := match(ev); got != tt.want {
			t.Errorf("%s: match = %v, want %v", tt.name, got, tt.want)
		}
	}
	_, err := CompileMatch(Match{EventTypes: []string{}, Conditions: make([]Condition, 51), Expr: "data."}, "m")
	for _, want := range []string{"m.eventTypes: has none", "m.conditions: has 51: want at most 50", "m.expr: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want it to say %s", err, want)
		}
	}
	if _, err = CompileMatch(Match{EventTypes: []string{"", strings.Repeat("x", 257)}}, ""); err == nil ||
		err.Error() != "eventTypes[0]: has 0 bytes: want 1 to 256\neventTypes[1]: has 257 bytes: want 1 to 256" {
		t.Errorf("error is %v", err)
	}
}
