package adapter

import (
	"bufio"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

var checkAll = CheckConfig{
	Stream: "socket.io", SessionPrefix: "sio:session:", InputPrefix: "eventbus:in:",
	Channels: []string{"photo:upload", "photo:processing"},
}

// rights are all that checkAll needs.
var rights = []string{"~eventbus:*", "~socket.io", "~sio:session:*", "&photo:upload", "&photo:processing",
	"+ping", "+hello", "+auth", "+set", "+get", "+pexpire", "+del", "+eval", "+evalsha", "+subscribe", "+xadd", "+xrange",
	"+xrevrange", "+xtrim", "+xread", "+xgroup|create", "+xreadgroup", "+xack", "+xautoclaim",
	"+xgroup|destroy", "+xpending", "+xclaim", "+xinfo|groups", "+xlen", "+xdel", "+exists", "+type", "+time", "+incrby",
	"+hset", "+hincrby", "+hget", "+hgetall", "+hlen", "+hdel",
	"+zadd", "+zrem", "+zcard", "+zscore", "+zrangebyscore", "+zremrangebyscore"}

func wantNoWarnings(t *testing.T, r *Redis) {
	t.Helper()
	if warnings, err := r.Check(context.Background(), checkAll); err != nil || len(warnings) > 0 {
		t.Errorf("Check = %q, %v; want nothing", warnings, err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	test := func(t *testing.T, r *Redis, servers ...*redis.Client) {
		ctx := context.Background()
		keys := func() (all []string) {
			for _, c := range servers {
				all = append(all, c.Keys(ctx, "*").Val()...)
			}
			slices.Sort(all)
			return all
		}
		wantNoWarnings(t, r)
		if got := keys(); len(got) > 0 {
			t.Errorf("Check left %q behind", got)
		}
		// The same where the streams exist.
		c := r.Client()
		for _, key := range []string{"socket.io", "eventbus:in:photo:upload"} {
			if err := c.XAdd(ctx, &redis.XAddArgs{Stream: key, ID: "1-1", Values: []string{"a", "b"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.XGroupCreate(ctx, "eventbus:in:photo:upload", "ours", "0").Err(); err != nil {
			t.Fatal(err)
		}
		wantNoWarnings(t, r)
		if got, want := keys(), []string{"eventbus:in:photo:upload", "socket.io"}; !slices.Equal(got, want) {
			t.Errorf("after Check there are %q, want %q", got, want)
		}
		for _, key := range keys() {
			if n := c.XLen(ctx, key).Val(); n != 1 {
				t.Errorf("after Check %s has %d entries, want 1", key, n)
			}
		}
		groups := c.XInfoGroups(ctx, "eventbus:in:photo:upload").Val()
		if len(groups) != 1 || groups[0].Name != "ours" || groups[0].Pending != 0 {
			t.Errorf("after Check the groups are %+v, want ours alone", groups)
		}
	}
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t)
		test(t, dialTest(t, "redis://"+s.addr), plainClient(t, s.addr))
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		e := startEmbedded(t, "")
		test(t, dialTest(t, "redis://"+e.Addr()), plainClient(t, e.Addr()))
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		s := startSentinel(t)
		test(t, dialConfig(t, s.config()), plainClient(t, s.master.addr))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		s := startCluster(t, false)
		test(t, dialConfig(t, s.config()), plainClient(t, s.masters[0].addr), plainClient(t, s.masters[1].addr),
			plainClient(t, s.masters[2].addr))
	})
}

// Each right that is missing is named, whichever it is, and what is named is enough.
func TestCheckRights(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	admin := plainClient(t, s.addr)
	acl := func(rules ...string) {
		t.Helper()
		command := []any{"ACL", "SETUSER", "app"}
		for _, r := range rules {
			command = append(command, r)
		}
		if err := admin.Do(context.Background(), command...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	reset := func() { acl("reset", "on", ">hush-hush") }
	reset()
	acl(rights...)
	r := dialTest(t, "redis://app:hush-hush@"+s.addr)
	wantNoWarnings(t, r)
	for _, one := range rights {
		if one == "+ping" || one == "+hello" || one == "+auth" || one == "+subscribe" {
			continue // the connection needs the first ones; the last has its turn below
		}
		reset()
		for _, other := range rights {
			if other != one {
				acl(other)
			}
		}
		_, err := r.Check(context.Background(), checkAll)
		wantMentions(t, err, s.addr, `"app"`, "redis.username", "ACL SETUSER app "+one)
		acl(one)
		wantNoWarnings(t, r)
	}

	reset()
	acl("+ping", "+hello", "+auth")
	_, err := r.Check(context.Background(), checkAll)
	wantMentions(t, err, "+xadd", "+subscribe", "+evalsha", "+xgroup|create") // all at once
	_, grant, _ := strings.Cut(err.Error(), "ACL SETUSER app ")
	acl(strings.Fields(grant)...)
	_, err = r.Check(context.Background(), checkAll)
	wantMentions(t, err, "~eventbus:*", "~sio:session:*", "~socket.io", "&photo:upload", "&photo:processing")
	_, grant, _ = strings.Cut(err.Error(), "ACL SETUSER app ")
	acl(strings.Fields(grant)...)
	wantNoWarnings(t, r)
}

func TestCheckReplica(t *testing.T) {
	t.Parallel()
	master := startRedis(t)
	replica := startRedis(t, "--replicaof", "127.0.0.1 "+master.port)
	r := dialTest(t, "redis://"+replica.addr)
	_, err := r.Check(context.Background(), checkAll)
	wantMentions(t, err, replica.addr, "replica", master.addr)

	// Of a Redis that does not tell its role the refusal is understood.
	if err := r.Client().Do(context.Background(), "ACL", "SETUSER", "app", "on", ">hush", "~*", "&*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	_, err = dialTest(t, "redis://app:hush@"+replica.addr).Check(context.Background(), checkAll)
	wantMentions(t, err, replica.addr, "replica", "redis.sentinelMaster")
}

func TestCheckEviction(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	set := func(key, value string) {
		t.Helper()
		if err := r.Client().ConfigSet(context.Background(), key, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("maxmemory-policy", "allkeys-lru")
	wantNoWarnings(t, r) // as there is no limit
	set("maxmemory", "100mb")
	for _, policy := range []string{"allkeys-lru", "volatile-ttl"} {
		set("maxmemory-policy", policy)
		warnings, err := r.Check(context.Background(), checkAll)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], policy) || !strings.Contains(warnings[0], "noeviction") {
			t.Errorf("Check with %s = %q, %v; want one warning", policy, warnings, err)
		}
	}
	set("maxmemory-policy", "noeviction")
	wantNoWarnings(t, r)
}

func TestCheckOtherType(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := dialTest(t, "redis://"+s.addr)
	if err := r.Client().Set(context.Background(), "socket.io", "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, err := r.Check(context.Background(), checkAll)
	wantMentions(t, err, s.addr, "socket.io", "WRONGTYPE")
}

// A server without streams, or with those of Redis 5, answers like this.
func TestCheckOldRedis(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"-ERR Error running script (call to f_1): @user_script:2: @user_script: 2: Unknown Redis command called from Lua script \r\n",
		"-ERR Error running script (call to f_1): @user_script:2: ERR syntax error \r\n",
	} {
		addr := listenAs(t, func(rd *bufio.Reader, w io.Writer) {
			for {
				line, err := rd.ReadString('\n')
				if err != nil {
					return
				}
				switch strings.ToLower(strings.TrimSpace(line)) {
				case "hello", "xadd", "xrange", "xtrim", "xread", "xrevrange", "info", "xreadgroup", "xack", "xautoclaim", "xlen",
					"xdel", "xpending", "xclaim", "xinfo", "xgroup":
					_, _ = io.WriteString(w, "-ERR unknown command\r\n")
				case "evalsha", "eval":
					_, _ = io.WriteString(w, answer)
				case "set", "get", "del", "pexpire", "ping", "exists", "type", "time", "incrby", "hset", "hincrby", "hget", "hgetall",
					"hlen", "hdel", "zadd", "zrem", "zcard", "zscore", "zrangebyscore", "zremrangebyscore":
					_, _ = io.WriteString(w, "+OK\r\n")
				}
			}
		})
		_, err := undialled(t, "redis://"+addr).Check(context.Background(), CheckConfig{Stream: "socket.io"})
		wantMentions(t, err, addr, "6.2", "Valkey", "MINID")
	}
}
