// Package server is the event bus: it takes events from Redis, routes them to rooms, and serves the browsers that
// listen there.
//
// An event's way is two short passes. ingest.go takes messages from Redis to the log: decode, route, append; lead.go
// and waiting.go see that one replica does it for each channel, and another when that one is gone. tail.go takes entries
// of the log to the sockets of this replica. client.go is what browsers may ask for. The wire belongs to socketio, the
// log and the rooms to adapter, who may what to auth, which rooms to routing.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/server/engineio"
	"github.com/photo-management/event-bus/server/socketio"
)

// Config configures a Server. The zero value works.
type Config struct {
	// Socket configures the Socket.IO side. Zero RecoveryWindow means 2 minutes, a negative one no recovery.
	Socket socketio.Options
	// MaxEvent is the size in bytes of the largest event taken from Redis. Zero means 1 MiB.
	MaxEvent int
	// BatchSize is how many events of a channel go to the log at once. Zero means 128.
	BatchSize int
	// FlushInterval is how long an event may wait for such a batch to fill, which saves work under load and costs time
	// otherwise. Zero means that it never waits.
	FlushInterval time.Duration
	// InputPrefix and a channel's name are the stream of its durable input. Zero means "eventbus:in:".
	InputPrefix string
	// MaxSubscriptions is how many photos and users one socket may subscribe to at a time. Zero means 1,000.
	MaxSubscriptions int
	// OnExpiry is what becomes of a connection when its token expires. Zero means that it is closed.
	OnExpiry auth.OnExpiry
	// Webhooks is what subscriptions may call.
	Webhooks delivery.WebhookConfig
	// Limits say how often clients may do what.
	Limits auth.Limits
	// TrustedProxies are those whose word on where a client comes from is believed. Their headers X-Forwarded-For and
	// Forwarded have to be among Socket.Engine.Headers.
	TrustedProxies []netip.Prefix
	// Drain is the time over which open connections are closed at the end. Zero means 20 s.
	Drain time.Duration
}

func (c Config) withDefaults() Config {
	c.Socket.RecoveryWindow = max(cmp.Or(c.Socket.RecoveryWindow, 2*time.Minute), 0)
	if c.Socket.Engine.Headers == nil {
		c.Socket.Engine.Headers = []string{"Authorization"} // all that is asked for later
	}
	c.MaxEvent = cmp.Or(c.MaxEvent, events.DefaultMaxBytes)
	c.BatchSize = cmp.Or(c.BatchSize, batchLen)
	c.InputPrefix = cmp.Or(c.InputPrefix, "eventbus:in:")
	c.MaxSubscriptions = cmp.Or(c.MaxSubscriptions, 1000)
	c.Drain = cmp.Or(c.Drain, 20*time.Second)
	return c
}

// Validate reports everything that is wrong with c at once.
func (c Config) Validate() error {
	var errs []error
	for _, x := range []struct {
		key  string
		ok   bool
		want string
	}{
		{"performance.maxEventSize", c.MaxEvent >= 0, "zero for the default, or more than zero"},
		{"performance.batchSize", c.BatchSize >= 0 && c.BatchSize <= maxBatch, fmt.Sprintf("1 to %d events, or zero for %d", maxBatch, batchLen)},
		{"performance.flushInterval", c.FlushInterval >= 0 && c.FlushInterval <= time.Second, "0 to 1s"},
		{"security.maxSubscriptions", c.MaxSubscriptions >= 0, "zero for the default, or more than zero"},
		{"server.drain", c.Drain >= 0, "zero for the default, or more than zero"},
	} {
		if !x.ok {
			errs = append(errs, fmt.Errorf("%s: want %s", x.key, x.want))
		}
	}
	return errors.Join(append(errs, c.OnExpiry.Validate(), c.Limits.Validate(), c.withDefaults().Socket.Validate())...)
}

// Server is one replica of the event bus.
type Server struct {
	cfg Config
	Parts
	sockets  *socketio.Server
	clients  *socketio.Namespace
	channels map[string]*channel
	declared *declared
	// decisions are those in force, and revocations the tokens that are not.
	decisions        atomic.Pointer[decisions]
	revocations      auth.Revocations
	users, addresses *auth.Limiter // connections of each
	limits           atomic.Pointer[auth.Limits]
	forwards         *forwarder // nil without Find
	history          *history   // nil without Parts.History
	tracing          *tracing   // nil without Parts.TracerProvider
	metrics          *metrics
	state            atomic.Value // of error: why it is not ready, errReady when it is
	started          chan struct{}

	// What outsiders can bring about is told once in a while, each kind for itself.
	dropLog, ownerLog, tokenLog, accessLog rate.Sometimes
}

