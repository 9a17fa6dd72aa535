package server

import (
	"context"
	"sync"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// fakeSource is a source fed by a channel.
type fakeSource struct {
	in         chan incoming
	fail       chan error // ends Receive
	subscribed chan struct{}
	channels   chan []string // what Receive was asked for
}

type incoming struct {
	channel string
	payload []byte
	heard   chan struct{}
}

func newFakeSource() *fakeSource {
	return &fakeSource{
		in: make(chan incoming), fail: make(chan error), subscribed: make(chan struct{}), channels: make(chan []string, 1),
	}
}

func (s *fakeSource) Subscribed() <-chan struct{} { return s.subscribed }

func (s *fakeSource) Receive(ctx context.Context, what adapter.Subscription) error {
	s.channels <- what.Channels
	what.Up()
	defer what.Down()
	for {
		select {
		case m := <-s.in:
			what.Handle(m.channel, m.payload)
			close(m.heard)
		case err := <-s.fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// noInputs has no durable events.
type noInputs struct{}

func (noInputs) Trimmed(context.Context, string, adapter.Position) (bool, error) { return false, nil }

func (noInputs) Consume(ctx context.Context, _ string, _ adapter.Position, _ func([]adapter.Input) error) error {
	<-ctx.Done()
	return ctx.Err()
}

// solo leads every channel.
type solo struct{ channels []string }

func (solo) Hears(bool) {}

func (solo) Voice() string { return "voice" }

func (solo) Heard() {}

func (solo) Beating() time.Time { return time.Time{} }

func (solo) Beaten() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (s solo) Run(ctx context.Context, lead func(context.Context, adapter.Lease)) error {
	var leads sync.WaitGroup
	for _, c := range s.channels {
		leads.Go(func() { lead(ctx, adapter.Lease{Channel: c}) })
	}
	leads.Wait()
	return nil
}

// fakeOwners is adapter.Owners in memory, with faults on demand.
type fakeOwners struct {
	mu    sync.Mutex
	known map[string]string
	calls []string      // of Set and Delete
	fault error         // of every call while it is set
	hold  chan struct{} // Owner waits until it is closed, if there is one
	asked chan string   // the photos that Owner was asked for
}

func newFakeOwners() *fakeOwners {
	return &fakeOwners{known: map[string]string{}, asked: make(chan string, 1000)}
}

func (o *fakeOwners) Set(_ context.Context, photo, user string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "set "+photo+" "+user)
	switch owner, ok := o.known[photo]; {
	case o.fault != nil:
		return o.fault
	case ok && owner != user:
		return adapter.ErrOwned
	}
	o.known[photo] = user
	return nil
}

func (o *fakeOwners) Delete(_ context.Context, photo string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, "delete "+photo)
	if o.fault == nil {
		delete(o.known, photo)
	}
	return o.fault
}

func (o *fakeOwners) Owner(ctx context.Context, photo string) (string, bool, error) {
	o.asked <- photo
	o.mu.Lock()
	hold := o.hold
	o.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return "", false, ctx.Err()
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	user, ok := o.known[photo]
	return user, ok, o.fault
}

// put changes the store under its lock.
func (o *fakeOwners) put(change func(*fakeOwners)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func (o *fakeOwners) noted() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.calls...)
}

// fakeLog is a log in memory, with faults on demand.
type fakeLog struct {
	start       adapter.Position
	appendFault chan error                                                   // each is the outcome of one Append
	before      func()                                                       // called by Append, if set
	tail        func(ctx context.Context, apply func([]adapter.Entry)) error // instead of memory's, if set

	mu      sync.Mutex
	last    adapter.Position
	pending []adapter.Entry
	ids     map[string]bool
	more    chan struct{}
}

func newFakeLog() *fakeLog {
	start := adapter.Position{}.Next(time.Now())
	return &fakeLog{
		start: start, last: start, appendFault: make(chan error, 10), ids: map[string]bool{}, more: make(chan struct{}, 1),
	}
}

func (l *fakeLog) Start() adapter.Position { return l.start }

func (l *fakeLog) CaughtUp() <-chan struct{} { return solo{}.Beaten() }

func (l *fakeLog) Wait(context.Context) error { return nil }

func (l *fakeLog) Cursor(context.Context, string) (adapter.Position, error) {
	return adapter.Position{}, nil
}

func (l *fakeLog) Known(_ context.Context, keys []string) ([]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := make([]bool, len(keys))
	for i, k := range keys {
		known[i] = l.ids[k]
	}
	return known, nil
}

func (l *fakeLog) Append(ctx context.Context, _ adapter.Lease, records []adapter.Record) ([]bool, error) {
	if l.before != nil {
		l.before()
	}
	select {
	case err := <-l.appendFault:
		return nil, err
	default:
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := make([]bool, len(records))
	for i, r := range records {
		fresh[i] = r.Key == "" || !l.ids[r.Key]
		if !fresh[i] {
			continue
		}
		l.ids[r.Key] = true
		for _, m := range r.Messages {
			l.last = l.last.Next(time.Now())
			l.pending = append(l.pending, adapter.Entry{Position: l.last, Message: m, Key: r.Key})
		}
	}
	wake(l.more)
	return fresh, nil
}

func (l *fakeLog) Tail(ctx context.Context, apply func([]adapter.Entry), _ func(adapter.Position)) error {
	if l.tail != nil {
		return l.tail(ctx, apply)
	}
	return l.memory(ctx, apply)
}

// memory is the tail of what was appended.
func (l *fakeLog) memory(ctx context.Context, apply func([]adapter.Entry)) error {
	for {
		select {
		case <-l.more:
		case <-ctx.Done():
			return nil
		}
		l.mu.Lock()
		batch := l.pending
		l.pending = nil
		l.mu.Unlock()
		if len(batch) > 0 {
			apply(batch)
		}
	}
}
