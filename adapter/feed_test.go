package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// holding is a lease of channel c that is held.
func holding(t *testing.T, l *Log) Lease {
	t.Helper()
	lease := Lease{Channel: "c", Key: l.Key("lease:c"), Token: "t"}
	must(t, l.redis.client.Set(t.Context(), lease.Key, "t", 0).Err())
	return lease
}

// offered is a record of an event that goes to the feed as well.
func offered(name string) Record {
	r := event(name)
	r.Event = []byte(`{"id":"` + name + `"}`)
	return r
}

// eventsOf are the ids of what testers offer.
func eventsOf(entries []FeedEntry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(strings.TrimPrefix(string(e.Event), `{"id":"`), `"}`))
	}
	return out
}

func read(t *testing.T, r *FeedReader, count int, want ...string) []FeedEntry {
	t.Helper()
	got, err := r.Read(t.Context(), count)
	must(t, err)
	if !slices.Equal(eventsOf(got), append([]string{}, want...)) {
		t.Fatalf("read %v, want %v", eventsOf(got), want)
	}
	return got
}

func claimWant(t *testing.T, f *Feed, group string, after Position, count int, want ...string) []FeedEntry {
	t.Helper()
	got, err := f.Claim(t.Context(), group, "claimer", after, count)
	must(t, err)
	if !slices.Equal(eventsOf(got), append([]string{}, want...)) {
		t.Fatalf("claimed %v, want %v", eventsOf(got), want)
	}
	return got
}

