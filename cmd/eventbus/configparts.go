package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// monitoringConfig is how the service is watched.
type monitoringConfig struct {
	logLevel    zapcore.Level
	logFormat   string
	metrics     bool
	metricsPath string
	metricsPort int
	tracing     tracingConfig
}

func (c *monitoringConfig) flags(fs *flag.FlagSet) {
	fs.Var(&c.logLevel, "log-level", "debug, info, warn or error")
	fs.StringVar(&c.logFormat, "log-format", "json", "json, a line of JSON for each message, or console, for people")
	fs.BoolVar(&c.metrics, "metrics", true, "serve metrics")
	fs.StringVar(&c.metricsPath, "metrics-endpoint", "/metrics", "path of the metrics on the health port")
	fs.IntVar(&c.metricsPort, "metrics-port", 0, "a port for the metrics alone, besides the health port; 0 is none")
	c.tracing.flags(fs)
}

func (c *monitoringConfig) check() error {
	var errs []error
	if c.logFormat != "json" && c.logFormat != "console" {
		errs = append(errs, fmt.Errorf("log-format (LOG_FORMAT): %q: want json or console", c.logFormat))
	}
	if !strings.HasPrefix(c.metricsPath, "/") || strings.ContainsAny(c.metricsPath, " {}?#") {
		errs = append(errs, fmt.Errorf("metrics-endpoint (METRICS_ENDPOINT): %q: want a path such as /metrics", c.metricsPath))
	}
	return errors.Join(append(errs, c.tracing.check())...)
}

func limitFlags(fs *flag.FlagSet, l *auth.Limits) {
	fs.BoolVar(&l.Connections.Enabled, "rate-limit", true, "limit how often a user may connect; false turns all rate limits off")
	fs.IntVar(&l.Connections.Max, "rate-limit-max", 60, "connections that a user may make in the window, on each replica")
	fs.DurationVar(&l.Connections.Window, "rate-limit-window", time.Minute, "the window of that limit")
	fs.IntVar(&l.PerIP.Max, "rate-limit-ip-max", 0, "connections that one IP address may make in its window, on each replica; 0 is no limit")
	fs.DurationVar(&l.PerIP.Window, "rate-limit-ip-window", time.Minute, "the window of that limit")
	fs.Float64Var(&l.Events.PerConnection.Rate, "rate-limit-events", 100, "events a second that one connection may send in the long run; 0 is no limit")
	fs.IntVar(&l.Events.PerConnection.Burst, "rate-limit-events-burst", 0, "events that it may send at once; 0 is ten seconds' worth")
	fs.IntVar(&l.Events.PerUser.Max, "rate-limit-user-events", 0, "events that one user may send in the window, on all replicas together; 0 is no limit")
	fs.DurationVar(&l.Events.PerUser.Window, "rate-limit-user-window", time.Minute, "the window of that limit")
	fs.IntVar(&l.Publish.PerUser.Max, "rate-limit-publish", 0, "events that one user may publish over HTTP in the window, on all replicas together; 0 is no limit")
	fs.DurationVar(&l.Publish.PerUser.Window, "rate-limit-publish-window", time.Minute, "the window of that limit")
}

func auditFlags(fs *flag.FlagSet, c *auth.AuditConfig) {
	fs.StringVar((*string)(&c.Sink), "audit-sink", "none", "where records of who did what go: none, file, redis (a stream), or stderr")
	fs.StringVar(&c.File, "audit-file", "", "file of the audit records, with the sink file")
	fs.IntVar(&c.MaxSizeMB, "audit-max-size", 100, "size in MB at which that file is put aside and begun anew")
	fs.IntVar(&c.MaxFiles, "audit-max-files", 5, "how many that were put aside are kept")
}

// deliveryConfig is how subscriptions are served.
type deliveryConfig struct {
	private     []string
	deadLetters bool
	retention   int // days
	dead        adapter.DeadLettersConfig
	cfg         delivery.Config
}

func (c *deliveryConfig) flags(fs *flag.FlagSet) {
	fs.Var((*list)(&c.private), "webhook-allow-private", "comma-separated private networks that webhooks may call nevertheless")
	fs.BoolVar(&c.cfg.Webhooks.AllowHTTP, "webhook-allow-http", false, "take http URLs of webhooks, too")
	fs.DurationVar(&c.cfg.Webhooks.Timeout, "webhook-timeout", 10*time.Second, "time a request of a webhook may take that does not say, the answer included")
	fs.DurationVar(&c.cfg.Drain, "delivery-drain", 3*time.Second, "time that deliveries under way may take when the replica stops, or leads no more")
	fs.IntVar(&c.cfg.MaxSubscriptions, "delivery-max-subscriptions", 200, "webhooks and handlers that there may be; each that runs has a connection to Redis")
	fs.DurationVar(&c.cfg.FeedMaxAge, "feed-retention", 24*time.Hour, "how long an event waits for a subscription that cannot take it")
	fs.Int64Var(&c.cfg.FeedMaxLen, "feed-max-length", 100_000, "how many events of a channel wait so, at most")
	fs.IntVar(&c.cfg.Breaker.FailureThreshold, "breaker-failure-threshold", 5, "failures in a row after which a webhook is left alone")
	fs.DurationVar(&c.cfg.Breaker.ResetTimeout, "breaker-reset-timeout", 30*time.Second, "time until it is tried again")
	fs.DurationVar(&c.cfg.Breaker.MonitoringWindow, "breaker-monitoring-window", time.Minute, "time after which earlier failures no longer count")
	fs.StringVar(&c.cfg.Breaker.WhenOpen, "breaker-when-open", delivery.WaitWhenOpen, "what becomes of its events meanwhile: wait, or deadLetter")
	fs.BoolVar(&c.deadLetters, "dead-letters", true, "keep what could not be delivered, or was refused, as dead letters; false drops it")
	fs.IntVar(&c.retention, "dead-letter-retention-days", 7, "days that dead letters are kept")
	fs.Int64Var(&c.dead.MaxLen, "dead-letter-max-size", 10_000, "how many dead letters are kept; the oldest go first")
}

