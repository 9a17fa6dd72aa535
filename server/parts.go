package server

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
)

// source is where plain events are heard: adapter.Listener.
type source interface {
	Receive(ctx context.Context, what adapter.Subscription) error
	Subscribed() <-chan struct{}
}

// inputs is where durable events are read: adapter.Redis.
type inputs interface {
	Consume(ctx context.Context, stream string, after adapter.Position, handle func([]adapter.Input) error) error
	Trimmed(ctx context.Context, stream string, after adapter.Position) (bool, error)
}

// leaders say which channels this replica leads: adapter.Replicas.
type leaders interface {
	Run(ctx context.Context, lead func(context.Context, adapter.Lease)) error
	Hears(bool)
	Voice() string
	Heard()
	Beaten() <-chan struct{}
	Beating() (since time.Time)
}

// eventLog orders what is broadcast: adapter.Log.
type eventLog interface {
	Start() adapter.Position
	CaughtUp() <-chan struct{}
	Wait(ctx context.Context) error
	Known(ctx context.Context, keys []string) ([]bool, error)
	Append(ctx context.Context, lease adapter.Lease, records []adapter.Record) (fresh []bool, err error)
	Cursor(ctx context.Context, channel string) (adapter.Position, error)
	Tail(ctx context.Context, apply func([]adapter.Entry), gap func(adapter.Position)) error
}

// sessions keeps what returning clients get back where every replica finds it: adapter.Sessions.
type sessions interface {
	Run(ctx context.Context, state func(pid string) (adapter.StoredSession, bool), taken func(pid string)) error
	Save(ctx context.Context, pid string) error
	Changed(pid string)
	Look(ctx context.Context, pid string) (adapter.StoredSession, bool, error)
	Take(ctx context.Context, pid string) (s adapter.StoredSession, from string, ok bool, err error)
	Release(pid string)
	Drop(pid string)
}

// peers are the other servers of the cluster: adapter.Peers.
type peers interface {
	Run(ctx context.Context, serve func(r adapter.Request, respond func(adapter.Response))) error
	Request(ctx context.Context, r adapter.Request, each func(adapter.Response)) error
}

// owners remembers whose a photo is: adapter.Owners.
type owners interface {
	Set(ctx context.Context, photoID, userID string) error
	Delete(ctx context.Context, photoID string) error
}

// Parts are what a Server works with. All are needed, but for those that say otherwise.
type Parts struct {
	ID       string // of this replica among all of the cluster: 16 hex digits
	Source   source
	Inputs   inputs
	Leaders  leaders
	Log      eventLog
	Sessions sessions          // nil: clients are recovered by the replica that they were on, and by no other
	Peers    peers             // nil: there are no others to ask
	Emitters *adapter.Emitters // nil: what those publish is not taken to the log
	// Occupied follows the rooms that have members here, under a lock, and the ids of sockets; it may be nil.
	Occupied func(namespace, room string, yes bool)
	// History gives the last n events of a room, oldest first, as the log had them: adapter.Log. Nil means that they are
	// not kept.
	History func(ctx context.Context, room string, n int) ([]adapter.Entry, error)
	// Find gives the internal address of a replica, host:port, or https://host:port where that does TLS, where requests
	// of its sessions are forwarded to. Nil means that they are not: polling clients then need a load balancer that sends
	// each to one replica.
	Find func(ctx context.Context, replica string) (addr string, ok bool)
	// PeerTLS says how to trust such a replica. Nil means that none that does TLS can be reached.
	PeerTLS  *tls.Config
	Owners   owners
	Declared Declarations
	Verifier *auth.Verifier
	Policy   *auth.Policy
	Logger   *zap.Logger
	Metrics  prometheus.Registerer

	// Store is what replicas share beside the log. Nil means that nothing can be declared at run time, that throttles and
	// limits of event types are refused, and that nothing is counted for EventMetrics.
	Store *adapter.Store
	// Tables watches tables of it: adapter.WatchTables.
	Tables func(ctx context.Context, every time.Duration, tables map[*adapter.Table]func([]adapter.Row)) error
	// DeadLetters get what is refused. Nil means that it is dropped.
	DeadLetters *adapter.DeadLetters
	// Tally counts for EventMetrics. Nil means that they are not there.
	Tally *adapter.Tally
	// Subscriptions are run for the channels that this replica leads. Nil means that there are none.
	Subscriptions *delivery.Subscribers
	// Durable and Plain are how Publish gets events to Redis. Nil means that it cannot.
	Durable, Plain publishing
	// Audit hears who did what. Nil means that nobody does.
	Audit *auth.Audit
	// UserEvents limits the events of a user's clients over all replicas. Nil means no limit.
	UserEvents *auth.SharedLimiter
	// TracerProvider makes the spans of events. Nil means none.
	TracerProvider trace.TracerProvider
}