// reading gives a reader, closed when the test ends.
func reading(t *testing.T, f *Feed, group string) *FeedReader {
	t.Helper()
	r := f.Reader(group, "reader")
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func testFeed(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	if err := f.Offer(ctx, []byte(`{}`), ""); !errors.Is(err, ErrNoGroup) {
		t.Errorf("Offer without a feed is %v", err)
	}
	for _, group := range []string{"a", "b", "a"} {
		must(t, f.Create(ctx, group))
	}
	for i := range 4 {
		must(t, f.Offer(ctx, fmt.Appendf(nil, `{"id":"%d"}`, i), ""))
	}
	must(t, f.Offer(ctx, []byte(`{"id":"only b"}`), "b"))
	if err := f.Offer(ctx, []byte(`{}`), "nobody"); !errors.Is(err, ErrNoGroup) {
		t.Errorf("Offer to nobody is %v", err)
	}
	if err := f.Offer(ctx, nil, ""); err == nil {
		t.Error("nothing can be offered")
	}
	a, b := reading(t, f, "a"), reading(t, f, "b")
	first := read(t, a, 2, "0", "1")
	rest := read(t, a, 10, "2", "3") // the entry for b is passed over
	got := read(t, b, 10, "0", "1", "2", "3", "only b")
	if got[4].Only != "b" || got[3].Only != "" {
		t.Errorf("got %+v", got)
	}
	read(t, a, 1)

	must(t, f.Ack(ctx, "a", first[0].Position, rest[0].Position))
	claimed := claimWant(t, f, "a", Position{}, 10, "1", "3")
	claimWant(t, f, "a", claimed[0].Position, 10, "3")
	claimWant(t, f, "a", Position{}, 1, "1")
	claimWant(t, f, "a", claimed[1].Position, 10)

	due := time.UnixMilli(1_800_000_000_123)
	long := strings.Repeat("ü", 2000)
	must(t, f.Note(ctx, "a", claimed[0].Position, Note{3, due, long}))
	must(t, f.Note(ctx, "a", first[0].Position, Note{Attempt: 1}))               // acknowledged
	must(t, f.Note(ctx, "a", claimed[1].Position.following(), Note{Attempt: 1})) // not there
	notes, err := f.Notes(ctx, "a")
	must(t, err)
	n := notes[claimed[0].Position]
	if len(notes) != 1 || n.Attempt != 3 || !n.Due.Equal(due) || len(n.Error) > maxNote || !strings.HasPrefix(long, n.Error) || n.Error == "" {
		t.Errorf("notes are %+v", notes)
	}
	must(t, f.Ack(ctx, "a", claimed[0].Position))
	if notes, err = f.Notes(ctx, "a"); err != nil || len(notes) != 0 {
		t.Errorf("after Ack there are notes %v, %v", notes, err)
	}
	groups, err := f.Groups(ctx)
	must(t, err)
	slices.SortFunc(groups, func(a, b FeedGroup) int { return strings.Compare(a.Name, b.Name) })
	if want := []FeedGroup{{"a", 1, 0}, {"b", 5, 0}}; !slices.Equal(groups, want) {
		t.Errorf("groups are %+v, want %+v", groups, want)
	}
	must(t, f.Ack(ctx, "a"))

	// What is gone from the feed, by whomever, is not pending for ever.
	must(t, l.redis.client.XDel(ctx, f.key, got[0].Position.String(), got[2].Position.String()).Err())
	claimWant(t, f, "b", Position{}, 2, "1", "3")
	claimWant(t, f, "b", Position{}, 10, "1", "3", "only b")
	if groups, err = f.Groups(ctx); err != nil || groups[0].Pending+groups[1].Pending != 4 {
		t.Errorf("groups are %+v, %v", groups, err)
	}
}

func testFeedGone(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	must(t, f.Destroy(ctx, "a"))
	if groups, err := f.Groups(ctx); err != nil || len(groups) != 0 {
		t.Errorf("groups are %v, %v", groups, err)
	}
	if passed, err := f.Trim(ctx, time.Hour, 10); err != nil || len(passed) != 0 {
		t.Errorf("trim: %v, %v", passed, err)
	}
	must(t, f.Create(ctx, "a"))
	must(t, f.Create(ctx, "b"))
	must(t, f.Offer(ctx, []byte(`{"id":"1"}`), ""))
	r := reading(t, f, "a")
	got := read(t, r, 10, "1")
	must(t, f.Note(ctx, "a", got[0].Position, Note{Attempt: 1}))
	must(t, f.Destroy(ctx, "a"))
	exists := func(want int64) {
		t.Helper()
		if n, err := l.redis.client.Exists(ctx, f.key).Result(); err != nil || n != want {
			t.Errorf("%d feeds, want %d, %v", n, want, err)
		}
		if n := l.redis.client.Exists(ctx, f.notesKey("a")).Val(); n != 0 {
			t.Error("notes of a group that is gone")
		}
	}
	exists(1)
	p := got[0].Position
	for range 2 {
		_, err := r.Read(ctx, 1)
		_, err2 := f.Claim(ctx, "a", "x", Position{}, 1)
		for i, err := range []error{err, err2, f.Note(ctx, "a", p, Note{}), f.Bury(ctx, "a", p, DeadLetter{}), f.Offer(ctx, []byte("{}"), "a")} {
			if !errors.Is(err, ErrNoGroup) {
				t.Errorf("%d is %v, want ErrNoGroup", i, err)
			}
		}
		must(t, f.Ack(ctx, "a", p))
		must(t, f.Destroy(ctx, "b"))
		exists(0)
	}
	if err := f.Create(ctx, ""); err == nil {
		t.Error("a group without a name")
	}

	// It is deleted as it was asked about, and not if it was made since.
	must(t, f.Create(ctx, "a"))
	old, err := f.Made(ctx, "a")
	must(t, err)
	must(t, f.Create(ctx, "a"))
	made, err := f.Made(ctx, "a")
	must(t, err)
	for _, c := range []struct {
		made  string
		want  bool
		feeds int64 // left
	}{{old, false, 1}, {"", false, 1}, {made, true, 0}, {made, false, 0}, {"", true, 0}} {
		if gone, err := f.DestroyMade(ctx, "a", c.made); gone != c.want || err != nil {
			t.Errorf("destroyed as %q: %v, %v, want %v", c.made, gone, err, c.want)
		}
		if n := l.redis.client.Exists(ctx, f.key).Val(); n != c.feeds {
			t.Errorf("destroyed as %q: %d feeds are left, want %d", c.made, n, c.feeds)
		}
	}
	if made, err := f.Made(ctx, "a"); made != "" || err != nil {
		t.Errorf("it is gone and made %q, %v", made, err)
	}
	if n, err := l.DeadLetters(DeadLettersConfig{}).Len(ctx); n != 0 || err != nil {
		t.Errorf("%d dead letters, %v", n, err)
	}
}

// The events of new records go to the feed, if there is one, and whatever the log believes.
func testFeedAppend(t *testing.T, l *Log) {
	ctx, lease, f := t.Context(), holding(t, l), l.Feed("c")
	appendTo(t, l, lease, offered("1"))
	if n := l.redis.client.Exists(ctx, f.key).Val(); n != 0 {
		t.Error("a feed that nobody reads")
	}
	other := l.redis.Log(l.cfg) // which does not know of the group
	must(t, f.Create(ctx, "g"))
	r := reading(t, f, "g")
	stale := lease
	stale.Token = "stale"
	if _, err := other.Append(ctx, stale, []Record{offered("no")}); !errors.Is(err, ErrDeposed) {
		t.Fatalf("Append is %v, want ErrDeposed", err)
	}
	for _, l := range []*Log{other, l, other} {
		name := fmt.Sprint("of ", &l)
		if fresh := appendTo(t, l, lease, offered(name+"a"), event("none"+name), offered(name+"a"), offered("1"), offered(name+"b")); !slices.Equal(fresh, []bool{true, true, false, false, true}) {
			t.Errorf("fresh is %v", fresh)
		}
		appendTo(t, l, lease, offered("1"))
		appendTo(t, l, Lease{}, offered(name+"no lease")) // belongs to no channel
		read(t, r, 10, name+"a", name+"b")
	}
	noKey := Record{Event: []byte(`{"id":"no key, no message"}`)}
	appendTo(t, l, lease, noKey, noKey)
	read(t, r, 10, "no key, no message", "no key, no message")

	must(t, l.Feed("c").Destroy(ctx, "g"))
	for range 2 {
		appendTo(t, other, lease, offered("5"+fmt.Sprint(time.Now())))
		if n := l.redis.client.Exists(ctx, f.key).Val(); n != 0 {
			t.Fatal("a feed that nobody reads")
		}
	}
	must(t, f.Create(ctx, "g"))
	appendTo(t, other, lease, offered("6"))
	read(t, reading(t, f, "g"), 10, "6")

	// Something else in its place fails nothing.
	must(t, f.Destroy(ctx, "g"))
	must(t, l.redis.client.Set(ctx, f.key, "x", 0).Err())
	appendTo(t, other, lease, offered("7"))
	if groups, err := f.Groups(ctx); err != nil || len(groups) != 0 {
		t.Errorf("groups are %v, %v", groups, err)
	}
}

// The log writes all or nothing, and each event once, when the events are asked for.
func TestFeedAsksBeforeItWrites(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	l := openLog(t, r, LogConfig{})
	lease := holding(t, l)
	must(t, l.Feed("c").Create(t.Context(), "g"))
	other := l.redis.Log(l.cfg)
	var ways []string
	with := offered("1")
	with.Cursor = Position{5, 5}
	fresh, err := other.append("c", []Record{with}, func(way string) ([]int64, error) {
		ways = append(ways, way)
		if c, _ := l.Cursor(t.Context(), "c"); c != (Position{}) {
			t.Error("the cursor was written by a script that asked")
		}
		keys, args, err := other.appendArgs(lease, []Record{with}, way)
		must(t, err)
		return appendRecords.Run(t.Context(), r.client, keys, args...).Int64Slice()
	})
	if err != nil || !slices.Equal(fresh, []bool{true}) || !slices.Equal(ways, []string{feedAsk, feedSend}) {
		t.Errorf("fresh %v, ways %v, %v", fresh, ways, err)
	}
	if n := r.client.XLen(t.Context(), l.cfg.Stream).Val(); n != 2 { // with the entry that begins it
		t.Errorf("the log has %d entries", n)
	}
	if other.feedWay("c", []Record{with}) != feedSend || other.feedWay("c", []Record{event("2")}) != feedNone || other.feedWay("", []Record{with}) != feedNone {
		t.Error("the way of events is wrong")
	}
}

// A PubSub has feeds as well, wherever it publishes.
func TestPubSubFeeds(t *testing.T) {
	t.Parallel()
	onWires(t, isPubSub, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		bus := a.bus
		f := bus.Feed("c")
		lease := Lease{Channel: "c", Key: bus.Key("lease:c"), Token: "t"}
		must(t, r.client.Set(t.Context(), lease.Key, "t", 0).Err())
		a.append(t, lease, offered("before"))
		must(t, f.Create(t.Context(), "g"))
		for _, m := range []*member{a, b, b} {
			m.append(t, lease, offered("1"), event("2"), offered("3"), offered("1"))
		}
		read(t, reading(t, f, "g"), 10, "1", "3")
		a.in.want(t, `"before"`, `"1"`, `"2"`, `"3"`)
		if _, err := bus.History(t.Context(), "room", 5); !errors.Is(err, ErrNoHistory) {
			t.Errorf("History is %v", err)
		}
	})
}

