package routing

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/photo-management/event-bus/events"
)

// conditions compiles the conditions at a place.
func (p *problems) conditions(specs []Condition, place string) []condition {
	if len(specs) > maxConditions {
		p.problem(place, "has %d: want at most %d", len(specs), maxConditions)
		return nil
	}
	compiled := make([]condition, len(specs))
	for i, spec := range specs {
		compiled[i] = p.condition(spec, fmt.Sprintf("%s[%d]", place, i))
	}
	return compiled
}

func (p *problems) condition(spec Condition, place string) condition {
	c := condition{op: operators[spec.Operator], slot: -1}
	var err error
	if c.path, err = fieldPath(spec.Field); err != nil {
		p.problem(place+".field", "%v", err)
	}
	if c.op == 0 {
		p.problem(place+".operator", "%q: want eq, ne, in, contains, regex, gt or lt", clip(spec.Operator))
		return c
	}
	if err = c.setValue(spec.Value); err != nil {
		p.problem(place+".value", "%v", err)
	}
	return c
}

// fieldPath parses the path of a field that an event can have.
func fieldPath(field string) (events.Path, error) {
	path, err := events.ParsePath(field)
	if err != nil {
		return path, err
	}
	switch first, _, nested := strings.Cut(field, "."); first {
	case "data", "metadata":
	case "id", "type", "timestamp":
		if nested {
			return path, fmt.Errorf("field path %q cannot exist: %s is a string", field, first)
		}
	default:
		return path, fmt.Errorf("field path %q cannot exist: want it to begin with id, type, data, metadata or timestamp", field)
	}
	return path, nil
}

func (c *condition) setValue(value any) error {
	if c.op == opIn {
		return c.setValues(value)
	}
	var ok bool
	c.want, ok = specScalar(value)
	switch {
	case !ok:
		if s, long := value.(string); long {
			return fmt.Errorf("has %d bytes: want at most %d", len(s), maxConditionBytes)
		}
		return fmt.Errorf("%s: want a %s", kindOf(value), c.wants())
	case c.op == opContains && c.want.kind != events.String,
		c.op == opRegex && c.want.kind != events.String,
		c.op == opGt && c.want.kind != events.Number,
		c.op == opLt && c.want.kind != events.Number:
		return fmt.Errorf("%s: want a %s", kindOf(value), c.wants())
	case c.op == opRegex:
		var err error
		c.re, err = compilePattern(c.want.str)
		return err
	}
	return nil
}

func (c *condition) wants() string {
	switch c.op {
	case opContains:
		return "string"
	case opRegex:
		return "string, a pattern"
	case opGt, opLt:
		return "number"
	}
	return "string, number, boolean or null (an object or array equals nothing)"
}

func (c *condition) setValues(value any) error {
	var list []any
	switch value := value.(type) {
	case []any:
		list = value
	case []string:
		for _, s := range value {
			list = append(list, s)
		}
	default:
		return fmt.Errorf("%s: want an array of strings, numbers, booleans or nulls", kindOf(value))
	}
	if len(list) == 0 || len(list) > maxInValues {
		return fmt.Errorf("has %d elements: want 1 to %d", len(list), maxInValues)
	}
	set := make(map[scalar]struct{}, len(list))
	for i, v := range list {
		s, ok := specScalar(v)
		if !ok {
			return fmt.Errorf("element %d is %s: want a string (of at most %d bytes), number, boolean or null",
				i, kindOf(v), maxConditionBytes)
		}
		if _, double := set[s]; !double {
			set[s] = struct{}{}
			c.any = append(c.any, s)
		}
	}
	if len(c.any) > 8 {
		c.set = set
	}
	return nil
}

// kindOf names the JSON type of a value for an error.
func kindOf(v any) string {
	if s, ok := specScalar(v); ok || s.kind == events.String {
		return [...]string{"null", "a boolean", "a number", "a string"}[s.kind]
	}
	switch v.(type) {
	case []any, []string:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return fmt.Sprintf("a %T", v)
}

// compilePattern compiles a pattern for the linear time that events from outside need.
func compilePattern(pattern string) (*regexp.Regexp, error) {
	if len(pattern) > maxPatternBytes {
		return nil, fmt.Errorf("pattern has %d bytes: want at most %d", len(pattern), maxPatternBytes)
	}
	re, err := regexp.Compile(pattern)
	if err == nil {
		return re, nil
	}
	if hint := re2Lacks(pattern); hint != "" {
		return nil, fmt.Errorf("%w: RE2 has no %s", err, hint)
	}
	return nil, fmt.Errorf("%w: want a pattern in RE2's syntax", err)
}

var (
	lookaround    = regexp.MustCompile(`\(\?<?[=!]`)
	backreference = regexp.MustCompile(`\\[1-9]|\\k[<{]`)
)

func re2Lacks(pattern string) string {
	var lacks []string
	if lookaround.MatchString(pattern) {
		lacks = append(lacks, "lookahead or lookbehind")
	}
	if backreference.MatchString(pattern) {
		lacks = append(lacks, "backreferences")
	}
	return strings.Join(lacks, ", and no ")
}

// clip shortens what somebody wrote for an error message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
