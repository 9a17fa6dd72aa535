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
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout = 5 * time.Second
	// maxBulk is Redis's own default limit for one string (proto-max-bulk-len).
	maxBulk = 512 << 20
)

// RedisConfig says where Redis is and how we present ourselves: one server, the master that Sentinels watch over, or a
// Cluster. Its keys in a configuration file are redis.url, redis.host and so on.
type RedisConfig struct {
	// URL is redis://, rediss:// (TLS) or unix://, with what go-redis accepts as query, and wins over the fields below.
	// A URL without credentials takes Username and Password, so that a secret need not stand in a URL. Of a Cluster it
	// names one node. Empty means none.
	URL string
	// Host is a name or an address, of a Cluster that of a node. Zero means localhost.
	Host string
	// Port is the TCP port. Zero means 6379.
	Port int
	// Addresses are the host:port of Sentinels, or of some nodes of a Cluster, instead of URL and Host. The others are
	// found by themselves.
	Addresses []string
	// SentinelMaster is the name by which the Sentinels know the master. Zero means that there are no Sentinels.
	SentinelMaster string
	// SentinelUsername and SentinelPassword are for the Sentinels, which do not take those of Redis. Zero means none.
	SentinelUsername string
	SentinelPassword string
	// Cluster says that Redis is a Cluster.
	Cluster bool
	// DB is the database number, 0 in a Cluster. Pub/Sub channels are the same in all of them.
	DB int
	// Username is the ACL user. Zero means Redis's default user.
	Username string
	// Password is sent only if it is not empty.
	Password string
	// TLS is for all connections, those to Sentinels too. rediss:// says the same.
	TLS bool
	// CAFile is a PEM file of the authorities that may vouch for the servers. Zero means those of the system.
	CAFile string
	// CertFile and KeyFile are the PEM files of our own certificate, for servers that ask for one. They are read for each
	// connection, so that a renewed certificate is taken. Zero means none.
	CertFile string
	KeyFile  string
	// TLSServerName is the name that the servers' certificates must be for. Zero means the host that is connected to.
	TLSServerName string
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

// Named says whether some Redis is named, and not just the default meant.
func (c RedisConfig) Named() bool { return c.URL != "" || c.Host != "" || len(c.Addresses) > 0 }

// Validate reports all problems at once, by key. It never quotes the URL or a password.
func (c RedisConfig) Validate() error {
	opts, err := c.options()
	errs := []error{err}
	if err == nil {
		_, err = c.tlsConfig(opts.TLSConfig)
		errs = append(errs, err, c.contradictions(opts))
	}
	for _, a := range c.Addresses {
		_, port, err := net.SplitHostPort(a)
		if n, e := strconv.Atoi(port); err != nil || e != nil || n < 1 || n > 65535 {
			errs = append(errs, fmt.Errorf("redis.addresses %q: want host:port", a))
		}
	}
	c = c.withDefaults()
	if c.Port < 1 || c.Port > 65535 {
		errs = append(errs, fmt.Errorf("redis.port %d: must be from 1 to 65535", c.Port))
	}
	if c.DB < 0 {
		errs = append(errs, fmt.Errorf("redis.db %d: must be 0 or more", c.DB))
	}
	if strings.ContainsAny(c.KeyPrefix, "{}") {
		errs = append(errs, fmt.Errorf("redis.keyPrefix %q: must have no braces, which decide on slots of a Cluster", c.KeyPrefix))
	}
	if len(c.KeyPrefix) > 128 {
		errs = append(errs, fmt.Errorf("redis.keyPrefix of %d bytes: must have 128 or fewer", len(c.KeyPrefix)))
	}
	if c.MaxMessage < 1 || c.MaxMessage > maxBulk {
		errs = append(errs, fmt.Errorf("redis.maxMessage %d: must be from 1 to %d bytes", c.MaxMessage, maxBulk))
	}
	return errors.Join(errs...)
}

// contradictions are settings that each are right, but not with the others. opts are those of the configuration.
func (c RedisConfig) contradictions(opts *redis.Options) error {
	sentinel, unix := c.SentinelMaster != "", opts.Network == "unix"
	var errs []error
	for _, x := range []struct {
		wrong bool
		text  string
	}{
		{sentinel && c.Cluster, "redis.cluster and redis.sentinelMaster: set one of them; a Cluster needs no Sentinels"},
		{sentinel && len(c.Addresses) == 0, "redis.sentinelMaster: name the Sentinels in redis.addresses"},
		{!sentinel && (c.SentinelUsername != "" || c.SentinelPassword != ""),
			"redis.sentinelUsername and redis.sentinelPassword: for nothing without redis.sentinelMaster"},
		{!sentinel && !c.Cluster && len(c.Addresses) > 0,
			"redis.addresses: are those of Sentinels, set redis.sentinelMaster, or of a Cluster, set redis.cluster"},
		{c.URL != "" && len(c.Addresses) > 0, "redis.url and redis.addresses: set one of them"},
		{c.URL == "" && c.Host != "" && len(c.Addresses) > 0, "redis.host and redis.addresses: set one of them"},
		{c.Cluster && !c.Named(),
			"redis.cluster: name some nodes in redis.addresses, or one in redis.url or redis.host"},
		{c.Cluster && opts.DB != 0, fmt.Sprintf("redis.db %d: a Cluster (redis.cluster) has database 0 alone", opts.DB)},
		{c.Cluster && unix, "redis.url: a Cluster (redis.cluster) is not reached over unix://"},
		{c.TLS && c.URL != "" && !strings.HasPrefix(strings.ToLower(c.URL), "rediss:"), "redis.tls: redis.url says that there is no TLS; write rediss://"},
	} {
		if x.wrong {
			errs = append(errs, errors.New(x.text))
		}
	}
	return errors.Join(errs...)
}

// options are what all ways to Redis have in common, and the address of a single server. The errors of redis.ParseURL
// quote pieces of the URL, and with an unescaped password those pieces may be the password: so none of them is passed on.
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
	opts.DialTimeout = cmp.Or(opts.DialTimeout, dialTimeout)
	opts.DialerRetries = 1 // whoever calls has its own backoff
	opts.ContextTimeoutEnabled = true
	opts.DisableIdentity = true
	// Such notifications move a connection without a word, and what is published meanwhile would be lost without one.
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if opts.TLSConfig == nil && c.TLS {
		opts.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return opts, nil
}

// newClient makes a client of options with their TLS completed. Its pool has so many connections, zero being go-redis's
// default. Dials under way end with life; go-redis would let them run on after Close.
func (c RedisConfig) newClient(life context.Context, options *redis.Options, pool int) redis.UniversalClient {
	opts := *options // a client keeps and changes its own
	opts.Dialer = dialer(life, opts.TLSConfig, opts.DialTimeout)
	if pool > 0 {
		opts.PoolSize, opts.MinIdleConns, opts.PipelinePoolSize = pool, 0, -1
	}
	switch {
	case c.SentinelMaster != "":
		return redis.NewFailoverClient(c.universal(&opts).Failover())
	case c.Cluster:
		var client *redis.ClusterClient
		dial := sendOnce(opts.Dialer)
		opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil { // perhaps another node has taken over, which go-redis would ask about once a minute
				client.ReloadState(ctx)
			}
			return conn, err
		}
		client = redis.NewClusterClient(c.universal(&opts).Cluster())
		return client
	default:
		return redis.NewClient(&opts)
	}
}

