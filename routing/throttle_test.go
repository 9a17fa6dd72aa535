package routing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestThrottleKeys(t *testing.T) {
	t.Parallel()
	ev := event(t, `{"s":"a\"\u2028<ü\b","n":1.50,"i":1e3,"big":1e400,"yes":true,"null":null,"l":[1.0,"x", {}],
		"o":{ "b":1, "a":[ true,null ],"b":2.0},"long":"`+strings.Repeat("x", 600)+`"}`, `{}`)
	long := sha256.Sum256([]byte(`"` + strings.Repeat("x", 600) + `"`))
	tests := []struct{ params, want string }{
		{`{}`, `throttle:t:"global"`},
		{`{"key":"k"}`, `throttle:k:"global"`},
		{`{"key":"k","groupBy":"data.s"}`, "throttle:k:\"a\\\"\u2028<ü\\b\""},
		{`{"groupBy":"data.n"}`, `throttle:t:1.5`},
		{`{"groupBy":"data.i"}`, `throttle:t:1000`},
		{`{"groupBy":"data.big"}`, `throttle:t:null`},
		{`{"groupBy":"data.yes"}`, `throttle:t:true`},
		{`{"groupBy":"data.null"}`, `throttle:t:null`},
		{`{"groupBy":"data.none"}`, `throttle:t:null`},
		{`{"groupBy":"data.l"}`, `throttle:t:[1,"x",{}]`},
		{`{"groupBy":"data.o"}`, `throttle:t:{"b":2,"a":[true,null]}`},
		{`{"groupBy":"id"}`, `throttle:t:"e"`},
		{`{"groupBy":"data.long"}`, `throttle:t:sha256:` + hex.EncodeToString(long[:])},
	}
	for _, tt := range tests {
		var p problems
		params := strings.Replace(tt.params, "}", `,"limit":3,"window":1.5}`, 1)
		throttle := p.throttle(json.RawMessage(strings.Replace(params, "{,", "{", 1)), "params")
		if len(p) > 0 {
			t.Fatal(p)
		}
		ask := throttle.ask("c", &ev)
		if ask.Limit != 3 || ask.Window != 1500*time.Millisecond || ask.Member != "c\x00e" {
			t.Errorf("%s: ask is %+v", tt.params, ask)
		}
		if ask.Key != tt.want {
			t.Errorf("%s: key is %s, want %s", tt.params, ask.Key, tt.want)
		}
	}
}

func TestThrottleRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ params, want string }{
		{`{}`, "params.limit: 0: want 1 to 100000 events\nparams.window: 0: want 0.001 to 86400 seconds"},
		{`{"limit":-1,"window":-1}`, "params.limit: -1: want 1 to 100000 events\nparams.window: -1: want 0.001 to 86400 seconds"},
		{`{"limit":100001,"window":86401}`, "params.limit: 100001: want 1 to 100000 events\nparams.window: 86401: want 0.001 to 86400 seconds"},
		{`{"limit":1.5,"window":1}`, "params.limit: a JSON number 1.5: want a whole number"},
		{`{"limit":"1","window":1}`, "params.limit: a JSON string: want a whole number"},
		{`{"limit":1,"window":"1s"}`, "params.window: a JSON string: want a number"},
		{`{"limit":1,"window":1,"burst":2}`, `params: unknown field "burst": want key, groupBy, limit or window`},
		{`{"limit":1,"window":1,"groupBy":"user"}`, `params.groupBy: field path "user" cannot exist: want it to begin with id, type, data, metadata or timestamp`},
		{`{"limit":1,"window":1,"key":"` + strings.Repeat("k", 129) + `"}`, `params.key: has 129 bytes: want at most 128`},
		{`{"limit":1`, `params: want JSON, and all of it`},
		{`{"limit":1} {}`, `params: want one JSON value, and nothing behind it`},
	}
	for _, tt := range tests {
		var p problems
		p.throttle(json.RawMessage(tt.params), "params")
		if err := errors.Join(p...); err == nil || err.Error() != tt.want {
			t.Errorf("%.70s: %v\nwant: %s", tt.params, err, tt.want)
		}
	}
}

func TestThrottlesOfOneKeyCountApart(t *testing.T) {
	t.Parallel()
	f := compileFilters(t,
		include("second", "throttle", `{"key":"k","limit":10,"window":1}`),
		include("minute", "throttle", `{"key":"k","limit":100,"window":60}`),
		include("group", "throttle", `{"key":"k","groupBy":"data.user","limit":5,"window":1}`),
		include("again", "throttle", `{"key":"k","limit":10,"window":1}`),
		include("type", "throttle", `{"limit":100,"window":60}`))
	ev := event(t, `{"user":"u"}`, `{}`)
	want := []string{`throttle:k:"global"`, `throttle:k:"global":100/1m0s`, `throttle:k:"u":5/1s`, `throttle:k:"global"`, `throttle:t:"global"`}
	for i, w := range want {
		if got := f.filters[i].throttle.ask("c", &ev).Key; got != w {
			t.Errorf("key of %s is %s, want %s", f.filters[i].id, got, w)
		}
	}
}
