package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/photo-management/event-bus/adapter"
)

// newFlags makes the flags of a command, described by its synopsis.
func newFlags(name, synopsis string, std stdio) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run tells what is wrong, once
	fs.Usage = func() {
		fmt.Fprintf(std.out, "Usage: eventbus %s [FLAGS]\n\n%s\n\nFlags:\n", name, synopsis)
		fs.SetOutput(std.out)
		fs.PrintDefaults()
		fs.SetOutput(io.Discard)
	}
	return fs
}

// parseFlags sets the flags that fs has from the environment, then from args, which win. The flags that own adds, if
// it is not nil, are told anew each time and do not come from the environment: USER, ID or TYPE there are somebody
// else's. It reports all that is wrong at once.
func parseFlags(fs *flag.FlagSet, args []string, own func()) error {
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		if v, ok := os.LookupEnv(envName(f.Name)); ok && v != "" {
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: invalid value: %w", envName(f.Name), err))
			}
		}
	})
	if own != nil {
		own()
	}
	help := fs.Usage
	fs.Usage = func() {} // on standard output only if asked for
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help()
		return err
	case err != nil:
		errs = append(errs, err)
	case fs.NArg() > 0:
		errs = append(errs, fmt.Errorf("unexpected argument %q", fs.Arg(0)))
	}
	if len(errs) > 0 {
		return usageError{errors.Join(errs...)}
	}
	return nil
}

// envName is the environment variable of a flag: REDIS_URL for redis-url.
func envName(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// redisFlags are how to reach Redis.
func redisFlags(fs *flag.FlagSet, cfg *adapter.RedisConfig) {
	fs.StringVar(&cfg.URL, "redis-url", "", "address of Redis: redis://, rediss:// or unix://; wins over the parts below")
	fs.StringVar(&cfg.Host, "redis-host", "", "host of Redis")
	fs.IntVar(&cfg.Port, "redis-port", 6379, "port of Redis")
	fs.Var((*list)(&cfg.Addresses), "redis-addresses", "comma-separated host:port of Redis Sentinels, or of some nodes of a Redis Cluster")
	fs.StringVar(&cfg.SentinelMaster, "redis-sentinel-master", "", "name by which the Sentinels know the master; setting it means that there are some")
	fs.StringVar(&cfg.SentinelUsername, "redis-sentinel-username", "", "user of the Sentinels")
	fs.StringVar(&cfg.SentinelPassword, "redis-sentinel-password", "", "password of the Sentinels; better in the environment than on a command line")
	fs.BoolVar(&cfg.Cluster, "redis-cluster", false, "Redis is a Cluster")
	fs.BoolVar(&cfg.TLS, "redis-tls", false, "connect with TLS; rediss:// in redis-url says the same")
	fs.StringVar(&cfg.CAFile, "redis-ca-file", "", "PEM file of the authorities that vouch for Redis; by default those of the system")
	fs.StringVar(&cfg.CertFile, "redis-cert-file", "", "PEM file of our certificate for Redis, if it asks for one")
	fs.StringVar(&cfg.KeyFile, "redis-key-file", "", "PEM file of the key of that certificate")
	fs.StringVar(&cfg.TLSServerName, "redis-tls-server-name", "", "name that the certificates of Redis must be for; by default the host connected to")
	fs.IntVar(&cfg.DB, "redis-db", 0, "database number of Redis")
	fs.StringVar(&cfg.Username, "redis-username", "", "user of Redis")
	fs.StringVar(&cfg.Password, "redis-password", "", "password of Redis; better in the environment than on a command line")
	fs.StringVar(&cfg.KeyPrefix, "redis-key-prefix", "eventbus:", "prefix of all our keys in Redis")
}

// list is a flag of values separated by commas.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(v string) error {
	*l = nil
	for _, one := range strings.Split(v, ",") {
		if one = strings.TrimSpace(one); one != "" {
			*l = append(*l, one)
		}
	}
	return nil
}

// several makes a flag that may be given several times.
func several(into *[]string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("want a value")
		}
		*into = append(*into, v)
		return nil
	}
}

// listed makes a flag that may be given several times, each time with one value or more, separated by commas.
func listed(into *[]string) func(string) error {
	return func(v string) error {
		var some list
		_ = some.Set(v) // takes anything
		*into = append(*into, some...)
		return nil
	}
}
