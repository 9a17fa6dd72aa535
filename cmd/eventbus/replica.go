package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
	"github.com/photo-management/event-bus/scaling"
	"github.com/photo-management/event-bus/server"
	"github.com/photo-management/event-bus/web"
)

// auditRecords is about how many records the audit keeps in Redis, where that is its sink.
const auditRecords = 1_000_000

// replica is what serve runs: the server, and what stands around it.
type replica struct {
	api
	redis      *adapter.Redis
	audit      *auth.Audit
	publishing *auth.SharedLimiter // over HTTP, by user
	refused    *auth.Limiter       // requests without a good token, by address
	health     *web.Health
	window     *scaling.Window
	level      zap.AtomicLevel
	log        *zap.Logger
	policy     *auth.Policy
}

// newReplica makes a replica, and opens the log. Without spans, none are made.
func newReplica(ctx context.Context, cfg config, redis *adapter.Redis, internal net.Addr, registry prometheus.Registerer, spans trace.TracerProvider, level zap.AtomicLevel, log *zap.Logger) (*replica, error) {
	s := &replica{redis: redis, level: level, log: log}
	s.store = redis.Store(cfg.cluster.log.Stream)
	// The store buries by what this one is told, also where events are given up.
	letters := s.store.DeadLetters(cfg.delivery.dead)
	if cfg.delivery.deadLetters {
		s.letters = letters
	}
	s.replay = delivery.Replayer{Store: s.store, Letters: letters, Inputs: redis, Prefix: cfg.server.InputPrefix}

	verifier, err := auth.NewVerifier(cfg.jwt, log)
	if err != nil {
		return nil, err
	}
	owners := redis.Owners(adapter.OwnersConfig{})
	if s.policy, err = auth.NewPolicy(cfg.policy, owners); err != nil {
		return nil, err
	}
	s.audit, err = auth.NewAudit(cfg.audit, cfg.cluster.replicaName(), s.store.Records("audit", auditRecords), log, registry)
	if err != nil {
		return nil, err
	}
	quotas := quota{s.store}
	userEvents, err := auth.NewSharedLimiter("events", cfg.limits.Of(cfg.limits.Events.PerUser), quotas, registry)
	if err != nil {
		return nil, err
	}
	if s.publishing, err = auth.NewSharedLimiter("publish", cfg.limits.Of(cfg.limits.Publish.PerUser), quotas, registry); err != nil {
		return nil, err
	}
	if s.refused, err = auth.NewLimiter(auth.LimitConfig{Enabled: cfg.limits.Connections.Enabled, Max: 30, Window: time.Minute}); err != nil {
		return nil, err
	}
	s.subs = delivery.New(cfg.delivery.cfg, delivery.Parts{
		Store: s.store, Channels: cfg.declared.Channels(), Compile: server.CompileMatch,
		Processes: s.store.Table(adapter.TableConfig{Name: "processes"}),
		Removed:   func(ctx context.Context, id string) error { return s.removed(ctx, id) },
		Logger:    log, Metrics: registry, TracerProvider: spans,
	})
	unchecked := func(events.Event) error { return nil } // the server has held it against its own types
	publish := publisher.Config{Prefix: cfg.server.InputPrefix, MaxBytes: cfg.server.MaxEvent, Check: unchecked, TracerProvider: spans}
	durable := publish
	durable.Durable = true
	parts := server.Parts{
		Inputs: redis, Owners: owners, Declared: cfg.declared, Verifier: verifier, Policy: s.policy, Logger: log, Metrics: registry,
		Store: s.store, DeadLetters: s.letters, Tally: s.store.Tally(), Subscriptions: s.subs,
		Tables: func(ctx context.Context, every time.Duration, tables map[*adapter.Table]func([]adapter.Row)) error {
			return adapter.WatchTables(ctx, redis, every, tables)
		},
		Durable: publisher.New(redis.Client(), durable), Plain: publisher.New(redis.Client(), publish),
		Audit: s.audit, UserEvents: userEvents, TracerProvider: spans,
	}
	if s.replicas, err = joinCluster(ctx, cfg, redis, internal, &parts, registry, log); err != nil {
		return nil, err
	}
	if s.srv, err = server.New(cfg.server, parts); err != nil {
		return nil, err
	}
	s.health, err = web.NewHealth(web.HealthConfig{Checks: s.checks(), Metrics: registry})
	if err != nil {
		return nil, err
	}
	counter, gauge := registerers(registry)
	counter("connections_turned_away_total", "Connections refused because there were connection-limit of them.", s.srv.TurnedAway)
	counter("feed_malformed_total", "Entries of feeds that were skipped because they are not what they should be.", s.store.FeedMalformed)
	gauge("dead_letters", "Dead letters there are, some seconds ago.", s.deadLetters(letters))
	return s, nil
}

