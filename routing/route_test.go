package routing

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestTargetsWith(t *testing.T) {
	t.Parallel()
	const (
		more  = `{"rules":[{"type":"room","selector":"data.userId","targetPrefix":"user:","eventName":"e"},{"type":"client","selector":"data.photoId","eventName":"new"}]}`
		again = `{"rules":[{"type":"multi","rules":[{"type":"room","selector":"data.photoId","targetPrefix":"photo:","eventName":"e"}]}]}`
		only  = `{"only":true,"rules":[{"type":"room","selector":"data.userId","targetPrefix":"only:","eventName":"e"}]}`
		every = `{"rules":[{"type":"broadcast","eventName":"e"}]}`
		none  = `{"only":true,"rules":[{"type":"room","selector":"data.none"}]}`
	)
	rules := compile(t, map[string][]Rule{"c": {
		{Type: "room", Selector: "data.photoId", TargetPrefix: "photo:", EventName: "e"},
		{Type: "room", Selector: "data.photoId", TargetPrefix: "other:", EventName: "f"},
	}})
	own := []Target{{Event: "e", Rooms: []string{"photo:p"}}, {Event: "f", Rooms: []string{"other:p"}}}
	tests := []struct {
		name, channel string
		routes        []string
		want          []Target
	}{
		{"none", "c", nil, own},
		{"more", "c", []string{more}, []Target{{Event: "e", Rooms: []string{"photo:p", "user:u"}}, own[1], {Event: "new", Rooms: []string{"client:p"}}}},
		{"the same room", "c", []string{again, again}, own},
		{"two", "c", []string{again, more}, []Target{{Event: "e", Rooms: []string{"photo:p", "user:u"}}, own[1], {Event: "new", Rooms: []string{"client:p"}}}},
		{"only", "c", []string{only}, []Target{{Event: "e", Rooms: []string{"only:u"}}}},
		{"only after more", "c", []string{more, only}, []Target{{Event: "e", Rooms: []string{"only:u"}}}},
		{"more after only", "c", []string{only, more}, []Target{{Event: "e", Rooms: []string{"only:u", "user:u"}}, {Event: "new", Rooms: []string{"client:p"}}}},
		{"everybody", "c", []string{every, more}, []Target{{Event: "e", All: true}, own[1], {Event: "new", Rooms: []string{"client:p"}}}},
		{"channel without rules", "d", []string{again}, []Target{{Event: "e", Rooms: []string{"photo:p"}}}},
		{"nobody", "c", []string{none}, nil},
	}
	ev := event(t, `{"photoId":"p","userId":"u"}`, `{}`)
	for _, tt := range tests {
		var specs []Filter
		for i, params := range tt.routes {
			specs = append(specs, Filter{ID: string(rune('a' + i)), Type: "include", Action: Action{"route", json.RawMessage(params)}})
		}
		var o Outcome
		if outs := apply(t, compileFilters(t, specs...), Inbound, tt.channel, ev); outs != nil {
			o = outs[0]
		}
		for range 2 { // what is compiled stays as it is
			if got := rules.TargetsWith(tt.channel, ev, o); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: targets are %+v, want %+v", tt.name, got, tt.want)
			}
		}
		if got := rules.Targets("c", ev); !reflect.DeepEqual(got, own) {
			t.Errorf("%s: the channel's own targets became %+v", tt.name, got)
		}
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	rules := compile(t, Default())
	spec := rules.Spec()
	if !reflect.DeepEqual(spec, Default()) {
		t.Errorf("Spec() = %+v, want the default rules", spec)
	}
	spec["photo:upload"][0].Rules[0].Type = "mine"
	delete(spec, "photo:processing")
	if got := rules.Spec(); !reflect.DeepEqual(got, Default()) {
		t.Errorf("Spec() shares its rules: %+v", got)
	}
}
