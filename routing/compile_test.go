package routing

import (
	"slices"
	"strings"
	"testing"
)

func TestDefaultCompiles(t *testing.T) {
	t.Parallel()
	want := []string{"photo:completion", "photo:processing", "photo:upload"}
	if got := compile(t, Default()).Channels(); !slices.Equal(got, want) {
		t.Errorf("Channels() = %v, want %v", got, want)
	}
	Default()["photo:upload"][0].Rules[0].Type = "mine"
	if got := Default()["photo:upload"][0].Rules[0].Type; got != "client" {
		t.Errorf("Default() shares its rules: type %q, want client", got)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	deep := Rule{Type: "room", Selector: "id"}
	for range maxDepth {
		deep = Rule{Type: "multi", Rules: []Rule{deep}}
	}
	tests := []struct {
		name string
		spec map[string][]Rule
		want []string
	}{
		{"unknown type", map[string][]Rule{"c": {{Type: "rooms", Selector: "id"}}},
			[]string{`c[0].type: "rooms": want room, client, broadcast or multi`}},
		{"no selector", map[string][]Rule{"c": {{Type: "client"}}},
			[]string{`c[0].selector: want the path of a field, such as "data.photoId"`}},
		{"bad selector", map[string][]Rule{"c": {{Type: "broadcast", Selector: "data."}}},
			[]string{`c[0].selector: field path "data.": want a name on both sides of each dot`}},
		{"prefix of a client", map[string][]Rule{"c": {{Type: "client", Selector: "id", TargetPrefix: "x:"}}},
			[]string{`c[0].targetPrefix: a client rule has none: leave it out, or use type room`}},
		{"reserved name", map[string][]Rule{"c": {{Type: "room", Selector: "id", EventName: "disconnect"}}},
			[]string{`c[0].eventName: "disconnect" belongs to socket.io: want another name`}},
		{"rules in a room", map[string][]Rule{"c": {{Type: "room", Selector: "id", Rules: []Rule{{Type: "broadcast"}}}}},
			[]string{`c[0].rules: want them only in a rule of type multi`}},
		{"empty multi with a selector", map[string][]Rule{"c": {{Type: "multi", Selector: "id"}}},
			[]string{`c[0]: a multi rule has only rules: set selector, targetPrefix and eventName in those`,
				`c[0].rules: want at least one rule`}},
		{"too deep", map[string][]Rule{"c": {deep}},
			[]string{`c[0]` + strings.Repeat(".rules[0]", maxDepth-1) + `.rules: want at most 8 levels of rules`}},
		{"too many", map[string][]Rule{"c": slices.Repeat([]Rule{{Type: "broadcast"}}, 101)},
			[]string{`c: has 101 rules: want at most 100`}},
		{"no channel", map[string][]Rule{"": nil}, []string{`"": want a channel name`}},
		{"all at once, by channel", map[string][]Rule{
			"photo:upload": {{Type: "broadcast"}, {Type: "multi", Rules: []Rule{{Type: "client", Selector: "id"}, {Type: "room"}, {}}}},
			"a":            {{Type: "room"}},
		}, []string{
			`a[0].selector: want the path of a field, such as "data.photoId"`,
			`photo:upload[1].rules[1].selector: want the path of a field, such as "data.photoId"`,
			`photo:upload[1].rules[2].type: "": want room, client, broadcast or multi`,
			`photo:upload[1].rules[2].selector: want the path of a field, such as "data.photoId"`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Compile(tt.spec)
			if r != nil || err == nil {
				t.Fatalf("Compile = %v, %v, want an error", r, err)
			}
			if want := strings.Join(tt.want, "\n"); err.Error() != want {
				t.Errorf("Compile: %v\nwant:    %s", err, want)
			}
		})
	}
}
