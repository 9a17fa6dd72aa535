package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

type decoded struct {
	Name   string          `json:"name" api:"required"`
	Count  int8            `json:"count"`
	Share  *float64        `json:"share,omitempty"`
	On     bool            `json:"on"`
	At     time.Time       `json:"at"`
	Tags   []string        `json:"tags"`
	Labels map[string]int  `json:"labels"`
	Raw    json.RawMessage `json:"raw"`
	Any    any             `json:"any"`
	Inner  []struct {
		A uint `json:"a" api:"required"`
	} `json:"inner"`
	embedded
	Hidden string `json:"-"`
	Plain  string
	Tree   *decoded `json:"tree"`
}

type embedded struct {
	Deep string `json:"deep"`
}

func TestDecode(t *testing.T) {
	t.Parallel()
	var got decoded
	err := decode([]byte(" {\n\t\"name\" : \"n\", \"count\":-3,\"share\":0.5,\"on\":true,\"at\":\"2026-01-02T15:04:05Z\",\"tags\":[\"a\"],"+
		`"labels":{"x":1},"raw": {"b": 1} ,"any":null,"inner":[ {"a":1}, {"a":2} ],"deep":"d","Plain":"p","tree":{"name":"m"}}`+"\r\n"), &got)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint("n -3 0.5 true 2026-01-02 15:04:05 +0000 UTC [a] map[x:1] ", `{"b": 1}`, " <nil> [{1} {2}] {d}  p m")
	if s := fmt.Sprint(got.Name, " ", got.Count, " ", *got.Share, " ", got.On, " ", got.At, " ", got.Tags, " ", got.Labels, " ", string(got.Raw), " ", got.Any, " ",
		got.Inner, " ", got.embedded, " ", got.Hidden, " ", got.Plain, " ", got.Tree.Name); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestDecodeNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, want string }{
		{`{"name":1}`, "name must be a string."},
		{`{"name":null}`, "name must be a string, not null."},
		{`{}`, "name is missing."},
		{`{"Name":"n"}`, "Name is unknown. name is missing."},
		{`{"name":"n","count":128}`, "count must be a whole number of at most 8 bits."},
		{`{"name":"n","count":1.5}`, "count must be a whole number of at most 8 bits."},
		{`{"name":"n","count":"1"}`, "count must be a whole number of at most 8 bits."},
		{`{"name":"n","share":1e999}`, "share must be a number within the range of a float."},
		{`{"name":"n","share":null}`, "share must be a number within the range of a float, not null."},
		{`{"name":"n","on":"true"}`, "on must be true or false."},
		{`{"name":"n","at":"today"}`, "at must be a time as of RFC 3339, such as 2026-01-02T15:04:05Z."},
		{`{"name":"n","at":null}`, "at must be a time as of RFC 3339, such as 2026-01-02T15:04:05Z, not null."},
		{`{"name":"n","tags":{}}`, "tags must be an array."},
		{`{"name":"n","tags":["a",2,null]}`, "tags[1] must be a string. tags[2] must be a string, not null."},
		{`{"name":"n","labels":{"x":"y"}}`, "labels.x must be a whole number of at most 64 bits."},
		{`{"name":"n","labels":{"x":1,"x":2}}`, "labels.x comes more than once."},
		{`{"name":"n","inner":[{"a":1},{}]}`, "inner[1].a is missing."},
		{`{"name":"n","inner":[{"a":-1}]}`, "inner[0].a must be a whole number of at most 64 bits that is not negative."},
		{`{"name":"n","tags":[` + strings.Repeat(`"",`, 10000) + `""]}`, "tags may have 10000 elements."},
		{`{"name":"n","inner":[7]}`, "inner[0] must be an object."},
		{`{"name":"n","Hidden":"x"}`, "Hidden is unknown."},
		{`{"name":"n","tree":{"name":"m","x":1}}`, "tree.x is unknown."},
		{`{"name":"n","` + strings.Repeat("é", 100) + `":1}`, strings.Repeat("é", 32) + "… is unknown."},
		{`[]`, "body must be an object."},
		{`null`, "body must be an object."},
		{``, "The JSON is broken at byte 0."},
		{`{"name":"n"}{}`, "The JSON is broken at byte 13."},
		{"{\"name\":\"\xff\"}", "The JSON must be UTF-8."},
		{strings.Repeat("[", 20000), "The JSON is broken at byte 10001."},
		{strings.Repeat(`{"name":"n","tree":`, 40) + `{}` + strings.Repeat("}", 40), strings.Repeat("tree.", 32) + "name is nested more than 32 levels deep. " +
			strings.Repeat("tree.", 32) + "tree is nested more than 32 levels deep."},
	} {
		err := decode([]byte(c.body), &decoded{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Status != 400 {
			t.Errorf("%.60s: got %v", c.body, err)
			continue
		}
		var got []string
		for _, f := range e.Fields {
			detail, _, _ := strings.Cut(f.Detail, " Known here")
			got = append(got, f.Field+" "+detail)
		}
		if len(e.Fields) == 0 {
			got = []string{e.Detail}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%.60s: got %s, want %s", c.body, s, c.want)
		}
	}
}

func TestDecodeBoundsItsAnswer(t *testing.T) {
	t.Parallel()
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf(`"x%d":1`, i))
	}
	err := decode([]byte("{"+strings.Join(names, ",")+"}"), &decoded{})
	if e, ok := errors.AsType[*Error](err); !ok || len(e.Fields) != maxFieldErrors {
		t.Errorf("got %v", err)
	}
}

func TestInvalidErrors(t *testing.T) {
	t.Parallel()
	got := InvalidErrors(errors.Join(
		errors.New("filters[2].action.params.limit: 0: want 1 to 100000"),
		fmt.Errorf("photo:upload[0].type: %q: want room", "x"),
		errors.New(`id is "a b": want letters`),
		errors.New("webhook.headers are 21: want at most 20"),
		errors.New("userId, tokenId: give exactly one of them"),
		errors.New("The whole is wrong"),
		errors.New("want JSON"),
	))
	want := []FieldError{
		{"filters[2].action.params.limit", "0: want 1 to 100000"},
		{"photo:upload[0].type", `"x": want room`},
		{"id", `is "a b": want letters`},
		{"webhook.headers", "are 21: want at most 20"},
		{"body", "userId, tokenId: give exactly one of them"},
		{"body", "The whole is wrong"},
		{"body", "want JSON"},
	}
	if got.Status != 422 || fmt.Sprint(got.Fields) != fmt.Sprint(want) {
		t.Errorf("got %d %v, want %v", got.Status, got.Fields, want)
	}
	if err := InvalidErrors(errors.New("id: taken")); err.Detail != "id taken" || err.Error() != "422: id taken id taken" {
		t.Errorf("got %q, %q", err.Detail, err.Error())
	}
}
