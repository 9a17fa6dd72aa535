package events

import (
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// Kind is the JSON type of a Value.
type Kind int

// The kinds of JSON values.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Value is a field's value as Lookup finds it.
type Value struct {
	Kind Kind
	Bool bool    // of a Bool
	Num  float64 // of a Number; as in JavaScript, infinite if the text is beyond a float64
	Str  string  // of a String, unescaped

	json string // of an Array or Object
}

func newValue(r gjson.Result) Value {
	switch {
	case r.Type == gjson.String:
		return Value{Kind: String, Str: r.Str}
	case r.Type == gjson.Number:
		return Value{Kind: Number, Num: r.Num}
	case r.Type == gjson.True || r.Type == gjson.False:
		return Value{Kind: Bool, Bool: r.Type == gjson.True}
	case r.IsArray():
		return Value{Kind: Array, json: r.Raw}
	case r.IsObject():
		return Value{Kind: Object, json: r.Raw}
	}
	return Value{}
}

// Elements yields the elements of an Array, and nothing for other kinds.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.Kind != Array {
			return
		}
		gjson.Result{Type: gjson.JSON, Raw: v.json}.ForEach(func(_, element gjson.Result) bool {
			return yield(newValue(element))
		})
	}
}

// String returns a string itself, a number, boolean or null as JavaScript's String() writes it, and the JSON of an
// array or object.
func (v Value) String() string {
	switch v.Kind {
	case Bool:
		return strconv.FormatBool(v.Bool)
	case Number:
		return formatNumber(v.Num)
	case String:
		return v.Str
	case Array, Object:
		return v.json
	}
	return "null"
}

// formatNumber is ECMAScript's Number::toString for radix 10.
func formatNumber(f float64) string {
	const maxSafe = 1<<53 - 1
	abs := math.Abs(f)
	switch {
	case abs <= maxSafe && f == math.Trunc(f):
		return strconv.FormatInt(int64(f), 10) // also writes -0 as 0
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	case abs >= 1e-6 && abs < 1e21:
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	return strings.Replace(s, "e-0", "e-", 1) // Go writes at least two digits of exponent
}
