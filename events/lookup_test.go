package events

import (
	"slices"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	t.Parallel()
	tests := []struct {
		path string
		ok   bool
	}{
		{"id", true},
		{"data.results.thumbnails.0.url", true},
		{"data.*.#.@this", true},
		{strings.Repeat("a.", 31) + "a", true},
		{strings.Repeat("a", 512), true},
		{"", false},
		{".", false},
		{".id", false},
		{"data.", false},
		{"data..photoId", false},
		{strings.Repeat("a.", 32) + "a", false},
		{strings.Repeat("a", 513), false},
	}
	for _, tt := range tests {
		p, err := ParsePath(tt.path)
		if (err == nil) != tt.ok {
			t.Errorf("ParsePath(%.40q): error %v, want ok %v", tt.path, err, tt.ok)
		}
		if tt.ok && p.String() != tt.path {
			t.Errorf("ParsePath(%.40q).String() = %q", tt.path, p)
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	e := decode(t, `{"id":"e1","type":"photo.uploaded","timestamp":"now","extra":{"a":true},
		"data":{"photoId":"p\u00e91","size":1.50,"n":null,"list":["a",{"b":[10,11]},2],"0":"zero","empty":"","no":false,
			"*":"star","#":"hash","@this":"at","a|b":"pipe","a\\.b":"backslash","x.y":"dot","dup":1,"dup":2,"o":{"a":1},"o":{"b":2}},
		"metadata":{"source":"s","traceId":"t","clientId":"c","sessionId":"","version":"1.0","userId":"u"}}`)
	tests := []struct {
		path string
		kind Kind
		want string
		ok   bool
	}{
		{"id", String, "e1", true},
		{"type", String, "photo.uploaded", true},
		{"timestamp", String, "now", true},
		{"metadata.source", String, "s", true},
		{"metadata.traceId", String, "t", true},
		{"metadata.clientId", String, "c", true},
		{"metadata.sessionId", String, "", true}, // there, but empty
		{"metadata.version", String, "1.0", true},
		{"metadata.traceparent", 0, "", false},
		{"metadata.userId", String, "u", true},
		{"metadata.source.x", 0, "", false},
		{"data.photoId", String, "pé1", true},
		{"data.size", Number, "1.5", true},
		{"data.n", Null, "null", true},
		{"data.no", Bool, "false", true},
		{"data.empty", String, "", true},
		{"extra.a", Bool, "true", true},
		{"extra", Object, `{"a":true}`, true},
		{"data.list", Array, `["a",{"b":[10,11]},2]`, true},
		{"data.list.0", String, "a", true},
		{"data.list.1.b.1", Number, "11", true},
		{"data.list.2", Number, "2", true},
		{"data.list.3", 0, "", false},
		{"data.list.00", 0, "", false},
		{"data.list.-1", 0, "", false},
		{"data.list.99999999999999999999", 0, "", false},
		{"data.list.length", 0, "", false},
		{"data.0", String, "zero", true},
		{"data.*", String, "star", true},
		{"data.#", String, "hash", true},
		{"data.@this", String, "at", true},
		{"data.a|b", String, "pipe", true},
		{"data.list.#", 0, "", false},
		{"data.p*", 0, "", false},
		{"data.x.y", 0, "", false},
		{"data.dup", Number, "2", true}, // the last counts
		{"data.o.a", 0, "", false},
		{"data.o.b", Number, "2", true},
		{"data.photoId.length", 0, "", false},
		{"data.missing", 0, "", false},
		{"missing.data", 0, "", false},
	}
	for _, tt := range tests {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := e.Lookup(p)
		if ok != tt.ok || ok && (got.Kind != tt.kind || got.String() != tt.want) {
			t.Errorf("Lookup(%s) = %v %q, %v, want %v %q, %v", tt.path, got.Kind, got, ok, tt.kind, tt.want, tt.ok)
		}
	}
	if _, ok := e.Lookup(Path{}); ok {
		t.Error("Lookup of no path found something")
	}
	p, err := ParsePath("metadata.clientId")
	if err != nil {
		t.Fatal(err)
	}
	for _, metadata := range []string{``, `,"metadata":null`, `,"metadata":{}`} {
		if v, ok := decode(t, `{"id":"e","type":"t","data":{}`+metadata+`}`).Lookup(p); ok {
			t.Errorf("Lookup(%s) with %q = %q, want nothing", p, metadata, v)
		}
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	e := decode(t, smallEvent)
	for _, s := range []string{"metadata.clientId", "metadata.traceparent", "data.photoId", "data.size"} {
		p, err := ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := testing.AllocsPerRun(100, func() { e.Lookup(p) }); got != 0 {
			t.Errorf("Lookup(%s) makes %v allocations, want 0", s, got)
		}
	}
}

func TestElements(t *testing.T) {
	t.Parallel()
	e := decode(t, `{"id":"e","type":"t","data":{"a":["x",2,true,null,[3],{"b":4}],"s":"x"}}`)
	tests := []struct {
		path  string
		limit int
		want  []string
	}{
		{"data.a", 10, []string{"x", "2", "true", "null", "[3]", `{"b":4}`}},
		{"data.a", 2, []string{"x", "2"}},
		{"data.s", 10, nil},
	}
	for _, tt := range tests {
		p, err := ParsePath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := e.Lookup(p)
		var got []string
		for element := range v.Elements() {
			if got = append(got, element.String()); len(got) == tt.limit {
				break
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("first %d elements of %s = %q, want %q", tt.limit, tt.path, got, tt.want)
		}
	}
}

// The wanted texts are what String(number) gives in JavaScript.
func TestNumberString(t *testing.T) {
	t.Parallel()
	tests := []struct{ json, want string }{
		{"0", "0"},
		{"-0", "0"},
		{"-0.0", "0"},
		{"42", "42"},
		{"-7", "-7"},
		{"1.0", "1"},
		{"1e3", "1000"},
		{"0.1", "0.1"},
		{"-12.50", "-12.5"},
		{"9007199254740991", "9007199254740991"},
		{"9007199254740993", "9007199254740992"},
		{"12345678901234567890", "12345678901234567000"},
		{"123456789012345680000", "123456789012345680000"},
		{"1e21", "1e+21"},
		{"-1.5e300", "-1.5e+300"},
		{"0.000001", "0.000001"},
		{"0.0000001", "1e-7"},
		{"1.5e-10", "1.5e-10"},
		{"1e400", "Infinity"},
		{"-1e400", "-Infinity"},
		{"1e-400", "0"},
	}
	p, err := ParsePath("data.n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		v, ok := decode(t, `{"id":"e","type":"t","data":{"n":`+tt.json+`}}`).Lookup(p)
		if !ok || v.Kind != Number || v.String() != tt.want {
			t.Errorf("%s: %v %q, want %q", tt.json, v.Kind, v, tt.want)
		}
	}
}
