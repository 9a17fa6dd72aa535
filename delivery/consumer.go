package delivery

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

const (
	// batchLen is how many events are read or acknowledged at a time.
	batchLen = 128
	// maxHeldBytes is how large all events held may be. It can be passed by one read, before larger events than those so far
	// are known.
	maxHeldBytes = 16 << 20
	// readTime is how long a read under way at the end of a run may go on. It waits for a second at most. If it were cut
	// off, Redis could give it entries yet, after whoever comes next has looked for what is pending.
	readTime = 2 * time.Second
	// ackTime is how long what has been handled at the end of a run may take to be acknowledged.
	ackTime = 2 * time.Second
)

// source is a group of a feed, as one of its consumers sees it.
type source interface {
	// Claim takes over what is pending after a position, in order, as much as count.
	Claim(ctx context.Context, after adapter.Position, count int) ([]adapter.FeedEntry, error)
	// Read waits for new entries, up to a second. None is no error.
	Read(ctx context.Context, count int) ([]adapter.FeedEntry, error)
	Ack(ctx context.Context, ps ...adapter.Position) error
	Note(ctx context.Context, p adapter.Position, n adapter.Note) error
	Notes(ctx context.Context) (map[adapter.Position]adapter.Note, error)
	Bury(ctx context.Context, p adapter.Position, d adapter.DeadLetter) error
}

// ConsumerConfig is what a consumer does with events. Handle must be set.
type ConsumerConfig struct {
	Channel      string // for dead letters
	Subscription string // for dead letters
	// Match says which events are handled; the others are acknowledged at once. Nil means all.
	Match func(events.Event) bool
	// Handle handles one event. It must return when its context ends; a panic is an error of this event.
	Handle func(context.Context, events.Event) error
	// Timeout is how long Handle may take. Zero means no limit.
	Timeout time.Duration
	// Lane says which events wait for one another: those of one name. No name: the event waits for none. Nil: none does.
	Lane func(events.Event) string
	// Concurrency is how many events are handled at once. Zero means 4.
	Concurrency int
	// Queue is how many events are held at once, those that wait to be tried again included. While it is full, or they have
	// 16 MiB, no more are read. Zero means 256.
	Queue int
	// Retry and Breaker say what happens after failures. Without a Breaker nothing is held back.
	Retry    Retry
	Breaker  *Breaker
	WhenOpen string // of the breaker: WaitWhenOpen, DeadLetterWhenOpen. Zero means the former
	// MaxEvent is the largest event taken, in bytes. Zero means 1 MiB.
	MaxEvent int
	// Drain is how long events under way may take when the run ends. Zero means 3 s.
	Drain time.Duration
	// Reclaim is how often Claim is asked for entries of consumers that are gone. Zero means at the start, and when a read
	// has failed.
	Reclaim time.Duration
	// Attempted hears of each attempt, Buried of each event that went to the dead letters. They must return soon, and
	// may be nil.
	Attempted func(Attempt)
	Buried    func(reason string)
	// Trace begins an attempt, counted from 1: Handle gets the context, and what came of it ends it. It may be nil.
	Trace func(context.Context, events.Event, int) (context.Context, func(error))
}

func (c ConsumerConfig) withDefaults() ConsumerConfig {
	c.Concurrency = cmp.Or(c.Concurrency, defaultWorkers)
	c.Queue = cmp.Or(c.Queue, defaultQueue)
	c.Drain = cmp.Or(c.Drain, 3*time.Second)
	c.MaxEvent = cmp.Or(c.MaxEvent, events.DefaultMaxBytes)
	if c.Attempted == nil {
		c.Attempted = func(Attempt) {}
	}
	if c.Buried == nil {
		c.Buried = func(string) {}
	}
	return c
}

// Attempt is what became of one attempt to handle an event.
type Attempt struct {
	Event    events.Event
	Number   int   // from 1
	Err      error // nil: it worked
	Category Category
	Took     time.Duration
	Again    bool // it will be tried again
}

// Consumer is one run of a subscription. Make a new one for each.
type Consumer struct {
	cfg    ConsumerConfig
	source source
	log    *zap.Logger

	credits  chan int     // how many entries may be read
	arrivals chan []*item // what was read for one credit
	results  chan result
	acks     chan adapter.Position
	nudge    chan struct{} // there may be room again

	ledger   ledger
	recheck  atomic.Bool
	retrying atomic.Int64
}

// result is what became of an item that was out.
type result struct {
	*item
	outcome
}

type outcome struct {
	again bool      // due has when
	pause time.Time // nothing is sent until then; zero: no matter
}

