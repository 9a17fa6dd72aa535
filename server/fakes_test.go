package server

import (
	"context"
	"sync"

	"github.com/photo-management/event-bus/adapter"
)

// fakeSource is a source fed by a channel.
type fakeSource struct {
	in         chan message
	fail       chan error // ends Receive
	subscribed chan struct{}
	channels   chan []string // what Receive was asked for
}

type message struct {
	channel string
	payload []byte
	handled chan struct{}
}

func newFakeSource() *fakeSource {
	return &fakeSource{
		in: make(chan message), fail: make(chan error), subscribed: make(chan struct{}), channels: make(chan []string, 1),
	}
}

func (s *fakeSource) Subscribed() <-chan struct{} { return s.subscribed }

func (s *fakeSource) Receive(ctx context.Context, channels []string, handle func(string, []byte)) error {
	s.channels <- channels
	for {
		select {
		case m := <-s.in:
			handle(m.channel, m.payload)
			close(m.handled)
		case err := <-s.fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
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

// fakeLog is Memory with faults on demand.
type fakeLog struct {
	*adapter.Memory
	appendFault chan error                                                   // each is the outcome of one Append
	before      func(id string)                                              // called by Append, if set
	tail        func(ctx context.Context, apply func([]adapter.Entry)) error // instead of Memory's, if set
}

func newFakeLog() *fakeLog {
	return &fakeLog{Memory: adapter.NewMemory(adapter.MemoryConfig{}), appendFault: make(chan error, 10)}
}

func (l *fakeLog) Append(ctx context.Context, id string, messages ...adapter.Message) (bool, error) {
	if l.before != nil {
		l.before(id)
	}
	select {
	case err := <-l.appendFault:
		return false, err
	default:
		return l.Memory.Append(ctx, id, messages...)
	}
}

func (l *fakeLog) Tail(ctx context.Context, apply func([]adapter.Entry)) error {
	if l.tail != nil {
		return l.tail(ctx, apply)
	}
	return l.Memory.Tail(ctx, apply)
}
