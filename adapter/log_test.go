package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// reader collects what a tail applies.
type reader struct {
	mu      sync.Mutex
	entries []Entry
	gaps    []Position
}

func (r *reader) apply(batch []Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, batch...)
}

func (r *reader) gap(p Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gaps = append(r.gaps, p)
}

// events are the arguments of the events so far.
func (r *reader) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []string{}
	for _, e := range r.entries {
		if e.Kind == Event {
			out = append(out, string(e.Args))
		}
	}
	return out
}

func (r *reader) gapped() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.gaps)
}

// want waits for exactly these events.
func (r *reader) want(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprint("the events ", want), func() bool { return len(r.events()) >= len(want) })
	if got := r.events(); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

// openLog opens a log; tailLog tails one until the test ends.
func openLog(t *testing.T, r *Redis, cfg LogConfig) *Log {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "00000000000000aa"
	}
	l := r.Log(cfg)
	if err := l.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func tailLog(t *testing.T, l *Log) (r *reader, stop func()) {
	t.Helper()
	r = &reader{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Tail(ctx, r.apply, r.gap) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Tail: %v", err)
		}
	})
	t.Cleanup(stop)
	return r, stop
}

// event is a record of one event, named and keyed alike.
func event(name string) Record {
	return Record{Key: Key("c", name), Messages: []Message{{Rooms: []string{"room"}, Args: []byte(`"` + name + `"`)}}}
}

func appendTo(t *testing.T, l *Log, lease Lease, records ...Record) []bool {
	t.Helper()
	fresh, err := l.Append(t.Context(), lease, records)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

// logs runs a test on a real Redis and on the embedded one.
func logs(t *testing.T, test func(t *testing.T, r *Redis)) {
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, dialTest(t, "redis://"+startRedis(t).addr))
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		e, err := StartEmbedded("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		test(t, dialTest(t, "redis://"+e.Addr()))
	})
}

func TestLogIsOneOrderForAll(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		a, b := openLog(t, r, LogConfig{}), openLog(t, r, LogConfig{ID: "00000000000000bb"})
		first, _ := tailLog(t, a)
		second, _ := tailLog(t, b)
		if got := appendTo(t, a, Lease{}, event("1"), event("2")); !slices.Equal(got, []bool{true, true}) {
			t.Errorf("fresh is %v", got)
		}
		if got := appendTo(t, b, Lease{}, event("2"), event("3"), event("1")); !slices.Equal(got, []bool{false, true, false}) {
			t.Errorf("fresh is %v", got)
		}
		for _, reader := range []*reader{first, second} {
			reader.want(t, `"1"`, `"2"`, `"3"`)
			last := a.Start()
			for _, e := range reader.entries {
				if e.Position.Compare(last) <= 0 {
					t.Errorf("%v after %v", e.Position, last)
				}
				last = e.Position
			}
			if e := reader.entries[0]; e.Key != Key("c", "1") || e.From != "00000000000000aa" || !slices.Equal(e.Rooms, []string{"room"}) {
				t.Errorf("entry is %+v", e)
			}
		}
	})
}

func TestLogRecordOfSeveralMessagesAndOfNone(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		l := openLog(t, r, LogConfig{})
		reader, _ := tailLog(t, l)
		two := event("a")
		two.Messages = append(two.Messages, Message{Namespace: "/admin", Args: []byte(`"b"`)})
		none := Record{Key: Key("c", "none")}
		if got := appendTo(t, l, Lease{}, two, none, none); !slices.Equal(got, []bool{true, true, false}) {
			t.Errorf("fresh is %v", got)
		}
		reader.want(t, `"a"`, `"b"`)
		if reader.entries[0].Key != reader.entries[1].Key {
			t.Errorf("keys are %q and %q, want the same", reader.entries[0].Key, reader.entries[1].Key)
		}
		known, err := l.Known(t.Context(), []string{two.Key, none.Key, Key("c", "other")})
		if err != nil || !slices.Equal(known, []bool{true, true, false}) {
			t.Errorf("Known is %v, %v", known, err)
		}
		if ttl := r.client.PTTL(t.Context(), l.Key("id:"+two.Key)).Val(); ttl <= 23*time.Hour || ttl > 24*time.Hour {
			t.Errorf("a key is remembered for %v, want 24 h", ttl)
		}
	})
}

