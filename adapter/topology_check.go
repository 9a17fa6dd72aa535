package adapter

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// CheckConfig names what of Redis will be used besides keys under RedisConfig.KeyPrefix. What is empty is not asked for.
type CheckConfig struct {
	// Stream is the key of the log.
	Stream string
	// SessionPrefix starts the keys of sessions.
	SessionPrefix string
	// InputPrefix starts the keys of the streams that publishers add to, each of which goes on with a channel's name.
	InputPrefix string
	// Channels are the Pub/Sub channels that will be listened to.
	Channels []string
}

// checkTimeout bounds Check.
const checkTimeout = 10 * time.Second

// tryStreams does what the log needs, and leaves nothing behind, whatever happens.
var tryStreams = redis.NewScript(`
redis.call('XADD', KEYS[1], 'MINID', '~', '1', '*', 'check', '1')
redis.call('XTRIM', KEYS[1], 'MINID', '1')
return redis.call('DEL', KEYS[1])
`)

// Check asks Redis for all that we will need of it: that it takes writes, has streams as of Redis 6.2, and runs scripts,
// and that our user may do what we do on our keys and channels. What is missing comes back as one sentence that says
// what to grant, or which Redis is needed. Warnings are about what works for now, such as keys that may be evicted.
//
// It leaves nothing behind: it asks by commands that change nothing on the real keys, and on keys of its own.
func (r *Redis) Check(ctx context.Context, cfg CheckConfig) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	name, _ := r.cfg.describe(r.opts)
	warnings, replica, err := r.checkServers(ctx)
	switch {
	case err != nil:
		return nil, r.explain(err)
	case replica != "":
		return nil, fmt.Errorf("%s is a replica (%s), which takes no writes that last: "+
			"name its master, or its Sentinels with redis.addresses and redis.sentinelMaster", name, replica)
	}
	missing := &grants{user: cmp.Or(r.opts.Username, "default")}
	for _, p := range r.probes(cfg) {
		err := r.client.Do(ctx, p.command...).Err()
		switch {
		case err == nil, errors.Is(err, redis.Nil), expected(err):
		case redis.HasErrorPrefix(err, "NOPERM"):
			missing.add(err, p.command[0].(string), "~"+p.pattern)
		case redis.IsReadOnlyError(err):
			return nil, fmt.Errorf("%s is a read-only replica: name its master, or its Sentinels with redis.addresses and "+
				"redis.sentinelMaster", name)
		default:
			return nil, fmt.Errorf("%v on %s: %w", p.command[0], p.pattern, r.explain(err))
		}
	}
	if err := r.checkChannels(ctx, cfg.Channels, missing); err != nil {
		return nil, err
	}
	if what := missing.String(); what != "" {
		return nil, refusal(fmt.Sprintf("%s: user %q (redis.username) lacks permissions, grant them with: ACL SETUSER %s %s",
			name, missing.user, missing.user, what))
	}
	if err := tryStreams.Run(ctx, r.client, []string{r.scratch(r.cfg.KeyPrefix)}).Err(); err != nil {
		var reply redis.Error
		if !errors.As(err, &reply) {
			return nil, r.explain(err)
		}
		return nil, fmt.Errorf("%s cannot do what is needed, scripts and streams with XADD and XTRIM by MINID: "+
			"use Redis 6.2 or newer, or Valkey: %s", name, r.conceal(err.Error()))
	}
	return warnings, nil
}

// probe is a command that is refused without the right to it, and changes nothing with it.
type probe struct {
	pattern string // of the keys it stands for
	command []any
}

