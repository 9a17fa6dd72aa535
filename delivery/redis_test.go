package delivery

import (
	"context"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/adapter/redistest"
)

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

// dial connects, and closes when the test ends.
func dial(t testing.TB, s *redistest.Server) *adapter.Redis {
	t.Helper()
	r, err := adapter.DialRedis(context.Background(), adapter.RedisConfig{URL: s.URL()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// newStore gives that of a Redis of the test's own.
func newStore(t testing.TB) *adapter.Store { return dial(t, redistest.New(t)).Store("") }

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for: %s", patience, what)
		}
	}
}
