package subscriber

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/adapter/redistest"
)

// Of Redis being away, nothing is to be told.
func init() { adapter.QuietRedis(zap.NewNop()) }

func TestMain(m *testing.M) {
	// go-redis looks once a second whether a Redis that is away is back, and then whether its pool has been closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

// storeOf is the bus's side of a Redis.
func storeOf(t testing.TB, s *redistest.Server) *adapter.Store {
	t.Helper()
	r, err := adapter.DialRedis(context.Background(), adapter.RedisConfig{URL: s.URL()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r.Store("")
}

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for: %s", patience, what)
		}
	}
}
