package adapter

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
)

const (
	dialTimeout = 5 * time.Second
	pingTimeout = 2 * time.Second
	// maxBulk is Redis's own default limit for one string (proto-max-bulk-len).
	maxBulk = 512 << 20
)

// RedisConfig says where Redis is and how we present ourselves. Its keys in a configuration file are redis.url,
// redis.host and so on.
type RedisConfig struct {
	// URL is redis://, rediss:// (TLS) or unix://, with what go-redis accepts as query, and wins over the fields below.
	// A URL without credentials takes Username and Password, so that a secret need not stand in a URL. Empty means none.
	URL string
	// Host is a name or an address. Zero means localhost.
	Host string
	// Port is the TCP port. Zero means 6379.
	Port int
	// DB is the database number. Pub/Sub channels are the same in all of them.
	DB int
	// Username is the ACL user. Zero means Redis's default user.
	Username string
	// Password is sent only if it is not empty.
	Password string
	// KeyPrefix starts every key of ours; channels have no prefix. Zero means "eventbus:".
	KeyPrefix string
	// MaxMessage is the largest Pub/Sub payload handed over, in bytes. Zero means 1 MiB.
	MaxMessage int
}

func (c RedisConfig) withDefaults() RedisConfig {
	c.Host = cmp.Or(c.Host, "localhost")
	c.Port = cmp.Or(c.Port, 6379)
	c.KeyPrefix = cmp.Or(c.KeyPrefix, "eventbus:")
	c.MaxMessage = cmp.Or(c.MaxMessage, 1<<20)
	return c
}

// Validate reports all problems at once, by key. It never quotes the URL or the password.
func (c RedisConfig) Validate() error {
	_, err := c.options()
	errs := []error{err}
	c = c.withDefaults()
	if c.Port < 1 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("redis.port %d: must be from 1 to 65535", c.Port))
	}
	if c.DB < 0 {
		errs = append(errs, fmt.Errorf("redis.db %d: must be 0 or more", c.DB))
	}
	if len(c.KeyPrefix) > 128 {
		errs = append(errs, fmt.Errorf("redis.keyPrefix of %d bytes: must have 128 or fewer", len(c.KeyPrefix)))
	}
	if c.MaxMessage < 1 || c.MaxMessage > maxBulk {
		errs = append(errs, fmt.Errorf("redis.maxMessage %d: must be from 1 to %d bytes", c.MaxMessage, maxBulk))
	}
	return errors.Join(errs...)
}

// options translates to go-redis. The errors of redis.ParseURL quote pieces of the URL, and with an unescaped
// password those pieces may be the password: so none of them is passed on.
func (c RedisConfig) options() (*redis.Options, error) {
	c = c.withDefaults()
	opts := &redis.Options{
		Network: "tcp",
		Addr:    net.JoinHostPort(c.Host, strconv.Itoa(c.Port)),
		DB:      c.DB,
	}
	if c.URL != "" {
		var err error
		opts, err = redis.ParseURL(c.URL)
		if err != nil || strings.Contains(c.URL, "#") { // a password with a bare # would end up in the host
			return nil, errors.New("redis.url: want redis://[user:password@]host[:port][/db], rediss://… or unix://…, " +
				"with special characters of the password percent-encoded")
		}
	}
	if opts.Username == "" && opts.Password == "" {
		opts.Username, opts.Password = c.Username, c.Password
	}
	opts.Protocol = cmp.Or(opts.Protocol, 2)
	// No command is repeated behind its caller's back: an XADD whose answer got lost would be there twice.
	opts.MaxRetries = cmp.Or(opts.MaxRetries, -1)
	opts.DialerRetries = 1 // whoever calls has its own backoff
	opts.ContextTimeoutEnabled = true
	opts.DisableIdentity = true
	// Such notifications move a connection without a word, and what is published meanwhile would be lost without one.
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if opts.TLSConfig != nil { // go-redis's own dialer does not end a TLS handshake with its context
		timeout := &net.Dialer{Timeout: cmp.Or(opts.DialTimeout, dialTimeout)}
		opts.Dialer = (&tls.Dialer{NetDialer: timeout, Config: opts.TLSConfig}).DialContext
	}
	return opts, nil
}

