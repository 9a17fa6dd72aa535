package events

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxProblems bounds what one invalid event can write into a log or an answer.
const maxProblems = 20

//go:embed schemas/*.json
var schemaFiles embed.FS

// envelope names the schema that those of all types include.
const envelope = "envelope"

// schemas has the compiled schemas by type, and the envelope.
var schemas = sync.OnceValue(compileSchemas)

// Validate holds an event against the JSON Schema of its type (schemas/<type>.json). The error is ErrInvalid and
// names every field that is wrong with what would be right, up to 20; it quotes no values. An event of no known type
// is ErrUnknownType besides.
func Validate(e Event) error {
	if e.raw == nil {
		return fmt.Errorf("%w: it has no JSON: make it with New or Decode", ErrInvalid)
	}
	_, known := Channel(e.Type)
	name := e.Type
	if !known {
		name = envelope
	}
	problems, err := check(schemas()[name], e.raw)
	if err != nil {
		return err
	}
	if !known {
		return errors.Join(
			fmt.Errorf("%w: %w: %q: want one of %s", ErrInvalid, ErrUnknownType, e.Type, strings.Join(Types(), ", ")),
			invalid(problems))
	}
	return invalid(problems)
}

func invalid(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(problems, "; "))
}

// check returns the sorted problems of one JSON text.
func check(schema *jsonschema.Schema, raw []byte) ([]string, error) {
	// Not jsonschema.UnmarshalJSON: it keeps numbers as text, and the validator works on them with arbitrary
	// precision, so that 1e99999999 would cost memory without bound or a panic.
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("%w: want numbers within the range of a 64-bit float", ErrInvalid)
	}
	var failed *jsonschema.ValidationError
	if !errors.As(schema.Validate(doc), &failed) {
		return nil, nil
	}
	problems := describe(nil, schema, failed)
	slices.Sort(problems)
	return slices.Compact(problems), nil // envelope and type may complain of the same
}

// describe appends the leaves of an error tree in words.
func describe(dst []string, root *jsonschema.Schema, e *jsonschema.ValidationError) []string {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			dst = describe(dst, root, cause)
		}
		return dst
	}
	path := e.InstanceLocation
	say := func(format string, args ...any) {
		dst = append(dst, strings.Join(path, ".")+": "+fmt.Sprintf(format, args...))
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			path = append(slices.Clone(e.InstanceLocation), name)
			say("missing, want %s", wanted(root, path))
		}
	case *kind.Type:
		say("want %s, got %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Minimum:
		say("want at least %s", k.Want.RatString())
	case *kind.Maximum:
		say("want at most %s", k.Want.RatString())
	case *kind.MinLength:
		say("want a non-empty string") // minLength is 1 wherever our schemas have it
	case *kind.Format:
		say("want a %s", formats[k.Want])
	default:
		say("breaks the schema's %s", strings.Join(k.KeywordPath(), "."))
	}
	return dst
}

// formats has the formats our schemas use.
var formats = map[string]string{"date-time": "date-time as in RFC 3339, such as 2026-01-31T12:00:00.000Z"}

// wanted names the type the schema has for a path.
func wanted(root *jsonschema.Schema, path []string) string {
	if s := schemaAt(root, path); s != nil && s.Types != nil {
		return strings.Join(s.Types.ToStrings(), " or ")
	}
	return "a value"
}

func schemaAt(s *jsonschema.Schema, path []string) *jsonschema.Schema {
	if s == nil || len(path) == 0 {
		return s
	}
	for _, next := range []*jsonschema.Schema{s.Properties[path[0]], s.Items2020} {
		if found := schemaAt(next, path[1:]); found != nil {
			return found
		}
	}
	return schemaAt(s.Ref, path)
}

// compileSchemas panics if an embedded file is wrong, which no input can bring about.
func compileSchemas() map[string]*jsonschema.Schema {
	const base = "schema:///"
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // in 2020-12 a format is a mere comment otherwise
	names := append(Types(), envelope)
	for _, name := range names {
		text, err := schemaFiles.ReadFile("schemas/" + name + ".json")
		if err != nil {
			panic(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			panic(fmt.Errorf("schema of %s: %w", name, err))
		}
		if err := compiler.AddResource(base+name+".json", doc); err != nil {
			panic(fmt.Errorf("schema of %s: %w", name, err))
		}
	}
	compiled := make(map[string]*jsonschema.Schema, len(names))
	for _, name := range names {
		compiled[name] = compiler.MustCompile(base + name + ".json")
	}
	return compiled
}