func testFeedMalformed(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	must(t, f.Create(ctx, "g"))
	for _, values := range [][]string{{"a", "b"}, {"event", ""}, {"only", "g"}} {
		must(t, l.redis.client.XAdd(ctx, &redis.XAddArgs{Stream: f.key, Values: values}).Err())
	}
	must(t, f.Offer(ctx, []byte(`{"id":"1"}`), ""))
	read(t, reading(t, f, "g"), 10, "1")
	claimWant(t, f, "g", Position{}, 10, "1")
	if n := l.FeedMalformed(); n != 3 {
		t.Errorf("%d are malformed", n)
	}
}

func testFeedLag(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	lag := func(want int64) {
		t.Helper()
		if groups, err := f.Groups(ctx); err != nil || len(groups) != 1 || groups[0].Lag != want {
			t.Errorf("groups are %+v, want a lag of %d, %v", groups, want, err)
		}
	}
	must(t, f.Create(ctx, "g"))
	lag(0)
	for i := range 120 {
		must(t, f.Offer(ctx, fmt.Appendf(nil, `{"id":"%d"}`, i), ""))
	}
	lag(120)
	r := reading(t, f, "g")
	read(t, r, 2, "0", "1")
	lag(118)
	if _, err := r.Read(ctx, 200); err != nil {
		t.Error(err)
	}
	lag(0)
}

