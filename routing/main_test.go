package routing

import (
	"testing"

	"github.com/photo-management/event-bus/events"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event decodes an event with the given data and metadata.
func event(t testing.TB, data, metadata string) events.Event {
	t.Helper()
	e, err := events.Decode([]byte(`{"id":"e","type":"t","data":`+data+`,"metadata":`+metadata+`}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func compile(t testing.TB, spec map[string][]Rule) *Rules {
	t.Helper()
	r, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
