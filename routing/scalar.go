package routing

import (
	"encoding/json"
	"strconv"

	"github.com/photo-management/event-bus/events"
)

// scalar is a value that JavaScript's === compares by value: a string, a number, a boolean or null. Two of them are
// == when JavaScript says ===. It is also the key by which filters are found.
type scalar struct {
	kind events.Kind
	str  string
	num  float64 // of a boolean: 0 or 1
}

// scalarOf is false for an array or object, which === compares by identity: it is equal to nothing.
func scalarOf(v *events.Value) (scalar, bool) {
	switch v.Kind {
	case events.Null:
		return scalar{}, true
	case events.Bool:
		return boolScalar(v.Bool), true
	case events.Number:
		return scalar{kind: events.Number, num: v.Num}, true
	case events.String:
		return scalar{kind: events.String, str: v.Str}, true
	}
	return scalar{}, false
}

func boolScalar(b bool) scalar {
	s := scalar{kind: events.Bool}
	if b {
		s.num = 1
	}
	return s
}

// specScalar reads the value of a condition: what encoding/json makes of JSON, or a Go program writes.
func specScalar(v any) (scalar, bool) {
	number := func(f float64) (scalar, bool) { return scalar{kind: events.Number, num: f}, f == f }
	switch v := v.(type) {
	case nil:
		return scalar{}, true
	case bool:
		return boolScalar(v), true
	case string:
		return scalar{kind: events.String, str: v}, len(v) <= maxConditionBytes
	case float64:
		return number(v)
	case int:
		return number(float64(v))
	case int64:
		return number(float64(v))
	case json.Number:
		f, err := strconv.ParseFloat(string(v), 64)
		return scalar{kind: events.Number, num: f}, err == nil
	}
	return scalar{}, false
}