func (c *deliveryConfig) check() error {
	var errs []error
	c.cfg.Webhooks.AllowPrivate, errs = prefixes("webhook-allow-private", c.private)
	c.dead.Retention, c.dead.Disabled = time.Duration(c.retention)*24*time.Hour, !c.deadLetters
	return errors.Join(append(errs, c.cfg.Validate(), c.dead.Validate())...)
}

// prefixes reads networks; an address is a network of one.
func prefixes(name string, texts []string) (all []netip.Prefix, errs []error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if addr, notAddr := netip.ParseAddr(text); err != nil && notAddr == nil {
			p, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s (%s): %q: want a network such as 10.0.0.0/8", name, envName(name), text))
			continue
		}
		all = append(all, p.Masked())
	}
	return all, errs
}

// checkParts completes what flags cannot say, and reports everything that is wrong with it.
func (c *config) checkParts() (errs []error) {
	if c.metricsPortTaken() {
		errs = append(errs, fmt.Errorf("metrics-port (METRICS_PORT): %d is the health port; want another, or 0", c.monitoring.metricsPort))
	}
	if (c.certFile == "") != (c.keyFile == "") {
		errs = append(errs, errors.New("tls-cert-file (TLS_CERT_FILE) and tls-key-file (TLS_KEY_FILE): one is set; want both, or neither"))
	}
	if c.healthTLS && c.certFile == "" {
		errs = append(errs, errors.New("health-tls (HEALTH_TLS): want tls-cert-file and tls-key-file, too"))
	}
	trusted, err := auth.ParseProxies(c.proxies)
	errs = append(errs, err)
	c.server.TrustedProxies = trusted
	c.server.Limits = c.limits
	c.server.Socket.Engine.Headers = []string{"Authorization", "User-Agent"} // asked for when connections are listed
	if len(trusted) > 0 {
		c.server.Socket.Engine.Headers = append(c.server.Socket.Engine.Headers, "X-Forwarded-For", "Forwarded")
	}
	errs = append(errs, c.delivery.check(), c.monitoring.check(), c.audit.Validate())
	c.server.Webhooks = c.delivery.cfg.Webhooks
	c.delivery.cfg.MaxEvent = c.server.MaxEvent
	errs = append(errs, c.readSections()...)
	return append(errs, c.delivery.cfg.Backoff.Validate()) // which is all from there
}

func (c *config) metricsPortTaken() bool {
	return c.monitoring.metricsPort != 0 && (c.monitoring.metricsPort == c.healthPort || c.monitoring.metricsPort == c.websocketPort)
}

// readSections reads those parts of the configuration file that have a shape of their own.
func (c *config) readSections() (errs []error) {
	read := func(key string, into any) {
		if text := c.sections[key]; text != nil {
			if err := strict(text, into); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
		}
	}
	d := &c.declared
	d.Rules = routing.Default()
	var err error
	if text := c.sections["routing.rules"]; text != nil {
		if d.Rules, err = routing.ParseRules(text); err != nil {
			errs = append(errs, err)
		}
	}
	if text := c.sections["filters"]; text != nil {
		if d.Filters, err = routing.ParseFilters(text); err != nil {
			errs = append(errs, err)
		}
	}
	var specs []json.RawMessage
	read("subscriptions", &specs)
	for i, text := range specs {
		spec, err := delivery.ParseSpec(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("subscriptions[%d]: %w", i, err))
		}
		d.Subscriptions = append(d.Subscriptions, spec)
	}
	read("events.types", &d.Events.Types)
	read("events.unknown", &d.Events.Unknown)
	if text := c.sections["security.eventValidation"]; text != nil {
		if d.Validation, err = events.ParseValidators(text); err != nil {
			errs = append(errs, err)
		}
	}
	if c.analysis, err = readScaling(c.sections["scaling"]); err != nil {
		errs = append(errs, err)
	}
	var access map[string]struct{ Publish, Subscribe []string }
	read("security.channelAccess", &access)
	for channel, roles := range access {
		if c.policy.ChannelAccess == nil {
			c.policy.ChannelAccess = map[string]auth.ChannelAccess{}
		}
		c.policy.ChannelAccess[channel] = auth.ChannelAccess(roles)
	}
	read("resilience.maxRetries", &c.delivery.cfg.Backoff.MaxRetries)
	for key, into := range map[string]*map[delivery.Category]time.Duration{
		"resilience.baseRetryDelay": &c.delivery.cfg.Backoff.BaseRetryDelay, "resilience.maxRetryDelay": &c.delivery.cfg.Backoff.MaxRetryDelay,
	} {
		var ms map[delivery.Category]int64
		read(key, &ms)
		for category, n := range ms {
			if *into == nil {
				*into = map[delivery.Category]time.Duration{}
			}
			(*into)[category] = time.Duration(n) * time.Millisecond
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return append(errs, d.Validate(c.delivery.cfg.Webhooks))
}

// strict reads JSON in which an unknown member is an error.
func strict(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: want %s, got %s", cmp.Or(wrong.Field, "the whole"), wrong.Type, wrong.Value)
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}
