package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server"
)

// clusterConfig is how this replica is one of several.
type clusterConfig struct {
	adapter       string // streams, pubsub or sharded
	specific      bool
	subscriptions string
	log           adapter.LogConfig
	history       adapter.HistoryConfig // of photos; no size, no history
	sessionPrefix string
	channelPrefix string
	sharded       bool
	name          string
	advertise     string
}

func (c *clusterConfig) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.adapter, "adapter", "streams", "how servers are one: streams (a log, with recovery), or like @socket.io/redis-adapter, without: pubsub or sharded")
	fs.BoolVar(&c.specific, "specific-responses", false, "with the adapter pubsub: answer who asks alone, as Node's publishOnSpecificResponseChannel")
	fs.StringVar(&c.log.Stream, "log-stream", "socket.io", "key of the stream that all replicas read, Node's servers with the streams adapter among them")
	fs.StringVar(&c.subscriptions, "subscription-mode", "dynamic", "with the adapter sharded: as Node's subscriptionMode, which is static, dynamic or dynamic-private")
	fs.DurationVar(&c.log.Dedupe, "dedupe-window", 24*time.Hour, "how long the id of an event is remembered, so that it is delivered once")
	fs.IntVar(&c.history.Size, "history-size", 50, "events of a photo that are kept for who subscribes later and asks for them; 0 keeps none")
	fs.DurationVar(&c.history.TTL, "history-ttl", time.Hour, "how long they are kept after the last one")
	fs.StringVar(&c.sessionPrefix, "session-prefix", "sio:session:", "what the keys of the sessions of clients begin with")
	fs.StringVar(&c.channelPrefix, "channel-prefix", "socket.io", "what the channels begin with on which servers ask each other")
	fs.BoolVar(&c.sharded, "sharded-pubsub", false, "use sharded Pub/Sub for that, as Node's useShardedPubSub; needs Redis 7")
	fs.StringVar(&c.name, "replica-name", "", "name of this replica for people; by default the host's")
	fs.StringVar(&c.advertise, "advertise-addr", "", "host:port at which the other replicas reach the health port, for polling without sticky sessions; found out by default, none turns it off")
}

// check completes the configuration.
func (c *clusterConfig) check(all *config) error {
	all.server.InputPrefix = cmp.Or(all.server.InputPrefix, cmp.Or(all.redis.KeyPrefix, "eventbus:")+"in:")
	c.log.Window = max(all.server.Socket.RecoveryWindow, time.Second)
	c.log.MaxEntry = max(4<<20, 2*all.server.MaxEvent)
	errs := []error{c.log.Validate(), c.history.Validate()}
	switch c.adapter {
	case "streams":
	case "pubsub", "sharded":
		all.server.Socket.RecoveryWindow = -1 // there is nothing to recover from
	default:
		errs = append(errs, fmt.Errorf("adapter (ADAPTER): %q: want streams, pubsub or sharded", c.adapter))
	}
	if !adapter.SubscriptionMode(c.subscriptions).Valid() {
		errs = append(errs, fmt.Errorf("subscription-mode (SUBSCRIPTION_MODE): %q: want static, dynamic or dynamic-private", c.subscriptions))
	}
	if c.advertise != "" && c.advertise != "none" {
		if _, port, err := net.SplitHostPort(c.advertise); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("advertise-addr (ADVERTISE_ADDR): %q: want host:port, or none", c.advertise))
		}
	}
	for name, prefix := range map[string]string{"session-prefix": c.sessionPrefix, "channel-prefix": c.channelPrefix, "input-prefix": all.server.InputPrefix} {
		if prefix == "" || len(prefix) > 128 {
			errs = append(errs, fmt.Errorf("%s (%s): want 1 to 128 bytes", name, envName(name)))
		}
	}
	return errors.Join(errs...)
}

// newReplicaID is an id like those of Node's servers.
func newReplicaID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return hex.EncodeToString(b[:])
}

// replicaName is for people.
func (c *clusterConfig) replicaName() string {
	host, _ := os.Hostname()
	return cmp.Or(c.name, host, "eventbus")
}

