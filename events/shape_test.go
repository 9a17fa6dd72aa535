package events

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// quick are schemas that have a shape, with every keyword a shape knows.
var quick = map[string]string{
	"empty": `{}`,
	"bounds": `{"properties":{"data":{"required":["a"],"properties":{"a":{"type":["integer","null"],"minimum":-1.5,"maximum":1e3},
		"b":{"type":"string","minLength":2,"maxLength":3},"c":{"type":"array","minItems":1,"maxItems":2,"items":{"type":"boolean"}}},
		"additionalProperties":false}}}`,
	"texts": `{"properties":{"data":{"properties":{"a":{"enum":["x","yy"]},"b":{"const":"z"},"c":{"pattern":"^[a-c]*$"},
		"d":{"format":"date-time"},"e":{"format":"email"}}}}}`,
	"several": `{"allOf":[{"properties":{"data":{"properties":{"a":{"type":["number","string"],"maximum":5}}}}},
		{"properties":{"data":{"required":["b"],"properties":{"a":{"type":["integer","string"],"minimum":2}}}}}]}`,
	"closed twice": `{"properties":{"data":{"allOf":[{"properties":{"a":true},"additionalProperties":false},
		{"properties":{"a":{"type":"object"},"b":true},"additionalProperties":false}]}}}`,
	"of itself": `{"properties":{"data":{"$ref":"#/$defs/node"}},"$defs":{"node":{"type":"object",
		"properties":{"a":{"$ref":"#/$defs/node"},"c":{"type":"array","items":{"$ref":"#/$defs/node"}}}}}}`,
}

// slow are schemas that have none.
var slow = []string{
	`{"anyOf":[{}]}`, `{"not":{"required":["x"]}}`, `{"properties":{"data":{"const":1}}}`, `{"properties":{"data":{"enum":["a",null]}}}`,
	`{"patternProperties":{"^x":{"type":"string"}}}`, `{"additionalProperties":{"type":"object"}}`, `{"minProperties":1}`,
	`{"properties":{"data":{"properties":{"a":{"minimum":0.10000000000000000001}}}}}`, `{"properties":{"x":false}}`,
	`{"properties":{"data":{"properties":{"a":{"multipleOf":2}}}}}`, `{"dependentRequired":{"a":["b"]}}`, `{"unevaluatedProperties":{}}`,
	`{"properties":{"data":{"properties":{"a":{"uniqueItems":true}}}}}`, `{"properties":{"data":{"properties":{"a":{"contains":{}}}}}}`,
	`{"properties":{"data":{"properties":{"a":{"exclusiveMinimum":1}}}}}`, `{"if":{},"then":{}}`, `{"$dynamicRef":"#x","$defs":{"x":{"$dynamicAnchor":"x"}}}`,
}

func compiled(t testing.TB, text string) *schema {
	t.Helper()
	s, err := compileSchema(json.RawMessage(text), "t")
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return s
}

func TestShapeOrNone(t *testing.T) {
	t.Parallel()
	for name, text := range quick {
		if compiled(t, text).fast == nil {
			t.Errorf("%s: no shape", name)
		}
	}
	for _, text := range slow {
		if compiled(t, text).fast != nil {
			t.Errorf("%s: has a shape", text)
		}
	}
	var many []string
	for i := range maxMembers + 1 {
		many = append(many, fmt.Sprintf(`"p%d":{}`, i))
	}
	if compiled(t, `{"properties":{`+strings.Join(many, ",")+`}}`).fast != nil {
		t.Error("a shape of more members than it has bits")
	}
	for _, name := range append(Types(), envelope) {
		if platformSchemas()[name].fast == nil {
			t.Errorf("%s: no shape", name)
		}
	}
}

// TestShapeAgrees makes events that mostly fit and compares both checks, which must agree wherever there are no escapes
// and no name twice.
func TestShapeAgrees(t *testing.T) {
	t.Parallel()
	var schemas []*schema
	for _, name := range slices.Sorted(maps.Keys(quick)) { // in order, for the same events in every run
		schemas = append(schemas, compiled(t, quick[name]))
	}
	r := rand.New(rand.NewPCG(1, 2))
	seen := [2]int{}
	for range 10_000 {
		raw := event("t", randomObject(r, 3))
		s := schemas[r.IntN(len(schemas))]
		problems := check(s.full, []byte(raw))
		if got, want := s.fast.fits(raw), problems == nil; got != want {
			t.Fatalf("fits = %v, want %v for %s\n%v", got, want, raw, problems)
		}
		seen[min(len(problems), 1)]++
	}
	if seen[0] < 1000 || seen[1] < 1000 {
		t.Errorf("%d events fit and %d do not: want many of both", seen[0], seen[1])
	}
}

