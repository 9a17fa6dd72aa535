package main

import (
	"flag"
	"fmt"
	"strings"
)

// settingKeys has the key of each of serve's flags in the configuration file: the design's names where it has one. What
// is not here, is no setting, but a way to run the service.
var settingKeys = map[string]string{
	"websocket-host":      "server.websocketHost",
	"websocket-port":      "server.websocketPort",
	"health-host":         "server.healthHost",
	"health-port":         "server.healthPort",
	"metrics-port":        "server.metricsPort",
	"drain-timeout":       "server.drain",
	"replica-name":        "server.replicaName",
	"advertise-addr":      "server.advertiseAddr",
	"trusted-proxies":     "server.trustedProxies",
	"embedded-redis-port": "server.embeddedRedisPort",
	"tls-cert-file":       "server.tls.certFile",
	"tls-key-file":        "server.tls.keyFile",
	"health-tls":          "server.tls.health",

	"redis-url":               "redis.url",
	"redis-host":              "redis.host",
	"redis-port":              "redis.port",
	"redis-addresses":         "redis.addresses",
	"redis-sentinel-master":   "redis.sentinelMaster",
	"redis-sentinel-username": "redis.sentinelUsername",
	"redis-sentinel-password": "redis.sentinelPassword",
	"redis-cluster":           "redis.cluster",
	"redis-tls":               "redis.tls",
	"redis-ca-file":           "redis.caFile",
	"redis-cert-file":         "redis.certFile",
	"redis-key-file":          "redis.keyFile",
	"redis-tls-server-name":   "redis.tlsServerName",
	"redis-db":                "redis.db",
	"redis-username":          "redis.username",
	"redis-password":          "redis.password",
	"redis-key-prefix":        "redis.keyPrefix",

	"adapter":            "cluster.adapter",
	"specific-responses": "cluster.specificResponses",
	"subscription-mode":  "cluster.subscriptionMode",
	"session-prefix":     "cluster.sessionPrefix",
	"channel-prefix":     "cluster.channelPrefix",
	"sharded-pubsub":     "cluster.shardedPubSub",
	"input-prefix":       "cluster.inputPrefix",
	"log-stream":         "log.stream",
	"dedupe-window":      "log.dedupe",
	"history-size":       "history.size",
	"history-ttl":        "history.ttl",

	"cors-origins":        "websocket.corsOrigins",
	"ping-interval":       "websocket.pingInterval",
	"ping-timeout":        "websocket.pingTimeout",
	"transports":          "websocket.transports",
	"max-payload":         "websocket.maxPayload",
	"max-queue":           "websocket.maxQueue",
	"per-message-deflate": "websocket.perMessageDeflate",
	"connect-timeout":     "websocket.connectTimeout",
	"recovery-window":     "websocket.recovery.window",
	"recovery-bytes":      "websocket.recovery.maxBytes",

	"jwt-secret":                 "security.jwt.secret",
	"jwt-key-file":               "security.jwt.keyFile",
	"jwt-jwks-url":               "security.jwt.jwksUrl",
	"jwt-algorithms":             "security.jwt.algorithms",
	"jwt-issuer":                 "security.jwt.issuer",
	"jwt-audience":               "security.jwt.audience",
	"jwt-expires-in":             "security.jwt.expiresIn",
	"jwt-on-expiry":              "security.jwt.onExpiry",
	"photo-access":               "security.photoAccess",
	"max-subscriptions":          "security.maxSubscriptions",
	"rate-limit":                 "security.rateLimit.enabled",
	"rate-limit-max":             "security.rateLimit.maxRequests",
	"rate-limit-window":          "security.rateLimit.windowMs",
	"rate-limit-ip-max":          "security.rateLimit.perIP.max",
	"rate-limit-ip-window":       "security.rateLimit.perIP.window",
	"rate-limit-events":          "security.rateLimit.events.perConnection.rate",
	"rate-limit-events-burst":    "security.rateLimit.events.perConnection.burst",
	"rate-limit-user-events":     "security.rateLimit.events.perUser.max",
	"rate-limit-user-window":     "security.rateLimit.events.perUser.window",
	"rate-limit-publish":         "security.rateLimit.publish.perUser.max",
	"rate-limit-publish-window":  "security.rateLimit.publish.perUser.window",
	"audit-sink":                 "security.audit.sink",
	"audit-file":                 "security.audit.file",
	"audit-max-size":             "security.audit.maxSizeMB",
	"audit-max-files":            "security.audit.maxFiles",
	"webhook-timeout":            "delivery.webhooks.timeout",
	"delivery-drain":             "delivery.drain",
	"delivery-max-subscriptions": "delivery.maxSubscriptions",
	"webhook-allow-private":      "delivery.webhooks.allowPrivate",
	"webhook-allow-http":         "delivery.webhooks.allowHTTP",
	"feed-retention":             "delivery.feed.retention",
	"feed-max-length":            "delivery.feed.maxLength",
	"max-event-size":             "performance.maxEventSize",
	"batch-size":                 "performance.batchSize",
	"flush-interval":             "performance.flushInterval",
	"connection-limit":           "performance.connectionLimit",
	"dead-letters":               "resilience.deadLetter.enabled",
	"dead-letter-retention-days": "resilience.deadLetter.retentionDays",
	"dead-letter-max-size":       "resilience.deadLetter.maxSize",
	"breaker-failure-threshold":  "resilience.circuitBreaker.failureThreshold",
	"breaker-reset-timeout":      "resilience.circuitBreaker.resetTimeout",
	"breaker-monitoring-window":  "resilience.circuitBreaker.monitoringWindow",
	"breaker-when-open":          "resilience.circuitBreaker.whenOpen",
	"metrics":                    "monitoring.metrics.enabled",
	"metrics-endpoint":           "monitoring.metrics.endpoint",
	"log-level":                  "monitoring.logging.level",
	"log-format":                 "monitoring.logging.format",
	"tracing":                    "monitoring.tracing.enabled",
	"tracing-service-name":       "monitoring.tracing.serviceName",
	"tracing-endpoint":           "monitoring.tracing.endpoint",
	"tracing-jaeger-endpoint":    "monitoring.tracing.jaegerEndpoint",
	"tracing-sample-ratio":       "monitoring.tracing.sampleRatio",
}