func testFeedAckMany(t *testing.T, l *Log) {
	ctx, f, n := t.Context(), l.Feed("c"), maxAck+10
	must(t, f.Create(ctx, "g"))
	pipe := l.redis.client.Pipeline()
	for range n {
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: f.key, Values: []string{"event", "{}"}})
	}
	_, err := pipe.Exec(ctx)
	must(t, err)
	if _, err := f.Reader("g", "x").readAll(ctx, n); err != nil {
		t.Fatal(err)
	}
	var ps []Position
	for after := (Position{}); ; after = ps[len(ps)-1] {
		some, err := f.Claim(ctx, "g", "y", after, 300)
		must(t, err)
		if len(some) == 0 {
			break
		}
		for _, e := range some {
			ps = append(ps, e.Position)
		}
	}
	if len(ps) != n {
		t.Fatalf("claimed %d, want %d", len(ps), n)
	}
	must(t, f.Ack(ctx, "g", ps...))
	if groups, err := f.Groups(ctx); err != nil || groups[0].Pending != 0 {
		t.Errorf("groups are %+v, %v", groups, err)
	}
}

// readAll reads so many, and closes the reader.
func (r *FeedReader) readAll(ctx context.Context, n int) (int, error) {
	got, err := r.Read(ctx, n)
	return len(got), errors.Join(err, r.Close())
}

// A read ends with its context at once, though nothing comes, and the reader can be used again.
func TestFeedReadEnds(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, r *Redis) {
		l := openLog(t, r, LogConfig{})
		f := l.Feed("c")
		must(t, f.Create(t.Context(), "g"))
		reader := reading(t, f, "g")
		for range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			began := time.Now()
			if got, err := reader.Read(ctx, 1); !errors.Is(err, context.Canceled) || len(got) > 0 {
				t.Errorf("Read is %v, %v", got, err)
			}
			if took := time.Since(began); took > blockTime*3/4 {
				t.Errorf("it took %s", took)
			}
		}
		must(t, f.Offer(t.Context(), []byte(`{"id":"1"}`), ""))
		read(t, reader, 1, "1")
		must(t, reader.Close())
		must(t, reader.Close())
	})
}