var (
	errReady    = errors.New("ready")
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
)

// New makes a Server.
func New(cfg Config, parts Parts) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Socket.Start, cfg.Socket.ID = parts.Log.Start(), parts.ID
	cfg.Socket.Occupied = parts.Occupied
	if parts.Sessions != nil {
		cfg.Socket.Sessions = parts.Sessions
	}
	if parts.Peers != nil {
		cfg.Socket.Cluster = fleet{parts.Log, parts.Peers}
	}
	s := &Server{cfg: cfg, Parts: parts, channels: map[string]*channel{}, declared: newDeclared(parts.Declared, parts.Store)}
	decisions, err := parts.Declared.compile(cfg.MaxEvent)
	if err = errors.Join(err, parts.Declared.countable(parts.Store)); err != nil {
		return nil, err
	}
	s.decisions.Store(decisions)
	s.limits.Store(&cfg.Limits)
	if s.users, err = auth.NewLimiter(cfg.Limits.Connections); err != nil {
		return nil, err
	}
	if s.addresses, err = auth.NewLimiter(cfg.Limits.Of(cfg.Limits.PerIP)); err != nil {
		return nil, err
	}
	s.declared.channels = decisions.rules.Channels()
	s.tracing = newTracing(parts.TracerProvider, s.declared.channels, parts.Log, cfg.MaxEvent)
	for _, name := range s.declared.channels {
		c := &channel{name: name, waiting: newWaiting(name, eventID), ingest: s.ingest, durable: true}
		c.waiting.most, c.waiting.flush = cfg.BatchSize, cfg.FlushInterval
		s.channels[name] = c
	}
	if parts.Emitters != nil {
		s.channels[EmitterChannel] = &channel{name: EmitterChannel, waiting: newWaiting(EmitterChannel, wholePayload), ingest: s.ingestEmitted}
	}
	for _, l := range []*rate.Sometimes{&s.dropLog, &s.ownerLog, &s.tokenLog, &s.accessLog} {
		l.First, l.Interval = 1, 10*time.Second
	}
	s.state.Store(errStarting)
	s.started = make(chan struct{})
	if parts.History != nil {
		s.history = newHistory(parts.History, cfg.Socket.Engine.WithDefaults().MaxQueue)
		cfg.Socket.HistoryWindow = max(cfg.Socket.HistoryWindow, historyWindow)
	}
	if parts.Find != nil {
		s.forwards = newForwarder(parts.Find, parts.Metrics)
		s.forwards.useTLS(parts.PeerTLS)
		cfg.Socket.Engine.Replica, cfg.Socket.Engine.Elsewhere = parts.ID, s.forwards.forward
	}
	if s.sockets, err = socketio.New(cfg.Socket); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(s.sockets, s.channels, decisions.registry.Types(), parts.Tally, parts.Metrics)
	s.serveClients()
	return s, nil
}

// ServeHTTP serves Socket.IO. Mount it at /socket.io/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.sockets.ServeHTTP(w, r) }

// Ready is nil while the server wants traffic, or says why it does not. It does not follow Redis: connected
// clients are better off here than without any replica.
func (s *Server) Ready() error {
	if err := s.state.Load().(error); err != errReady {
		return err
	}
	return nil
}

// Started is closed once Ready has said so for the first time.
func (s *Server) Started() <-chan struct{} { return s.started }

// Accepting is closed once Run takes connections.
func (s *Server) Accepting() <-chan struct{} { return s.sockets.Engine().Accepting() }

// TurnedAway counts the connections refused because there were too many.
func (s *Server) TurnedAway() uint64 { return s.sockets.Engine().TurnedAway() }

// Connections is the number of open connections.
func (s *Server) Connections() int { return s.sockets.Engine().Len() }

