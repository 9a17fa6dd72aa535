package routing

import (
	"regexp"
	"slices"
	"strings"

	"github.com/photo-management/event-bus/events"
)

const (
	maxConditions     = 50    // of one filter or match
	maxInValues       = 1_000 // of one "in"
	maxConditionBytes = 4096  // of one string to compare with
	maxPatternBytes   = 1024
)

// Condition compares one field of an event with a value. It means what it means in JavaScript: values of different
// types are never equal, and a field that is absent is undefined, which differs from everything, null included.
type Condition struct {
	// Field is a path that begins with id, type, data, metadata or timestamp, such as "data.results.0.url".
	Field string `json:"field"`
	// Operator is one of
	//   - eq, ne: === and !== with a string, number, boolean or null. An object or array is equal to nothing.
	//   - in: eq with one of an array of at most 1,000 of these
	//   - contains: the field is a string and has this string in it
	//   - regex: the field is a string and this pattern, in RE2's syntax, matches somewhere in it
	//   - gt, lt: the field is a number, greater or less than this number
	Operator string `json:"operator"`
	Value    any    `json:"value"`
}

// operator is what a compiled condition does.
type operator uint8

const (
	opEq operator = iota + 1
	opNe
	opIn
	opContains
	opRegex
	opGt
	opLt
)

var operators = map[string]operator{
	"eq": opEq, "ne": opNe, "in": opIn, "contains": opContains, "regex": opRegex, "gt": opGt, "lt": opLt,
}

// condition is a compiled Condition.
type condition struct {
	op   operator
	path events.Path
	slot int // of the run's cache; -1: look it up each time
	want scalar
	any  []scalar            // of in, without doubles
	set  map[scalar]struct{} // of in, where a scan of any would be slower
	re   *regexp.Regexp
}

// holds says whether the condition is true of its field, which may be absent.
func (c *condition) holds(v *events.Value, present bool) bool {
	switch c.op {
	case opEq, opNe, opIn:
		s, ok := scalarOf(v)
		return c.equal(s, present && ok)
	case opContains:
		return present && v.Kind == events.String && strings.Contains(v.Str, c.want.str)
	case opRegex:
		return present && v.Kind == events.String && c.re.MatchString(v.Str)
	case opGt:
		return present && v.Kind == events.Number && v.Num > c.want.num
	case opLt:
		return present && v.Kind == events.Number && v.Num < c.want.num
	}
	return false
}

func (c *condition) equal(s scalar, comparable bool) bool {
	switch {
	case c.op == opNe:
		return !comparable || s != c.want
	case !comparable:
		return false
	case c.op == opEq:
		return s == c.want
	case c.set != nil:
		_, ok := c.set[s]
		return ok
	}
	return slices.Contains(c.any, s)
}

// needs lists the values of which the field must have one for the condition to hold; nil if it is not such a one.
func (c *condition) needs() []scalar {
	switch c.op {
	case opEq:
		return []scalar{c.want}
	case opIn:
		return c.any
	}
	return nil
}