// A group that goes while it is waited for is told, as is a feed.
func TestFeedGoesWhileRead(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	for _, last := range []bool{true, false} {
		f := r.Store(fmt.Sprint(last)).Feed("c")
		must(t, f.Create(t.Context(), "g"))
		if !last {
			must(t, f.Create(t.Context(), "other"))
		}
		time.AfterFunc(30*time.Millisecond, func() { _ = f.Destroy(context.Background(), "g") })
		reader := reading(t, f, "g")
		eventually(t, "the group to be gone", func() bool {
			_, err := reader.Read(t.Context(), 1)
			if err != nil && !errors.Is(err, ErrNoGroup) {
				t.Fatal(err)
			}
			return err != nil
		})
	}
}

func testFeedTrim(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	must(t, f.Create(ctx, "a"))
	must(t, f.Create(ctx, "b"))
	for i := range 6 {
		must(t, f.Offer(ctx, fmt.Appendf(nil, `{"id":"%d"}`, i), ""))
	}
	trim := func(want int64) {
		t.Helper()
		passed, err := f.Trim(ctx, time.Hour, 1000)
		if n := l.redis.client.XLen(ctx, f.key).Val(); err != nil || len(passed) > 0 || n != want {
			t.Errorf("passed %v, %d entries are left, want %d, %v", passed, n, want, err)
		}
	}
	trim(6)
	a, b := reading(t, f, "a"), reading(t, f, "b")
	got := read(t, a, 10, "0", "1", "2", "3", "4", "5")
	must(t, f.Ack(ctx, "a", got[0].Position, got[1].Position, got[3].Position, got[4].Position))
	trim(6) // b has read nothing
	read(t, b, 1, "0")
	trim(6) // and not acknowledged it
	must(t, f.Ack(ctx, "b", got[0].Position))
	trim(5)
	some := read(t, b, 10, "1", "2", "3", "4", "5")
	for _, e := range some {
		must(t, f.Ack(ctx, "b", e.Position))
	}
	trim(4) // a has 2 pending
	claimWant(t, f, "a", Position{}, 10, "2", "5")
	must(t, f.Ack(ctx, "a", got[2].Position))
	trim(1)
	must(t, f.Ack(ctx, "a", got[5].Position))
	trim(0)
	must(t, f.Offer(ctx, []byte(`{"id":"6"}`), ""))
	read(t, a, 10, "6")
	read(t, b, 10, "6")
	trim(1)
}