// probes are all commands that we use on each kind of key. Adding an entry 0-0 is an error to every Redis that lets
// us add others, and so is a group with options that there are not; a group that does not exist has nothing to read.
func (r *Redis) probes(cfg CheckConfig) []probe {
	group, nothing := rand.Text(), strings.Repeat("0", 40) // the digest of no script
	var all []probe
	on := func(pattern string, commands ...[]any) {
		for _, c := range commands {
			all = append(all, probe{pattern, c})
		}
	}
	values := func(prefix string) {
		key := r.scratch(prefix)
		on(prefix+"*", []any{"SET", key, "1", "PX", "1000", "NX"}, []any{"GET", key}, []any{"PEXPIRE", key, "1000"},
			[]any{"EVALSHA", nothing, "1", key}, []any{"EVAL", "return 1", "1", key}, []any{"DEL", key})
	}
	stream := func(pattern, key string) {
		on(pattern, []any{"XADD", key, "NOMKSTREAM", "0-0", "check", "1"}, []any{"XRANGE", key, "-", "-", "COUNT", "1"})
	}
	consumers := func(pattern, key string) {
		on(pattern, []any{"XGROUP", "CREATE", key, group, "none", "none", "none"},
			[]any{"XREADGROUP", "GROUP", group, "check", "COUNT", "1", "STREAMS", key, ">"}, []any{"XACK", key, group, "0-1"})
	}
	shared := r.cfg.KeyPrefix + "*"
	values(r.cfg.KeyPrefix)
	empty := r.scratch(r.cfg.KeyPrefix) // what is asked of it fails, or does nothing
	on(shared, []any{"EXISTS", empty}, []any{"TYPE", empty}, []any{"INCRBY", empty, "none"}, []any{"TIME"},
		[]any{"HSET", empty, "field", "value", "no value"}, []any{"HINCRBY", empty, "field", "none"}, []any{"HGET", empty, "field"},
		[]any{"HGETALL", empty}, []any{"HLEN", empty}, []any{"HDEL", empty, "field"},
		[]any{"ZADD", empty, "XX", "1", "member"}, []any{"ZREM", empty, "member"}, []any{"ZCARD", empty}, []any{"ZSCORE", empty, "member"},
		[]any{"ZRANGEBYSCORE", empty, "0", "1"}, []any{"ZREMRANGEBYSCORE", empty, "0", "1"})
	stream(shared, empty)
	consumers(shared, empty)
	on(shared, []any{"XREVRANGE", empty, "-", "-", "COUNT", "1"}, []any{"XTRIM", empty, "MINID", "0-0"}, []any{"XLEN", empty},
		[]any{"XDEL", empty, "0-1"}, []any{"XPENDING", empty, group}, []any{"XCLAIM", empty, group, "check", "0", "0-1"},
		[]any{"XINFO", "GROUPS", empty}, []any{"XGROUP", "DESTROY", empty, group})
	if key := cfg.Stream; key != "" {
		stream(key, key)
		on(key, []any{"XTRIM", key, "MINID", "0-0"}, []any{"XREAD", "COUNT", "1", "STREAMS", key, "$"},
			[]any{"XREVRANGE", key, "-", "-", "COUNT", "1"}, []any{"EVALSHA", nothing, "1", key})
	}
	if cfg.SessionPrefix != "" {
		values(cfg.SessionPrefix)
	}
	for _, channel := range cfg.Channels {
		key := cfg.InputPrefix + channel
		if cfg.InputPrefix == "" {
			break
		}
		stream(cfg.InputPrefix+"*", key)
		consumers(cfg.InputPrefix+"*", key)
		on(cfg.InputPrefix+"*", []any{"XAUTOCLAIM", key, group, "check", "0", "0-1", "COUNT", "1"}, []any{"EVALSHA", nothing, "1", key})
	}
	return all
}

// expected says whether a probe that is not refused ends like this. XREADGROUP and the like of a stream that is not there
// know no group, and a Redis that is too old for a command shows it again afterwards, when that is said better.
func expected(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	code, _, _ := strings.Cut(err.Error(), " ")
	return code == "ERR" || code == "NOGROUP" || code == "NOSCRIPT"
}