// aliasKeys are further keys of flags, where the design has two.
var aliasKeys = map[string]string{"monitoring.metrics.port": "metrics-port"}

// secrets are the flags whose values nobody shall read.
var secrets = map[string]bool{
	"jwt-secret": true, "redis-password": true, "redis-sentinel-password": true, "redis-url": true, "jwt-jwks-url": true,
}

// keyFlags is settingKeys the other way round.
func keyFlags() map[string]string {
	flags := make(map[string]string, len(settingKeys))
	for name, key := range settingKeys {
		flags[key] = name
	}
	return flags
}

// setFromFile sets a flag to a value of the configuration file. A number for a time is of milliseconds, as in the design.
func setFromFile(f *flag.Flag, key string, value any) error {
	var text string
	switch v := value.(type) {
	case nil:
		return fmt.Errorf("%s: has no value; give one, or leave the key out", key)
	case map[string]any:
		return fmt.Errorf("%s: want a value, not further keys", key)
	case []any:
		if _, ok := f.Value.(*list); !ok {
			return fmt.Errorf("%s: want one value, not a list", key)
		}
		var items []string
		for _, item := range v {
			s, ok := item.(string)
			if !ok || strings.Contains(s, ",") {
				return fmt.Errorf("%s: want a list of texts without commas", key)
			}
			items = append(items, s)
		}
		text = strings.Join(items, ",")
	case float64:
		text = fmt.Sprintf("%.17g", v)
	default:
		text = fmt.Sprint(v)
	}
	if isDuration(f) && text != "" && strings.Trim(text, "-0123456789.") == "" {
		text += "ms"
	}
	if err := f.Value.Set(text); err != nil {
		return fmt.Errorf("%s: %q is not valid: want %s", key, clip(text, 64), wantedBy(f))
	}
	return nil
}

func isDuration(f *flag.Flag) bool {
	getter, ok := f.Value.(flag.Getter)
	return ok && fmt.Sprintf("%T", getter.Get()) == "time.Duration"
}

// wantedBy says in words what a flag takes.
func wantedBy(f *flag.Flag) string {
	getter, ok := f.Value.(flag.Getter)
	if !ok {
		return f.Usage
	}
	switch fmt.Sprintf("%T", getter.Get()) {
	case "time.Duration":
		return "a time such as 30s, or a number of milliseconds"
	case "int", "int64":
		return "a whole number"
	case "float64":
		return "a number"
	case "bool":
		return "true or false"
	}
	return f.Usage
}

func clip(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
