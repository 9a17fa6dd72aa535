package adapter

import (
	"testing"
	"time"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	s := dialTest(t, "redis://"+startRedis(t).addr).Store("")
	claim := func(by, want string, wantFound bool) {
		t.Helper()
		kept, found, err := s.Claim(t.Context(), "name", by, time.Hour)
		if err != nil || kept != want || found != wantFound {
			t.Errorf("Claim by %s: got %q, %v, %v, want %q, %v", by, kept, found, err, want, wantFound)
		}
	}
	keep := func(by, value string) {
		t.Helper()
		if err := s.Keep(t.Context(), "name", by, value, time.Hour); err != nil {
			t.Error(err)
		}
	}
	claim("a", "", false)
	claim("b", "a", true)
	keep("b", "not b's to say")
	claim("b", "a", true)
	keep("a", "done")
	claim("b", "done", true)
	keep("a", "") // it is kept now, and no claim any more
	claim("b", "done", true)
	keep("done", "")
	claim("b", "", false)
}
