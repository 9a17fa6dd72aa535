package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/scaling"
	"github.com/photo-management/event-bus/server"
)

// config is all that serve can be told, composed from the packages' own.
type config struct {
	file          string
	sections      sections          // of the file
	values        map[string]string // of all settings, by flag
	dev           bool
	embeddedPort  int
	embeddedAddr  string // of the embedded Redis, once it is there
	websocketHost string
	websocketPort int
	healthHost    string
	healthPort    int
	certFile      string
	keyFile       string
	healthTLS     bool
	peerTLS       *tls.Config // how other replicas are trusted, once the certificate is read
	proxies       []string
	monitoring    monitoringConfig

	redis     adapter.RedisConfig
	cluster   clusterConfig
	jwt       auth.Config
	jwtSecret string
	expiresIn time.Duration
	limits    auth.Limits
	audit     auth.AuditConfig
	policy    auth.PolicyConfig
	delivery  deliveryConfig
	server    server.Config
	declared  server.Declarations
	analysis  scaling.Config
}

func (c *config) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.file, "config-file", "", "YAML file with settings by their keys, and with rules, filters and subscriptions; flags and environment win over it")
	fs.BoolVar(&c.dev, "dev", false, "development: listen on loopback, make a secret and a token, and without a Redis start an embedded one")
	fs.IntVar(&c.embeddedPort, "embedded-redis-port", 6380, "port of the embedded Redis; a free one if it is taken or 0")
	fs.StringVar(&c.websocketHost, "websocket-host", "", "address Socket.IO and the demo page listen on; all, or loopback with --dev")
	fs.IntVar(&c.websocketPort, "websocket-port", 3003, "port of Socket.IO and the demo page; 0 takes a free one")
	fs.StringVar(&c.healthHost, "health-host", "", "address health and metrics listen on; all, or loopback with --dev")
	fs.IntVar(&c.healthPort, "health-port", 3004, "port of health and metrics; 0 takes a free one")
	fs.StringVar(&c.certFile, "tls-cert-file", "", "PEM file of the certificate of the websocket port, read again when it changes; without one it is for a proxy to do TLS")
	fs.StringVar(&c.keyFile, "tls-key-file", "", "PEM file of the key of that certificate")
	fs.BoolVar(&c.healthTLS, "health-tls", false, "do TLS on the health port too, with the same certificate; replicas that forward polls to each other want one for the same names from all, or the very same")
	fs.Var((*list)(&c.proxies), "trusted-proxies", "comma-separated networks, like 10.0.0.0/8, of the proxies whose X-Forwarded-For says where a client is")
	c.monitoring.flags(fs)

	redisFlags(fs, &c.redis)
	c.cluster.flags(fs)
	fs.StringVar(&c.server.InputPrefix, "input-prefix", "", "what the keys of the durable input streams begin with, before the channel's name; by default REDIS_KEY_PREFIX and in:")

	fs.StringVar(&c.jwtSecret, "jwt-secret", "", "secret that signs tokens (HS256); better in the environment than on a command line")
	fs.StringVar(&c.jwt.KeyFile, "jwt-key-file", "", "PEM file of the public keys that verify tokens, instead of a secret")
	fs.StringVar(&c.jwt.JWKSURL, "jwt-jwks-url", "", "address of a JSON Web Key Set, instead of a secret")
	fs.Var((*list)(&c.jwt.Algorithms), "jwt-algorithms", "comma-separated algorithms that tokens may use; by default what the key is for")
	fs.StringVar(&c.jwt.Issuer, "jwt-issuer", "", "iss that tokens must have")
	fs.StringVar(&c.jwt.Audience, "jwt-audience", "", "aud that tokens must have")
	fs.StringVar((*string)(&c.policy.PhotoAccess), "photo-access", string(auth.PhotoOwner), "who may subscribe to a photo: owner, permission or any")
	fs.DurationVar(&c.expiresIn, "jwt-expires-in", 24*time.Hour, "how long the token is good that --dev makes")
	fs.StringVar((*string)(&c.server.OnExpiry), "jwt-on-expiry", string(auth.CloseOnExpiry), "what becomes of a connection whose token expires: close, or keep for front-ends that cannot renew it")
	limitFlags(fs, &c.limits)
	auditFlags(fs, &c.audit)
	c.delivery.flags(fs)

	s, e := &c.server.Socket, &c.server.Socket.Engine
	fs.DurationVar(&e.PingInterval, "ping-interval", 25*time.Second, "time between heartbeats")
	fs.DurationVar(&e.PingTimeout, "ping-timeout", 60*time.Second, "time a client has to answer one")
	fs.IntVar(&e.MaxPayload, "max-payload", 1_000_000, "bytes of the largest message from a client")
	fs.IntVar(&e.MaxQueue, "max-queue", 4<<20, "bytes that may wait for a slow client before it is closed; it recovers when it is back")
	fs.Var((*list)(&e.Transports), "transports", "comma-separated transports offered: polling, websocket (default both)")
	fs.Var((*list)(&e.CORSOrigins), "cors-origins", "comma-separated origins that may connect from a browser, or *")
	fs.BoolVar(&e.Deflate, "per-message-deflate", false, "compress websocket messages: less bandwidth for much more CPU")
	fs.DurationVar(&s.ConnectTimeout, "connect-timeout", 45*time.Second, "time a connection has to authenticate")
	fs.DurationVar(&s.RecoveryWindow, "recovery-window", 2*time.Minute, "how long a client may be away and get everything it missed; negative turns recovery off")
	fs.IntVar(&s.RecoveryBytes, "recovery-bytes", 256<<20, "bytes of events kept for that; over it the oldest go")
	fs.IntVar(&c.server.MaxEvent, "max-event-size", 1<<20, "bytes of the largest event taken from Redis")
	fs.IntVar(&c.server.BatchSize, "batch-size", 128, "events of a channel that go to the log at once, at most")
	fs.DurationVar(&c.server.FlushInterval, "flush-interval", 0, "time that an event of PUBLISH may wait for such a batch to fill; durable ones are read in batches anyway")
	fs.IntVar(&e.MaxConnections, "connection-limit", 0, "connections that may be open at once; 0 is no limit")
	fs.IntVar(&c.server.MaxSubscriptions, "max-subscriptions", 1000, "photos and users that one socket may subscribe to")
	fs.DurationVar(&c.server.Drain, "drain-timeout", 20*time.Second, "time over which connections are closed at the end")
}

