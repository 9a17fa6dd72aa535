package delivery

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/photo-management/event-bus/events"
)

// The kinds of groups in a feed. What follows the prefix is the id.
const (
	webhookPrefix   = "hook:"
	handlerPrefix   = "go:"
	temporaryPrefix = "tmp:"
	servicePrefix   = "svc:" // of package subscriber
)

// ServiceGroup is the feed's group of services elsewhere that share the name.
func ServiceGroup(name string) string { return servicePrefix + name }

// Group is the feed's group of a subscription as dead letters name it: the id of a webhook, or the group itself for
// others. A replay offers the event to it alone.
func Group(subscription string) string {
	if strings.Contains(subscription, ":") { // an id has none
		return subscription
	}
	return webhookPrefix + subscription
}

// HandlerSpec declares a Go function as a subscription.
type HandlerSpec struct {
	// ID makes the subscription durable and shared: all replicas declare it when they start, who leads the channel runs
	// it, and events wait for it while there is nobody. Empty means that it is this process's own, sees events from when
	// it is ready, and is gone with the process.
	ID      string
	Channel string
	Filter  json.RawMessage // as of a Spec
	// Handler handles an event. It must return when its context ends. A panic is an error of this event.
	Handler func(context.Context, events.Event) error
	// OnError hears of each failure, in the goroutine that handled the event; it may be nil. The event waits for it.
	OnError     func(context.Context, error, events.Event)
	MaxErrors   int  // as of a Spec; it ends in this process, as by Unsubscribe
	NoRetry     bool // autoRetry false: the first failure is the last
	RetryDelay  time.Duration
	Concurrency int
	Queue       int
	Ordered     Order
	// Timeout is how long Handler may take. Zero means 30 s.
	Timeout time.Duration
}

// Validate reports all problems at once, by field.
func (h HandlerSpec) Validate(channels []string) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("handler: "+format, args...)) }
	if h.ID != "" && !isID(h.ID) {
		wrong(`id is %.80q: want 1 to %d letters, digits, "-" and "_", or none`, h.ID, maxIDBytes)
	}
	if !slices.Contains(channels, h.Channel) {
		wrong("channel is %.80q: want one of %s", h.Channel, strings.Join(channels, ", "))
	}
	if h.Handler == nil {
		wrong("Handler is nil: want a function")
	}
	errs = append(errs, checkBounds("handler: ", h.MaxErrors, h.Concurrency, h.Queue, h.Ordered)...)
	if h.RetryDelay < 0 || h.RetryDelay > maxDelay {
		wrong("RetryDelay is %s: want 1ms to %s, or 0 for the default of each category", h.RetryDelay, maxDelay)
	}
	if h.Timeout < 0 {
		wrong("Timeout is %s: want more than 0, or 0 for 30s", h.Timeout)
	}
	return errors.Join(errs...)
}

// subscription is what is declared under a name, in one form: a change makes a new one.
type subscription struct {
	name    string // as dead letters have it
	group   string
	channel string
	form    string // what makes it another one when it differs

	match                  func(events.Event) bool
	handle                 func(context.Context, events.Event) error
	onError                func(context.Context, error, events.Event)
	timeout                time.Duration
	maxErrors              int
	retry                  Retry
	concurrency, queueSize int
	order                  Order

	webhook, temporary bool

	replaced chan struct{} // closed when it is no longer declared in this form
	ready    chan struct{} // closed when its group is there
	once     sync.Once     // for ready

	mu       sync.Mutex
	created  time.Time
	last     time.Time
	messages int64
	errors   int64
	forgiven int64     // of errors: they do not count towards maxErrors
	consumer *Consumer // nil: it does not run here
	breaker  *Breaker  // of consumer
	lag      int64
	excess   int // how often one after the other more was pending than held
}

func newSubscription(name, channel string) *subscription {
	return &subscription{
		name: name, group: Group(name), channel: channel,
		created: time.Now(), replaced: make(chan struct{}), ready: make(chan struct{}),
	}
}

// webhookSubscription makes one of a Spec, which is taken as valid but for its filter.
func (s *Subscribers) webhookSubscription(spec Spec) (*subscription, error) {
	match, err := spec.match(s.parts.Compile)
	if err != nil {
		return nil, err
	}
	form, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	sub := newSubscription(spec.ID, spec.Channel)
	sub.form, sub.match, sub.webhook = string(form), match, true
	sub.maxErrors, sub.concurrency, sub.queueSize, sub.order = spec.MaxErrors, spec.Concurrency, spec.Queue, spec.Ordered
	sub.retry = Retry{s.cfg.Backoff, spec.AutoRetry != nil && !*spec.AutoRetry, time.Duration(spec.RetryDelay) * time.Millisecond}
	if !spec.CreatedAt.IsZero() {
		sub.created = spec.CreatedAt
	}
	hook := spec.Webhook
	sub.handle = func(ctx context.Context, ev events.Event) error { return s.sender.post(ctx, hook, spec.ID, ev) }
	return sub, nil
}

func (s *Subscribers) handlerSubscription(h HandlerSpec) (*subscription, error) {
	match, err := Spec{Filter: h.Filter}.match(s.parts.Compile)
	if err != nil {
		return nil, err
	}
	name := handlerPrefix + h.ID
	if h.ID == "" {
		name = temporaryPrefix + s.process + ":" + uuid.NewString()
	}
	sub := newSubscription(name, h.Channel)
	sub.match, sub.handle, sub.onError, sub.temporary = match, h.Handler, h.OnError, h.ID == ""
	sub.maxErrors, sub.concurrency, sub.queueSize, sub.order = h.MaxErrors, h.Concurrency, h.Queue, h.Ordered
	sub.retry, sub.timeout = Retry{s.cfg.Backoff, h.NoRetry, h.RetryDelay}, cmp.Or(h.Timeout, 30*time.Second)
	return sub, nil
}

// photoPath is what PerPhoto orders by.
var photoPath = func() events.Path {
	p, err := events.ParsePath("data.photoId")
	if err != nil {
		panic(err)
	}
	return p
}()

// PhotoLane is the photo of an event, or empty if it has none: the lane of PerPhoto.
func PhotoLane(ev events.Event) string {
	if v, ok := ev.Lookup(photoPath); ok && (v.Kind == events.String || v.Kind == events.Number) {
		return v.String()
	}
	return ""
}

func (s *subscription) lane() func(events.Event) string {
	if s.order == PerPhoto {
		return PhotoLane
	}
	return nil
}
