package delivery

import (
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// Of clients that tests have besides a Redis of ours, nothing is to be told.
func init() { adapter.QuietRedis(zap.NewNop()) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
