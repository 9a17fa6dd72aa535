package events

import (
	"encoding/json"
	"strings"
	"testing"
)

func content(t testing.TB, rules string) func(Event) error {
	t.Helper()
	var list []ContentRule
	if err := json.Unmarshal([]byte(rules), &list); err != nil {
		t.Fatal(err)
	}
	check, err := CompileContent(list, "rules")
	if err != nil {
		t.Fatal(err)
	}
	return check
}

func TestContent(t *testing.T) {
	t.Parallel()
	const (
		noScript = `[{"type":"no_script"}]`
		small    = `[{"type":"max_size","value":22}]`
		allowed  = `[{"type":"allowed_fields","value":["photoId","data.title","results.thumbnails.url","data","meta.exif","meta.exif.iso","meta"]}]`
		all      = `[{"type":"max_size","value":40},{"type":"no_script"},{"type":"allowed_fields","value":["a"]}]`
		element  = ": has a script element, want none"
		other    = ": not allowed, want it left out"
	)
	tests := []struct{ name, rules, data, want string }{
		{"no script", noScript, `{"a":"x < y","b":["<scripture>","<scripts","<scrip","< script>","script>","<script_","&lt;script>","javascript:x"],"c":1,"d":null}`, ""},
		{"element", noScript, `{"a":"hi <script>alert(1)</script>"}`, "no_script: data.a" + element},
		{"opening tag", noScript, `{"a":"<script src=x>"}`, "no_script: data.a" + element},
		{"any case", noScript, `{"a":"<ScRiPt\n>"}`, "no_script: data.a" + element},
		{"at the end", noScript, `{"a":"<script"}`, "no_script: data.a" + element},
		{"within", noScript, `{"a":"<<scrip<script/>"}`, "no_script: data.a" + element},
		{"escaped", noScript, `{"a":"\u003cscript\u003e"}`, "no_script: data.a" + element},
		{"escaped in other ways", noScript, `{"a":"\u003CS\u0063ript\/\u003e"}`, "no_script: data.a" + element},
		{"harmless escapes", noScript, `{"a":"\"\n\u003cscripts\u003e","\u0061":[1,true,{"b":"\\"}]}`, ""},
		{"deep", noScript, `{"a":[1,{"b":["x","<script>"]}]}`, "no_script: data.a.1.b.1" + element},
		{"name", noScript, `{"a":{"<script>":1}}`, "no_script: data.a.<script>" + element},
		{"escaped name", noScript, `{"\u003cscript>":1}`, "no_script: data.<script>" + element},
		{"first of two of a name", noScript, `{"a":"<script>","a":"x"}`, "no_script: data.a" + element},

		{"just fits", small, `{"a":"0123456789abcd"}`, ""},
		{"too large", small, `{"a":"0123456789abcde"}`, "max_size: data: 23 bytes, want at most 22"},
		{"bytes, not characters", small, `{"a":"äöüäöüäöü"}`, "max_size: data: 26 bytes, want at most 22"},

		{"allowed", allowed, `{"photoId":"p","title":{"de":"x"},"results":{"thumbnails":[{"url":"u"},{}]},"data":5,"meta":{"exif":[{"iso":1,"x":2}]}}`, ""},
		{"nothing", allowed, `{}`, ""},
		{"another", allowed, `{"photoId":"p","userId":"u"}`, "allowed_fields: data.userId" + other},
		{"another below", allowed, `{"results":{"thumbnails":[{"url":"u","size":1}]}}`, "allowed_fields: data.results.thumbnails.size" + other},
		{"not what it should contain", allowed, `{"results":{"thumbnails":["u"]}}`, "allowed_fields: data.results.thumbnails: only fields in it are allowed, want an object"},
		{"a dot is no path", allowed, `{"results.thumbnails.url":1}`, "allowed_fields: data.results.thumbnails.url" + other},
		{"escaped", allowed, `{"\u0070hotoId":1,"\u0078":1}`, "allowed_fields: data.x" + other},
		{"a long name", allowed, `{"` + strings.Repeat("x", 1000) + `":1}`, "allowed_fields: data." + strings.Repeat("x", 64) + "…" + other},

		{"all rules", all, `{"a":"b"}`, ""},
		{"first rule", all, `{"a":"<script>","b":"0123456789012345678901234567890"}`, "max_size: data: 54 bytes, want at most 40"},
		{"second rule", all, `{"b":"<script>"}`, "no_script: data.b" + element},
		{"third rule", all, `{"b":1}`, "allowed_fields: data.b" + other},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantInvalid(t, content(t, tt.rules)(decode(t, event("t", tt.data))), tt.want)
		})
	}
}