// Redis is our way to one Redis server: a pool of connections for commands, and one more that listens (Receive).
// All methods are safe for concurrent use.
type Redis struct {
	cfg    RedisConfig
	client *redis.Client
	log    *zap.Logger

	// The listening connection is sent a PING every idle, and given up when it is silent for idle and answer together.
	idle, answer time.Duration

	subscribed    chan struct{} // closed by the first Receive that is confirmed
	receiving     atomic.Bool
	connected     atomic.Bool
	subscriptions atomic.Uint64
	oversized     atomic.Uint64
}

// DialRedis connects and asks for one PING, within five seconds or ctx, whichever is shorter. What is wrong with the
// configuration, the address or the credentials comes back as one sentence that names the setting.
func DialRedis(ctx context.Context, cfg RedisConfig, log *zap.Logger) (*Redis, error) {
	r, err := newRedis(cfg, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		_ = r.client.Close()
		return nil, r.explain(err)
	}
	return r, nil
}

func newRedis(cfg RedisConfig, log *zap.Logger) (*Redis, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	return &Redis{
		cfg:        cfg.withDefaults(),
		client:     redis.NewClient(opts),
		log:        log,
		idle:       10 * time.Second,
		answer:     5 * time.Second,
		subscribed: make(chan struct{}),
	}, nil
}

// Ping asks Redis for a sign of life, within two seconds or ctx, whichever is shorter.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		return r.explain(err)
	}
	return nil
}

// Close closes the pool. End Receive by its context first.
func (r *Redis) Close() error { return r.client.Close() }

// Client is the pool, for what this package has no method for. A command is tried once and never repeated by itself.
func (r *Redis) Client() redis.UniversalClient { return r.client }

// KeyPrefix starts every key of ours, so that users of Client name theirs alike.
func (r *Redis) KeyPrefix() string { return r.cfg.KeyPrefix }

// explain turns an error of the connection into a sentence that names the setting to look at. Answers of the server
// are quoted without the password, as an old server or a proxy repeats the arguments of a command it does not know.
func (r *Redis) explain(err error) error {
	opts := r.client.Options()
	at, user, text := opts.Addr, cmp.Or(opts.Username, "default"), err.Error()
	if opts.Password != "" {
		text = strings.ReplaceAll(text, opts.Password, "(password)")
	}
	var reply redis.Error
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"):
		return refusal(fmt.Sprintf("redis at %s does not accept the credentials of user %q: "+
			"check redis.username and redis.password, or those in redis.url", at, user))
	case redis.HasErrorPrefix(err, "NOAUTH"):
		return refusal(fmt.Sprintf("redis at %s asks for a password: set redis.password, or put it in redis.url", at))
	case redis.HasErrorPrefix(err, "NOPERM"):
		return refusal(fmt.Sprintf("redis at %s: user %q (redis.username) lacks a permission, "+
			"grant it with ACL SETUSER: %s", at, user, text))
	case redis.HasErrorPrefix(err, "DB index is out of range"), redis.HasErrorPrefix(err, "invalid DB index"):
		return fmt.Errorf("redis at %s has no database %d: check redis.db, or the path of redis.url", at, opts.DB)
	case errors.As(err, &reply):
		return fmt.Errorf("redis at %s answers: %s", at, text)
	case opts.TLSConfig != nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no connection to redis at %s in time: rediss:// in redis.url needs a server with TLS: %w", at, err)
	default:
		return fmt.Errorf("no connection to redis at %s (redis.url, or redis.host and redis.port): %w", at, err)
	}
}

// refusal is an error that waiting does not mend: Redis answered, and turned us away.
type refusal string

func (e refusal) Error() string { return string(e) }

// QuietRedis hands what go-redis says by itself, about any client in this process, to log at debug level, where it
// would go to stderr as plain text: whoever calls us gets the same as an error. Call it once, before DialRedis.
func QuietRedis(log *zap.Logger) { redis.SetLogger(quiet{log}) }

type quiet struct{ log *zap.Logger }

func (q quiet) Printf(_ context.Context, format string, v ...any) {
	if e := q.log.Check(zap.DebugLevel, "go-redis"); e != nil {
		e.Write(zap.String("text", fmt.Sprintf(format, v...)))
	}
}