// NewConsumer makes a consumer of a source; the source is its own.
func NewConsumer(from source, cfg ConsumerConfig, log *zap.Logger) *Consumer {
	cfg = cfg.withDefaults()
	return &Consumer{
		cfg: cfg, source: from, log: log,
		credits: make(chan int), arrivals: make(chan []*item), results: make(chan result),
		acks: make(chan adapter.Position, batchLen), nudge: make(chan struct{}, 1),
	}
}

// Held is how many entries are taken and not yet finished.
func (c *Consumer) Held() int { return c.ledger.len() }

// Retrying is how many of those wait to be tried again.
func (c *Consumer) Retrying() int { return int(c.retrying.Load()) }

// Run handles events until ctx ends, which is no error, or the group is gone: adapter.ErrNoGroup. When it returns, all
// that it started has ended; what it had not finished is still pending in the group.
func (c *Consumer) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	working, workingDone := linger(ctx, c.cfg.Drain)
	defer workingDone()
	reading, readingDone := linger(ctx, readTime)
	defer readingDone()
	acking, ackingDone := linger(working, ackTime)
	defer ackingDone()

	acked := make(chan struct{})
	go func() {
		defer close(acked)
		c.acknowledge(acking)
	}()
	read := make(chan error, 1)
	go func() {
		defer stop()
		read <- c.read(ctx, reading)
	}()
	c.dispatch(ctx, working)
	err := <-read
	close(c.acks)
	<-acked
	if errors.Is(err, adapter.ErrNoGroup) {
		return err
	}
	return nil
}

// linger is a context that ends some time after another one.
func linger(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, cancel)
		context.AfterFunc(longer, func() { timer.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// dispatch hands out what is on the board to goroutines that handle one event each, until ctx ends; working is the context
// of those, for which it waits.
func (c *Consumer) dispatch(ctx, working context.Context) {
	b := newBoard()
	var pause time.Time // nothing is sent until then
	running, asked := 0, false
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		wake, waits := b.wake()
		for running < c.cfg.Concurrency && b.some(now) && ctx.Err() == nil {
			if pause.After(now) {
				wake, waits = pause, true
				break
			}
			done, wait := c.allow()
			if done == nil && (wait == 0 || c.cfg.WhenOpen != DeadLetterWhenOpen) {
				wake, waits = now.Add(wait), wait > 0 // else the outcome of one that runs wakes us
				break
			}
			it := b.next(now)
			running++
			go func() { c.results <- result{it, c.handle(working, it, done)} }()
			wake, waits = b.wake()
		}
		if running >= c.cfg.Concurrency {
			waits = false // the next outcome wakes us
		}
		c.retrying.Store(int64(len(b.waiting)))
		timer.Reset(untilWake(wake, waits))
		credits, room := c.credits, min(c.ledger.room(c.cfg.Queue), batchLen)
		if asked || room == 0 {
			credits = nil
		}
		select {
		case <-ctx.Done():
			for ; running > 0; running-- {
				<-c.results
			}
			return
		case credits <- room:
			asked = true
		case items := <-c.arrivals:
			asked = false
			for _, it := range items {
				b.add(it)
			}
		case r := <-c.results:
			running--
			if r.pause.After(pause) {
				pause = r.pause
			}
			if r.again {
				b.again(r.item)
			} else {
				b.done(r.item)
			}
		case <-c.nudge:
		case <-timer.C:
		}
	}
}

func untilWake(wake time.Time, waits bool) time.Duration {
	if !waits {
		return time.Hour
	}
	return max(time.Until(wake), 0)
}

// allow asks the breaker.
func (c *Consumer) allow() (done func(error), wait time.Duration) {
	if c.cfg.Breaker == nil {
		return func(error) {}, 0
	}
	return c.cfg.Breaker.Allow()
}

// finish ends what was held.
func (c *Consumer) finish(ps ...adapter.Position) {
	c.ledger.drop(ps)
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// acknowledge acknowledges what is finished, as much as there is at a time, until acks is closed.
func (c *Consumer) acknowledge(ctx context.Context) {
	for first := range c.acks {
		batch := []adapter.Position{first}
		for more := true; more && len(batch) < batchLen; {
			select {
			case next, ok := <-c.acks:
				if more = ok; ok {
					batch = append(batch, next)
				}
			default:
				more = false
			}
		}
		if c.persist(ctx, "acknowledge", func() error { return c.source.Ack(ctx, batch...) }) == nil {
			c.finish(batch...)
		}
	}
}
