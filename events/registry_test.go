package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// printed is a schema of a type of somebody's own.
const printed = `{"$ref":"envelope.json","properties":{"data":{"type":"object","required":["photoId","copies"],
	"properties":{"photoId":{"type":"string","minLength":1},"copies":{"type":"integer","minimum":1}},"additionalProperties":false}}}`

func registry(t testing.TB, specs ...TypeSpec) *Registry {
	t.Helper()
	r, err := NewRegistry(specs)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ofVersion is an event's JSON with a metadata.version.
func ofVersion(version, eventType, data string) string {
	return strings.Replace(event(eventType, data), `"version":"1.0"`, `"version":"`+version+`"`, 1)
}

func TestRegistryOwnType(t *testing.T) {
	t.Parallel()
	r := registry(t, TypeSpec{Name: "photo.printed", Channel: "photo:print", Schema: json.RawMessage(printed)})
	if got, want := r.Types(), append(Types(), "photo.printed"); !slices.Equal(got, want) {
		t.Errorf("Types() = %v, want %v", got, want)
	}
	for typ, want := range map[string]string{"photo.printed": "photo:print", PhotoDeleted: ChannelUpload, "photo.burnt": ""} {
		if got, known := r.Channel(typ); got != want || known != (want != "") {
			t.Errorf("Channel(%s) = %q, %v, want %q", typ, got, known, want)
		}
	}
	if _, known := Channel("photo.printed"); known || slices.Contains(Types(), "photo.printed") {
		t.Error("the default registry has changed")
	}
	tests := []struct{ name, raw, want string }{
		{"fits", event("photo.printed", `{"photoId":"p","copies":2}`), ""},
		{"does not", event("photo.printed", `{"photoId":"p","copies":0}`), "data.copies: want at least 1"},
		{"other fields", event("photo.printed", `{"photoId":"p","copies":1,"paper":"A4"}`), "data.paper: unexpected, want it left out"},
		{"no envelope", `{"id":"e","type":"photo.printed","data":{}}`, "data.copies: missing, want integer; data.photoId: missing, want string; " +
			"metadata: missing, want object; timestamp: missing, want string"},
		{"one of the platform's", event(PhotoDeleted, `{}`), "data.photoId: missing, want string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantInvalid(t, r.Validate(decode(t, tt.raw)), tt.want) })
	}
}

// wantInvalid compares with ErrInvalid and a text, or if that is empty, nil.
func wantInvalid(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
		return
	}
	if !errors.Is(err, ErrInvalid) || err.Error() != "invalid event: "+want {
		t.Errorf("got  %v\nwant invalid event: %s", err, want)
	}
}

func TestRegistryEnvelopeIsAlwaysAskedFor(t *testing.T) {
	t.Parallel()
	r := registry(t, TypeSpec{Name: "t", Channel: "c", Schema: json.RawMessage(`{}`)})
	wantInvalid(t, r.Validate(decode(t, `{"id":"e","type":"t","data":{},"metadata":{"source":"s","version":"1"}}`)), "timestamp: missing, want string")
	e := decode(t, event("other", `{}`))
	e.Type = "t" // by hand
	wantInvalid(t, r.Validate(e), `type: want "t"`)
}

func TestRegistryVersions(t *testing.T) {
	t.Parallel()
	// Each version wants a field named for it.
	spec := func(version, channel string) TypeSpec {
		return TypeSpec{Name: "t", Version: version, Channel: channel,
			Schema: fmt.Appendf(nil, `{"properties":{"data":{"required":["%s"]}}}`, "is "+version)}
	}
	whole := registry(t, spec("2", "c"), spec("2.1", ""), spec("", "c"), spec("3.0", ""), spec("3.1", ""), spec("v4", ""))
	noneElse := registry(t, spec("2.0", "c"), spec("3", ""))
	tests := []struct {
		registry *Registry
		version  string
		want     string // the version whose schema is used
	}{
		{whole, "2", "2"},
		{whole, "2.1", "2.1"},
		{whole, "2.7", "2.1"},
		{whole, "2.1.3", "2.1"},
		{whole, "3.0", "3.0"},
		{whole, "3", "3.1"},
		{whole, "3.9", "3.1"},
		{whole, "v4", "v4"},
		{whole, "4", ""},
		{whole, "1.0", ""},
		{whole, "20", ""},
		{noneElse, "2", "2.0"},
		{noneElse, "3.5", "3"},
	}
	for _, tt := range tests {
		err := tt.registry.Validate(decode(t, ofVersion(tt.version, "t", `{}`)))
		wantInvalid(t, err, "data.is "+tt.want+": missing, want a value")
	}
	wantInvalid(t, noneElse.Validate(decode(t, ofVersion("1.0", "t", `{}`))), "metadata.version: want 2.0, 3")
}

func TestRegistryVersionOfThePlatformsType(t *testing.T) {
	t.Parallel()
	r := registry(t, TypeSpec{Name: PhotoDeleted, Version: "2", Schema: json.RawMessage(
		`{"$ref":"photo.deleted.json","properties":{"data":{"required":["reason"]}}}`)})
	wantInvalid(t, r.Validate(decode(t, ofVersion("1.0", PhotoDeleted, `{"photoId":"p"}`))), "")
	wantInvalid(t, r.Validate(decode(t, ofVersion("2.0", PhotoDeleted, `{}`))), "data.photoId: missing, want string; data.reason: missing, want string")
	if got := r.Types(); !slices.Equal(got, Types()) {
		t.Errorf("Types() = %v, want each once", got)
	}
}

func TestRegistryUnknownTypes(t *testing.T) {
	t.Parallel()
	unknown := decode(t, event("photo.printed", `{}`))
	bad := decode(t, event(PhotoDeleted, `{}`))
	for _, tt := range []struct {
		config Config
		passes bool
	}{{Config{}, true}, {Config{Unknown: AllowUnknown}, true}, {Config{Unknown: RefuseUnknown}, false}} {
		r, err := tt.config.Registry()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(unknown); (err == nil) != tt.passes || err != nil && !errors.Is(err, ErrUnknownType) {
			t.Errorf("%+v: Check: %v, want it to pass: %v", tt.config, err, tt.passes)
		}
		if err := r.Validate(unknown); !errors.Is(err, ErrUnknownType) || !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: Validate: %v, want ErrUnknownType", tt.config, err)
		}
		if err := r.Check(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: Check of a known type: %v, want ErrInvalid", tt.config, err)
		}
		if err := r.Check(Event{ID: "e", Type: "by.hand"}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: Check of an event without JSON: %v, want ErrInvalid", tt.config, err)
		}
	}
}

