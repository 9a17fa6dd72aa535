package events

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// shape is what all the schemas that apply to a value ask of it, put together, for a check in one pass over the JSON.
// There is one only if they use no other keywords than these:
//
//	type, const and enum of strings, properties, required, additionalProperties: false, items, minItems, maxItems,
//	minLength, maxLength, pattern, format, minimum, maximum, $ref, allOf
type shape struct {
	kinds kinds
	whole bool // a number must be an integer

	minimum, maximum float64
	minLength        int
	maxLength        int // in characters
	formats          []*jsonschema.Format
	patterns         []jsonschema.Regexp
	among            [][]string // a string must be in each

	members  []member
	required uint64 // bits of members
	closed   bool   // no others

	items              *shape
	minItems, maxItems int
}

type member struct {
	name  string
	shape *shape // nil: anything
}

// kinds is a set of Kind.
type kinds uint8

const anyKind = 1<<Null | 1<<Bool | 1<<Number | 1<<String | 1<<Array | 1<<Object

const (
	maxShapes  = 1000 // of one schema
	maxMembers = 64   // of one shape, the bits of required
)

// compileShape returns nil if the schema needs more than a shape has.
func compileShape(s *jsonschema.Schema) *shape {
	c := shapes{known: make(map[string]*shape)}
	sh := c.shape([]*jsonschema.Schema{s})
	if c.failed {
		return nil
	}
	return sh
}

// shapes compiles the shapes of one schema.
type shapes struct {
	known  map[string]*shape // by the schemas they are of, because a schema may refer to itself
	failed bool
}

// shape returns nil for what fits anything.
func (c *shapes) shape(of []*jsonschema.Schema) *shape {
	var all []*jsonschema.Schema
	for _, s := range of {
		all = c.collect(all, s)
	}
	if len(all) == 0 || c.failed {
		return nil
	}
	key := fmt.Sprint(all) // pointers
	if sh, ok := c.known[key]; ok {
		return sh
	}
	if len(c.known) == maxShapes {
		c.failed = true
		return nil
	}
	sh := &shape{kinds: anyKind, minimum: math.Inf(-1), maximum: math.Inf(1), maxLength: math.MaxInt, maxItems: math.MaxInt}
	c.known[key] = sh
	for _, s := range all {
		c.value(sh, s)
	}
	c.object(sh, all)
	var items []*jsonschema.Schema
	for _, s := range all {
		if s.Items2020 != nil {
			items = append(items, s.Items2020)
		}
	}
	sh.items = c.shape(items)
	return sh
}

// collect adds a schema and those that apply to the same value, each once.
func (c *shapes) collect(all []*jsonschema.Schema, s *jsonschema.Schema) []*jsonschema.Schema {
	if !plain(s) {
		c.failed = true
	}
	if c.failed || s.Bool != nil || slices.Contains(all, s) {
		return all
	}
	all = append(all, s)
	if s.Ref != nil {
		all = c.collect(all, s.Ref)
	}
	for _, part := range s.AllOf {
		all = c.collect(all, part)
	}
	return all
}

// plain reports whether a shape has all that a schema says.
func plain(s *jsonschema.Schema) bool {
	return s.DraftVersion == 2020 && (s.Bool == nil || *s.Bool) &&
		s.RecursiveRef == nil && s.DynamicRef == nil && s.Not == nil && s.AnyOf == nil && s.OneOf == nil &&
		s.If == nil && s.Then == nil && s.Else == nil &&
		s.MaxProperties == nil && s.MinProperties == nil && s.PropertyNames == nil && len(s.PatternProperties) == 0 &&
		(s.AdditionalProperties == nil || isBool(s.AdditionalProperties)) &&
		s.Dependencies == nil && s.DependentRequired == nil && s.DependentSchemas == nil && s.UnevaluatedProperties == nil &&
		!s.UniqueItems && s.Contains == nil && s.MinContains == nil && s.MaxContains == nil && s.Items == nil &&
		s.AdditionalItems == nil && s.PrefixItems == nil && s.UnevaluatedItems == nil &&
		s.ContentEncoding == nil && s.ContentMediaType == nil && s.ContentSchema == nil &&
		s.ExclusiveMaximum == nil && s.ExclusiveMinimum == nil && s.MultipleOf == nil && len(s.Extensions) == 0
}

func isBool(v any) bool {
	_, ok := v.(bool)
	return ok
}

// value adds what a schema says of the value itself.
func (c *shapes) value(sh *shape, s *jsonschema.Schema) {
	if s.Types != nil {
		names := s.Types.ToStrings()
		var set kinds
		for _, name := range names {
			set |= kindOf[name]
		}
		sh.kinds &= set
		sh.whole = sh.whole || slices.Contains(names, "integer") && !slices.Contains(names, "number")
	}
	if s.Const != nil {
		c.oneOf(sh, []any{*s.Const})
	}
	if s.Enum != nil {
		c.oneOf(sh, s.Enum.Values)
	}
	if s.Format != nil {
		sh.formats = append(sh.formats, s.Format)
	}
	if s.Pattern != nil {
		sh.patterns = append(sh.patterns, s.Pattern)
	}
	sh.minimum = max(sh.minimum, c.limit(s.Minimum, sh.minimum))
	sh.maximum = min(sh.maximum, c.limit(s.Maximum, sh.maximum))
	sh.minLength = max(sh.minLength, or(s.MinLength, 0))
	sh.maxLength = min(sh.maxLength, or(s.MaxLength, math.MaxInt))
	sh.minItems = max(sh.minItems, or(s.MinItems, 0))
	sh.maxItems = min(sh.maxItems, or(s.MaxItems, math.MaxInt))
}

var kindOf = map[string]kinds{"null": 1 << Null, "boolean": 1 << Bool, "number": 1 << Number, "integer": 1 << Number,
	"string": 1 << String, "array": 1 << Array, "object": 1 << Object}

func (c *shapes) oneOf(sh *shape, values []any) {
	var texts []string
	for _, v := range values {
		text, ok := v.(string)
		if !ok {
			c.failed = true
			return
		}
		texts = append(texts, text)
	}
	sh.kinds &= 1 << String
	sh.among = append(sh.among, texts)
}

// limit is a bound as a float64. The library compares the shortest decimals of floats with the schema's; that comes to
// the same if the schema's is one of them.
func (c *shapes) limit(r *big.Rat, none float64) float64 {
	if r == nil {
		return none
	}
	f, _ := r.Float64()
	if again, ok := new(big.Rat).SetString(fmt.Sprint(f)); !ok || again.Cmp(r) != 0 {
		c.failed = true
	}
	return f
}

func or(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

// object adds what the schemas say of an object's members.
func (c *shapes) object(sh *shape, all []*jsonschema.Schema) {
	names := make(map[string]bool)
	for _, s := range all {
		for _, name := range s.Required {
			names[name] = true
		}
		for name := range s.Properties {
			names[name] = true
		}
		sh.closed = sh.closed || s.AdditionalProperties == false
	}
	if len(names) > maxMembers {
		c.failed = true
		return
	}
	for i, name := range slices.Sorted(maps.Keys(names)) {
		var below []*jsonschema.Schema
		unwanted := false
		for _, s := range all {
			if slices.Contains(s.Required, name) {
				sh.required |= 1 << i
			}
			if of := s.Properties[name]; of != nil {
				below = append(below, of)
			} else if s.AdditionalProperties == false {
				unwanted = true
			}
		}
		m := member{name: name, shape: c.shape(below)}
		if unwanted {
			m.shape = &shape{} // of no kind: nothing fits
		}
		sh.members = append(sh.members, m)
	}
}