// removed deletes a webhook that had too many errors from where it was declared. Those of the configuration rest.
func (s *replica) removed(ctx context.Context, id string) error {
	s.audit.Log(auth.Record{Event: auth.SubscriptionChanged, Target: id, Action: "remove", Reason: "too many errors"})
	err := s.srv.RemoveWebhook(ctx, id)
	if errors.Is(err, server.ErrConfigured) || errors.Is(err, server.ErrUnknown) {
		return nil
	}
	return err
}

// quota counts for all replicas.
type quota struct{ store *adapter.Store }

func (q quota) Take(ctx context.Context, key string, limit int, window time.Duration, n int) (bool, time.Duration, error) {
	ok, wait, _, err := q.store.Quota(ctx, key, adapter.Quota{Limit: limit, Burst: limit, Window: window}, n)
	return ok, wait, err
}

// deadLetters asks for their number at most once in some seconds: scrapers come as often as they like.
func (s *replica) deadLetters(letters *adapter.DeadLetters) func() float64 {
	var mu sync.Mutex
	var n int64
	var asked time.Time
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(asked) > 5*time.Second {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if found, err := letters.Len(ctx); err == nil {
				n = found
			}
			asked = time.Now()
		}
		return float64(n)
	}
}

// apiConfig is the HTTP API over all of it.
func (s *replica) apiConfig(cfg config) *web.APIConfig {
	c := &web.APIConfig{
		Verify: s.srv.Verify, Policy: s.policy, Allow: s.allow, Audit: s.audit.Log,
		Failed: func(requestID, operation string, err error) {
			s.log.Warn("a call of the API failed", zap.String("request", requestID), zap.String("operation", operation), zap.Error(err))
		},
		MaxEvent: cfg.server.MaxEvent,
		Events:   apiEvents{s.api}, Idempotency: idempotency{s.store}, Clients: apiClients{s.api, cfg.server.TrustedProxies}, Filters: apiFilters{s.api},
		Rules: apiRules{s.api}, Subscriptions: apiSubscriptions{s.api}, Revocations: apiRevocations{s.api},
		LogLevel: apiLogLevel{s.level}, Stats: s.stats,
		Analysis: func(context.Context) (any, error) { return s.window.Analysis(), nil },
	}
	if s.letters != nil {
		c.DeadLetters = apiDeadLetters{s.api}
	}
	return c
}

// allow limits calls of the API.
func (s *replica) allow(ctx context.Context, what web.Limit, caller string, n int) (bool, time.Duration) {
	switch what {
	case web.LimitEvents:
		return s.publishing.AllowN(ctx, caller, n)
	case web.LimitRefused:
		return s.refused.AllowN(caller, n)
	}
	return true, 0
}