func TestContentLooksAtDataOnly(t *testing.T) {
	t.Parallel()
	raw := strings.Replace(event("t", `{}`), `"source":"test"`, `"source":"<script>"`, 1)
	wantInvalid(t, content(t, `[{"type":"no_script"},{"type":"max_size","value":2},{"type":"allowed_fields","value":["a"]}]`)(decode(t, raw)), "")
}

func TestContentOfEventMadeByHand(t *testing.T) {
	t.Parallel()
	check := content(t, `[{"type":"no_script"},{"type":"allowed_fields","value":["a"]}]`)
	wantInvalid(t, check(Event{ID: "e", Type: "t", Data: json.RawMessage(`{"b":1}`)}), "it has no JSON: make it with New or Decode")
}

func TestCompileContentReportsEverything(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, rules, want string }{
		{"none", `[]`, "p.rules: 0 rules: want 1 to 20"},
		{"too many", `[{}` + strings.Repeat(`,{}`, 20) + `]`, "p.rules: 21 rules: want 1 to 20"},
		{"all at once", `[{},{"type":"no_style"},{"type":"no_script","value":1},{"type":"max_size"},{"type":"max_size","value":0},
			{"type":"max_size","value":"1"},{"type":"max_size","value":1.5},{"type":"allowed_fields"},{"type":"allowed_fields","value":[]},
			{"type":"allowed_fields","value":[1]},{"type":"allowed_fields","value":["a","b..c"]},{"type":"allowed_fields","value":"a"},{"type":"no_script"}]`,
			`p.rules[0].type: "": want no_script, max_size or allowed_fields
p.rules[1].type: "no_style": want no_script, max_size or allowed_fields
p.rules[2].value: want none for no_script
p.rules[3].value: want a whole number of bytes from 1 for max_size, such as 65536
p.rules[4].value: want a whole number of bytes from 1 for max_size, such as 65536
p.rules[5].value: want a whole number of bytes from 1 for max_size, such as 65536
p.rules[6].value: want a whole number of bytes from 1 for max_size, such as 65536
p.rules[7].value: want 1 to 1000 paths of fields for allowed_fields, such as ["photoId"]
p.rules[8].value: want 1 to 1000 paths of fields for allowed_fields, such as ["photoId"]
p.rules[9].value: want 1 to 1000 paths of fields for allowed_fields, such as ["photoId"]
p.rules[10].value[1]: field path "b..c": want a name on both sides of each dot
p.rules[11].value: want 1 to 1000 paths of fields for allowed_fields, such as ["photoId"]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var list []ContentRule
			if err := json.Unmarshal([]byte(tt.rules), &list); err != nil {
				t.Fatal(err)
			}
			if _, err := CompileContent(list, "p.rules"); err == nil || err.Error() != tt.want {
				t.Errorf("CompileContent: %v\nwant %s", err, tt.want)
			}
		})
	}
}

func BenchmarkContent(b *testing.B) {
	check := content(b, `[{"type":"no_script"},{"type":"max_size","value":65536},
		{"type":"allowed_fields","value":["photoId","userId","filename","size","mimeType"]}]`)
	e := decode(b, smallEvent)
	b.ReportAllocs()
	for b.Loop() {
		if err := check(e); err != nil {
			b.Fatal(err)
		}
	}
}