func testFeedTrimBounds(t *testing.T, l *Log) {
	ctx, f := t.Context(), l.Feed("c")
	for _, group := range []string{"done", "pending", "unread", "up to date"} {
		must(t, f.Create(ctx, group))
	}
	offer := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			must(t, f.Offer(ctx, fmt.Appendf(nil, `{"id":"%d"}`, i), ""))
		}
	}
	offer(0, 20)
	all := []string{}
	for i := range 20 {
		all = append(all, fmt.Sprint(i))
	}
	var ps []Position
	for _, e := range read(t, reading(t, f, "done"), 100, all...) {
		ps = append(ps, e.Position)
	}
	must(t, f.Ack(ctx, "done", ps...))
	read(t, reading(t, f, "pending"), 100, all...)
	must(t, f.Note(ctx, "pending", ps[0], Note{Attempt: 1}))
	must(t, f.Note(ctx, "pending", ps[19], Note{Attempt: 1}))
	read(t, reading(t, f, "up to date"), 100, all...)
	must(t, f.Ack(ctx, "up to date", ps[:19]...)) // all but the last

	passed, err := f.Trim(ctx, time.Hour, 20)
	if err != nil || len(passed) > 0 {
		t.Errorf("passed %v, %v", passed, err)
	}
	passed, err = f.Trim(ctx, time.Hour, 3)
	if want := []string{"pending", "unread"}; err != nil || !slices.Equal(passed, want) {
		t.Errorf("passed %v, want %v, %v", passed, want, err)
	}
	// What is pending and gone is pending no longer.
	claimWant(t, f, "pending", Position{}, 100, "17", "18", "19")
	groups, err := f.Groups(ctx)
	must(t, err)
	for _, g := range groups {
		want := map[string]int64{"pending": 3, "up to date": 1}[g.Name]
		if g.Pending != want {
			t.Errorf("%s has %d pending, want %d", g.Name, g.Pending, want)
		}
	}
	if notes, err := f.Notes(ctx, "pending"); err != nil || len(notes) != 1 || notes[ps[19]].Attempt != 1 {
		t.Errorf("notes are %v, %v", notes, err)
	}
	if passed, err = f.Trim(ctx, time.Hour, 3); err != nil || len(passed) > 0 {
		t.Errorf("passed again %v, %v", passed, err)
	}

	old := ps[19]
	eventually(t, "the clock of redis to go on", func() bool {
		now, err := l.redis.client.Time(ctx).Result()
		return err == nil && uint64(now.UnixMilli()) > old.MS+20
	})
	offer(20, 21)
	now, err := l.redis.client.Time(ctx).Result()
	must(t, err)
	age := now.Sub(time.UnixMilli(int64(old.MS + 1)))
	if passed, err = f.Trim(ctx, age, 100); err != nil || !slices.Equal(passed, []string{"pending", "unread", "up to date"}) {
		t.Errorf("passed %v, %v", passed, err)
	}
	read(t, reading(t, f, "unread"), 100, "20")
	for _, bad := range []func() ([]string, error){
		func() ([]string, error) { return f.Trim(ctx, 0, 1) }, func() ([]string, error) { return f.Trim(ctx, time.Hour, 0) },
	} {
		if _, err := bad(); err == nil {
			t.Error("a bound of nothing is taken")
		}
	}
}

func testFeedBury(t *testing.T, l *Log) {
	ctx, f, dead := t.Context(), l.Feed("c"), l.DeadLetters(DeadLettersConfig{})
	must(t, f.Create(ctx, "g"))
	for i := range 3 {
		must(t, f.Offer(ctx, fmt.Appendf(nil, `{"id":"%d"}`, i), ""))
	}
	r := reading(t, f, "g")
	got := read(t, r, 3, "0", "1", "2")
	must(t, f.Note(ctx, "g", got[0].Position, Note{Attempt: 5}))
	letter := func(i int) DeadLetter {
		return DeadLetter{Channel: "not this", Subscription: "g", Reason: "permanent", Event: got[i].Event}
	}
	bury := func(i int, want int64) {
		t.Helper()
		must(t, f.Bury(ctx, "g", got[i].Position, letter(i)))
		if n, err := dead.Len(ctx); n != want || err != nil {
			t.Errorf("%d dead letters, want %d, %v", n, want, err)
		}
	}
	bury(0, 1)
	bury(0, 1) // again: nothing
	must(t, f.Ack(ctx, "g", got[1].Position))
	bury(1, 1) // somebody else was done with it
	claimWant(t, f, "g", Position{}, 10, "2")
	if notes, err := f.Notes(ctx, "g"); err != nil || len(notes) != 0 {
		t.Errorf("notes are %v, %v", notes, err)
	}
	must(t, f.Offer(ctx, []byte(`{"id":"new"}`), ""))
	if _, err := f.Trim(ctx, time.Hour, 1); err != nil {
		t.Fatal(err)
	}
	bury(2, 2) // passed, but not lost
	page, _, err := dead.List(ctx, DeadLetterQuery{Channel: "c", Subscription: "g"})
	if err != nil || len(page) != 2 || string(page[0].Event) != `{"id":"0"}` || string(page[1].Event) != `{"id":"2"}` {
		t.Errorf("letters are %+v, %v", page, err)
	}
	if err := f.Bury(ctx, "g", got[2].Position, DeadLetter{Subscription: strings.Repeat("x", maxText+1)}); err == nil {
		t.Error("a name of any length is taken")
	}
}
