package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

// trouble is that Redis does not do what it is asked for. It tells about the first failure, once a minute about what does
// not mend, and about the end of it, and says how long to wait.
type trouble struct {
	log  *zap.Logger
	what string // is being done

	wait        time.Duration
	since, told time.Time
}

// failed waits a while, longer each time. It reports the context's error if that ends.
func (t *trouble) failed(ctx context.Context, err error) error {
	if t.since.IsZero() {
		t.since = time.Now()
	}
	if time.Since(t.told) > time.Minute {
		t.told = time.Now()
		t.log.Warn("deliveries wait for Redis, trying again", zap.String("step", t.what), zap.Error(err))
	}
	t.wait = min(max(2*t.wait, 50*time.Millisecond), 2*time.Second)
	select {
	case <-time.After(t.wait/2 + rand.N(t.wait/2)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// over says that it works.
func (t *trouble) over() {
	if !t.since.IsZero() {
		t.log.Info("deliveries go on", zap.String("step", t.what), zap.Duration("after", time.Since(t.since)))
		*t = trouble{log: t.log, what: t.what}
	}
}

// persist tries until it works, the group is gone, or ctx ends.
func persist(ctx context.Context, log *zap.Logger, what string, try func() error) error {
	t := trouble{log: log, what: what}
	for {
		err := try()
		switch {
		case err == nil:
			t.over()
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, adapter.ErrNoGroup):
			return err
		}
		if err := t.failed(ctx, err); err != nil {
			return err
		}
	}
}

func (c *Consumer) persist(ctx context.Context, what string, try func() error) error {
	return persist(ctx, c.log, what, try)
}