// check completes the configuration and reports everything that is wrong with it at once.
func (c *config) check() error {
	var errs []error
	for _, p := range []struct {
		name  string
		value int
	}{{"websocket-port", c.websocketPort}, {"health-port", c.healthPort}, {"metrics-port", c.monitoring.metricsPort}, {"embedded-redis-port", c.embeddedPort}} {
		if p.value < 0 || p.value > 65535 {
			errs = append(errs, fmt.Errorf("%s (%s): %d is no port; want 0 to 65535", p.name, envName(p.name), p.value))
		}
	}
	if c.expiresIn < time.Second {
		errs = append(errs, fmt.Errorf("jwt-expires-in (JWT_EXPIRES_IN): %s; want 1s or more", c.expiresIn))
	}
	if c.dev {
		if c.websocketHost == "" {
			c.websocketHost = "127.0.0.1"
		}
		if c.healthHost == "" {
			c.healthHost = "127.0.0.1"
		}
	}
	if !c.dev && !c.redis.Named() {
		errs = append(errs, errors.New("redis-url (REDIS_URL), redis-host (REDIS_HOST) or redis-addresses (REDIS_ADDRESSES): "+
			"none is set; name your Redis, or try --dev"))
	}
	errs = append(errs, c.checkParts()...)
	c.jwt.Secret = []byte(c.jwtSecret)
	c.redis.MaxMessage = c.server.MaxEvent
	switch {
	case c.jwtSecret == "" && c.jwt.KeyFile == "" && c.jwt.JWKSURL == "":
		errs = append(errs, errors.New("jwt-secret (JWT_SECRET), jwt-key-file or jwt-jwks-url: none is set; tokens could not be verified"))
	default:
		errs = append(errs, c.jwt.Validate())
	}
	errs = append(errs, c.redis.Validate(), c.policy.Validate(), c.server.Validate(), c.cluster.check(c))
	if err := errors.Join(errs...); err != nil {
		return usageError{err}
	}
	return nil
}

// embedded reports whether an embedded Redis is wanted.
func (c *config) embedded() bool { return c.dev && !c.redis.Named() }

func (c *config) websocketAddr() string {
	return net.JoinHostPort(c.websocketHost, strconv.Itoa(c.websocketPort))
}

func (c *config) healthAddr() string {
	return net.JoinHostPort(c.healthHost, strconv.Itoa(c.healthPort))
}
