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
)

const (
	maxSchemaBytes = 256 << 10
	maxExplanation = 500 // bytes of the library's own words
	schemaDraft    = "https://json-schema.org/draft/2020-12/schema"
	schemaBase     = "schema:///"
	envelope       = "envelope" // names the schema that those of all types include
)

//go:embed schemas/*.json
var schemaFiles embed.FS

// schema is a compiled JSON Schema: for the library, which knows all of it and puts into words what is wrong, and if it
// can be, for a check that is many times faster but only knows a valid event when it sees one.
type schema struct {
	full *jsonschema.Schema
	fast *shape // nil: there is none
}

func (s *schema) validate(e Event) error {
	if s.fast != nil && s.fast.fits(e.doc) {
		return nil
	}
	return invalid(check(s.full, e.raw))
}

// platformSchemas has those of the photo platform by type, and the envelope. They are compiled once, when first needed.
// If an embedded file is wrong, which no input can bring about, it panics.
var platformSchemas = sync.OnceValue(func() map[string]*schema {
	compiled := make(map[string]*schema)
	for _, name := range append(Types(), envelope) {
		s, err := compileWith(nil, name+".json")
		if err != nil {
			panic(fmt.Errorf("schema of %s: %w", name, err))
		}
		compiled[name] = s
	}
	return compiled
})

// compileSchema compiles a schema from the configuration for events of a type.
func compileSchema(text json.RawMessage, eventType string) (*schema, error) {
	if len(text) > maxSchemaBytes {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(text), maxSchemaBytes)
	}
	doc, err := readSchema(text)
	if err != nil {
		return nil, err
	}
	const given, whole = "given", "whole"
	return compileWith(map[string]any{
		given: doc,
		whole: map[string]any{
			"$schema":    schemaDraft,
			"allOf":      []any{map[string]any{"$ref": envelope + ".json"}, map[string]any{"$ref": given}},
			"properties": map[string]any{"type": map[string]any{"const": eventType}},
		},
	}, whole)
}

func readSchema(text []byte) (any, error) {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) == 0 || string(text) == "null":
		return nil, errors.New("missing: want a JSON Schema 2020-12 of the event; {} takes all that have the envelope")
	case checkJSON(text) != nil: // above all its depth: what follows recurses
		return nil, fmt.Errorf("want a JSON object, in UTF-8, of at most %d levels", maxDepth)
	}
	var numbers any
	if err := json.Unmarshal(text, &numbers); err != nil { // they are worked on with arbitrary precision
		return nil, errors.New("want numbers within the range of a 64-bit float")
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if draft, ok := doc.(map[string]any)["$schema"]; ok && draft != schemaDraft && draft != schemaDraft+"#" {
		return nil, fmt.Errorf("$schema: want %q, or leave it out", schemaDraft)
	}
	return doc, nil
}

// compileWith compiles one of the embedded files, or of the documents given. They are known by their names to each other.
func compileWith(docs map[string]any, name string) (*schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat() // in 2020-12 a format is a mere comment otherwise
	compiler.UseLoader(embedded{})
	for name, doc := range docs {
		if err := compiler.AddResource(schemaBase+name, doc); err != nil {
			return nil, err
		}
	}
	full, err := compiler.Compile(schemaBase + name)
	if err == nil {
		err = checkGraph(full)
	}
	if err != nil {
		return nil, explain(err)
	}
	return &schema{full: full, fast: compileShape(full)}, nil
}

// embedded loads the schemas of the photo platform for those that refer to them. The library's own loader would read
// any file of this machine.
type embedded struct{}

var errRemote = errors.New(`want references within the schema, or to "envelope.json" from a schema without $id`)

// Load implements jsonschema.URLLoader.
func (embedded) Load(url string) (any, error) {
	name, ok := strings.CutPrefix(url, schemaBase)
	if !ok {
		return nil, errRemote
	}
	text, err := schemaFiles.ReadFile("schemas/" + name)
	if err != nil {
		return nil, errRemote
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

// explain words what the library says of a schema, without the addresses we made up.
func explain(err error) error {
	var load *jsonschema.LoadURLError
	var broken *jsonschema.SchemaValidationError
	var failed *jsonschema.ValidationError
	switch {
	case errors.As(err, &load):
		return fmt.Errorf("$ref %.200q: %w", strings.TrimPrefix(load.URL, schemaBase), load.Err)
	case errors.As(err, &broken) && errors.As(broken.Err, &failed):
		problems := describe(nil, nil, failed)
		slices.Sort(problems)
		return fmt.Errorf("no JSON Schema 2020-12: %s", strings.Join(bounded(slices.Compact(problems)), "; "))
	}
	return errors.New(cut(strings.ReplaceAll(err.Error(), schemaBase, ""), maxExplanation))
}
