package publisher

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

// entries are the events in a stream, as they are there.
func entries(t *testing.T, client redis.UniversalClient, stream string) (raw []string) {
	t.Helper()
	all, err := client.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range all {
		event, ok := entry.Values["event"].(string)
		if !ok || len(entry.Values) != 1 {
			t.Fatalf("%s has the entry %v, want event alone", stream, entry.Values)
		}
		raw = append(raw, event)
	}
	return raw
}

func wantEntries(t *testing.T, client redis.UniversalClient, stream string, want ...events.Event) {
	t.Helper()
	got := entries(t, client, stream)
	if len(got) != len(want) {
		t.Errorf("%s has %d entries, want %d", stream, len(got), len(want))
		return
	}
	for i, ev := range want {
		if got[i] != string(ev.Raw()) {
			t.Errorf("%s has as number %d\n     %.200s\nwant %.200s", stream, i, got[i], ev.Raw())
		}
	}
}

// numbered are valid events of a type with ids from one on.
func numbered(t *testing.T, eventType, name string, from, n int) []events.Event {
	t.Helper()
	evs := make([]events.Event, n)
	for i := range evs {
		data := map[string]any{"photoId": "p"}
		if eventType == events.PhotoProcessingStarted {
			data["jobId"], data["stages"] = "j", []string{}
		}
		ev := newEvent(t, eventType, data)
		raw := strings.Replace(string(ev.Raw()), ev.ID, fmt.Sprintf("%s-%d", name, from+i), 1)
		var err error
		if evs[i], err = events.Decode([]byte(raw), 0); err != nil {
			t.Fatal(err)
		}
	}
	return evs
}

// wantFirst checks that what comes first of each id in raw is id-0 to id-(n-1), in this order.
func wantFirst(t *testing.T, raw []string, name string, n int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range raw {
		ev, err := events.Decode([]byte(r), 0)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(ev.ID, name+"-") || seen[ev.ID] {
			continue
		}
		if want := fmt.Sprintf("%s-%d", name, len(seen)); ev.ID != want {
			t.Fatalf("%s came before %s", ev.ID, want)
		}
		seen[ev.ID] = true
	}
	if len(seen) != n {
		t.Errorf("got %d events of %s, want %d", len(seen), name, n)
	}
}

func TestDurable(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	p := New(client, Config{Durable: true})
	a, b, c, d := deleted(t, "a"), started(t, "b"), batch(t), deleted(t, "d")
	for _, ev := range []events.Event{a, b, c} {
		if err := p.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.PublishTo(t.Context(), "elsewhere", a); err != nil {
		t.Fatal(err)
	}
	bad := newEvent(t, events.PhotoUploaded, struct{}{})
	for i, err := range p.PublishBatch(t.Context(), []events.Event{d, b, bad, a}) {
		if want := map[int]error{2: events.ErrInvalid}[i]; !errors.Is(err, want) {
			t.Errorf("event %d of the batch: %v, want %v", i, err, want)
		}
	}
	wantEntries(t, client, "eventbus:in:photo:upload", a, d, a)
	wantEntries(t, client, "eventbus:in:photo:processing", b, b)
	wantEntries(t, client, "eventbus:in:photo:completion", c)
	wantEntries(t, client, "eventbus:in:elsewhere", a)

	if err := New(client, Config{Durable: true, Prefix: "{x}"}).Publish(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, client, "{x}photo:upload", a)
}

func TestDurableIsTrimmed(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	p := New(client, Config{Durable: true, MaxLen: 100})
	evs := numbered(t, events.PhotoDeleted, "e", 0, 1000)
	if err := errors.Join(p.PublishBatch(t.Context(), evs)...); err != nil {
		t.Fatal(err)
	}
	got := entries(t, client, "eventbus:in:photo:upload")
	if len(got) < 100 || len(got) > 300 { // Redis drops whole nodes, of 100 entries
		t.Errorf("%d entries are left, want about 100", len(got))
	}
	if got[len(got)-1] != string(evs[999].Raw()) {
		t.Error("the newest is gone")
	}
}

// An event that Redis has no room for keeps out those before it: they come again with it, or not.
func TestDurableBatchIsAtomic(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(redis.UniversalClient) redis.UniversalClient{
		"Client":  func(c redis.UniversalClient) redis.UniversalClient { return c },
		"another": func(c redis.UniversalClient) redis.UniversalClient { return wrapped{c} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := startRedis(t)
			used, err := client.InfoMap(t.Context(), "memory").Result()
			if err != nil {
				t.Fatal(err)
			}
			bytes, err := strconv.Atoi(used["Memory"]["used_memory"])
			if err != nil {
				t.Fatal(err)
			}
			if err := client.ConfigSet(t.Context(), "maxmemory", strconv.Itoa(bytes+500_000)).Err(); err != nil {
				t.Fatal(err)
			}
			p := New(wrap(client), Config{Durable: true})
			small, large := deleted(t, "small"), deleted(t, strings.Repeat("x", 1<<20-1000))
			if err := p.Publish(t.Context(), small); err != nil { // there is room for it alone
				t.Fatal(err)
			}
			for i, err := range p.PublishBatch(t.Context(), []events.Event{small, large}) {
				if !redis.IsOOMError(err) {
					t.Errorf("event %d: %v, want OOM", i, err)
				}
			}
			wantEntries(t, client, "eventbus:in:photo:upload", small)
		})
	}
}

