package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

var (
	// ErrExists says that a subscription of that id is declared already.
	ErrExists = errors.New("a subscription of this id is declared already")
	// ErrTooMany says that as many subscriptions are declared as may be.
	ErrTooMany = errors.New("too many subscriptions")
	// ErrStopped says that subscriptions are no longer served by this process.
	ErrStopped = errors.New("subscriptions are no longer served")
)

// registry remembers which processes live: adapter.Table.
type registry interface {
	Put(ctx context.Context, id string, value []byte, expires time.Time) error
	Delete(ctx context.Context, id string) (bool, error)
	Rows(ctx context.Context) ([]adapter.Row, error)
}

// Parts are what Subscribers work with. All are needed, but for those that say otherwise.
type Parts struct {
	Store    *adapter.Store // has the feeds; its DeadLetters have been configured
	Channels []string       // that there are
	Compile  Compile        // of filters; nil: a filter is an error
	// Processes is a table of its own, for the ids of processes that have temporary subscriptions: what is left of those
	// that died is swept by it. Nil: nothing is swept.
	Processes registry
	// Removed is told of a webhook that ends because of MaxErrors, and deletes it from where Set has it from. It is called
	// again while it fails. Nil: the subscription only rests, until Set brings another form of it.
	Removed func(ctx context.Context, id string) error
	Logger  *zap.Logger
	Metrics prometheus.Registerer
	// TracerProvider makes the spans of attempts. Nil means none.
	TracerProvider trace.TracerProvider
}

// Subscribers run the subscriptions of this replica: those of channels that it leads, and the temporary ones declared here.
type Subscribers struct {
	cfg   Config
	parts Parts
	open  openFeed
	// trimLetters drops dead letters that are beyond their bounds.
	trimLetters func(context.Context) error

	sender  *sender
	metrics *metrics
	process string // this one, among all

	mu       sync.Mutex
	known    bool // Set was called
	stopped  bool // Run has ended
	declared map[string]*subscription
	broken   map[string]bool   // webhooks of which nothing can be made here, by name: they are left alone
	resting  map[string]string // webhooks ended by MaxErrors, by name: the form that is not to be run again
	changed  chan struct{}     // closed and made anew when one of these changes
}

// New makes Subscribers that serve nothing yet. The configuration is taken as valid.
func New(cfg Config, parts Parts) *Subscribers {
	return newSubscribers(cfg, parts, openStore(parts.Store), parts.Store.TrimDeadLetters)
}

func newSubscribers(cfg Config, parts Parts, open openFeed, trimLetters func(context.Context) error) *Subscribers {
	cfg = cfg.withDefaults()
	return &Subscribers{
		cfg: cfg, parts: parts, open: open, trimLetters: trimLetters, sender: newSender(cfg.Webhooks), metrics: newMetrics(parts.Metrics),
		process: uuid.NewString(), declared: map[string]*subscription{}, broken: map[string]bool{}, resting: map[string]string{},
		changed: make(chan struct{}),
	}
}

// Check reports all that is wrong with a Spec here, by member, or that there is no room for another one: ErrTooMany.
func (s *Subscribers) Check(spec Spec) error {
	if err := s.validate(spec); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.declared[spec.ID] == nil {
		return s.roomLocked()
	}
	return nil
}

func (s *Subscribers) validate(spec Spec) error {
	return spec.Validate(s.parts.Channels, s.cfg.Webhooks, s.parts.Compile)
}

// roomLocked reports whether one more may be declared.
func (s *Subscribers) roomLocked() error {
	if len(s.declared) >= s.cfg.MaxSubscriptions {
		return fmt.Errorf("%w: want at most %d (delivery.maxSubscriptions)", ErrTooMany, s.cfg.MaxSubscriptions)
	}
	return nil
}