// scratch is a key of no use to anybody else.
func (r *Redis) scratch(prefix string) string { return prefix + "check:" + rand.Text() }

// checkChannels subscribes to each channel by itself, as a refusal does not name the one it is for.
func (r *Redis) checkChannels(ctx context.Context, channels []string, missing *grants) error {
	if len(channels) == 0 {
		return nil
	}
	ps := r.client.Subscribe(ctx)
	defer ps.Close()
	for _, c := range channels {
		err := ps.Subscribe(ctx, c)
		for err == nil {
			var m any
			if m, err = ps.ReceiveTimeout(ctx, pingTimeout); err != nil {
				break
			}
			if s, ok := m.(*redis.Subscription); ok && s.Channel == c {
				break
			}
		}
		switch {
		case redis.HasErrorPrefix(err, "NOPERM"):
			missing.add(err, "SUBSCRIBE", "&"+c)
		case err != nil:
			return fmt.Errorf("subscribe to %s: %w", c, r.explain(err))
		}
	}
	return nil
}

// checkServers asks each master how it is, as far as it tells us.
func (r *Redis) checkServers(ctx context.Context) (warnings []string, replica string, err error) {
	ask := func(ctx context.Context, c *redis.Client) error {
		memory, err := info(ctx, c, "memory")
		if err != nil {
			return err
		}
		if policy := memory["maxmemory_policy"]; memory["maxmemory"] != "0" {
			switch family, _, _ := strings.Cut(policy, "-"); family {
			case "allkeys":
				warnings = append(warnings, fmt.Sprintf("redis evicts keys when its memory is full (maxmemory-policy %s), "+
					"the log and sessions too: set it to noeviction", policy))
			case "volatile":
				warnings = append(warnings, fmt.Sprintf("redis evicts keys that expire when its memory is full "+
					"(maxmemory-policy %s), sessions and what keeps events from being doubled too: set it to noeviction", policy))
			}
		}
		replication, err := info(ctx, c, "replication")
		if replication["role"] == "slave" {
			replica = "of " + replication["master_host"] + ":" + replication["master_port"]
		}
		return err
	}
	switch c := r.client.(type) {
	case *redis.ClusterClient:
		one := make(chan struct{}, 1) // they are asked at the same time
		err = c.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
			one <- struct{}{}
			defer func() { <-one }()
			return ask(ctx, c)
		})
	case *redis.Client:
		err = ask(ctx, c)
	}
	slices.Sort(warnings)
	return slices.Compact(warnings), replica, err
}

// info is a section of INFO; it is empty if the server keeps it to itself.
func info(ctx context.Context, c *redis.Client, section string) (map[string]string, error) {
	text, err := c.Info(ctx, section).Result()
	var reply redis.Error
	if err != nil && !errors.As(err, &reply) {
		return nil, err
	}
	fields := map[string]string{}
	for line := range strings.SplitSeq(text, "\r\n") {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = value
		}
	}
	return fields, nil
}

// grants collects what a user must be granted, in the words of ACL SETUSER.
type grants struct {
	user string
	all  []string
}

// refusedCommand is how a Redis of any version names a command in a NOPERM; without one it is the key or channel.
var refusedCommand = regexp.MustCompile(`'([a-zA-Z|_.-]+)' command`)

// add notes what a NOPERM is about: the command, or else the key or channel it was for.
func (g *grants) add(err error, command, keyOrChannel string) {
	what := keyOrChannel
	if m := refusedCommand.FindStringSubmatch(err.Error()); m != nil {
		what = "+" + strings.ToLower(m[1])
	} else if !strings.Contains(err.Error(), "key") && !strings.Contains(err.Error(), "channel") {
		what = "+" + strings.ToLower(command) + " " + keyOrChannel
	}
	if !slices.Contains(g.all, what) {
		g.all = append(g.all, what)
	}
}

func (g *grants) String() string {
	slices.Sort(g.all)
	return strings.Join(g.all, " ")
}
