package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"testing"
	"unicode/utf8"
)

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		smallEvent,
		`{"specversion":"1.0","id":"e","source":"s","type":"t","time":"x","dataversion":"2","ext":1,"data":{"a":[1]}}`,
		` {"id":"a","id":"\u0062\ud800","type":"t","data":{"x":{},"x":[{"y":1e5}]},"metadata":{"source":null},"q":"\\\""}`,
		`{"id":"e","type":"t","data":{},"metadata":null,"timestamp":null,"specversion":"1.0"}`,
		`{"id":"e","type":"t","data":{},"metadata":{"clientId":1,"clientId":"c"}}`,
		nested(130),
	} {
		f.Add([]byte(seed))
	}
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw, limit)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("Decode: %v, want ErrMalformed or ErrTooLarge", err)
			}
			return
		}
		if !json.Valid(e.Raw()) || !utf8.Valid(e.Raw()) || !json.Valid(e.Data) {
			t.Fatalf("not JSON: %q", e.Raw())
		}
		again, err := Decode(bytes.Clone(e.Raw()), limit)
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Fatalf("decoded again: %+v, %v, want %+v", again, err, e)
		}
		agree(t, e)
	})
}

// agree compares an event with what the standard library reads from its JSON. That too takes the last of a name.
func agree(t *testing.T, e Event) {
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(e.Raw(), &doc); err != nil {
		t.Fatal(err)
	}
	var id, typ string
	if json.Unmarshal(doc["id"], &id) != nil || json.Unmarshal(doc["type"], &typ) != nil || id != e.ID || typ != e.Type {
		t.Fatalf("id %q, type %q, want %q, %q", e.ID, e.Type, id, typ)
	}
	if !bytes.Equal(doc["data"], e.Data) {
		t.Fatalf("data %q, want %q", e.Data, doc["data"])
	}
	var data map[string]json.RawMessage
	if err := json.Unmarshal(e.Data, &data); err != nil {
		t.Fatal(err)
	}
	for name, raw := range data {
		p, err := ParsePath("data." + name)
		if err != nil || len(p.parts) != 2 {
			continue
		}
		got, ok := e.Lookup(p)
		if want := decoded(raw); !ok || got.String() != want.String() || got.Kind != want.Kind {
			t.Fatalf("Lookup(%s) = %v %q, %v, want %v %q", p, got.Kind, got, ok, want.Kind, want)
		}
	}
}

func decoded(raw json.RawMessage) Value {
	switch raw[0] {
	case '{':
		return Value{Kind: Object, json: string(raw)}
	case '[':
		return Value{Kind: Array, json: string(raw)}
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil { // a number beyond float64
		n, _ := strconv.ParseFloat(string(raw), 64)
		return Value{Kind: Number, Num: n}
	}
	switch v := v.(type) {
	case string:
		return Value{Kind: String, Str: v}
	case float64:
		return Value{Kind: Number, Num: v}
	case bool:
		return Value{Kind: Bool, Bool: v}
	}
	return Value{}
}

// FuzzShape holds the quick check against the library: what fits must be valid.
func FuzzShape(f *testing.F) {
	for _, typ := range Types() {
		f.Add([]byte(event(typ, valid[typ])))
	}
	f.Add([]byte(event("t", `{"a":1,"a":[],"b":"\u0061b","c":[true],"d":"2026-01-31T12:00:00Z","\u0065":1e999}`)))
	f.Add([]byte(event("t", ` { "a" : -1.5 , "c" : [ { } , { "a" : null } ] , "b" : "ab" , "x" : [ { "\\" : "\"" } ] } `)))
	var all []*schema
	for _, text := range quick {
		all = append(all, compiled(f, text))
	}
	for _, typ := range Types() {
		all = append(all, platformSchemas()[typ])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw, 1<<14)
		if err != nil {
			return
		}
		for _, s := range all {
			if !s.fast.fits(e.doc) {
				continue
			}
			if problems := check(s.full, e.Raw()); problems != nil {
				t.Fatalf("%s fits %s, want %v", e.Raw(), s.full.Location, problems)
			}
		}
	})
}