// TestShapeAgreesOnTheTypes breaks valid events of the platform's types in one place.
func TestShapeAgreesOnTheTypes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for _, typ := range Types() {
		s := platformSchemas()[typ]
		if !s.fast.fits(event(typ, valid[typ])) {
			t.Errorf("%s: a valid event does not fit", typ)
		}
		for range 500 {
			var doc map[string]any
			if err := json.Unmarshal([]byte(event(typ, valid[typ])), &doc); err != nil {
				t.Fatal(err)
			}
			breakOne(r, doc)
			raw, err := marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			problems := check(s.full, raw)
			if got, want := s.fast.fits(string(raw)), problems == nil; got != want {
				t.Fatalf("%s: fits = %v, want %v for %s\n%v", typ, got, want, raw, problems)
			}
		}
	}
}

// breakOne removes or replaces some value of a document.
func breakOne(r *rand.Rand, doc map[string]any) {
	keys := make([]string, 0, len(doc))
	for key := range doc {
		keys = append(keys, key)
	}
	key := keys[r.IntN(len(keys))]
	switch v := doc[key].(type) {
	case map[string]any:
		if len(v) > 0 && r.IntN(8) > 0 {
			breakOne(r, v)
			return
		}
	case []any:
		if len(v) > 0 && r.IntN(4) > 0 {
			if inner, ok := v[0].(map[string]any); ok {
				breakOne(r, inner)
			} else {
				v[0] = json.RawMessage(randomValue(r, 2))
			}
			return
		}
	}
	if r.IntN(4) == 0 {
		delete(doc, key)
	} else {
		doc[key] = json.RawMessage(randomValue(r, 2))
	}
}

func randomObject(r *rand.Rand, depth int) string {
	var members []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		if r.IntN(3) == 0 {
			members = append(members, fmt.Sprintf("%q%s:%s%s", name, space(r), space(r), randomValue(r, depth-1)))
		}
	}
	return "{" + strings.Join(members, ","+space(r)) + space(r) + "}"
}

func randomValue(r *rand.Rand, depth int) string {
	scalars := []string{`""`, `"x"`, `"yy"`, `"z"`, `"abc"`, `"äö"`, `"äöü"`, `"abcd"`, `"2026-01-31T12:00:00.000Z"`, `"2026-02-29T12:00:00Z"`,
		`"2028-02-29T12:00:00Z"`, `"2026-04-31T12:00:00Z"`, `"2026-01-31T12:00:00+01:00"`, `"2026-01-31t12:00:00z"`, `"2026-13-01T00:00:00Z"`,
		`"2026-12-31T23:59:60Z"`, `"2026-12-31T24:00:00Z"`, `"2026-12-31T23:60:00Z"`, `"2026-12-00T00:00:00Z"`, `"2026-12-01T00:00:00.Z"`,
		`"2026-12-01T00:00:00"`, `"a@b.c"`, "0", "-0", "1", "-1", "-1.5", "-1.6", "2", "5", "5.5", "1e3", "1000", "1001", "1E0", "2.0", "1e-400",
		"1e400", "123456789012345678901234567890", "0.1", "true", "false", "null", "[]", "{}"}
	switch {
	case depth > 0 && r.IntN(5) == 0:
		return randomObject(r, depth)
	case depth > 0 && r.IntN(5) == 0:
		var elements []string
		for range r.IntN(4) {
			elements = append(elements, space(r)+randomValue(r, depth-1))
		}
		return "[" + strings.Join(elements, space(r)+",") + space(r) + "]"
	}
	return scalars[r.IntN(len(scalars))]
}

func space(r *rand.Rand) string { return []string{"", "", "", " ", "\t\n"}[r.IntN(5)] }

// TestShapeIsCareful has what only the library can tell.
func TestShapeIsCareful(t *testing.T) {
	t.Parallel()
	s := compiled(t, quick["texts"])
	for _, data := range []string{`{"a":"\u0078"}`, `{"\u0061":"x"}`, `{"a":1,"a":"x"}`, `{"d":"2026-01-31T12:00:00\u005a"}`} {
		raw := event("t", data)
		if s.fast.fits(raw) {
			t.Errorf("fits(%s), want it left to the library", data)
		}
		if problems := check(s.full, []byte(raw)); problems != nil {
			t.Errorf("%s: %v", data, problems)
		}
	}
	if raw := event(PhotoDeleted, `{"photoId":"\u0000\\","more":"\"","x":["\\"]}`); !platformSchemas()[PhotoDeleted].fast.fits(raw) {
		t.Errorf("escapes where they do not matter do not fit: %s", raw)
	}
}

func TestValidateDoesNotAllocate(t *testing.T) {
	for _, typ := range Types() {
		e := decode(t, event(typ, valid[typ]))
		if got := testing.AllocsPerRun(100, func() { _ = Validate(e) }); got != 0 {
			t.Errorf("Validate of %s makes %v allocations, want 0", typ, got)
		}
	}
}