func (s *replica) stats(ctx context.Context) (web.Stats, error) {
	clients, err := s.srv.Clients(ctx)
	if err != nil {
		return web.Stats{}, answer(err)
	}
	rooms := map[string]bool{}
	for _, c := range clients {
		for _, room := range c.Rooms {
			if room != c.ID {
				rooms[room] = true
			}
		}
	}
	local, totals := s.srv.ConnectionMetrics(), s.subs.Stats()
	counts := s.srv.EventTotals()
	out := web.Stats{
		Timestamp: time.Now().UTC(), Replicas: len(s.replicas()),
		Events: web.EventTotals{Published: counts.Published, Received: counts.Received, Errors: counts.Errors},
		WebSockets: web.ConnectionStats{
			ActiveConnections: len(clients), TotalConnections: local.TotalConnections, TotalDisconnections: local.Disconnections,
			MessagesSent: local.MessagesSent, MessagesReceived: local.MessagesReceived, ErrorsCount: local.Errors,
		},
		Subscriptions: web.SubscriptionStats{
			TotalSubscriptions: totals.TotalSubscriptions, ChannelCounts: totals.ChannelCounts, ErrorCounts: totals.ErrorCounts,
			OldestSubscription: totals.OldestSubscription, AverageMessageCount: totals.AverageMessageCount,
		},
		Rooms: web.RoomStats{Active: len(rooms)},
	}
	if local.AverageLatency > 0 {
		out.WebSockets.AverageLatency = &local.AverageLatency
	}
	for _, sub := range totals.Subscriptions {
		if sub.Running {
			out.Subscriptions.Active++
		}
		out.Subscriptions.HandlerErrors += sub.ErrorCount
	}
	if s.letters != nil {
		if n, err := s.letters.Len(ctx); err == nil {
			out.DeadLetters = &n
		}
	}
	return out, nil
}

// checks are what /health looks at: the design's four.
func (s *replica) checks() []web.Check {
	return []web.Check{
		{ID: "redis-connection", Name: "Redis Connection", Timeout: 5 * time.Second, Interval: 30 * time.Second, Run: s.checkRedis},
		{ID: "websocket-server", Name: "WebSocket Server", Timeout: 3 * time.Second, Interval: 15 * time.Second, Run: s.checkSockets},
		{ID: "subscription-health", Name: "Subscription Health", Timeout: 5 * time.Second, Interval: time.Minute, Run: s.checkSubscriptions()},
		web.MemoryCheck(os.DirFS("/")),
	}
}

// slowRedis is how long Redis may take to answer, as the design has it.
const slowRedis = time.Second

func (s *replica) checkRedis(ctx context.Context) (web.CheckResult, error) {
	start := time.Now()
	if err := s.redis.Ping(ctx); err != nil {
		return web.CheckResult{Message: "Redis connection failed", Details: map[string]string{"error": err.Error()}}, nil
	}
	took := time.Since(start)
	r := web.CheckResult{Healthy: took < slowRedis, Message: "Redis connection healthy", Details: map[string]float64{"latency": ms(took)}}
	if !r.Healthy {
		r.Message = "Redis connection slow"
	}
	return r, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *replica) checkSockets(context.Context) (web.CheckResult, error) {
	n := s.srv.Connections()
	r := web.CheckResult{
		Healthy: true, Message: fmt.Sprintf("WebSocket server running with %d active connections", n),
		Details: map[string]int{"activeConnections": n},
	}
	if err := s.srv.Ready(); err != nil {
		r.Healthy, r.Message = false, "WebSocket server is "+err.Error()
	}
	return r, nil
}

// maxErrorRate is the part of attempts that may fail, as the design has it.
const maxErrorRate = 0.05

// checkSubscriptions judges what subscriptions did since it looked last.
func (s *replica) checkSubscriptions() func(context.Context) (web.CheckResult, error) {
	var before struct{ messages, errors int64 }
	return func(context.Context) (web.CheckResult, error) {
		totals := s.subs.Stats()
		now := before
		now.messages, now.errors = 0, 0
		for _, sub := range totals.Subscriptions {
			now.messages += sub.MessageCount
			now.errors += sub.ErrorCount
		}
		// Those that were removed took what they had counted along.
		messages, failed := max(now.messages-before.messages, 0), max(now.errors-before.errors, 0)
		before = now
		rate := float64(failed) / float64(max(messages+failed, 1))
		return web.CheckResult{
			Healthy: rate < maxErrorRate, Message: fmt.Sprintf("Subscription error rate: %.2f%%", 100*rate),
			Details: map[string]any{
				"activeSubscriptions": totals.TotalSubscriptions, "totalMessages": messages, "totalErrors": failed, "errorRate": rate,
			},
		}, nil
	}
}

// newSubscriptionID makes an id for a webhook that was declared without.
func newSubscriptionID() string { return "sub_" + strings.ToLower(rand.Text()[:16]) }