// Run serves until ctx ends or a part fails, then drains: it says so to Ready, gives up what it leads, closes the
// connections over Config.Drain, and returns when all is gone.
func (s *Server) Run(ctx context.Context) error {
	stopping, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // until the connections are drained
	defer stop()
	storing, stored := context.WithCancel(context.WithoutCancel(ctx)) // until nothing can change any more
	defer stored()
	var store, sockets, ingest sync.WaitGroup
	run := func(g *sync.WaitGroup, part string, fn func() error) {
		g.Go(func() {
			if err := fn(); err != nil {
				fail(fmt.Errorf("%s: %w", part, err))
			}
		})
	}
	run(&sockets, "log", func() error { return s.Log.Tail(serving, s.tail, s.gap) })
	run(&sockets, "memory", func() error { return s.release(serving) })
	run(&sockets, "waiting", func() error { return s.forget(serving) })
	run(&sockets, "verifier", func() error { return s.Verifier.Run(serving) })
	run(&sockets, "leases", func() error {
		select {
		case <-s.declared.known: // nothing is let through that somebody has declared a filter for
			return s.Leaders.Run(serving, s.lead)
		case <-serving.Done():
			return nil
		}
	})
	run(&sockets, "declarations", func() error { return s.watch(serving) })
	if s.Subscriptions != nil {
		run(&sockets, "subscriptions", func() error { return s.Subscriptions.Run(serving) })
	}
	if s.UserEvents != nil {
		run(&sockets, "limits", func() error { return s.UserEvents.Run(serving) })
	}
	if s.Tally != nil {
		run(&store, "counts", func() error { return s.Tally.Run(storing) })
	}
	run(&ingest, "redis", func() error { return s.Source.Receive(stopping, s.subscription(stopping)) })
	up := func(parts ...<-chan struct{}) {
		for _, part := range parts {
			select {
			case <-part:
			case <-stopping.Done():
			}
		}
	}
	up(s.Log.CaughtUp(), s.declared.known) // those who return must find what they missed; and who is revoked, nothing
	if s.Sessions != nil {
		run(&store, "sessions", func() error { return s.Sessions.Run(storing, s.sockets.Session, s.sockets.Taken) })
	}
	if s.Peers != nil {
		run(&sockets, "peers", func() error { return s.Peers.Run(serving, s.sockets.Serve) })
	}
	if s.forwards != nil {
		run(&sockets, "forwards", func() error { return s.forwards.run(serving) })
	}
	run(&sockets, "sockets", func() error { return s.sockets.Run(serving) })
	up(s.Accepting(), s.Source.Subscribed(), s.Leaders.Beaten())
	if stopping.Err() == nil {
		s.state.Store(errReady)
		close(s.started)
	}
	<-stopping.Done()

	s.state.Store(errDraining) // before anything stops: traffic goes elsewhere
	ingest.Wait()              // what comes now is for the other replicas
	s.finish()
	s.Leaders.Hears(false)
	if n := s.Connections(); n > 0 {
		s.Logger.Info("draining", zap.Int("connections", n), zap.Duration("over", s.cfg.Drain))
	}
	var forwards sync.WaitGroup
	if s.forwards != nil {
		forwards.Go(func() { s.forwards.drain(serving, s.cfg.Drain) })
	}
	s.sockets.Drain(serving, s.cfg.Drain)
	stop()
	forwards.Wait()
	sockets.Wait()
	stored()
	store.Wait()
	if err := context.Cause(stopping); err != context.Cause(ctx) {
		return err // a part failed
	}
	return nil
}

// subscription is what is heard from Redis.
func (s *Server) subscription(ctx context.Context) adapter.Subscription {
	what := adapter.Subscription{
		Channels: append([]string{s.Leaders.Voice()}, s.declared.channels...),
		Handle:   func(channel string, payload []byte) { s.hear(ctx, channel, payload) },
		Up:       func() { s.Leaders.Hears(true) },
		Down: func() {
			if ctx.Err() == nil { // else there is no gap, but an end: see finish
				s.Leaders.Hears(false)
			}
		},
	}
	if s.Emitters != nil {
		what.Channels = append(what.Channels, s.Emitters.Commands())
		what.Patterns = []string{s.Emitters.Events()}
	}
	return what
}

// reason bounds the label values of disconnections.
func reason(r socketio.Reason) string {
	switch r {
	case socketio.ClientDisconnect, socketio.ServerDisconnect,
		socketio.Reason(engineio.TransportClose), socketio.Reason(engineio.TransportError),
		socketio.Reason(engineio.PingTimeout), socketio.Reason(engineio.ParseError),
		socketio.Reason(engineio.ForcedClose), socketio.Reason(engineio.ShuttingDown),
		socketio.Reason(engineio.SlowClient):
		return string(r)
	}
	return "other"
}