// wrapped is no client of a kind that is known.
type wrapped struct{ redis.UniversalClient }

// What goes wrong within a transaction is an error too.
func TestDurableBatchFindsSomethingElse(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	if err := client.Set(t.Context(), "eventbus:in:photo:upload", "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	p := New(client, Config{Durable: true})
	for i, err := range p.PublishBatch(t.Context(), []events.Event{deleted(t, "a"), deleted(t, "b")}) {
		if !redis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Errorf("event %d: %v, want WRONGTYPE", i, err)
		}
	}
}

// Redis may refuse one channel and take another.
func TestDurableBatchHasEachAnswer(t *testing.T) {
	t.Parallel()
	admin := startRedis(t)
	if err := admin.Do(t.Context(), "acl", "setuser", "up", "on", ">secret", "+@all", "~eventbus:in:photo:upload").Err(); err != nil {
		t.Fatal(err)
	}
	opts := *admin.Options()
	opts.Username, opts.Password = "up", "secret"
	client := redis.NewClient(&opts)
	t.Cleanup(func() { client.Close() })
	a, b := deleted(t, "a"), deleted(t, "b")
	errs := New(client, Config{Durable: true}).PublishBatch(t.Context(), []events.Event{started(t, "x"), a, started(t, "y"), b})
	for i, refused := range []bool{true, false, true, false} {
		if got := redis.IsPermissionError(errs[i]); got != refused || !refused && errs[i] != nil {
			t.Errorf("event %d: error %v, want refused %v", i, errs[i], refused)
		}
	}
	wantEntries(t, admin, "eventbus:in:photo:upload", a, b)
	wantEntries(t, admin, "eventbus:in:photo:processing")
}

func TestLargeBatchGoesInParts(t *testing.T) {
	t.Parallel()
	admin := startRedis(t)
	var evs []events.Event
	for i := range 10 {
		evs = append(evs, deleted(t, fmt.Sprintf("%d-%s", i, strings.Repeat("x", 900<<10))))
	}
	if err := errors.Join(New(admin, Config{Durable: true}).PublishBatch(t.Context(), evs)...); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, admin, "eventbus:in:photo:upload", evs...)
	stats, err := admin.Info(t.Context(), "commandstats").Result()
	if err != nil || !strings.Contains(stats, "cmdstat_exec:calls=3,") {
		t.Errorf("want 3 transactions for 4 and 4 and 2 events, got %v\n%s", err, stats)
	}

	// What comes after a part that failed is held back.
	if err := admin.Do(t.Context(), "acl", "setuser", "none", "on", ">secret", "+@all").Err(); err != nil {
		t.Fatal(err)
	}
	opts := *admin.Options()
	opts.Username, opts.Password = "none", "secret"
	client := redis.NewClient(&opts)
	t.Cleanup(func() { client.Close() })
	for i, err := range New(client, Config{Durable: true}).PublishBatch(t.Context(), evs) {
		want := "NOPERM"
		if i >= 4 {
			want = "not sent"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("event %d: %v, want %q", i, err, want)
		}
	}
}

// Redis is killed twice, while one publishes event by event and another one in batches. Nothing is lost, and what is
// there first is in order.
func TestDurableThroughRestarts(t *testing.T) {
	t.Parallel()
	server := newRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	client := server.client()
	p := New(client, Config{Durable: true, Timeout: 2 * patience})
	const n, size = 1000, 50
	single := numbered(t, events.PhotoDeleted, "single", 0, n)
	uploads, jobs := numbered(t, events.PhotoDeleted, "batch", 0, n), numbered(t, events.PhotoProcessingStarted, "batch", 0, n)

	var done atomic.Int64
	var publishers sync.WaitGroup
	publishers.Go(func() {
		for i, ev := range single {
			if err := p.Publish(t.Context(), ev); err != nil {
				t.Errorf("event %d: %v", i, err)
				done.Store(n)
				return
			}
			done.Add(1)
		}
	})
	publishers.Go(func() {
		for i := 0; i < n; i += size {
			var evs []events.Event
			for j := i; j < i+size; j++ { // the channels are mixed
				evs = append(evs, uploads[j], jobs[j])
			}
			if err := errors.Join(p.PublishBatch(t.Context(), evs)...); err != nil {
				t.Errorf("batch at %d: %v", i, err)
				return
			}
			// So that the restarts hit batches too.
			eventually(t, "the other publisher", func() bool { return done.Load() >= int64(i) })
		}
	})
	for _, at := range []int64{n / 3, 2 * n / 3} {
		eventually(t, "the next kill", func() bool { return done.Load() >= at })
		server.stop()
		server.start()
	}
	publishers.Wait()
	raw := entries(t, client, "eventbus:in:photo:upload")
	wantFirst(t, raw, "single", n)
	wantFirst(t, raw, "batch", n)
	wantFirst(t, entries(t, client, "eventbus:in:photo:processing"), "batch", n)
}
