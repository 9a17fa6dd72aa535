package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// document is openapi.json as tests see it.
type document struct {
	root     map[string]any
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

var theDocument = sync.OnceValue(func() *document {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("openapi.json", root); err != nil {
		panic(err)
	}
	return &document{root: root.(map[string]any), compiler: c, compiled: map[string]*jsonschema.Schema{}}
})

// at follows a JSON pointer, and the references on its way. It returns where it came to.
func (d *document) at(pointer string) (any, string) {
	var value any = d.root
	where := ""
	for _, part := range strings.Split(pointer, "/")[1:] {
		value, where = d.follow(value, where)
		object, ok := value.(map[string]any)
		if !ok {
			return nil, ""
		}
		value = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
		where += "/" + part
	}
	return d.follow(value, where)
}

func (d *document) follow(value any, where string) (any, string) {
	if object, ok := value.(map[string]any); ok {
		if ref, ok := object["$ref"].(string); ok {
			return d.at(strings.TrimPrefix(ref, "#"))
		}
	}
	return value, where
}

func escape(part string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(part) }

// check holds JSON against the schema at a pointer.
func (d *document) check(pointer string, body []byte) error {
	schema, err := d.schema(pointer)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (d *document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if schema, ok := d.compiled[pointer]; ok {
		return schema, nil
	}
	schema, err := d.compiler.Compile("openapi.json#" + (&url.URL{Path: pointer}).EscapedPath())
	if err == nil {
		d.compiled[pointer] = schema
	}
	return schema, err
}

// documented is one operation of the document.
type documented struct {
	pointer, method, path string
	pattern               *regexp.Regexp
}

func (d *document) operations() []documented { return theOperations() }

var theOperations = sync.OnceValue(func() []documented {
	var all []documented
	d := theDocument()
	paths := d.root["paths"].(map[string]any)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		pattern := regexp.MustCompile("^" + regexp.MustCompile(`\\\{\w+\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "[^/]+") + "$")
		for method := range paths[path].(map[string]any) {
			all = append(all, documented{"/paths/" + escape(path) + "/" + method, strings.ToUpper(method), path, pattern})
		}
	}
	// An address without parameters goes before one with.
	slices.SortStableFunc(all, func(a, b documented) int { return strings.Count(a.path, "{") - strings.Count(b.path, "{") })
	return all
})

func (d *document) find(method, escapedPath string) (documented, bool) {
	for _, op := range d.operations() {
		if op.method == method && op.pattern.MatchString(escapedPath) {
			return op, true
		}
	}
	return documented{}, false
}

// verify holds an exchange against the document: the status, the headers, the content type and the body of the answer, and
// what was sent, which has to be as described if it was taken.
func (d *document) verify(t *testing.T, method, target, contentType, sent string, res *http.Response, body []byte) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	op, ok := d.find(method, u.EscapedPath())
	if !ok {
		t.Errorf("%s %s is not documented", method, target)
		return
	}
	pointer := fmt.Sprintf("%s/responses/%d", op.pointer, res.StatusCode)
	answer, where := d.at(pointer)
	if answer == nil {
		t.Errorf("%s %s: status %d is not documented: %s", method, target, res.StatusCode, body)
		return
	}
	for name := range asObject(answer.(map[string]any)["headers"]) {
		optional := name == "Idempotency-Replayed" || name == "Retry-After"
		if !optional && res.Header.Get(name) == "" {
			t.Errorf("%s %s: header %s is missing", method, target, name)
		}
	}
	content := asObject(answer.(map[string]any)["content"])
	if len(content) == 0 {
		if len(body) != 0 {
			t.Errorf("%s %s: got a body: %s", method, target, body)
		}
	} else if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); content[kind] == nil {
		t.Errorf("%s %s: content type %q is not documented", method, target, kind)
	} else if strings.HasSuffix(kind, "json") {
		if err := d.check(where+"/content/"+escape(kind)+"/schema", body); err != nil {
			t.Errorf("%s %s: status %d: %v\n%s", method, target, res.StatusCode, err, body)
		}
	}

	request, where := d.at(op.pointer + "/requestBody")
	if request == nil || sent == "" {
		return
	}
	err = d.check(where+"/content/"+escape(contentType)+"/schema", []byte(sent))
	if err != nil && res.StatusCode < 300 {
		t.Errorf("%s %s: a body was taken that is not as documented: %v\n%s", method, target, err, sent)
	}
}

func asObject(v any) map[string]any {
	object, _ := v.(map[string]any)
	return object
}

// Every operation is described, and everything described is there.
func TestOpenAPIMatchesTheHandlers(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"GET /api/v1/openapi.json": "getOpenAPI",
		"GET /health":              "getHealth",
		"GET /health/live":         "getLive",
		"GET /health/ready":        "getReady",
		"GET /health/startup":      "getStartup",
		"GET /metrics":             "getMetrics",
	}
	for _, op := range newAPI(APIConfig{}).operations() {
		want[op.method+" "+strings.TrimSuffix(op.path, "{$}")] = op.id
	}
	d := theDocument()
	got := map[string]string{}
	for _, op := range d.operations() {
		id, _ := d.at(op.pointer + "/operationId")
		got[op.method+" "+op.path], _ = id.(string)
	}
	if !maps.Equal(got, want) {
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if got[key] != want[key] {
				t.Errorf("%s: documented as %q, want %q", key, got[key], want[key])
			}
		}
		for key, id := range got {
			if want[key] == "" {
				t.Errorf("%s (%s) is documented and not there", key, id)
			}
		}
	}
	ids := slices.Sorted(maps.Values(got))
	if len(slices.Compact(ids)) != len(got) {
		t.Error("an operationId is there twice")
	}
}

// What guards an operation shows in its documented answers.
func TestOpenAPIDocumentsRefusals(t *testing.T) {
	t.Parallel()
	d := theDocument()
	for _, op := range newAPI(APIConfig{}).operations() {
		pointer := "/paths/" + escape(strings.TrimSuffix(op.path, "{$}")) + "/" + strings.ToLower(op.method)
		statuses := []int{400, 401, 403, 429, 500, 501, 503}
		if op.maxBody > 0 {
			statuses = append(statuses, 413, 415)
		}
		for _, status := range statuses {
			if v, _ := d.at(fmt.Sprintf("%s/responses/%d", pointer, status)); v == nil {
				t.Errorf("%s: status %d is not documented", op.id, status)
			}
		}
		if v, _ := d.at(pointer + "/requestBody"); (v != nil) != (op.maxBody > 0) {
			t.Errorf("%s: a body is documented: %t, taken: %t", op.id, v != nil, op.maxBody > 0)
		}
		if v, _ := d.at(pointer + "/security"); v != nil {
			t.Errorf("%s: documented as open to all", op.id)
		}
	}
}

func TestOpenAPIIsWellFormed(t *testing.T) {
	t.Parallel()
	d := theDocument()
	if got := d.root["openapi"]; got != "3.1.0" {
		t.Errorf("got openapi %v", got)
	}
	for _, pointer := range []string{"/info/title", "/info/version", "/servers", "/components/securitySchemes/bearer/scheme"} {
		if v, _ := d.at(pointer); v == nil {
			t.Errorf("%s is missing", pointer)
		}
	}
	used := map[string]bool{}
	var walk func(where string, v any)
	walk = func(where string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if target, _ := d.at(strings.TrimPrefix(ref, "#")); target == nil || !strings.HasPrefix(ref, "#/components/") {
					t.Errorf("%s: %s leads nowhere", where, ref)
				}
			}
			for name, member := range v {
				walk(where+"/"+escape(name), member)
			}
		case []any:
			for _, element := range v {
				walk(where, element)
			}
		}
	}
	walk("", d.root)
	for _, kind := range []string{"schemas", "responses", "parameters"} {
		for name := range asObject(asObject(d.root["components"])[kind]) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] {
				t.Errorf("%s is not used", ref)
			}
		}
	}

	tags := map[string]bool{}
	for _, tag := range d.root["tags"].([]any) {
		tags[tag.(map[string]any)["name"].(string)] = true
	}
	for _, op := range d.operations() {
		o := asObject(first(d.at(op.pointer)))
		if o["summary"] == nil || len(asObject(o["responses"])) == 0 {
			t.Errorf("%s: has no summary or no responses", op.pointer)
		}
		for _, tag := range o["tags"].([]any) {
			if !tags[tag.(string)] {
				t.Errorf("%s: tag %v is not declared", op.pointer, tag)
			}
		}
		declared := map[string]bool{}
		parameters, _ := o["parameters"].([]any)
		for _, p := range parameters {
			p := asObject(first(d.follow(p, "")))
			if p["schema"] == nil {
				t.Errorf("%s: parameter %v has no schema", op.pointer, p["name"])
			}
			if p["in"] == "path" {
				declared["{"+p["name"].(string)+"}"] = true
			}
		}
		for _, name := range regexp.MustCompile(`\{\w+\}`).FindAllString(op.path, -1) {
			if !declared[name] {
				t.Errorf("%s: parameter %s is not declared", op.pointer, name)
			}
			delete(declared, name)
		}
		if len(declared) > 0 {
			t.Errorf("%s: parameters %v are not in the path", op.pointer, declared)
		}
	}
}

func first[A, B any](a A, _ B) A { return a }

func TestOpenAPIExamplesFitTheirSchemas(t *testing.T) {
	t.Parallel()
	d := theDocument()
	examples := 0
	for name, schema := range asObject(asObject(d.root["components"])["schemas"]) {
		pointer := "/components/schemas/" + name
		if err := d.check(pointer, []byte(`"\u0000 compiles"`)); err != nil && !isInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
		example, ok := asObject(schema)["example"]
		if !ok {
			continue
		}
		examples++
		body, err := json.Marshal(example)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.check(pointer, body); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if examples < 20 {
		t.Errorf("found %d examples", examples)
	}
}

func isInvalid(err error) bool {
	_, ok := err.(*jsonschema.ValidationError)
	return ok
}
