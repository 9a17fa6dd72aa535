package adapter

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const pingTimeout = 2 * time.Second

// Redis is our way to one Redis, whatever servers it is made of: a pool of connections for commands, and one more for
// each that listens (Listener). All methods are safe for concurrent use.
type Redis struct {
	cfg    RedisConfig
	opts   *redis.Options // what is common to all topologies; nil: the client was given
	client redis.UniversalClient
	hangUp context.CancelFunc // ends dials under way
	log    *zap.Logger

	errors errorCount

	// A listening connection is sent a PING every idle, and given up when it is silent for idle and answer together.
	idle, answer time.Duration
}

// DialRedis connects and asks for one PING, of each master in a Cluster, within five seconds or ctx, whichever is
// shorter. What is wrong with the configuration, the address or the credentials comes back as one sentence that names
// the setting.
func DialRedis(ctx context.Context, cfg RedisConfig, log *zap.Logger) (*Redis, error) {
	r, err := newRedis(cfg, log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		_ = r.Close()
		return nil, r.explain(err)
	}
	return r, nil
}

func newRedis(cfg RedisConfig, log *zap.Logger) (*Redis, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts, err := cfg.options()
	if err == nil {
		opts.TLSConfig, err = cfg.tlsConfig(opts.TLSConfig)
	}
	if err != nil {
		return nil, err
	}
	life, hangUp := context.WithCancel(context.Background())
	r := &Redis{
		cfg:    cfg.withDefaults(),
		opts:   opts,
		client: cfg.newClient(life, opts, 0),
		hangUp: hangUp,
		log:    log,
		idle:   time.Second, // a leader that hears nothing must be noticed soon
		answer: time.Second,
	}
	r.client.AddHook(&r.errors)
	return r, nil
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

// Close closes the pool, whatever is under way. End listeners by their contexts first.
func (r *Redis) Close() error {
	r.hangUp()
	return r.client.Close()
}

// Client is the pool, for what this package has no method for. A command is tried once and never repeated by itself,
// except where a Cluster says that it belongs to another node.
func (r *Redis) Client() redis.UniversalClient { return r.client }

// Dedicated is a client of its own, with two connections to a server at most, for a caller that blocks in Redis (XREAD
// BLOCK) and must not keep the pool's connections from others. A cancelled context does not end a command that Redis
// is thinking about: closing this client, which is the caller's duty, does, at once.
func (r *Redis) Dedicated() redis.UniversalClient {
	if r.opts == nil {
		return shared{r.client}
	}
	life, hangUp := context.WithCancel(context.Background())
	return dedicated{r.cfg.newClient(life, r.opts, 2), hangUp}
}

type dedicated struct {
	redis.UniversalClient
	hangUp context.CancelFunc
}

// shared is a client that somebody else closes.
type shared struct{ redis.UniversalClient }

func (shared) Close() error { return nil }

func (d dedicated) Close() error {
	d.hangUp()
	return d.UniversalClient.Close()
}

// Addr is host:port of a server of this Redis, or the path of a socket.
func (r *Redis) Addr() string { return r.cfg.seeds(r.opts)[0] }

// KeyPrefix starts every key of ours, so that users of Client name theirs alike.
func (r *Redis) KeyPrefix() string { return r.cfg.KeyPrefix }

// explain turns an error of the connection into a sentence that names the setting to look at. Answers of the server
// are quoted without the passwords, as an old server or a proxy repeats the arguments of a command it does not know.
func (r *Redis) explain(err error) error {
	if r.opts == nil {
		return err
	}
	name, settings := r.cfg.describe(r.opts)
	user := cmp.Or(r.opts.Username, "default")
	username, password := "redis.username", "redis.password"
	if r.cfg.SentinelMaster != "" { // the same error comes from them
		username += " (of the Sentinels: redis.sentinelUsername)"
		password += " (of the Sentinels: redis.sentinelPassword)"
	}
	err = oneLine{err, r.conceal(err.Error())}
	var reply redis.Error
	var untrusted *tls.CertificateVerificationError
	var network *net.OpError
	switch {
	case redis.HasErrorPrefix(err, "WRONGPASS"):
		return refusal(fmt.Sprintf("%s does not accept the credentials of user %q: "+
			"check %s and %s, or those in redis.url", name, user, username, password))
	case redis.HasErrorPrefix(err, "NOAUTH"):
		return refusal(fmt.Sprintf("%s asks for a password: set %s, or put it in redis.url", name, password))
	case redis.HasErrorPrefix(err, "NOPERM"):
		return refusal(fmt.Sprintf("%s: user %q (%s) lacks a permission, "+
			"grant it with ACL SETUSER: %s", name, user, username, err))
	case redis.HasErrorPrefix(err, "DB index is out of range"), redis.HasErrorPrefix(err, "invalid DB index"):
		return fmt.Errorf("%s has no database %d: check redis.db, or the path of redis.url", name, r.opts.DB)
	case r.cfg.SentinelMaster != "" && errors.Is(err, redis.Nil):
		return fmt.Errorf("%s: they know no master of that name: check redis.sentinelMaster", name)
	case redis.HasErrorPrefix(err, "This instance has cluster support disabled"):
		return fmt.Errorf("%s is no Cluster: leave redis.cluster unset", name)
	case errors.As(err, &reply):
		return fmt.Errorf("%s answers: %w", name, err)
	case errors.As(err, &untrusted):
		return fmt.Errorf("%s (redis.url) shows a certificate that is not trusted: check redis.caFile and redis.tlsServerName: %w",
			name, err)
	case r.opts.TLSConfig != nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no connection to %s in time: TLS (rediss:// in redis.url, or redis.tls) needs a server with TLS: %w",
			name, err)
	case r.opts.TLSConfig != nil && !(errors.As(err, &network) && network.Op == "dial"): // it may not come to saying why
		return fmt.Errorf("no connection to %s (%s): it may ask for another certificate of ours than redis.certFile and "+
			"redis.keyFile, or for one at all: %w", name, settings, err)
	default:
		return fmt.Errorf("no connection to %s (%s): %w", name, settings, err)
	}
}

// conceal makes a text of others fit for one line of a log.
func (r *Redis) conceal(text string) string {
	for _, secret := range []string{r.opts.Password, r.cfg.SentinelPassword} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "(password)")
		}
	}
	return strings.ReplaceAll(text, "\n", "; ")
}

// oneLine is an error with its text concealed.
type oneLine struct {
	error
	text string
}

func (e oneLine) Error() string { return e.text }
func (e oneLine) Unwrap() error { return e.error }

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