func TestConfigReportsEverything(t *testing.T) {
	t.Parallel()
	empty := json.RawMessage(`{}`)
	err := Config{Unknown: "maybe", Types: []TypeSpec{
		{Channel: "c", Schema: empty},
		{Name: "a", Schema: empty},
		{Name: "b", Channel: "c", Version: "1/2", Schema: json.RawMessage(`[]`)},
		{Name: "ok", Channel: "c", Schema: empty},
		{Name: "ok", Channel: "c", Schema: empty},
		{Name: "ok", Channel: "d", Version: "2", Schema: empty},
		{Name: PhotoDeleted, Schema: empty},
	}}.Validate()
	want := `events.types[0].name: 0 bytes: want a type's name, such as photo.printed, of 1 to 256
events.types[1].channel: missing: want the channel that events of the type are published on, such as photo:upload
events.types[2].version: "1/2": want letters, digits, ".", "-" and "_", such as 2.0, at most 64 bytes
events.types[2].schema: want a JSON object, in UTF-8, of at most 128 levels
events.types[4].version: "" of ok is there already: want another one
events.types[5].channel: "d": ok has "c" already: want that, or leave it out
events.types[6].version: "" of photo.deleted is there already: want another one
events.unknown: "maybe": want allow or refuse`
	if err == nil || err.Error() != want {
		t.Errorf("Validate: %v\nwant\n%s", err, want)
	}
}

func TestRegistryRefusesSchemas(t *testing.T) {
	t.Parallel()
	chain := func(n int) string { // each refers twice to the next
		var defs []string
		for i := range n {
			defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
		}
		return fmt.Sprintf(`{"$ref":"#/$defs/d0","$defs":{%s,"d%d":{}}}`, strings.Join(defs, ","), n)
	}
	tests := []struct{ name, schema, want string }{
		{"none", ``, "missing: want a JSON Schema 2020-12"},
		{"null", `null`, "missing: want a JSON Schema 2020-12"},
		{"no JSON", `{`, "want a JSON object"},
		{"no object", `true`, "want a JSON object"},
		{"too large", `{"description":"` + strings.Repeat("x", 256<<10) + `"}`, "262162 bytes: want at most 262144"},
		{"too deep", strings.Repeat(`{"not":`, 200) + `{}` + strings.Repeat(`}`, 200), "want a JSON object, in UTF-8, of at most 128 levels"},
		{"draft-07", `{"$schema":"http://json-schema.org/draft-07/schema#"}`, `$schema: want "https://json-schema.org/draft/2020-12/schema"`},
		{"draft-07 within", `{"$defs":{"x":{"$id":"x","$schema":"http://json-schema.org/draft-07/schema#"}},"$ref":"x"}`, "want JSON Schema 2020-12 in all of it"},
		{"draft-07 elsewhere", `{"$ref":"http://json-schema.org/draft-07/schema"}`, "want JSON Schema 2020-12 in all of it"},
		{"no number", `{"$schema":5}`, "$schema: want"},
		{"type", `{"properties":{"data":{"type":"objekt"}}}`, `no JSON Schema 2020-12: properties.data.type: want array, got string; ` +
			`properties.data.type: want one of "array", "boolean", "integer", "null", "number", "object", "string"`},
		{"keyword's value", `{"properties":{"data":{"minProperties":-1}}}`, "properties.data.minProperties: want at least 0"},
		{"regexp", `{"properties":{"id":{"pattern":"(?=a)"}}}`, "properties.id.pattern: want a regular expression as RE2 has them"},
		{"remote", `{"$ref":"https://example.com/s.json"}`, `$ref "https://example.com/s.json": want references within the schema`},
		{"file", `{"$ref":"file:///etc/passwd"}`, `$ref "file:///etc/passwd": want references within the schema`},
		{"unknown one", `{"$ref":"photo.printed.json"}`, `$ref "photo.printed.json": want references within the schema`},
		{"outside", `{"$ref":"../types.go"}`, `want references within the schema`},
		{"under its own $id", `{"$id":"https://example.com/","$ref":"envelope.json"}`, `"envelope.json" from a schema without $id`},
		{"nowhere", `{"$ref":"#/$defs/none"}`, "#/$defs/none"},
		{"circle", `{"$ref":"#"}`, "refers to itself"},
		{"wide circle", `{"properties":{"data":{"anyOf":[{"$ref":"#/$defs/a"}]}},"$defs":{"a":{"not":{"$ref":"#/$defs/b"}},"b":{"if":{"$ref":"#/$defs/a"}}}}`, "refers to itself"},
		{"what contains it", `{"$ref":"whole"}`, "refers to itself"},
		{"without measure", chain(30), "more than 1000 schemas apply to one value"},
		{"numbers without measure", `{"properties":{"data":{"minProperties":1e999999999}}}`, "want numbers within the range of a 64-bit float"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewRegistry([]TypeSpec{{Name: "t", Channel: "c", Schema: json.RawMessage(tt.schema)}})
			if err == nil || !strings.HasPrefix(err.Error(), "events.types[0].schema: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewRegistry: %v, want events.types[0].schema: … %s", err, tt.want)
			}
			if err != nil && (len(err.Error()) > 600 || strings.Contains(err.Error(), schemaBase)) {
				t.Errorf("NewRegistry: %v: too long, or has an address of ours", err)
			}
		})
	}
}

