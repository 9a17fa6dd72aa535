package socketio

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestPackets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		wire string
		want packet
	}{
		{`0`, packet{kind: '0', namespace: "/"}},
		{`0{"a":1}`, packet{kind: '0', namespace: "/", data: []byte(`{"a":1}`)}},
		{`0/admin,`, packet{kind: '0', namespace: "/admin"}},
		{`0/admin,{}`, packet{kind: '0', namespace: "/admin", data: []byte(`{}`)}},
		{`1`, packet{kind: '1', namespace: "/"}},
		{`1/a/b?c,`, packet{kind: '1', namespace: "/a/b?c"}},
		{`2["a"]`, packet{kind: '2', namespace: "/", data: []byte(`["a"]`)}},
		{`212["a"]`, packet{kind: '2', namespace: "/", id: 12, hasID: true, data: []byte(`["a"]`)}},
		{`20["a"]`, packet{kind: '2', namespace: "/", hasID: true, data: []byte(`["a"]`)}},
		{`2/admin,456["a"]`, packet{kind: '2', namespace: "/admin", id: 456, hasID: true, data: []byte(`["a"]`)}},
		{`3/admin,456[]`, packet{kind: '3', namespace: "/admin", id: 456, hasID: true, data: []byte(`[]`)}},
		{`4{"message":"x"}`, packet{kind: '4', namespace: "/", data: []byte(`{"message":"x"}`)}},
		{`4"x"`, packet{kind: '4', namespace: "/", data: []byte(`"x"`)}},
		{`51-["a"]`, packet{kind: '2', namespace: "/", attachments: 1, data: []byte(`["a"]`)}},
		{`52-/admin,456["a"]`, packet{kind: '2', namespace: "/admin", attachments: 2, id: 456, hasID: true, data: []byte(`["a"]`)}},
		{`61-/admin,456[]`, packet{kind: '3', namespace: "/admin", attachments: 1, id: 456, hasID: true, data: []byte(`[]`)}},
	}
	for _, tt := range tests {
		got, err := parsePacket([]byte(tt.wire), 10)
		if err != nil || !samePacket(got, tt.want) {
			t.Errorf("parsePacket(%s) is %+v, %v, want %+v", tt.wire, got, err, tt.want)
		}
		if wire := string(appendPacket(nil, tt.want)); wire != tt.wire {
			t.Errorf("appendPacket(%+v) is %s, want %s", tt.want, wire, tt.wire)
		}
	}
}

func samePacket(a, b packet) bool {
	return string(a.data) == string(b.data) && (a.data == nil) == (b.data == nil) &&
		a.kind == b.kind && a.namespace == b.namespace && a.id == b.id && a.hasID == b.hasID && a.attachments == b.attachments
}

func TestElements(t *testing.T) {
	t.Parallel()
	for _, array := range []string{
		`[]`, `[ ]`, `[1]`, `[1,2]`, "[\t1 ,\n[2,[3]] , {\"a\":[4,5],\"b\":\"]}\"} ]", `["\\",",","\"]"]`, `["a,b","[","{"]`,
		`[null,true,false,-1.5e+3,""]`, `[[],{},[[]]]`, `["\u005d\u0022"]`, `[[[[[[]]]]]]  `,
	} {
		var want []json.RawMessage
		if err := json.Unmarshal([]byte(array), &want); err != nil {
			t.Fatal(err)
		}
		if got := elements([]byte(array)); !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			t.Errorf("elements(%s) is %q, want %q", array, got, want)
		}
	}
}

func TestEventName(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	tests := []struct {
		data, want string
		ok         bool
	}{
		{`["a"]`, "a", true},
		{`[""]`, "", true},
		{` ["a"]`, "", false},
		{"[ \n\"a\" ]", "a", true},
		{`["\u0061\n\"\\"]`, "a\n\"\\", true},
		{`["` + long + `"]`, long, true},
		{`[0]`, "0", true},
		{`[-1]`, "-1", true},
		{`[]`, "", false},
		{`[null,"a"]`, "", false},
		{`[true]`, "", false},
		{`[["a"]]`, "", false},
		{`[{"a":1}]`, "", false},
		{`{"0":"a"}`, "", false},
		{`"a"`, "", false},
		{``, "", false},
	}
	for _, tt := range tests {
		if got, ok := eventName([]byte(tt.data)); got != tt.want || ok != tt.ok {
			t.Errorf("eventName(%.50s) is %.50q, %v, want %.50q, %v", tt.data, got, ok, tt.want, tt.ok)
		}
	}
}
