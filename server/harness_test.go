package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// deadline is for what should happen at once. A test that passes never waits for it.
const deadline = 20 * time.Second

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// setup says how a bus differs from the usual one.
type setup struct {
	config Config
	jwt    auth.Config
	policy auth.PolicyConfig
	limit  auth.LimitConfig
	rules  map[string][]routing.Rule
	// declared is what is declared besides those.
	declared Declarations
	log      eventLog       // nil means one in memory
	redis    *adapter.Redis // nil means fakes
	leaders  leaders        // nil means that it leads all channels
	inputs   inputs         // nil means none
	history  func(ctx context.Context, room string, n int) ([]adapter.Entry, error)
	id       string       // of the replica, with redis
	parts    func(*Parts) // changes them, if set
}

// bus is a Server on a free port, with the parts a test can get at.
type bus struct {
	*Server
	t        testing.TB
	source   *fakeSource
	owners   *fakeOwners
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	http     *httptest.Server
	run      func() // starts Run
	stop     func() // ends Run's context
	done     chan struct{}
	err      error // what Run returned, once done is closed
	judged   bool  // a test has looked at err
}

// newBus makes a bus that does not run yet. What runs has ended when its test ends.
func newBus(t testing.TB, with setup) *bus {
	t.Helper()
	if with.jwt.JWKSURL == "" {
		with.jwt.Secret = testSecret
	}
	if with.rules == nil {
		with.rules = routing.Default()
	}
	if with.log == nil {
		with.log = newFakeLog()
	}
	with.config.Drain = cmp.Or(with.config.Drain, time.Millisecond)
	with.id = cmp.Or(with.id, "00000000000000aa")
	b := &bus{t: t, source: newFakeSource(), owners: newFakeOwners(), registry: prometheus.NewRegistry(), done: make(chan struct{})}
	core, logs := observer.New(zap.DebugLevel)
	b.logs = logs
	verifier, err := auth.NewVerifier(with.jwt, nil)
	must(t, err)
	parts := Parts{
		Source: b.source, Log: with.log, History: with.history, Owners: b.owners,
		Verifier: verifier, Logger: zap.New(core), Metrics: b.registry,
	}
	if with.redis == nil {
		parts.Policy, err = auth.NewPolicy(with.policy, b.owners)
	} else {
		owners := with.redis.Owners(adapter.OwnersConfig{})
		parts.Owners = owners
		log := with.redis.Log(adapter.LogConfig{ID: with.id})
		must(t, log.Open(t.Context()))
		parts.ID, parts.Log, parts.Source, with.inputs = with.id, log, with.redis.Listener(), with.redis
		if with.leaders == nil {
			with.leaders = adapter.NewReplicas(with.redis.Client(), adapter.ReplicasConfig{
				ID: with.id, Channels: slices.Sorted(maps.Keys(with.rules)), Key: log.Key,
			}, zap.NewNop())
		}
		parts.Policy, err = auth.NewPolicy(with.policy, owners)
	}
	must(t, err)
	with.config.Limits.Connections = with.limit
	parts.Declared = with.declared
	parts.Declared.Rules = with.rules
	if parts.Leaders = with.leaders; parts.Leaders == nil {
		parts.Leaders = solo{slices.Sorted(maps.Keys(with.rules))}
	}
	if parts.Inputs = with.inputs; parts.Inputs == nil {
		parts.Inputs = noInputs{}
	}
	if with.parts != nil {
		with.parts(&parts)
	}
	b.Server, err = New(with.config, parts)
	must(t, err)

	b.http = httptest.NewServer(b)
	ctx, cancel := context.WithCancel(context.Background())
	var started sync.Once
	b.stop = cancel
	b.run = func() {
		started.Do(func() {
			go func() {
				defer close(b.done)
				b.err = b.Run(ctx)
			}()
		})
	}
	t.Cleanup(func() {
		cancel()
		b.run() // one that never ran ends at once
		<-b.done
		b.http.Close()
		if b.err != nil && !b.judged {
			t.Errorf("Run: %v", b.err)
		}
	})
	return b
}

// ended waits for the end of Run and returns its error.
func (b *bus) ended() error {
	b.t.Helper()
	b.judged = true
	wait(b.t, "Run to return", b.done)
	return b.err
}

// start makes a bus that is ready.
func start(t testing.TB, with setup) *bus {
	t.Helper()
	b := newBus(t, with)
	b.run()
	close(b.source.subscribed)
	eventually(t, "the server to be ready", func() bool { return b.Ready() == nil })
	return b
}

// publish sends a message in and waits until it was taken to the log, or dropped.
func (b *bus) publish(channel string, payload string) {
	b.t.Helper()
	m := incoming{channel, []byte(payload), make(chan struct{})}
	select {
	case b.source.in <- m:
	case <-time.After(deadline):
		b.t.Fatal("nobody receives")
	}
	wait(b.t, "a message to be heard", m.heard)
	for end := time.Now().Add(deadline); b.channels[channel].waiting.count() > 0; runtime.Gosched() {
		if time.Now().After(end) {
			b.t.Fatal("nobody takes the message to the log")
		}
	}
}

// event is an event's JSON. data and metadata are the insides of objects.
func event(id, kind, data, metadata string) string {
	return fmt.Sprintf(`{"id":%q,"type":%q,"data":{%s},"metadata":{"source":"test","version":"1.0"%s},"timestamp":"2026-01-31T12:00:00.000Z"}`,
		id, kind, data, metadata)
}

func decoded(t testing.TB, payload string) events.Event {
	t.Helper()
	ev, err := events.Decode([]byte(payload), 0)
	must(t, err)
	return ev
}

// token is one that never expires.
func token(t testing.TB, user string, permissions ...string) string {
	t.Helper()
	s, err := auth.Sign(testSecret, auth.Identity{UserID: user, Permissions: permissions}, 0)
	must(t, err)
	return s
}

// tokenUntil is alice's until a time, which need not be a whole second.
func tokenUntil(t testing.TB, exp time.Time) string {
	t.Helper()
	claims := jwt.MapClaims{"userId": "alice", "exp": float64(exp.UnixMilli()) / 1000}
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(testSecret)
	must(t, err)
	return s
}

// metric is a counter's or gauge's value, or a histogram's count. Labels are name and value in turn. What was never
// touched is zero, but somebody must have registered it.
func (b *bus) metric(name string, labels ...string) float64 {
	b.t.Helper()
	name = "eventbus_" + name
	if b.registry.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: "free?"})) == nil {
		b.t.Fatalf("there is no metric %s", name)
	}
	families, err := b.registry.Gather()
	must(b.t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var found []string
			for _, l := range m.GetLabel() { // sorted by name
				found = append(found, l.GetName(), l.GetValue())
			}
			if slices.Equal(found, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// wantMetric waits for a metric to reach a value: clients hear some things before they are counted.
func (b *bus) wantMetric(want float64, name string, labels ...string) {
	b.t.Helper()
	var got float64
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got = b.metric(name, labels...); got == want {
			return
		}
	}
	b.t.Errorf("metric %s %q = %v, want %v", name, labels, got, want)
}

// rooms lists the rooms that a client is in, sorted.
func (b *bus) rooms(c *browser) []string {
	b.t.Helper()
	for _, s := range b.clients.To().Sockets() {
		if s.ID() == c.sid && s.Connected() { // before that its seat is not there for everybody
			return slices.Sorted(slices.Values(s.Rooms()))
		}
	}
	b.t.Fatal("the client is not connected")
	return nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wait(t testing.TB, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(deadline):
		t.Fatalf("waited %s for %s", deadline, what)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", deadline, what)
		}
	}
}