func TestRegistryTakesSchemas(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]string{
		"draft":            `{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"https://example.com/s"}`,
		"goes into values": `{"properties":{"data":{"properties":{"tree":{"$ref":"#/$defs/node"}}}},"$defs":{"node":{"properties":{"next":{"$ref":"#/$defs/node"}}}}}`,
		"the same twice":   `{"allOf":[{"$ref":"envelope.json"},{"$ref":"envelope.json"}]}`,
		"unknown keyword":  `{"x-team":"printing"}`,
	} {
		r := registry(t, TypeSpec{Name: "t", Channel: "c", Schema: json.RawMessage(schema)})
		if err := r.Validate(decode(t, event("t", `{"tree":{"next":{"next":{}}}}`))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValidateWords has what the platform's own schemas never say.
func TestValidateWords(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	tests := []struct{ name, field, value, want string }{
		{"enum", `{"enum":["a",1,null]}`, `"b"`, `data.f: want one of "a", 1, null`},
		{"const", `{"const":{"a":1}}`, `{}`, `data.f: want {"a":1}`},
		{"long enum", `{"enum":["` + strings.Repeat("y", 300) + `"]}`, `1`, `data.f: want one of "` + strings.Repeat("y", 199) + "…"},
		{"short text", `{"minLength":2}`, `"a"`, "data.f: want at least 2 characters"},
		{"long text", `{"maxLength":2}`, `"abc"`, "data.f: want at most 2 characters"},
		{"pattern", `{"pattern":"^a+$"}`, `"b"`, "data.f: want a match of ^a+$"},
		{"short list", `{"minItems":1}`, `[]`, "data.f: want a list of at least 1"},
		{"long list", `{"maxItems":1}`, `[1,2]`, "data.f: want a list of at most 1"},
		{"format", `{"format":"email"}`, `"a"`, "data.f: want a string of the format email"},
		{"alternatives", `{"anyOf":[{"type":"string"},{"type":"object","required":["a"]}]}`, `{}`, "data.f: want one of the alternatives of the schema's anyOf"},
		{"both alternatives", `{"oneOf":[true,{}]}`, `1`, "data.f: want one of the alternatives of the schema's oneOf"},
		{"element", `{"contains":{"const":1}}`, `[2,3]`, "data.f: want one of the alternatives of the schema's contains"},
		{"false", `false`, `1`, "data.f: unexpected, want it left out"},
		{"name", `{"propertyNames":{"maxLength":2}}`, `{"abc":1}`, "data.f.abc: want a name as the schema's propertyNames has it"},
		{"not", `{"not":{"type":"null"}}`, `null`, "data.f: breaks the schema's rules"},
		{"other keyword", `{"multipleOf":2}`, `3`, "data.f: breaks the schema's multipleOf"},
		{"a sender's name", `{"additionalProperties":{"type":"null"}}`, `{"` + long + `":1}`, "data.f." + long[:64] + "…: want null, got number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := registry(t, TypeSpec{Name: "t", Channel: "c", Schema: json.RawMessage(`{"properties":{"data":{"properties":{"f":` + tt.field + `}}}}`)})
			wantInvalid(t, r.Validate(decode(t, event("t", `{"f":`+tt.value+`}`))), tt.want)
		})
	}
}