func TestLogFencesADeposedLeader(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		l := openLog(t, r, LogConfig{})
		lease := Lease{Channel: "c", Key: l.Key("lease:c"), Token: "old"}
		r.client.Set(t.Context(), lease.Key, "old", 0)
		with := event("1")
		with.Cursor = Position{7, 1}
		appendTo(t, l, lease, with)
		r.client.Set(t.Context(), lease.Key, "new", 0)
		with = event("2")
		with.Cursor = Position{8, 1}
		if _, err := l.Append(t.Context(), lease, []Record{with}); !errors.Is(err, ErrDeposed) {
			t.Fatalf("Append is %v, want ErrDeposed", err)
		}
		if known, _ := l.Known(t.Context(), []string{with.Key}); known[0] {
			t.Error("its event is in the log")
		}
		if c, err := l.Cursor(t.Context(), "c"); c != (Position{7, 1}) || err != nil {
			t.Errorf("cursor is %v, %v, want 7-1", c, err)
		}
		r.client.Del(t.Context(), lease.Key)
		if _, err := l.Append(t.Context(), lease, []Record{with}); !errors.Is(err, ErrDeposed) {
			t.Errorf("Append without a lease is %v, want ErrDeposed", err)
		}
	})
}

func TestLogStartsWithTheWindow(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		l := openLog(t, r, LogConfig{})
		appendTo(t, l, Lease{}, event("1"), event("2"))
		old := time.Now().Add(-time.Hour).UnixMilli()
		for _, id := range []int64{old, old + 1000} { // older than the stream's first is refused, so in another stream
			if err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "other", ID: fmt.Sprint(id, "-0"), Values: []string{"uid", "x", "nsp", "/", "type", "2"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		other := openLog(t, r, LogConfig{Stream: "other"})
		appendTo(t, other, Lease{}, event("3"))
		if want := (Position{uint64(old + 1000), 0}); other.Start() != want {
			t.Errorf("Start is %v, want %v: the newest from before the window", other.Start(), want)
		}
		late, _ := tailLog(t, openLog(t, r, LogConfig{}))
		late.want(t, `"1"`, `"2"`)
		late, _ = tailLog(t, openLog(t, r, LogConfig{Stream: "other"}))
		late.want(t, `"3"`)
	})
}

func TestLogCatchesUpFirst(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	l := openLog(t, r, LogConfig{})
	const n = 3*readLen + 1
	for i := range n {
		appendTo(t, l, Lease{}, event(fmt.Sprint(i)))
	}
	late := openLog(t, r, LogConfig{})
	reader, _ := tailLog(t, late)
	select {
	case <-late.CaughtUp():
	case <-time.After(patience):
		t.Fatal("it never catches up")
	}
	if got := len(reader.events()); got != n {
		t.Errorf("%d events when it says that it has caught up, want %d", got, n)
	}
	if err := late.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if reader.gapped() != 0 {
		t.Error("a gap")
	}
}

func TestLogResumesAfterRedisRestarted(t *testing.T) {
	t.Parallel()
	server := startRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	r := dialTest(t, "redis://"+server.addr)
	l := openLog(t, r, LogConfig{})
	reader, _ := tailLog(t, l)
	appendTo(t, l, Lease{}, event("1"))
	reader.want(t, `"1"`)
	server.stop(t)
	server.start(t)
	eventually(t, "redis to answer", func() bool { return r.Ping(t.Context()) == nil })
	appendTo(t, l, Lease{}, event("1"), event("2"))
	reader.want(t, `"1"`, `"2"`)
	if reader.gapped() != 0 {
		t.Error("a gap, though nothing is gone")
	}
}

