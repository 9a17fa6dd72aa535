package events

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode is for events a test takes for granted.
func decode(t testing.TB, raw string) Event {
	t.Helper()
	e, err := Decode([]byte(raw), 0)
	if err != nil {
		t.Fatalf("Decode(%s): %v", raw, err)
	}
	return e
}
