//go:build linux

package main

import (
	"maps"
	"testing"
)

func TestSession(t *testing.T) {
	t.Parallel()
	var s session
	step := func(want string) {
		t.Helper()
		if got := string(s.connectPacket("t")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	s.learn([]byte(`42["early","1-0"]`)) // before there is a session to return to
	step(`40{"token":"t"}`)
	if s.resumed([]byte(`40{"sid":"s","pid":"p"}`)) {
		t.Error("the first connection is taken for a recovered one")
	}
	step(`40{"token":"t","pid":"p"}`)
	for _, m := range []string{`42["e",{"a":"b"},"7-1"]`, `42["e",{"a":["b"]}]`, `42["e",{"a":"b"}]`, `42["e",["b"]]`, `3`, `42[`, `42["]`} {
		s.learn([]byte(m))
	}
	step(`40{"token":"t","pid":"p","offset":"7-1"}`)
	if !s.resumed([]byte(`40{"sid":"s2","pid":"p"}`)) {
		t.Error("the same pid is not taken for a recovered session")
	}
	if s.resumed([]byte(`40{"sid":"s3","pid":"q"}`)) || s.resumed([]byte(`40{"sid":"s3"}`)) {
		t.Error("another pid, or none, is taken for a recovered session")
	}
}

func TestHerdCheck(t *testing.T) {
	t.Parallel()
	r := &herdRun{}
	c := &conn{back: returning{up: true, due: 4}}
	for _, step := range []struct {
		n    int32
		want int
	}{{1, 0}, {2, 0}, {4, 0}, {5, 0}, {3, 1}, {6, 1}} { // with 3 still missing, 4 and 5 do not make it whole
		c.seen.see(step.n)
		if r.check(c, 1); r.whole != step.want {
			t.Errorf("after %d: got %d whole, want %d", step.n, r.whole, step.want)
		}
	}
	anew := &conn{back: returning{up: true, due: -1}}
	if r.check(anew, 1); anew.back.whole {
		t.Error("a connection that was not recovered counts as whole")
	}
}

func TestCommandStats(t *testing.T) {
	t.Parallel()
	got := parseCommandStats([]byte("# Commandstats\r\ncmdstat_xadd:calls=12,usec=3\r\ncmdstat_config|get:calls=3,usec=1\r\nbad\r\n\r\n"))
	if want := map[string]float64{"xadd": 12, "config|get": 3}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
