package routing

import (
	"errors"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

func TestExpressions(t *testing.T) {
	t.Parallel()
	ev, err := events.Decode([]byte(`{"id":"e","type":"photo.uploaded","data":{"photoId":"p","n":5,"half":0.5,"big":1e400,
		"tags":["a","b","c"],"faces":[{"name":"x","score":0.9},{"name":"y","score":0.2}],"null":null,"twice":1,"twice":2},
		"metadata":{"clientId":"c","x":{"y":[1]}},"timestamp":"2026-01-31T12:00:00.000Z"}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		source string
		want   bool
		fails  bool
	}{
		{source: `true`, want: true},
		{source: `id == "e" and type startsWith "photo." && timestamp endsWith "Z" and channel == "c"`, want: true},
		{source: `data.n == 5 && data.half + 1 == 1.5 && data.n * 2 - 1 > 8`, want: true},
		{source: `data.n in [4, 5]`, want: true},
		{source: `data.photoId in ["p", "q"]`, want: true},
		{source: `data.n in ["5"]`},
		{source: `"b" in data.tags`, want: true},
		{source: `"z" not in data.tags`, want: true},
		{source: `data.n % 2 == 1 && data.n / 2 == 2.5 && data.tags == ["a", "b", "c"] && metadata.x.y == [1]`, want: true},
		{source: `data.half % 2 == 0`, fails: true},
		{source: `data.none == nil && data.null == nil`, want: true},
		{source: `data.none?.deeper == nil`, want: true},
		{source: `data.none.deeper == nil`, fails: true},
		{source: `(data.none ?? 7) == 7`, want: true},
		{source: `metadata.x.y[0] == 1 && metadata.clientId == "c"`, want: true},
		{source: `any(data.faces, .score > 0.8)`, want: true},
		{source: `all(data.faces, .score > 0.8)`},
		{source: `all(data.tags, len(#) == 1) && all(data.tags, # != "z")`, want: true},
		{source: `len(filter(data.faces, .score > 0.5)) == 1 && count(data.faces, .score < 0.5) == 1`, want: true},
		{source: `data.faces | filter(.score > 0.5) | map(.name) | first() == "x"`, want: true},
		{source: `sum(data.faces, .score) > 1`, want: true},
		{source: `any(data.faces, any(data.tags, # == "c"))`, want: true},
		{source: `find(data.faces, .name == "y").score == 0.2`, want: true},
		{source: `data.photoId matches "^p$"`, want: true},
		{source: `data.big > 1e300 && data.twice == 2`, want: true},
		{source: `upper(data.photoId) == "P" && string(data.n) == "5" && data["n"] == 5`, want: true},
		{source: `type(data.tags) == "array"`, fails: true}, // type is the event's
		{source: `data.photoId > 3`, fails: true},
		{source: `data.photoId`, fails: true},
		{source: `data.n`, fails: true},
		{source: `data.photoId + data.photoId == "pp"`, fails: true},
		{source: `data.n % 0 == 1`, fails: true},
		{source: `data.photoId()`, fails: true},
		{source: `data.tags[7] == "x"`, fails: true},
	}
	for _, tt := range tests {
		program, err := compileExpr(tt.source, true)
		if err != nil {
			if !tt.fails {
				t.Errorf("compile %s: %v", tt.source, err)
			}
			continue
		}
		env, err := newExprEnv(&ev, "c")
		if err != nil {
			t.Fatal(err)
		}
		got, err := env.run(program)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s = %v, %v, want %v, failing %v", tt.source, got, err, tt.want, tt.fails)
		}
	}
}

func TestExpressionsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ source, want string }{
		{`payload.x == 1`, "unknown name payload (1:1): want an expression of id, type, data, metadata, channel and timestamp"},
		{`data.x ==`, "unexpected token EOF"},
		{`len(data.x)`, "expected bool, but got int"},
		{`"x"`, "expected bool, but got string"},
		{`now() > date("2026-01-01")`, "now"},
		{`duration("1h") > duration("1s")`, "duration"},
		{`let x = data.a; x == 1`, "let: write the value where it is used"},
		{`any(1..1000000, # == data.n)`, "..: there are no ranges"},
		{`data.x matches data.y`, "matches: want a pattern in quotes"},
		{`data.x matches "(?=a)"`, "RE2 has no lookahead"},
		{`data.x + "b" == "ab"`, "+: it adds numbers only"},
		{`$env["channel"] == "x"`, "$env: name id, type"},
		{`"steps left" in $env`, "$env: name id, type"},
		{`reduce(data.x, #acc + #, 0) > 1`, "reduce"},
		{`repeat("x", 1000000) == ""`, "repeat"},
		{`toJSON(data) == ""`, "toJSON"},
		{`true && ` + strings.Repeat("(true) && ", 500) + "true", "has 5012 bytes: want at most 4096"},
		{`true` + strings.Repeat("&&true", 600), "exceeds maximum allowed nodes"},
	}
	for _, tt := range tests {
		if _, err := compileExpr(tt.source, true); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("compile %.60s: %v\nwant: %s", tt.source, err, tt.want)
		}
	}
	if _, err := compileExpr(`channel == "x"`, false); err == nil || !strings.Contains(err.Error(), "unknown name channel") {
		t.Errorf("a match that asks for the channel: %v", err)
	}
}

func TestExpressionsAreBounded(t *testing.T) {
	t.Parallel()
	numbers := func(n, padding int) events.Event {
		return event(t, `{"l":[`+strings.Repeat("1,", n-1)+`1],"s":"`+strings.Repeat("x", padding)+`"}`, `{}`)
	}
	tests := []struct {
		source  string
		n       int
		padding int
		fails   bool
	}{
		{`all(data.l, # == 1)`, 9_000, 1, false},
		{`all(data.l, any(data.l, # == 1))`, 1_000, 1, false},
		{`all(data.l, all(data.l, # == 1))`, 1_000, 1, true},
		{`all(data.l, # == 1) && all(data.l, # < 2)`, 9_000, 1, true}, // together
		{`all(data.l, # == 1)`, 250, 1_000_000, false},
		{`all(data.l, data.s contains "y" || # == 1)`, 300, 1_000_000, true},
		{`len(data.l) > 0`, 10_001, 1, true},
	}
	for _, tt := range tests {
		program, err := compileExpr(tt.source, false)
		if err != nil {
			t.Fatal(err)
		}
		ev := numbers(tt.n, tt.padding)
		env, err := newExprEnv(&ev, "")
		var got bool
		if err == nil {
			if got, err = env.run(program); err != nil && !errors.Is(err, errSteps) {
				t.Errorf("%s with %d values: error %v, want %v", tt.source, tt.n, err, errSteps)
			}
		}
		if (err != nil) != tt.fails || got == tt.fails {
			t.Errorf("%s with %d values = %v, %v, want an error: %v", tt.source, tt.n, got, err, tt.fails)
		}
	}
}
