package subscriber

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
)

// reclaimEvery is how often what others have left is looked for. A process that stopped in good order is followed so soon.
const reclaimEvery = 5 * time.Second

// leaveTime is how long leaving may take at the end.
const leaveTime = 2 * time.Second

// ErrRunning says that a Subscriber runs already.
var ErrRunning = errors.New("the subscriber runs already")

// Subscriber consumes events for a group. Its methods are safe for concurrent use.
type Subscriber struct {
	redis   redis.UniversalClient
	cfg     Config
	running atomic.Bool
}

// New makes a Subscriber that does nothing yet. The client stays the caller's; it should have a connection for each
// channel to spare, as a read waits for events on one. What is wrong with the Config comes back as one error.
func New(client redis.UniversalClient, cfg Config) (*Subscriber, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Subscriber{redis: client, cfg: cfg.withDefaults()}, nil
}

// Run handles events until ctx ends, which is no error, and returns when all that it started has ended. While Redis is
// away it waits, and tells the Logger. One Run at a time; another one gets ErrRunning.
func (s *Subscriber) Run(ctx context.Context, handler Handler) error {
	if handler == nil {
		return errors.New("subscriber: the handler is nil")
	}
	if !s.running.CompareAndSwap(false, true) {
		return ErrRunning
	}
	defer s.running.Store(false)
	var channels sync.WaitGroup
	for _, channel := range s.cfg.Channels {
		channels.Go(func() {
			for ctx.Err() == nil {
				s.consume(ctx, channel, handler)
			}
		})
	}
	channels.Wait()
	return nil
}

// Unsubscribe deletes the group on all channels: what is pending or unread for it is no longer owed to anybody. End all Runs
// of the group first, in all processes, as each would begin it anew.
func (s *Subscriber) Unsubscribe(ctx context.Context) error {
	var errs []error
	for _, channel := range s.cfg.Channels {
		errs = append(errs, newGroup(s.redis, s.cfg, channel, "").destroy(ctx))
	}
	return errors.Join(errs...)
}

// consume is one membership of the group: until ctx ends, the group is gone, or others have taken this process for dead.
func (s *Subscriber) consume(ctx context.Context, channel string, handler Handler) {
	log := s.cfg.Logger.With(zap.String("channel", channel), zap.String("group", s.cfg.Group))
	g := newGroup(s.redis, s.cfg, channel, uuid.NewString())
	if !s.join(ctx, g, log) {
		return
	}
	defer func() {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
		defer cancel()
		if err := g.leave(leaving); err != nil {
			log.Info("not left in good order: others take over when this process counts as dead", zap.Error(err))
		}
	}()
	cfg := delivery.ConsumerConfig{
		Channel: channel, Subscription: g.name, Match: s.cfg.Match, Handle: handler, Timeout: s.cfg.Timeout,
		Concurrency: s.cfg.Concurrency, Queue: s.cfg.Queue, Retry: delivery.Retry{Backoff: s.cfg.Backoff},
		MaxEvent: s.cfg.MaxEvent, Drain: s.cfg.Drain, Reclaim: reclaimEvery, Attempted: s.cfg.OnAttempt,
	}
	if s.cfg.Ordered {
		cfg.Lane = delivery.PhotoLane
	}
	if s.cfg.Breaker != nil {
		cfg.Breaker, cfg.WhenOpen = delivery.NewBreaker(*s.cfg.Breaker, nil), s.cfg.Breaker.WhenOpen
	}
	consumer := delivery.NewConsumer(g, cfg, log)
	g.held = consumer.Held
	member, end := context.WithCancel(ctx)
	var life sync.WaitGroup
	defer life.Wait()
	defer end()
	life.Go(func() {
		defer end()
		s.stayAlive(member, g, log)
	})
	err := consumer.Run(member)
	if errors.Is(err, adapter.ErrNoGroup) && ctx.Err() == nil {
		log.Warn("the group is gone, as after Unsubscribe or a loss of data in Redis; it begins anew")
	}
}

// join makes the group, if need be, and this consumer alive in it. It reports whether ctx lasted for so long.
func (s *Subscriber) join(ctx context.Context, g *group, log *zap.Logger) bool {
	var told time.Time
	for {
		err := g.create(ctx)
		if err == nil {
			_, _, err = g.takeOver(ctx, 0)
		}
		if err == nil {
			return true
		}
		if ctx.Err() == nil && time.Since(told) > time.Minute {
			told = time.Now()
			log.Warn("the group cannot be joined, trying again", zap.Error(err))
		}
		select {
		case <-time.After(time.Second/2 + rand.N(time.Second)):
		case <-ctx.Done():
			return false
		}
	}
}

// stayAlive gives signs of life until ctx ends. It returns earlier when others have taken this process for dead: then it has
// nothing any more of what it thinks it has.
func (s *Subscriber) stayAlive(ctx context.Context, g *group, log *zap.Logger) {
	every := s.cfg.MaxIdle / 4
	for wait := every; ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		_, alive, err := g.takeOver(ctx, 0)
		switch {
		case ctx.Err() != nil || errors.Is(err, adapter.ErrNoGroup):
			return // of the latter the reader says it
		case err != nil:
			wait = min(every, time.Second)
		case !alive:
			log.Warn("this process gave no sign of life for too long, others may have taken over what it had; it begins anew",
				zap.Duration("maxIdle", s.cfg.MaxIdle))
			return
		default:
			wait = every
		}
	}
}