// advertised is where the others reach what listens at addr, empty if they shall not. Where that is on all addresses of
// this machine, it is the one from which Redis is reached.
func (c *clusterConfig) advertised(addr net.Addr, redisAddr string) string {
	switch c.advertise {
	case "":
	case "none":
		return ""
	default:
		return c.advertise
	}
	at, ok := addr.(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := at.IP.String()
	if at.IP.IsUnspecified() {
		conn, err := net.Dial("udp", redisAddr) // sends nothing
		if err != nil {
			return ""
		}
		defer conn.Close()
		host = conn.LocalAddr().(*net.UDPAddr).IP.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(at.Port))
}

// joinCluster makes the parts that this replica has in common with others: log, leases, sessions, questions.
func joinCluster(ctx context.Context, cfg config, redis *adapter.Redis, internal net.Addr, parts *server.Parts, reg prometheus.Registerer, log *zap.Logger) (list func() []adapter.Replica, err error) {
	c := cfg.cluster
	parts.ID = newReplicaID()
	c.log.ID = parts.ID
	channels := parts.Declared.Channels()
	warnings, err := redis.Check(ctx, adapter.CheckConfig{
		Stream: c.log.Stream, SessionPrefix: c.sessionPrefix, InputPrefix: cfg.server.InputPrefix, Channels: channels,
	})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		log.Warn("redis may lose what the service relies on", zap.String("problem", w))
	}
	events := redis.Log(c.log)
	addr := c.advertised(internal, redis.Addr())
	if addr != "" && cfg.healthTLS {
		addr = "https://" + addr
	}
	parts.PeerTLS = cfg.peerTLS
	led := slices.Clone(channels)
	if c.adapter == "streams" { // else everybody hears emitters
		led = append(led, server.EmitterChannel)
	}
	replicas := adapter.NewReplicas(redis.Client(), adapter.ReplicasConfig{
		ID: parts.ID, Name: c.replicaName(), Addr: addr, Channels: led, Key: events.Key,
	}, log)
	if addr != "" {
		parts.Find = func(ctx context.Context, replica string) (string, bool) {
			r, ok := replicas.Find(ctx, replica)
			return r.Addr, ok && r.Addr != ""
		}
	}
	listener := redis.Listener()
	parts.Leaders, parts.Source = replicas, listener
	clusterMetrics(reg, redis, listener, replicas)

	peers := adapter.PeersConfig{
		ID: parts.ID, Prefix: c.channelPrefix, Sharded: c.sharded, SpecificResponses: c.specific,
		SubscriptionMode: adapter.SubscriptionMode(c.subscriptions),
	}
	if c.adapter != "streams" {
		peers.Sharded = c.adapter == "sharded"
		bus := adapter.NewPubSub(redis, peers, c.log, replicas.List)
		parts.Log, parts.Peers, parts.Occupied = bus, bus, bus.Occupied
		peerMetrics(reg, bus)
		return replicas.List, nil
	}
	if err := events.Open(ctx); err != nil {
		return nil, err
	}
	asked := adapter.NewPeers(redis, peers, replicas.List)
	parts.Log, parts.Peers, parts.Emitters = events, asked, &adapter.Emitters{Prefix: c.channelPrefix}
	if c.history.Size > 0 {
		c.history.Prefixes = []string{"photo:"}
		events.KeepHistory(c.history)
		parts.History = events.History
	}
	logMetrics(reg, events)
	peerMetrics(reg, asked)
	if window := cfg.server.Socket.RecoveryWindow; window >= 0 {
		sessions := adapter.SessionsConfig{ID: parts.ID, Prefix: c.sessionPrefix, KeyPrefix: redis.KeyPrefix(), Window: window}
		if err := sessions.Validate(); err != nil {
			return nil, err
		}
		store := adapter.NewSessions(redis.Client(), sessions, log)
		parts.Sessions = store
		sessionMetrics(reg, store)
	}
	return replicas.List, nil
}

// clusterMetrics show how the way to Redis and to the other replicas is.
func clusterMetrics(reg prometheus.Registerer, redis *adapter.Redis, listener *adapter.Listener, replicas *adapter.Replicas) {
	counter, gauge := registerers(reg)
	gauge("redis_connected", "1 while events are heard from Redis.", func() float64 {
		if listener.Connected() {
			return 1
		}
		return 0
	})
	counter("redis_errors_total", "Commands that Redis did not do, and connections to it that could not be made.", redis.Errors)
	counter("redis_reconnects_total", "Subscriptions to Redis that were made again.", listener.Reconnects)
	counter("redis_oversized_total", "Messages from Redis that were too big to look at.", listener.Oversized)
	gauge("replicas", "Replicas that are alive, this one included.", func() float64 { return float64(len(replicas.List())) })
}

func logMetrics(reg prometheus.Registerer, events *adapter.Log) {
	counter, gauge := registerers(reg)
	counter("log_invalid_total", "Entries of the log that were skipped because they are not what they should be.", events.Invalid)
	counter("log_gaps_total", "Times entries of the log were gone before they were read; all clients of this replica began anew.", events.Gaps)
	gauge("log_position_seconds", "Time of the last entry of the log that this replica has applied.", func() float64 {
		return float64(events.Position().MS) / 1000
	})
}

func peerMetrics(reg prometheus.Registerer, peers interface {
	Invalid() uint64
	Dropped() uint64
}) {
	counter, _ := registerers(reg)
	counter("peers_invalid_total", "Messages of other servers that could not be read.", peers.Invalid)
	counter("peers_dropped_total", "Answers to other servers that were dropped because too many were waiting.", peers.Dropped)
}

func sessionMetrics(reg prometheus.Registerer, store *adapter.Sessions) {
	counter, gauge := registerers(reg)
	gauge("sessions", "Sessions that this replica keeps in Redis.", func() float64 { return float64(store.Len()) })
	gauge("sessions_waiting", "Sessions that have changed and are not stored yet.", func() float64 { return float64(store.Waiting()) })
	counter("sessions_refused_total", "Sessions that were too large or made no sense.", store.Refused)
}

func registerers(reg prometheus.Registerer) (counter func(name, help string, value func() uint64), gauge func(name, help string, value func() float64)) {
	counter = func(name, help string, value func() uint64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "eventbus_" + name, Help: help},
			func() float64 { return float64(value()) }))
	}
	gauge = func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "eventbus_" + name, Help: help}, value))
	}
	return counter, gauge
}