// universal translates the options to those of Sentinels and Clusters.
func (c RedisConfig) universal(o *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: c.seeds(o), MasterName: c.SentinelMaster,
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword,
		ClientName: o.ClientName, DB: o.DB, Username: o.Username, Password: o.Password,
		Dialer: o.Dialer, TLSConfig: o.TLSConfig, Protocol: o.Protocol,
		MaxRetries: o.MaxRetries, MinRetryBackoff: o.MinRetryBackoff, MaxRetryBackoff: o.MaxRetryBackoff,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, DialerRetryTimeout: o.DialerRetryTimeout,
		ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, ContextTimeoutEnabled: o.ContextTimeoutEnabled,
		PoolFIFO: o.PoolFIFO, PoolSize: o.PoolSize, MaxConcurrentDials: o.MaxConcurrentDials, PoolTimeout: o.PoolTimeout,
		PipelinePoolSize: o.PipelinePoolSize,
		MinIdleConns:     o.MinIdleConns, MaxIdleConns: o.MaxIdleConns, MaxActiveConns: o.MaxActiveConns,
		ConnMaxIdleTime: o.ConnMaxIdleTime, ConnMaxLifetime: o.ConnMaxLifetime, ConnMaxLifetimeJitter: o.ConnMaxLifetimeJitter,
		DisableIdentity: o.DisableIdentity, MaintNotificationsConfig: o.MaintNotificationsConfig,
	}
}

func (c RedisConfig) seeds(o *redis.Options) []string {
	if len(c.Addresses) > 0 {
		return c.Addresses
	}
	return []string{o.Addr}
}

// describe names this Redis in an error, and the settings that lead to it.
func (c RedisConfig) describe(o *redis.Options) (name, settings string) {
	at := strings.Join(c.seeds(o), ", ")
	switch {
	case c.SentinelMaster != "":
		return fmt.Sprintf("redis master %q of the Sentinels at %s", c.SentinelMaster, at), "redis.addresses and redis.sentinelMaster"
	case c.Cluster:
		return "redis Cluster at " + at, "redis.addresses, redis.url or redis.host"
	default:
		return "redis at " + at, "redis.url, or redis.host and redis.port"
	}
}
