package events

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestValidators(t *testing.T) {
	t.Parallel()
	specs, err := ParseValidators(json.RawMessage(`{
		"photo.uploaded": [
			{"name": "registered", "type": "schema"},
			{"name": "small", "type": "schema", "schema": {"properties": {"data": {"properties": {"size": {"maximum": 100}}}}}},
			{"name": "uploaders", "type": "permission", "permission": "event_bus:publish:photo:upload"},
			{"name": "per user", "type": "rate_limit", "config": {"key": "up:{userId}:{eventType}", "window": 60, "limit": 10}},
			{"name": "clean", "type": "content", "rules": [{"type": "no_script"}, {"type": "max_size", "value": 1000}]}
		],
		"photo.printed": [{"name": "clean", "type": "content", "rules": [{"type": "no_script"}]}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	validators, err := registry(t).CompileValidators(specs)
	if err != nil {
		t.Fatal(err)
	}
	if len(validators) != 2 || len(validators["photo.printed"]) != 1 {
		t.Fatalf("validators = %v, want those of two types", validators)
	}
	list := validators[PhotoUploaded]
	for i, want := range []struct{ name, kind, says string }{
		{"registered", SchemaValidator, "data.mimeType: missing, want string"},
		{"small", SchemaValidator, "data.size: want at most 100"},
		{"uploaders", PermissionValidator, ""},
		{"per user", RateLimitValidator, ""},
		{"clean", ContentValidator, "no_script: data.filename: has a script element, want none"},
	} {
		v := list[i]
		if v.Name != want.name || v.Type != want.kind || (v.Check == nil) != (want.says == "") {
			t.Errorf("validator %d = %+v, want %+v", i, v, want)
		} else if v.Check != nil {
			wantInvalid(t, v.Check(decode(t, event(PhotoUploaded, `{"photoId":"p","userId":"u","filename":"<script>","size":101}`))), want.says)
			wantInvalid(t, v.Check(decode(t, event(PhotoUploaded, valid[PhotoUploaded]))), "")
		}
	}
	if got, want := list[2].Permission, "event_bus:publish:photo:upload"; got != want {
		t.Errorf("permission %q, want %q", got, want)
	}
	if got, want := list[3].Config.For("u1", PhotoUploaded), "up:u1:photo.uploaded"; got != want || list[3].Config.Window != 60 || list[3].Config.Limit != 10 {
		t.Errorf("key %q of %+v, want %q", got, list[3].Config, want)
	}
	if got, want := list[3].Config.For("{eventType}", "t"), "up:{eventType}:t"; got != want {
		t.Errorf("key %q, want %q: a user's id is not looked into", got, want)
	}
}

func TestSchemaValidatorOfEventMadeByHand(t *testing.T) {
	t.Parallel()
	v, err := registry(t).CompileValidators(map[string][]ValidatorSpec{"t": {{Name: "n", Type: SchemaValidator, Schema: json.RawMessage(`{}`)}}})
	if err != nil {
		t.Fatal(err)
	}
	wantInvalid(t, v["t"][0].Check(Event{ID: "e", Type: "t"}), "it has no JSON: make it with New or Decode")
}

func TestParseValidatorsReportsEverything(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"absent", ``, ""},
		{"null", `null`, ""},
		{"empty", `{}`, ""},
		{"no object", `[]`, "security.eventValidation: want lists of validators by event type"},
		{"everything", `{"a":{},"b":[5,{"name":1},{"nmae":"x"},{"config":{"window":"1m"}},{"config":{"windw":1}},{"rules":{}},{"config":{"limit":1.5}}],
			"c.d":[{"config":[]}]}`, `security.eventValidation["a"]: want a list of validators
security.eventValidation["b"][0]: want an object, got number
security.eventValidation["b"][1].name: want a string, got number
security.eventValidation["b"][2]: unknown key "nmae": want it left out, or spelled right
security.eventValidation["b"][3].config.window: want a whole number, got string
security.eventValidation["b"][4]: unknown key "windw": want it left out, or spelled right
security.eventValidation["b"][5].rules: want a list, got object
security.eventValidation["b"][6].config.limit: want a whole number, got number 1.5
security.eventValidation["c.d"][0].config: want an object, got array`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseValidators(json.RawMessage(tt.text))
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("ParseValidators: %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestCompileValidatorsReportsEverything(t *testing.T) {
	t.Parallel()
	specs, err := ParseValidators(json.RawMessage(`{
		"": [],
		"photo.deleted": [
			{"type": "magic"},
			{"name": "a", "type": "schema", "schema": {"type": "x"}, "permission": "p"},
			{"name": "a", "type": "permission", "rules": [{}], "config": {"limit": 1}},
			{"name": "b", "type": "rate_limit", "schema": {}},
			{"name": "c", "type": "rate_limit", "config": {"key": "{user}", "window": 86401, "limit": -1}},
			{"name": "d", "type": "content"},
			{"name": "e", "type": "content", "rules": [{"type": "max_size"}, {"type": "x"}]}
		],
		"photo.printed": [{"name": "s", "type": "schema"}]
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`security.eventValidation[""]: no known event type: want one of photo.uploaded, `,
		`["photo.deleted"][0].name: "": want a name of 1 to 256 bytes that no other of the type has`,
		`["photo.deleted"][0].type: "magic": want schema, permission, rate_limit or content`,
		`["photo.deleted"][1].permission: want it only in a validator of type permission`,
		`["photo.deleted"][1].schema: no JSON Schema 2020-12: type: `,
		`["photo.deleted"][2].name: "a": want a name of 1 to 256 bytes that no other of the type has`,
		`["photo.deleted"][2].config: want it only in a validator of type rate_limit`,
		`["photo.deleted"][2].rules: want it only in a validator of type content`,
		`["photo.deleted"][2].permission: 0 bytes: want a permission, such as event_bus:publish:photo:upload, of at most 512`,
		`["photo.deleted"][3].schema: want it only in a validator of type schema`,
		`["photo.deleted"][3].config.key: 0 bytes: want a key, such as publish:{userId}:{eventType}, of 1 to 512`,
		`["photo.deleted"][3].config.window: 0: want 1 to 86400 seconds`,
		`["photo.deleted"][3].config.limit: 0: want 1 to 100000 events`,
		`["photo.deleted"][4].config.key: "{user}": want no braces but those of {userId} and {eventType}`,
		`["photo.deleted"][4].config.window: 86401: want 1 to 86400 seconds`,
		`["photo.deleted"][4].config.limit: -1: want 1 to 100000 events`,
		`["photo.deleted"][5].rules: 0 rules: want 1 to 20`,
		`["photo.deleted"][6].rules[0].value: want a whole number of bytes`,
		`["photo.deleted"][6].rules[1].type: "x": want no_script, max_size or allowed_fields`,
		`["photo.printed"][0].schema: missing: nothing is registered for "photo.printed": want a schema here or in events.types`,
	}
	_, err = registry(t).CompileValidators(specs)
	if err == nil {
		t.Fatal("no error")
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Errorf("%d problems, want %d:\n%v", len(got), len(want), err)
	}
	for i := range min(len(got), len(want)) {
		if !strings.HasPrefix(got[i], validationKey) || !strings.Contains(got[i], want[i]) {
			t.Errorf("problem %d: %s\nwant %s", i, got[i], want[i])
		}
	}
}

func TestValidatorsOfUnknownTypes(t *testing.T) {
	t.Parallel()
	specs := map[string][]ValidatorSpec{"photo.printed": {{Name: "p", Type: PermissionValidator, Permission: "print"}}}
	for unknown, ok := range map[string]bool{AllowUnknown: true, RefuseUnknown: false} {
		r, err := Config{Unknown: unknown}.Registry()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.CompileValidators(specs); (err == nil) != ok {
			t.Errorf("where unknown types are %sd: %v, want ok: %v", unknown, err, ok)
		}
	}
}
