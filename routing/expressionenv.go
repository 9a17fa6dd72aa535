package routing

import (
	"fmt"
	"math"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/events"
)

// maxExprValues is how many values an event that an expression sees may consist of.
const maxExprValues = 10_000

var (
	dataPath     = mustPath("data")
	metadataPath = mustPath("metadata")
)

func mustPath(s string) events.Path {
	path, err := events.ParsePath(s)
	if err != nil {
		panic(err) // a constant of ours
	}
	return path
}

// exprEnv is what the expressions see of one event.
type exprEnv struct {
	vars  map[string]any
	steps steps
	size  int
}

// newExprEnv decodes an event for expressions. A channel of "" is none.
func newExprEnv(ev *events.Event, channel string) (*exprEnv, error) {
	d := valueDecoder{left: maxExprValues}
	env := &exprEnv{size: len(ev.Raw())}
	env.vars = map[string]any{
		"id": ev.ID, "type": ev.Type, "timestamp": ev.Timestamp, "channel": channel,
		"data": d.object(ev, dataPath), "metadata": d.object(ev, metadataPath),
		budgetName: &env.steps,
	}
	if d.left < 0 {
		return nil, fmt.Errorf("event has more than %d values: expressions do not look at it", maxExprValues)
	}
	return env, nil
}

// run evaluates an expression. The error is that of an operation the event's values do not allow.
func (e *exprEnv) run(program *vm.Program) (bool, error) {
	e.steps.left = stepsFor(e.size)
	result, err := expr.Run(program, e.vars)
	if err != nil {
		return false, err
	}
	matches, ok := result.(bool)
	if !ok {
		return false, fmt.Errorf("expression is a %T: want true or false", result)
	}
	return matches, nil
}

// valueDecoder makes Go values of JSON as encoding/json does, except that a whole number of up to 31 bits is an int,
// for which alone the language has %, and a number beyond float64 is infinite, as in JavaScript and in conditions.
type valueDecoder struct{ left int }

func (d *valueDecoder) object(ev *events.Event, path events.Path) map[string]any {
	if v, ok := ev.Lookup(path); ok && v.Kind == events.Object {
		if object, ok := d.value(gjson.Parse(v.String())).(map[string]any); ok {
			return object
		}
	}
	return map[string]any{}
}

func (d *valueDecoder) value(r gjson.Result) any {
	if d.left--; d.left < 0 {
		return nil
	}
	switch {
	case r.IsObject():
		object := make(map[string]any)
		r.ForEach(func(key, value gjson.Result) bool {
			object[key.Str] = d.value(value)
			return d.left >= 0
		})
		return object
	case r.IsArray():
		array := []any{}
		r.ForEach(func(_, value gjson.Result) bool {
			array = append(array, d.value(value))
			return d.left >= 0
		})
		return array
	case r.Type == gjson.Number && r.Num == math.Trunc(r.Num) && math.Abs(r.Num) < 1<<31: // a product of two fits
		return int(r.Num)
	}
	return r.Value()
}
