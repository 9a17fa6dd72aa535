package routing

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseFilters(t *testing.T) {
	t.Parallel()
	const raw = `[
		{"id":"a","type":"include","direction":"inbound","channels":["c"],"conditions":[{"field":"data.n","operator":"in","value":[1,"x",null]}],
			"expr":"data.n == 1","action":{"type":"throttle","params":{"limit":1,"window":2}}},
		{"id":"b","type":"exclude","conditions":[],"action":{"type":"drop"}}]`
	want := []Filter{
		{ID: "a", Type: "include", Direction: "inbound", Channels: []string{"c"},
			Conditions: []Condition{{"data.n", "in", []any{1.0, "x", nil}}}, Expr: "data.n == 1",
			Action: Action{"throttle", json.RawMessage(`{"limit":1,"window":2}`)}},
		{ID: "b", Type: "exclude", Action: Action{Type: "drop"}},
	}
	got, err := ParseFilters([]byte(raw))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseFilters = %+v, %v, want %+v", got, err, want)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if got, err = ParseFilters(again); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseFilters of what it gave = %+v, %v, want %+v", got, err, want)
	}
	if got, err = ParseFilters([]byte(` [] `)); err != nil || len(got) != 0 {
		t.Errorf("ParseFilters of none = %+v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	filters := func(raw string) error { _, err := ParseFilters([]byte(raw)); return err }
	filter := func(raw string) error { _, err := ParseFilter([]byte(raw)); return err }
	rules := func(raw string) error { _, err := ParseRules([]byte(raw)); return err }
	tests := []struct {
		parse     func(string) error
		raw, want string
	}{
		{filters, ``, `filters: want JSON, and all of it`},
		{filters, ` null`, `filters: null: want a value`},
		{filters, `{}`, `filters: a JSON object: want an array`},
		{filters, `[{}] x`, `filters: want one JSON value, and nothing behind it`},
		{filters, `[nul]`, `filters: invalid character ']' in literal null (expecting 'l')`},
		{filters, `[null,7,{"id":1},{"ids":"a"},{"action":{"kind":"drop"}},{"conditions":[{"field":"id","value":1e999},{"op":"eq"},{"field":"id"}]},{"channels":"c"},{"conditions":{}},{"channels":[1]}]`,
			`filters[0]: null: want a value
filters[1]: a JSON number: want an object
filters[2].id: a JSON number: want a string
filters[3]: unknown field "ids": want id, type, direction, channels, conditions, expr or action
filters[4].action: unknown field "kind": want type or params
filters[5].conditions[0].value: a JSON number 1e999: want a number
filters[5].conditions[1]: unknown field "op": want field, operator or value
filters[5].conditions[2].value: want a value, which may be null
filters[6].channels: a JSON string: want an array
filters[7].conditions: a JSON object: want an array
filters[8].channels: a JSON number: want a string`},
		{filters, `[` + strings.Repeat(`{},`, MaxFilters) + `{}]`, `filters: has 5001: want at most 5000`},
		{filters, strings.Repeat(" ", 8<<20+1), `filters: has 8388609 bytes: want at most 8388608`},
		{filter, `{"id":"a","extra":1}`, `filter: unknown field "extra": want id, type, direction, channels, conditions, expr or action`},
		{filter, `{"conditions":[` + strings.Repeat(`{},`, 50) + `{}]}`, `filter.conditions: has 51: want at most 50`},
		{filter, `{"action":7}`, `filter.action: a JSON number: want an object`},
		{filter, strings.Repeat(" ", 1<<20+1), `filter: has 1048577 bytes: want at most 1048576`},
		{rules, `[]`, `rules: a JSON array: want an object`},
		{rules, `{"c":{}}`, `c: a JSON object: want an array`},
		{rules, `{"d":[{"type":"room","select":"x"}],"c":[{"type":"multi","rules":[{"type":"room"},{"room":"x"}]}]}`,
			`c[0].rules[1]: unknown field "room": want type, selector, targetPrefix, eventName or rules
d[0]: unknown field "select": want type, selector, targetPrefix, eventName or rules`},
		{rules, `{"c":` + strings.Repeat(`[{"rules":`, 9) + `[]` + strings.Repeat(`}]`, 9) + `}`,
			`c[0]` + strings.Repeat(`.rules[0]`, 7) + `.rules: want at most 8 levels of rules`},
	}
	for _, tt := range tests {
		if err := tt.parse(tt.raw); err == nil || err.Error() != tt.want {
			t.Errorf("%.80s: %v\nwant: %s", tt.raw, err, tt.want)
		}
	}
}

func TestParseRules(t *testing.T) {
	t.Parallel()
	got, err := ParseRules(defaultRules)
	if err != nil || !reflect.DeepEqual(got, Default()) {
		t.Errorf("ParseRules of the default rules = %+v, %v", got, err)
	}
	if got, err = ParseRules([]byte(`{"c":[]}`)); err != nil || len(got) != 1 {
		t.Errorf("ParseRules of a channel without = %+v, %v", got, err)
	}
}
