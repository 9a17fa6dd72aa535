package routing

import (
	"strings"
	"testing"
)

func TestParseMatch(t *testing.T) {
	t.Parallel()
	m, err := ParseMatch([]byte(`{"eventTypes":["photo.deleted"],"conditions":[{"field":"data.photoId","operator":"eq","value":"p"}],"expr":"true"}`), "filter")
	if err != nil || len(m.EventTypes) != 1 || len(m.Conditions) != 1 || m.Conditions[0].Value != "p" || m.Expr != "true" {
		t.Errorf("got %+v, %v", m, err)
	}
	for raw, want := range map[string]string{
		`{"eventType":["a"]}`: `filter: unknown field "eventType": want eventTypes, conditions or expr`,
		`{"conditions":[{"field":"id","operator":"eq","value":1},{"field":"id","operator":"eq"}]}`: "filter.conditions[1].value: want a value",
		`[]`:   "filter",
		`null`: "filter: null: want a value",
		`{"conditions":[` + strings.Repeat(`{},`, 50) + `{}]}`: "filter.conditions: has 51: want at most 50",
	} {
		if _, err := ParseMatch([]byte(raw), "filter"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %s", raw, err, want)
		}
	}
}
