package events

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

const (
	maxFieldBytes = 64  // of one name in an error: it may be the sender's
	maxListBytes  = 200 // of the values a schema allows
)

// describe appends the leaves of an error tree in words. The root knows what a missing field wants; it is nil if it is a
// schema that is wrong.
func describe(dst []string, root *jsonschema.Schema, e *jsonschema.ValidationError) []string {
	path := e.InstanceLocation
	say := func(format string, args ...any) {
		dst = append(dst, cmp.Or(joinFields(path), "the whole")+": "+fmt.Sprintf(format, args...))
	}
	// What is wrong with each alternative would confuse a sender, but helps who writes a schema.
	if keyword := strings.Join(e.ErrorKind.KeywordPath(), "."); root != nil && slices.Contains(alternatives, keyword) {
		say("want one of the alternatives of the schema's %s", keyword)
		return dst
	}
	if k, ok := e.ErrorKind.(*kind.PropertyNames); ok { // its causes do not know where they are
		path = append(slices.Clone(path), k.Property)
		say("want a name as the schema's propertyNames has it")
		return dst
	}
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			dst = describe(dst, root, cause)
		}
		return dst
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			path = append(slices.Clone(e.InstanceLocation), name)
			say("missing, want %s", wanted(root, path))
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			path = append(slices.Clone(e.InstanceLocation), name)
			say("unexpected, want it left out")
		}
	case *kind.Type:
		say("want %s, got %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Const:
		say("want %s", listed(k.Want))
	case *kind.Enum:
		say("want one of %s", listed(k.Want...))
	case *kind.Minimum:
		say("want at least %s", k.Want.RatString())
	case *kind.Maximum:
		say("want at most %s", k.Want.RatString())
	case *kind.MinLength:
		if k.Want == 1 {
			say("want a non-empty string")
		} else {
			say("want at least %d characters", k.Want)
		}
	case *kind.MaxLength:
		say("want at most %d characters", k.Want)
	case *kind.Pattern:
		say("want a match of %s", cut(k.Want, maxListBytes))
	case *kind.MinItems:
		say("want a list of at least %d", k.Want)
	case *kind.MaxItems:
		say("want a list of at most %d", k.Want)
	case *kind.Format:
		say("want a %s", cmp.Or(formats[k.Want], "string of the format "+k.Want))
	case *kind.FalseSchema:
		say("unexpected, want it left out")
	default:
		say("breaks the schema's %s", cmp.Or(strings.Join(k.KeywordPath(), "."), "rules"))
	}
	return dst
}

// alternatives are keywords of which not every part need fit.
var alternatives = []string{"anyOf", "oneOf", "contains", "minContains"}

// formats words those whose names say too little.
var formats = map[string]string{
	"date-time": "date-time as in RFC 3339, such as 2026-01-31T12:00:00.000Z",
	"regex":     "regular expression as RE2 has them",
}

// listed writes the values that a schema allows.
func listed(values ...any) string {
	var list []string
	for _, v := range values {
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v)
		}
		list = append(list, string(text))
	}
	return cut(strings.Join(list, ", "), maxListBytes)
}

func joinFields(path []string) string {
	short := make([]string, len(path))
	for i, name := range path {
		short[i] = cut(name, maxFieldBytes)
	}
	return strings.Join(short, ".")
}

// cut bounds a text in bytes.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// wanted names the type the schema has for a path.
func wanted(root *jsonschema.Schema, path []string) string {
	if s := schemaAt(root, path); s != nil {
		return strings.Join(s.Types.ToStrings(), " or ")
	}
	return "a value"
}

// schemaAt finds a schema that says a type for a path.
func schemaAt(s *jsonschema.Schema, path []string) *jsonschema.Schema {
	if s == nil || len(path) == 0 && s.Types != nil {
		return s
	}
	if len(path) > 0 {
		for _, below := range []*jsonschema.Schema{s.Properties[path[0]], s.Items2020} {
			if found := schemaAt(below, path[1:]); found != nil {
				return found
			}
		}
	}
	for _, same := range append(s.AllOf[:len(s.AllOf):len(s.AllOf)], s.Ref) {
		if found := schemaAt(same, path); found != nil {
			return found
		}
	}
	return nil
}
