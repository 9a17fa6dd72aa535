package adapter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// toRooms is a record of an event for some rooms.
func toRooms(name string, rooms ...string) Record {
	r := event(name)
	r.Messages[0].Rooms = rooms
	return r
}

func historyWant(t *testing.T, l *Log, room string, n int, want ...string) []Entry {
	t.Helper()
	got, err := l.History(t.Context(), room, n)
	must(t, err)
	args := []string{}
	for _, e := range got {
		args = append(args, strings.Trim(string(e.Args), `"`))
	}
	if !slices.Equal(args, append([]string{}, want...)) {
		t.Errorf("the history of %.20s is %v, want %v", room, args, want)
	}
	return got
}

func testHistory(t *testing.T, l *Log) {
	ctx, long := t.Context(), "photo:"+strings.Repeat("x", 500)
	if _, err := l.History(ctx, "photo:1", 1); !errors.Is(err, ErrNoHistory) {
		t.Errorf("History is %v", err)
	}
	appendTo(t, l, Lease{}, toRooms("before", "photo:1"))
	l.KeepHistory(HistoryConfig{Prefixes: []string{"photo:", "album:"}, Size: 4, TTL: time.Minute})
	tailed, _ := tailLog(t, l)

	several := toRooms("a", "photo:1", "photo:2", "photo:1", "user:1", long)
	several.Messages = append(several.Messages, toRooms("b", "album:1", "photo:1").Messages[0], toRooms("c", "user:1").Messages[0])
	except := toRooms("d", "photo:2")
	except.Messages[0].Except = []string{"user:9"}
	lease := holding(t, l)
	must(t, l.Feed("c").Create(ctx, "g"))
	except.Event = []byte("{}")
	if fresh := appendTo(t, l, lease, several, several, except); !slices.Equal(fresh, []bool{true, false, true}) {
		t.Errorf("fresh is %v", fresh)
	}
	if got, err := reading(t, l.Feed("c"), "g").Read(ctx, 5); err != nil || len(got) != 1 {
		t.Errorf("the feed has %v, %v", got, err)
	}
	got := append(historyWant(t, l, "photo:1", 10, "a", "b"), historyWant(t, l, "photo:2", 10, "a", "d")...)
	historyWant(t, l, "album:1", 10, "b")
	historyWant(t, l, long, 10, "a")
	historyWant(t, l, "photo:none", 10)
	historyWant(t, l, "photo:1", 1, "b")
	historyWant(t, l, "photo:1", 0)
	historyWant(t, l, "photo:1", -1)
	if _, err := l.History(ctx, "user:1", 1); !errors.Is(err, ErrNoHistory) {
		t.Errorf("History is %v", err)
	}
	// Its entries are those of the log.
	tailed.want(t, `"before"`, `"a"`, `"b"`, `"c"`, `"d"`)
	tailed.mu.Lock()
	defer tailed.mu.Unlock()
	for _, e := range got {
		if !slices.ContainsFunc(tailed.entries, func(o Entry) bool {
			return o.Position == e.Position && sameMessage(o.Message, e.Message) && o.Key == e.Key && o.From == e.From &&
				(o.At.IsZero() || e.At.IsZero() || o.At.Sub(e.At).Abs() < time.Second)
		}) {
			t.Errorf("%+v is not in the log: %+v", e, tailed.entries)
		}
	}

	for i := range 10 {
		appendTo(t, l, Lease{}, toRooms(fmt.Sprint("n", i), "photo:1"))
	}
	historyWant(t, l, "photo:1", 10, "n6", "n7", "n8", "n9")
	for _, other := range []Message{
		{Rooms: []string{"photo:3"}, Args: []byte(`"x"`), Volatile: true}, {Rooms: []string{"photo:3"}, Args: []byte(`"x"`), Namespace: "/admin"},
		{Kind: Join, Rooms: []string{"photo:3"}, Into: []string{"photo:4"}}, {Kind: Disconnect, Rooms: []string{"photo:3"}}, {Args: []byte(`"x"`)},
	} {
		must(t, l.Publish(ctx, other))
	}
	if n := l.redis.client.Exists(ctx, l.Key("history:photo:3"), l.Key("history:photo:4")).Val(); n != 0 {
		t.Error("what is no event for browsers is kept")
	}
	if ttl := l.redis.client.PTTL(ctx, l.Key("history:photo:1")).Val(); ttl <= 0 || ttl > time.Minute {
		t.Errorf("it is kept for %s", ttl)
	}
	for _, cfg := range []HistoryConfig{{Prefixes: []string{""}}, {Size: -1}, {Size: 1001}, {TTL: time.Millisecond}} {
		if cfg.Validate() == nil {
			t.Errorf("%+v is valid", cfg)
		}
	}
	must(t, HistoryConfig{}.Validate())
}

// A history that is ahead of the log, or no stream, gives way, and harms no append.
func testHistoryOfLostLog(t *testing.T, l *Log) {
	ctx, c := t.Context(), l.redis.client
	l.KeepHistory(HistoryConfig{Prefixes: []string{"photo:"}})
	must(t, c.Do(ctx, "XADD", l.Key("history:photo:1"), "9999999999999-0", "uid", "x").Err())
	must(t, c.Set(ctx, l.Key("history:photo:2"), "x", 0).Err())
	for _, name := range []string{"a", "b"} {
		if fresh := appendTo(t, l, Lease{}, toRooms(name, "photo:1", "photo:2")); !slices.Equal(fresh, []bool{true}) {
			t.Errorf("fresh is %v", fresh)
		}
	}
	historyWant(t, l, "photo:1", 10, "a", "b")
	historyWant(t, l, "photo:2", 10, "a", "b")
	bad := []string{"uid", "x", "nsp", "/", "type", "3", "data", "{", "key", ""}
	must(t, c.XAdd(ctx, &redis.XAddArgs{Stream: l.Key("history:photo:1"), Values: bad}).Err())
	historyWant(t, l, "photo:1", 10, "a", "b")
	if l.Invalid() != 1 {
		t.Errorf("%d entries are invalid", l.Invalid())
	}
}
