// Package engineio is the transport under Socket.IO: Engine.IO protocol 4 over websocket and HTTP
// long-polling, with the upgrade from one to the other, heartbeats and bounded queues.
//
// It carries messages of one client in order, both ways, and knows nothing of what they mean: packets,
// namespaces and rooms are the socketio package's. A Server is an http.Handler; mount it, run Run, and give it
// a function that answers each new connection with a Handler.
//
// Cost is what it is built for. A broadcast is encoded once into a Message that every connection shares. A
// websocket holds no buffer and, on Linux without TLS, no goroutine while it is idle; writes go straight to the
// kernel and only what it does not take is queued.
package engineio

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Protocol is the Engine.IO protocol revision spoken, the EIO query parameter.
const Protocol = "4"

// Transport names, as in the transport query parameter.
const (
	Polling   = "polling"
	WebSocket = "websocket"
)

// Reason says why a connection ended, in the words Node's engine.io uses.
type Reason string

const (
	TransportClose Reason = "transport close"      // the client went away
	TransportError Reason = "transport error"      // broken connection or websocket protocol violation
	PingTimeout    Reason = "ping timeout"         // no pong within PingTimeout
	ParseError     Reason = "parse error"          // not an Engine.IO packet
	ForcedClose    Reason = "forced close"         // Conn.Close was called
	ShuttingDown   Reason = "server shutting down" // Run ended or Drain closed it
	SlowClient     Reason = "slow client"          // more than MaxQueue bytes were waiting for it
)

// Handler receives what one connection does. Calls for a connection come in order and never overlap; they may
// block, which stops reading from that connection and from no other.
type Handler interface {
	// Message is called for every message. data belongs to the connection again when it returns.
	Message(data []byte, binary bool)
	// Closed is called once, after the last Message.
	Closed(reason Reason)
}

// Options configures a Server. The zero value works.
type Options struct {
	// PingInterval is the time between heartbeats. Zero means 25 s.
	PingInterval time.Duration
	// PingTimeout is how long the client may take to answer one. Zero means 20 s.
	PingTimeout time.Duration
	// UpgradeTimeout bounds the time from a websocket's opening to the end of the upgrade. Zero means 10 s.
	UpgradeTimeout time.Duration
	// MaxPayload is the size in bytes of the largest message or polling body taken from a client. Zero means
	// 1,000,000.
	MaxPayload int
	// MaxQueue is how many bytes may wait for a client before its transport is closed. Zero means 4 MiB.
	MaxQueue int
	// MaxConnections is how many connections may be open at once; one more is answered 503, and its client tries again.
	// Zero means no limit.
	MaxConnections int
	// Transports lists what is offered. Zero means polling and websocket.
	Transports []string
	// CORSOrigins are the origins browsers may poll from: "*", or origins like https://app.example. Credentials
	// are allowed for listed origins. Zero means same origin only.
	CORSOrigins []string
	// Headers names the request headers that Handshake keeps for as long as the connection lives. Zero means
	// Authorization, Origin and User-Agent.
	Headers []string
	// Deflate offers permessage-deflate (RFC 7692), without context takeover, so that a broadcast is still
	// encoded once. It trades a lot of CPU for bandwidth and is off by default, as in Node.
	Deflate bool
	// AllowRequest may refuse a handshake: an error answers 403 with its text.
	AllowRequest func(*http.Request) error
	// Replica is what the other replicas know this one by: at most 32 letters, digits, - and _. The ids of sessions
	// that poll end in it. Zero means that there are no other replicas.
	Replica string
	// Elsewhere serves a request of another replica's session there, at its Forwarded, within the time of the
	// request's context; a websocket lasts. An error means that nothing was answered: the session is unknown, or the
	// body too large if it is an http.MaxBytesError. Zero means that such sessions are unknown.
	Elsewhere func(replica string, w http.ResponseWriter, r *http.Request) error
}

// WithDefaults returns o with its zero values replaced.
func (o Options) WithDefaults() Options {
	o.PingInterval = cmp.Or(o.PingInterval, 25*time.Second)
	o.PingTimeout = cmp.Or(o.PingTimeout, 20*time.Second)
	o.UpgradeTimeout = cmp.Or(o.UpgradeTimeout, 10*time.Second)
	o.MaxPayload = cmp.Or(o.MaxPayload, 1_000_000)
	o.MaxQueue = cmp.Or(o.MaxQueue, 4<<20)
	if len(o.Transports) == 0 {
		o.Transports = []string{Polling, WebSocket}
	}
	if o.Headers == nil {
		o.Headers = []string{"Authorization", "Origin", "User-Agent"}
	}
	return o
}

// Validate reports everything that is wrong with o at once.
func (o Options) Validate() error {
	var errs []error
	positive := func(key string, ok bool) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: want zero for the default, or more than zero", key))
		}
	}
	positive("websocket.pingInterval", o.PingInterval >= 0)
	positive("websocket.pingTimeout", o.PingTimeout >= 0)
	positive("option UpgradeTimeout", o.UpgradeTimeout >= 0)
	positive("websocket.maxPayload", o.MaxPayload >= 0)
	positive("websocket.maxQueue", o.MaxQueue >= 0)
	if o.MaxConnections < 0 {
		errs = append(errs, errors.New("performance.connectionLimit: want zero for no limit, or more than zero"))
	}
	for _, t := range o.Transports {
		if !slices.Contains([]string{Polling, WebSocket}, t) {
			errs = append(errs, fmt.Errorf("websocket.transports: %q is none; want %s or %s", t, Polling, WebSocket))
		}
	}
	for _, origin := range o.CORSOrigins {
		if !validOrigin(origin) {
			errs = append(errs, fmt.Errorf("websocket.corsOrigins: %q is none; want * or an origin such as https://app.example, without a path", origin))
		}
	}
	if o.Replica != "" && !validReplica(o.Replica) {
		errs = append(errs, fmt.Errorf("option Replica: %q is none; want at most %d letters, digits, - and _", o.Replica, maxReplica))
	}
	return errors.Join(errs...)
}