// Set declares webhooks: those given, and no others. Those that stay as they are are not disturbed. A Spec of which
// nothing can be made is left alone, and the error says why: what was declared under its id goes on, and what waits for
// it is not thrown away. A new one gets events from when who leads its channel has taken note of it.
func (s *Subscribers) Set(specs []Spec) error {
	var errs []error
	wanted, broken := map[string]*subscription{}, map[string]bool{}
	for _, spec := range specs {
		var sub *subscription
		err := s.validate(spec)
		if err == nil {
			sub, err = s.webhookSubscription(spec)
		}
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("subscription %.80q: %w", spec.ID, err))
			broken[spec.ID] = true
		case wanted[sub.name] != nil:
			errs = append(errs, fmt.Errorf("subscription %.80q: %w", spec.ID, ErrExists))
		default:
			wanted[sub.name] = sub
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, form := range s.resting {
		if sub := wanted[name]; sub == nil || sub.form != form {
			delete(s.resting, name)
		} else {
			delete(wanted, name)
		}
	}
	for name, old := range s.declared {
		if !old.webhook {
			continue
		}
		sub := wanted[name]
		delete(wanted, name)
		switch {
		case sub != nil && sub.form == old.form, broken[name]:
		case sub != nil:
			sub.inherit(old)
			close(old.replaced)
			s.declared[name] = sub
		default:
			close(old.replaced)
			delete(s.declared, name)
		}
	}
	for _, name := range sorted(wanted) {
		if err := s.roomLocked(); err != nil {
			errs = append(errs, fmt.Errorf("subscription %s: %w", name, err))
			broken[name] = true
			continue
		}
		s.declared[name] = wanted[name]
	}
	s.broken, s.known = broken, true
	s.changedLocked()
	return errors.Join(errs...)
}

func (s *Subscribers) changedLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Subscription is a handler that is declared. Its methods are safe for concurrent use.
type Subscription struct {
	s   *Subscribers
	sub *subscription
}

// Handle declares a Go handler. A durable one is served while this replica leads its channel, a temporary one while Run
// runs. Its id is free again after Unsubscribe.
func (s *Subscribers) Handle(h HandlerSpec) (*Subscription, error) {
	if err := h.Validate(s.parts.Channels); err != nil {
		return nil, err
	}
	sub, err := s.handlerSubscription(h)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return nil, ErrStopped
	case s.declared[sub.name] != nil:
		return nil, fmt.Errorf("handler %q: %w", h.ID, ErrExists)
	}
	if err := s.roomLocked(); err != nil {
		return nil, err
	}
	s.declared[sub.name] = sub
	s.changedLocked()
	return &Subscription{s, sub}, nil
}

// ID is the subscription as dead letters and statistics name it.
func (h *Subscription) ID() string { return h.sub.name }

// Ready is closed when it is served for the first time here: events from then on are its own.
func (h *Subscription) Ready() <-chan struct{} { return h.sub.ready }

// Done is closed when it is no longer declared: by Unsubscribe, or by MaxErrors.
func (h *Subscription) Done() <-chan struct{} { return h.sub.replaced }

// Unsubscribe ends the subscription in this process. If it runs here, what it had not delivered goes to the dead letters
// (for a temporary one: is dropped), and what the feed keeps for it is deleted, soon after. Where another replica leads the channel,
// a durable one goes on there, as long as it is declared there.
func (h *Subscription) Unsubscribe() {
	h.s.drop(h.sub)
}

// Stats are the subscription's.
func (h *Subscription) Stats() Stats { return h.sub.stats() }

// drop ends what is declared, if it still is.
func (s *Subscribers) drop(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.declared[sub.name] != sub {
		return
	}
	delete(s.declared, sub.name)
	close(sub.replaced)
	s.changedLocked()
}

// rest ends a webhook that failed too often, until Set brings another form of it.
func (s *Subscribers) rest(sub *subscription) {
	s.mu.Lock()
	if s.declared[sub.name] == sub {
		s.resting[sub.name] = sub.form
	}
	s.mu.Unlock()
	s.drop(sub)
}

// lookup is what is declared under a name for a channel.
func (s *Subscribers) lookup(channel, name string) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.declared[name]; sub != nil && sub.channel == channel {
		return sub
	}
	return nil
}

// wanted are the names of subscriptions that match, and what is closed when that changes.
func (s *Subscribers) wanted(which func(*subscription) bool) (subs []*subscription, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.declared {
		if which(sub) {
			subs = append(subs, sub)
		}
	}
	return subs, s.changed
}