func TestLogTellsOfAGap(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, server *testRedis, r *Redis){
		"redis restarted empty": func(t *testing.T, server *testRedis, r *Redis) {
			server.stop(t)
			server.start(t)
			eventually(t, "redis to answer", func() bool { return r.Ping(t.Context()) == nil })
		},
		"log deleted": func(t *testing.T, _ *testRedis, r *Redis) { r.client.Del(t.Context(), "socket.io") },
		"trimmed beyond what was read": func(t *testing.T, _ *testRedis, r *Redis) {
			if err := r.client.XTrimMaxLen(t.Context(), "socket.io", 0).Err(); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			r := dialTest(t, "redis://"+server.addr)
			l := openLog(t, r, LogConfig{})
			reader, _ := tailLog(t, l)
			appendTo(t, l, Lease{}, event("1"))
			reader.want(t, `"1"`)
			untilOld(t, l)
			harm(t, server, r)
			// What is written before the tail has noticed is behind the gap; what comes later is read.
			for i := 2; ; i++ {
				_, err := l.Append(t.Context(), Lease{}, []Record{event(fmt.Sprint(i))})
				if reader.gapped() > 0 {
					break
				}
				if i > 2000 {
					t.Fatalf("no gap told; last append: %v", err)
				}
				time.Sleep(5 * time.Millisecond)
			}
			appendTo(t, l, Lease{}, event("last"))
			eventually(t, "the last event", func() bool { return slices.Contains(reader.events(), `"last"`) })
			if l.Gaps() != 1 {
				t.Errorf("%d gaps are counted, want 1", l.Gaps())
			}
		})
	}
}

// A log that somebody has emptied is found empty once, and read from there.
func TestLogIsEmptied(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	l := openLog(t, r, LogConfig{})
	reader, _ := tailLog(t, l)
	appendTo(t, l, Lease{}, event("1"))
	reader.want(t, `"1"`)
	if err := r.client.XTrimMaxLen(t.Context(), "socket.io", 0).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a gap to be told", func() bool { return reader.gapped() > 0 }) // nothing comes that would show it
	appendTo(t, l, Lease{}, event("2"))
	reader.want(t, `"1"`, `"2"`)
	untilOld(t, l)
	appendTo(t, l, Lease{}, event("3"))
	reader.want(t, `"1"`, `"2"`, `"3"`)
	if n := l.Gaps(); n != 1 {
		t.Errorf("%d gaps are counted, want 1", n)
	}
}

// untilOld waits until the last entry is so old that the tail doubts it: younger ones cannot have been trimmed.
func untilOld(t *testing.T, l *Log) {
	t.Helper()
	eventually(t, "the last entry to be old", func() bool {
		return time.Since(time.UnixMilli(int64(l.Position().MS)).Add(l.skew)) > blockTime
	})
}

// A replica of Redis that takes over may lack the end of the log. What it lacks was delivered, and comes again.
func TestLogLosesItsEndAndGetsItAgain(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	l := openLog(t, r, LogConfig{})
	reader, _ := tailLog(t, l)
	appendTo(t, l, Lease{}, event("1"), event("2"), event("3"))
	reader.want(t, `"1"`, `"2"`, `"3"`)
	untilOld(t, l)
	for _, e := range reader.entries[len(reader.entries)-2:] {
		r.client.XDel(t.Context(), "socket.io", e.Position.String())
		r.client.Del(t.Context(), l.Key("id:"+e.Key))
	}
	appendTo(t, l, Lease{}, event("2"), event("3"), event("4"))
	reader.want(t, `"1"`, `"2"`, `"3"`, `"4"`)
	if reader.gapped() != 0 {
		t.Error("a gap")
	}
}

// After a failover, publishers make up for it: far more may be written than is read at a time before the tail is back.
func TestLogLosesItsEndBeforeManyMore(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	l := openLog(t, r, LogConfig{})
	reader, _ := tailLog(t, l)
	appendTo(t, l, Lease{}, event("1"), event("2"), event("3"))
	reader.want(t, `"1"`, `"2"`, `"3"`)
	untilOld(t, l)
	r.client.XDel(t.Context(), "socket.io", l.Position().String())
	want := []string{`"1"`, `"2"`, `"3"`}
	var more []Record
	for i := range 3 * readLen {
		more = append(more, event(fmt.Sprint("more ", i)))
		want = append(want, fmt.Sprintf("%q", fmt.Sprint("more ", i)))
	}
	appendTo(t, l, Lease{}, more...)
	reader.want(t, want...)
	if reader.gapped() != 0 {
		t.Error("a gap, though nothing is gone that was not delivered")
	}
}

func TestLogSkipsWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		l := openLog(t, r, LogConfig{MaxEntry: 1000})
		reader, _ := tailLog(t, l)
		for _, values := range [][]string{
			{"some", "thing"},
			{"uid", "x", "nsp", "/", "type", "3", "data", "{"},
			{"uid", "x", "nsp", "/", "type", "3", "data", string(make([]byte, 1001))},
			{"uid", "x", "nsp", "/", "type", "99", "data", "{}"},
		} {
			if err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", Values: values}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		appendTo(t, l, Lease{}, event("1"))
		reader.want(t, `"1"`)
		if l.Invalid() < 2 {
			t.Errorf("%d invalid entries are counted, want at least 2", l.Invalid())
		}
	})
}

func TestLogTrims(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		old := time.Now().Add(-time.Hour).UnixMilli()
		for i := range int64(1000) {
			if err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "socket.io", ID: fmt.Sprint(old+i, "-0"), Values: []string{"uid", "x", "nsp", "/", "type", "2"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		l := openLog(t, r, LogConfig{})
		if err := l.trimOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		left := r.client.XLen(t.Context(), "socket.io").Val()
		there, err := r.client.XRange(t.Context(), "socket.io", fmt.Sprint(old+999, "-0"), "+").Result()
		if left > 200 || err != nil || len(there) != 1 {
			t.Errorf("%d entries are left, and %d, %v from the newest on; want few, and that one", left, len(there), err)
		}
	})
}

func TestLogNeedsAStream(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	r.client.Set(t.Context(), "socket.io", "text", 0)
	if err := r.Log(LogConfig{}).Open(t.Context()); err == nil {
		t.Error("a string is taken for a log")
	}
}

func TestConsume(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		add := func(values ...string) Position {
			id, err := r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "in", Values: values}).Result()
			if err != nil {
				t.Fatal(err)
			}
			p, _ := ParsePosition(id)
			return p
		}
		first := add("event", "1")
		add("event", "2", "more", "x")
		add("other", "3")
		last := add("event", "4")
		stop := errors.New("stop")
		var got []string
		err := r.Consume(t.Context(), "in", first, func(batch []Input) error {
			for _, in := range batch {
				got = append(got, fmt.Sprintf("%s %t", in.Payload, in.Payload == nil))
				if in.Position == last {
					return stop
				}
			}
			return nil
		})
		if want := []string{"2 false", " true", "4 false"}; !errors.Is(err, stop) || !slices.Equal(got, want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Consume(ctx, "in", last, func([]Input) error { return nil }) }()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Consume ended with %v", err)
		}
	})
}

func TestTrimmed(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	for i := range 4 {
		r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: "in", ID: fmt.Sprint(i+1, "-0"), Values: []string{"event", "e"}})
	}
	r.client.XTrimMinID(t.Context(), "in", "3-0")
	for after, want := range map[Position]bool{{}: false, {2, 0}: true, {3, 0}: false, {4, 0}: false, {9, 0}: false} {
		if got, err := r.Trimmed(t.Context(), "in", after); got != want || err != nil {
			t.Errorf("Trimmed after %v is %v, %v, want %v", after, got, err, want)
		}
	}
}

func TestLogConfig(t *testing.T) {
	t.Parallel()
	if err := (LogConfig{}).Validate(); err != nil {
		t.Errorf("the zero LogConfig: %v", err)
	}
	for _, stream := range []string{strings.Repeat("x", 129), "{}b", "a{b", "a}b"} {
		err := LogConfig{Stream: stream, Window: 1, Dedupe: 1}.Validate()
		for _, key := range []string{"log.stream", "log.window", "log.dedupe"} {
			if err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("Validate with stream %.9q: %v, want a word about %s", stream, err, key)
			}
		}
	}
	for stream, want := range map[string]string{"socket.io": "p:{socket.io}:x", "{a}b": "p:{a}:x", "a{b}": "p:{b}:x"} {
		l := (&Redis{cfg: RedisConfig{KeyPrefix: "p:"}, log: zap.NewNop()}).Log(LogConfig{Stream: stream})
		if got := l.Key("x"); got != want {
			t.Errorf("a key beside %q is %q, want %q", stream, got, want)
		}
	}
}
