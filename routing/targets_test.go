package routing

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestTargetsOfDefaultRules(t *testing.T) {
	t.Parallel()
	rules := compile(t, Default())
	tests := []struct {
		name, channel, data, metadata string
		want                          []Target
	}{
		{"upload", "photo:upload", `{"photoId":"p"}`, `{"clientId":"c","sessionId":"s"}`,
			[]Target{{Event: "upload.event", Rooms: []string{"client:c", "session:s"}}}},
		{"upload without a session", "photo:upload", `{"photoId":"p"}`, `{"clientId":"c"}`,
			[]Target{{Event: "upload.event", Rooms: []string{"client:c"}}}},
		{"upload with an empty client", "photo:upload", `{}`, `{"clientId":"","sessionId":"s"}`,
			[]Target{{Event: "upload.event", Rooms: []string{"session:s"}}}},
		{"upload by nobody", "photo:upload", `{"photoId":"p","userId":"u"}`, `{"source":"s"}`, nil},
		{"processing", "photo:processing", `{"photoId":"p","userId":"u"}`, `{"clientId":"c"}`,
			[]Target{{Event: "processing.event", Rooms: []string{"photo:p", "user:u"}}}},
		{"processing without metadata", "photo:processing", `{"photoId":"p"}`, `null`,
			[]Target{{Event: "processing.event", Rooms: []string{"photo:p"}}}},
		{"completion", "photo:completion", `{"photoId":"p","userId":"u"}`, `{"clientId":"c"}`,
			[]Target{{Event: "completion.event", Rooms: []string{"photo:p", "client:c"}}}},
		{"unknown channel", "photo:other", `{"photoId":"p"}`, `{"clientId":"c"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := rules.Targets(tt.channel, event(t, tt.data, tt.metadata)); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Targets = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTargetsMerge(t *testing.T) {
	t.Parallel()
	room := func(selector, prefix, name string) Rule {
		return Rule{Type: "room", Selector: selector, TargetPrefix: prefix, EventName: name}
	}
	tests := []struct {
		name  string
		rules []Rule
		want  []Target
	}{
		{"no event name", []Rule{room("data.a", "x:", "")}, []Target{{Event: "event", Rooms: []string{"x:1"}}}},
		{"no prefix", []Rule{room("data.a", "", "")}, []Target{{Event: "event", Rooms: []string{"1"}}}},
		{"one room by two rules", []Rule{room("data.a", "x:", "e"), room("data.alike", "x:", "e"), {Type: "client", Selector: "data.a", EventName: "e"}, room("data.a", "client:", "e")},
			[]Target{{Event: "e", Rooms: []string{"x:1", "client:1"}}}},
		{"two event names, in order", []Rule{room("data.b", "x:", "f"), room("data.a", "x:", "e"), room("data.a", "x:", "f")},
			[]Target{{Event: "f", Rooms: []string{"x:2", "x:1"}}, {Event: "e", Rooms: []string{"x:1"}}}},
		{"one name has nothing", []Rule{room("data.none", "x:", "f"), room("data.a", "x:", "e")},
			[]Target{{Event: "e", Rooms: []string{"x:1"}}}},
		{"broadcast includes every room", []Rule{room("data.a", "x:", "e"), {Type: "broadcast", EventName: "e"}},
			[]Target{{Event: "e", All: true}}},
		{"broadcast beside another name", []Rule{room("data.a", "x:", "e"), {Type: "broadcast"}},
			[]Target{{Event: "e", Rooms: []string{"x:1"}}, {Event: "event", All: true}}},
		{"broadcast if", []Rule{{Type: "broadcast", Selector: "data.a"}}, []Target{{Event: "event", All: true}}},
		{"broadcast if not", []Rule{{Type: "broadcast", Selector: "data.none"}, room("data.a", "x:", "")},
			[]Target{{Event: "event", Rooms: []string{"x:1"}}}},
		{"multi in multi", []Rule{{Type: "multi", Rules: []Rule{{Type: "multi", Rules: []Rule{room("data.b", "x:", "")}}, room("data.a", "x:", "")}}},
			[]Target{{Event: "event", Rooms: []string{"x:2", "x:1"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := compile(t, map[string][]Rule{"c": tt.rules}).Targets("c", event(t, `{"a":"1","alike":1,"b":2}`, `{}`))
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("Targets = %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTargetsOfValues(t *testing.T) {
	t.Parallel()
	rules := compile(t, map[string][]Rule{"c": {{Type: "room", Selector: "data.v", TargetPrefix: "r:"}}})
	long := strings.Repeat("x", 512)
	tests := []struct {
		value string
		want  []string
	}{
		{`"a"`, []string{"r:a"}},
		{`"ä \" b"`, []string{`r:ä " b`}},
		{`"` + long + `"`, []string{"r:" + long}},
		{`"` + long + `x"`, nil},
		{`""`, nil},
		{`42`, []string{"r:42"}},
		{`0`, []string{"r:0"}},
		{`-1.50`, []string{"r:-1.5"}},
		{`1e3`, []string{"r:1000"}},
		{`1e400`, nil},
		{`null`, nil},
		{`true`, nil},
		{`{"id":"a"}`, nil},
		{`[]`, nil},
		{`["b","a","b",7,"7",null,"",true,["c"],{"d":1},"` + long + `x","e"]`, []string{"r:b", "r:a", "r:7", "r:e"}},
	}
	for _, tt := range tests {
		var got []string
		for _, target := range rules.Targets("c", event(t, `{"v":`+tt.value+`}`, `{}`)) {
			got = target.Rooms
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("rooms of %.60s = %q, want %q", tt.value, got, tt.want)
		}
	}
}

func TestTargetsOfManyElements(t *testing.T) {
	t.Parallel()
	var elements []string
	var want []string
	for i := range 1001 {
		elements = append(elements, fmt.Sprintf(`"%d"`, i/2)) // each twice
		if i%2 == 0 && i < 1000 {
			want = append(want, fmt.Sprintf("r:%d", i/2))
		}
	}
	rules := compile(t, map[string][]Rule{"c": {{Type: "room", Selector: "data.v", TargetPrefix: "r:"}}})
	got := rules.Targets("c", event(t, `{"v":[`+strings.Join(elements, ",")+`]}`, `{}`))
	if len(got) != 1 || !reflect.DeepEqual(got[0].Rooms, want) {
		t.Errorf("Targets = %v, want one with the %d rooms of the first 1000 elements", got, len(want))
	}
}

func BenchmarkTargets(b *testing.B) {
	rules := compile(b, Default())
	e := event(b, `{"photoId":"photo-123","userId":"user-42","jobId":"j","stage":"resize","progress":50}`, `{"source":"s","clientId":"c"}`)
	for _, channel := range rules.Channels() {
		b.Run(channel, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(rules.Targets(channel, e)) != 1 {
					b.Fatal("no target")
				}
			}
		})
	}
}
