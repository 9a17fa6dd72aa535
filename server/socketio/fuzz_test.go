package socketio

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// What is taken is encoded and taken again as the same; and our reading of JSON is that of encoding/json.
func FuzzPacket(f *testing.F) {
	for _, seed := range []string{
		`0`, `0{"token":"x"}`, `0/admin,{}`, `1`, `1/admin,`, `2["heartbeat"]`, `2/admin,12["a",{"b":[1,2]}]`, `30[null]`,
		`4{"message":"x"}`, `4"x"`, `51-["a",{"_placeholder":true,"num":0}]`, `62-/admin,9[[],"\u0022"]`, `2[5,-1e9]`,
		`5999999999-`, `2["a",]`, `29007199254740993["a"]`, "2[ \"a\"\t,\n1 ]", `2["\ud800"]`, `2["conn\u0065ct"]`, `0/a`, `2/,["a"]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		before := bytes.Clone(wire)
		p, err := parsePacket(wire, 10)
		if !bytes.Equal(wire, before) {
			t.Fatalf("parsePacket changed %q to %q", before, wire)
		}
		if err != nil {
			return
		}
		again, err := parsePacket(appendPacket(nil, p), 10)
		if err != nil || !samePacket(p, again) {
			t.Fatalf("%q is %+v, encoded and parsed again %+v, %v", wire, p, again, err)
		}
		if p.attachments > 10 || len(p.namespace) > maxNamespace || p.id > maxAckID || p.namespace[0] != '/' {
			t.Fatalf("%q is out of bounds: %+v", wire, p)
		}
		if p.data == nil || p.data[0] != '[' {
			return
		}
		var want []json.RawMessage
		if err := json.Unmarshal(p.data, &want); err != nil {
			t.Fatalf("%q was taken, but %v", wire, err)
		}
		got := elements(p.data)
		if !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Fatalf("elements of %q are %q, want %q", p.data, got, want)
		}
		if p.kind != typeEvent {
			return
		}
		var wantName any
		if err := json.Unmarshal(want[0], &wantName); err != nil && want[0][0] == '"' {
			t.Fatal(err)
		}
		name, ok := eventName(p.data)
		if text, isText := wantName.(string); !ok || isText && utf8.Valid(p.data) && name != text || slices.Contains(reservedEvents, name) {
			t.Fatalf("the name in %q is %q, %v, want %q", p.data, name, ok, wantName)
		}
	})
}

// What is sent as Binary comes out of the placeholders again, between whatever text.
func FuzzBinary(f *testing.F) {
	f.Add("text", []byte("\x00\xff"), []byte(nil), `{"a":[1,"x"]}`)
	f.Add(binaryMark, []byte(binaryMark), []byte(`"}`), binaryMark+`?"}`)
	f.Add(`"}`, []byte("a"), []byte("b"), `[{"_placeholder":false,"num":0},"<&>"]`)
	f.Add("\xff", []byte("a"), []byte("a"), `12345678901234567890.5e-7`)
	f.Fuzz(func(t *testing.T, text string, a, b []byte, raw string) {
		if !json.Valid([]byte(raw)) || !utf8.ValidString(raw) {
			raw = "null"
		}
		args := []any{text, Binary(a), map[string]any{"deep": []any{text, Binary(b)}}, json.RawMessage(raw)}
		data, err := encodeArgs("event", args)
		if err != nil {
			t.Fatal(err)
		}
		out, attachments := extractBinary(bytes.Clone(data))
		out = append(out, ']')
		if len(attachments) < 2 || !bytes.Equal(attachments[0], a) || !bytes.Equal(attachments[1], b) {
			t.Fatalf("attachments of %s are %q, want %q and %q first", data, attachments, a, b)
		}
		if !strings.Contains(raw, "_placeholder") && len(attachments) != 2 {
			t.Fatalf("attachments of %s are %q, want two", data, attachments)
		}
		if _, err := parsePacket(appendPacket(nil, packet{kind: typeEvent, namespace: "/", data: out}), 10); err != nil {
			t.Fatalf("%s is no event: %v", out, err)
		}
		back, err := insertBinary(out, attachments)
		if err != nil {
			if strings.Contains(raw, "_placeholder") {
				return // a raw argument may hold placeholders that are wrong
			}
			t.Fatalf("insertBinary(%s): %v", out, err)
		}
		e := Event{Name: "event", packet: packet{data: back}}
		var gotText string
		var gotA []byte
		var deep struct {
			Deep []json.RawMessage `json:"deep"`
		}
		if err := e.Decode(&gotText, &gotA, &deep); err != nil {
			t.Fatalf("%s: %v", back, err)
		}
		var gotB Binary
		if err := json.Unmarshal(deep.Deep[1], &gotB); err != nil {
			t.Fatal(err)
		}
		if gotText != strings.ToValidUTF8(text, "\ufffd") && utf8.ValidString(text) || !bytes.Equal(gotA, a) || !bytes.Equal(gotB, b) {
			t.Fatalf("got %q %q %q, want %q %q %q", gotText, gotA, gotB, text, a, b)
		}
		if !strings.Contains(raw, "_placeholder") {
			wantSameJSON(t, e.Args()[3], []byte(raw))
		}
	})
}

// wantSameJSON compares values. Numbers are compared as they are written.
func wantSameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	canonical := func(data []byte) string {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		var tree any
		if err := dec.Decode(&tree); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		out, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if g, w := canonical(got), canonical(want); g != w {
		t.Fatalf("got %s, want %s", g, w)
	}
}
