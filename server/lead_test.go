package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// elected leads when a test says so.
type elected struct {
	solo
	mu    sync.Mutex
	lead  func(context.Context, adapter.Lease)
	ready chan struct{}
	hears []bool
	ended func() // called when it hears no more, if set
	beats time.Time
}

func (e *elected) Beating() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.beats
}

func (e *elected) Hears(yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hears = append(e.hears, yes)
	if !yes && e.ended != nil {
		e.ended()
	}
}

func (e *elected) Run(ctx context.Context, lead func(context.Context, adapter.Lease)) error {
	e.lead = lead
	close(e.ready)
	<-ctx.Done()
	return nil
}

// term leads a channel until the returned function is called.
func (e *elected) term(t *testing.T, channel, token string) (end func()) {
	<-e.ready
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.lead(ctx, adapter.Lease{Channel: channel, Key: "lease", Token: token})
	}()
	end = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(end)
	return end
}

// durable is an input of durable events.
type durable struct {
	mu     sync.Mutex
	events []adapter.Input
	from   []adapter.Position // of each Consume
	done   chan struct{}      // has one of each batch that was handled
}

func (d *durable) Trimmed(context.Context, string, adapter.Position) (bool, error) { return true, nil }

func (d *durable) Consume(ctx context.Context, stream string, after adapter.Position, handle func([]adapter.Input) error) error {
	if stream != "eventbus:in:photo:upload" {
		<-ctx.Done()
		return ctx.Err()
	}
	d.mu.Lock()
	d.from = append(d.from, after)
	i, _ := slices.BinarySearchFunc(d.events, after, func(in adapter.Input, p adapter.Position) int { return in.Compare(p) - 1 })
	batch := d.events[i:]
	d.mu.Unlock()
	if err := handle(batch); err != nil {
		return err
	}
	d.done <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// cursors is a log that notes cursors and who appended, and fences.
type cursors struct {
	*fakeLog
	mu      sync.Mutex
	valid   string // the token
	cursor  adapter.Position
	refused int
}

func (l *cursors) Cursor(context.Context, string) (adapter.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor, nil
}

func (l *cursors) Append(ctx context.Context, lease adapter.Lease, records []adapter.Record) ([]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lease.Token != l.valid {
		l.refused++
		return nil, adapter.ErrDeposed
	}
	fresh, err := l.fakeLog.Append(ctx, lease, records)
	if err == nil {
		for _, r := range records {
			if r.Cursor != (adapter.Position{}) {
				l.cursor = r.Cursor
			}
		}
	}
	return fresh, err
}

func (l *cursors) put(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// parliament is a bus whose leadership a test decides on.
func parliament(t *testing.T, in inputs) (*bus, *elected, *cursors) {
	t.Helper()
	log, e := &cursors{fakeLog: newFakeLog(), valid: "1"}, &elected{ready: make(chan struct{})}
	b := newBus(t, setup{log: log, leaders: e, inputs: in})
	b.run()
	close(b.source.subscribed)
	eventually(t, "the server to be ready", func() bool { return b.Ready() == nil })
	return b, e, log
}

func (b *bus) hear(t *testing.T, channel, payload string) {
	t.Helper()
	m := incoming{channel, []byte(payload), make(chan struct{})}
	b.source.in <- m
	wait(t, "a message to be heard", m.heard)
}

func upload(id string) string { return event(id, "photo.uploaded", ``, `,"clientId":"c"`) }

// record is what a leader makes of an event.
func (b *bus) record(channel, payload string) adapter.Record {
	b.t.Helper()
	d := b.decisions.Load()
	batch := []arrival{b.receive(d, channel, message{payload: []byte(payload)})}
	must(b.t, b.decide(b.t.Context(), d, channel, batch))
	return records(batch)[0]
}

func TestStandbyKeepsWhatItHears(t *testing.T) {
	t.Parallel()
	b, e, log := parliament(t, noInputs{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	for _, id := range []string{"1", "2", "3"} {
		b.hear(t, "photo:upload", upload(id))
	}
	c.quiet()
	// Another replica leads, and writes the first of them.
	_, err := log.fakeLog.Append(t.Context(), adapter.Lease{}, []adapter.Record{b.record("photo:upload", upload("1"))})
	must(t, err)
	c.want("upload.event", upload("1"))
	b.wantMetric(2, "waiting_events", "channel", "photo:upload")
	b.wantMetric(0, "leases_held", "channel", "photo:upload")

	end := e.term(t, "photo:upload", "1")
	c.want("upload.event", upload("2"))
	c.want("upload.event", upload("3"))
	b.wantMetric(1, "leases_held", "channel", "photo:upload")
	b.wantMetric(0, "waiting_events", "channel", "photo:upload")
	end()
	b.wantMetric(0, "leases_held", "channel", "photo:upload")
	b.hear(t, "photo:upload", upload("4"))
	c.quiet()
	b.wantMetric(1, "waiting_events", "channel", "photo:upload")
}

func TestDeposedLeaderWritesNothing(t *testing.T) {
	t.Parallel()
	b, e, log := parliament(t, noInputs{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	log.put(func() { log.valid = "2" }) // it has not heard of that yet
	e.term(t, "photo:upload", "1")
	b.hear(t, "photo:upload", upload("1"))
	eventually(t, "the log to refuse it", func() bool {
		log.mu.Lock()
		defer log.mu.Unlock()
		return log.refused > 0
	})
	c.quiet()
	e.term(t, "photo:upload", "2")
	c.want("upload.event", upload("1"))
	c.quiet()
}

func TestDurableInput(t *testing.T) {
	t.Parallel()
	in := &durable{done: make(chan struct{}, 10)}
	for i, payload := range []string{upload("1"), "nonsense", upload("2"), upload("1"), ""} {
		in.events = append(in.events, adapter.Input{Position: adapter.Position{MS: uint64(i + 1)}, Payload: []byte(payload)})
	}
	b, e, log := parliament(t, in)
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	log.appendFault <- errors.New("away")
	end := e.term(t, "photo:upload", "1")
	c.want("upload.event", upload("1"))
	c.want("upload.event", upload("2"))
	c.quiet()
	<-in.done
	end()
	b.wantMetric(2, "event_errors_total", "category", "validation", "channel", "photo:upload", "error_type", "malformed")
	b.wantMetric(1, "events_duplicate_total", "channel", "photo:upload")
	b.wantMetric(1, "input_trimmed_total", "channel", "photo:upload")
	if log.cursor != (adapter.Position{MS: 5}) {
		t.Errorf("the cursor is %v, want 5-0, bad messages included", log.cursor)
	}
	in.mu.Lock()
	in.events = append(in.events, adapter.Input{Position: adapter.Position{MS: 6}, Payload: []byte(upload("3"))})
	in.mu.Unlock()
	e.term(t, "photo:upload", "1")
	c.want("upload.event", upload("3"))
	<-in.done
	if want := []adapter.Position{{}, {MS: 5}}; !slices.Equal(in.from, want) {
		t.Errorf("read from %v, want %v", in.from, want)
	}
}

// There may be no other replica that has heard it.
func TestWhatWasHeardIsWrittenBeforeTheEnd(t *testing.T) {
	t.Parallel()
	b, e, log := parliament(t, noInputs{})
	e.term(t, "photo:upload", "1")
	eventually(t, "it to lead", func() bool { return b.metric("leases_held", "channel", "photo:upload") == 1 })
	for range 3 {
		log.appendFault <- errors.New("away") // so that it takes a while
	}
	left := -1
	e.ended = func() { left = b.channels["photo:upload"].waiting.count() }
	for _, id := range []string{"1", "2", "3"} {
		b.hear(t, "photo:upload", upload(id))
	}
	b.stop()
	must(t, b.ended())
	if left != 0 || len(log.ids) != 3 {
		t.Errorf("%d events are written and %d wait when the leases are given up, want 3 and none", len(log.ids), left)
	}
}

func TestHearingIsTold(t *testing.T) {
	t.Parallel()
	b, e, _ := parliament(t, noInputs{})
	b.stop()
	must(t, b.ended())
	if !slices.Equal(e.hears, []bool{true, false}) {
		t.Errorf("told that it hears: %v, want up and down", e.hears)
	}
}
