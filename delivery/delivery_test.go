package delivery

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tidwall/gjson"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/adapter/redistest"
)

// impatient has waits that a test can wait for.
var impatient = Config{
	Webhooks: loopback,
	Backoff: Backoff{
		MaxRetries:     map[Category]int{CategoryDefault: 4},
		BaseRetryDelay: map[Category]time.Duration{CategoryDefault: 20 * time.Millisecond},
		MaxRetryDelay:  map[Category]time.Duration{CategoryDefault: time.Second},
	},
	Breaker: BreakerConfig{FailureThreshold: 1000, ResetTimeout: 200 * time.Millisecond},
	Drain:   100 * time.Millisecond,
}

// receiver is a webhook's server. It answers what answer says, 200 if that is nil.
type receiver struct {
	url string

	mu     sync.Mutex
	ids    []string // of events that were accepted
	tries  map[string]int
	answer func(w http.ResponseWriter, r *http.Request, id string, try int)
}

func newReceiver(t *testing.T) *receiver {
	rec := &receiver{tries: map[string]int{}}
	rec.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		id := gjson.GetBytes(body, "id").Str
		rec.mu.Lock()
		rec.tries[id]++
		try, answer := rec.tries[id], rec.answer
		rec.mu.Unlock()
		status := &statusWriter{w, 200}
		if answer != nil {
			answer(status, r, id, try)
		}
		if status.status < 300 && r.Context().Err() == nil {
			rec.mu.Lock()
			rec.ids = append(rec.ids, id)
			rec.mu.Unlock()
		}
	}).URL
	return rec
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (rec *receiver) set(answer func(w http.ResponseWriter, r *http.Request, id string, try int)) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.answer = answer
}

func (rec *receiver) got() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.ids)
}

func (rec *receiver) tried(id string) int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return rec.tries[id]
}

// bus is Subscribers on a real Redis.
type bus struct {
	*Subscribers
	t     *testing.T
	store *adapter.Store
	dead  *adapter.DeadLetters
}

func newBus(t *testing.T, store *adapter.Store, cfg Config, change func(*Parts)) *bus {
	t.Helper()
	parts := Parts{
		Store: store, Channels: []string{channel}, Compile: compileTypes, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry(),
		Processes: store.Table(adapter.TableConfig{Name: "processes"}),
	}
	if change != nil {
		change(&parts)
	}
	b := &bus{New(cfg, parts), t, store, store.DeadLetters(adapter.DeadLettersConfig{})}
	t.Cleanup(b.sender.close)
	return b
}

// hook declares one webhook alone.
func (b *bus) hook(spec Spec) {
	b.t.Helper()
	spec.Channel = channel
	if err := b.Set([]Spec{spec}); err != nil {
		b.t.Fatal(err)
	}
}

// lead leads the channel, until the function it returns is called, and waits until the groups are there.
func (b *bus) lead(groups ...string) (stop func()) {
	b.t.Helper()
	stop = start(func(ctx context.Context) { b.Lead(ctx, channel) })
	for _, g := range groups {
		eventually(b.t, "the group "+g, func() bool { return b.pending(g) >= 0 })
	}
	return stop
}

// pending is how many entries of a group are pending or not read, -1 if there is no such group.
func (b *bus) pending(group string) int64 {
	b.t.Helper()
	groups, err := b.store.Feed(channel).Groups(context.Background())
	if err != nil {
		return -1
	}
	for _, g := range groups {
		if g.Name == group {
			return g.Pending + g.Lag
		}
	}
	return -1
}

func (b *bus) add(id, photo string) {
	b.t.Helper()
	if err := b.store.Feed(channel).Offer(context.Background(), eventOf(b.t, id, photo).Raw(), ""); err != nil {
		b.t.Fatal(err)
	}
}

// letters are the dead letters as "reason id attempts category".
func (b *bus) letters() (all []string) {
	b.t.Helper()
	page, _, err := b.dead.List(context.Background(), adapter.DeadLetterQuery{Limit: 100})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, d := range page {
		all = append(all, fmt.Sprintf("%s %s %d %s", d.Reason, d.EventID, d.Attempts, d.Category))
	}
	slices.Sort(all)
	return all
}

func (b *bus) wantLetters(want ...string) {
	b.t.Helper()
	if got := b.letters(); !slices.Equal(got, want) {
		b.t.Errorf("dead letters %v, want %v", got, want)
	}
}

// A server that fails, hangs, limits, redirects and recovers: each event comes or is a dead letter, with the reason.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	store, rec := newStore(t), newReceiver(t)
	limited := time.Now()
	rec.set(func(w http.ResponseWriter, r *http.Request, id string, try int) {
		switch {
		case id == "fails" && try < 3:
			w.WriteHeader(500)
		case id == "hangs" && try < 2:
			<-r.Context().Done()
		case id == "limited" && try < 2:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(429)
			limited = time.Now()
		case id == "limited" && time.Since(limited) < 900*time.Millisecond:
			t.Errorf("sent again %s after it was limited", time.Since(limited))
		case id == "redirects":
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(302)
		case id == "gone":
			w.WriteHeader(410)
		case id == "poison":
			w.WriteHeader(503)
		}
	})
	b := newBus(t, store, impatient, nil)
	b.hook(Spec{ID: "s", Webhook: &Webhook{URL: rec.url, Secret: secret, Timeout: 200}})
	defer b.lead("hook:s")()
	ids := []string{"fails", "fine", "hangs", "redirects", "gone", "poison", "neighbour", "limited", "last"}
	for _, id := range ids {
		b.add(id, "p")
	}
	eventually(t, "all to be settled", func() bool { return b.pending("hook:s") == 0 })
	got := rec.got()
	slices.Sort(got)
	if want := []string{"fails", "fine", "hangs", "last", "limited", "neighbour"}; !slices.Equal(got, want) {
		t.Errorf("accepted %v, want %v", got, want)
	}
	b.wantLetters("max_retries_exceeded poison 4 network", "permanent gone 1 unknown", "permanent redirects 1 unknown")
	for id, want := range map[string]int{"fails": 3, "fine": 1, "hangs": 2, "poison": 4, "gone": 1} {
		if got := rec.tried(id); got != want {
			t.Errorf("%s was sent %d times, want %d", id, got, want)
		}
	}
	page, _, err := b.dead.List(t.Context(), adapter.DeadLetterQuery{Subscription: "s", Limit: 10})
	if err != nil || len(page) != 3 || !strings.Contains(string(page[0].Event), `"photoId"`) || page[0].Error == "" {
		t.Errorf("%+v, %v", page, err)
	}

	// A replay comes to this group alone.
	rec.set(nil)
	if err := store.Feed(channel).Offer(t.Context(), page[0].Event, Group(page[0].Subscription)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replay", func() bool { return slices.Contains(rec.got(), page[0].EventID) })
}

// The breaker opens, has events wait without attempts, and closes once the server works.
func TestWebhookBreaker(t *testing.T) {
	t.Parallel()
	store, rec := newStore(t), newReceiver(t)
	rec.set(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { w.WriteHeader(500) })
	cfg := impatient
	cfg.Breaker.FailureThreshold = 3
	cfg.Backoff.MaxRetries = map[Category]int{CategoryDefault: 1000}
	b := newBus(t, store, cfg, nil)
	b.hook(Spec{ID: "s", Webhook: &Webhook{URL: rec.url}, Concurrency: 1})
	defer b.lead("hook:s")()
	for i := range 20 {
		b.add(fmt.Sprint(i), "p")
	}
	state := func() string { return b.Stats().Subscriptions[0].Breaker }
	eventually(t, "an open breaker", func() bool { return state() == "open" })
	eventually(t, "all to be taken from the feed", func() bool { return b.Stats().Subscriptions[0].Pending == 20 })
	rec.set(nil)
	eventually(t, "all to be delivered", func() bool { return len(rec.got()) == 20 })
	if state() != "closed" {
		t.Errorf("the breaker is %s", state())
	}
	b.wantLetters()
}

// Attempts go on where they were when the leader dies amid them.
func TestLeaderDiesAmidRetries(t *testing.T) {
	t.Parallel()
	store, rec := newStore(t), newReceiver(t)
	rec.set(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { w.WriteHeader(500) })
	cfg := impatient
	cfg.Backoff.BaseRetryDelay = map[Category]time.Duration{CategoryDefault: 200 * time.Millisecond}
	spec := Spec{ID: "s", Webhook: &Webhook{URL: rec.url}}
	for i := range 4 {
		b := newBus(t, store, cfg, nil)
		b.hook(spec)
		stop := b.lead("hook:s")
		if i == 0 {
			b.add("e", "p")
		}
		eventually(t, "an attempt", func() bool { return rec.tried("e") > i })
		if i == 3 {
			eventually(t, "the end", func() bool { return b.pending("hook:s") == 0 })
			b.wantLetters("max_retries_exceeded e 4 unknown")
		} else {
			eventually(t, "its note", func() bool {
				notes, err := store.Feed(channel).Notes(t.Context(), "hook:s")
				return err == nil && len(notes) == 1
			})
		}
		stop()
	}
	if n := rec.tried("e"); n != 4 {
		t.Errorf("%d attempts, want 4", n)
	}
}

// Through random failures, changes of the leader and a restart of Redis, each photo's events are accepted in order, and
// all of them.
func TestOrderThroughFailures(t *testing.T) {
	t.Parallel()
	server, rec := redistest.New(t, "--appendonly", "yes", "--appendfsync", "always"), newReceiver(t)
	store := dial(t, server).Store("")
	rec.set(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		if rand.N(4) == 0 {
			w.WriteHeader([]int{500, 502, 429}[rand.N(3)])
		}
	})
	cfg := impatient
	cfg.Backoff.MaxRetries = map[Category]int{CategoryDefault: 1000}
	cfg.Backoff.MaxRetryDelay = map[Category]time.Duration{CategoryDefault: 50 * time.Millisecond}
	lead := func() (*bus, func()) {
		b := newBus(t, store, cfg, nil)
		b.hook(Spec{ID: "s", Webhook: &Webhook{URL: rec.url}, Ordered: PerPhoto, Concurrency: 8, Queue: 40})
		return b, b.lead("hook:s")
	}
	b, stop := lead()
	const photos, each = 10, 20
	for n := range each {
		for p := range photos {
			b.add(fmt.Sprintf("%d-%d", p, n), fmt.Sprint(p))
		}
		switch n {
		case 5, 10:
			stop()
			b, stop = lead()
		case 15:
			server.Stop()
			server.Start()
		}
	}
	eventually(t, "all to be delivered", func() bool { return b.pending("hook:s") == 0 })
	stop()
	b.wantLetters()
	next, seen := map[string]int{}, map[string]bool{}
	for _, id := range rec.got() {
		photo, number, _ := strings.Cut(id, "-")
		if seen[id] { // by a leader and its successor: at least once
			continue
		}
		seen[id] = true
		if number != fmt.Sprint(next[photo]) {
			t.Fatalf("photo %s: number %s came before %d", photo, number, next[photo])
		}
		next[photo]++
	}
	if len(seen) != photos*each {
		t.Errorf("%d of %d events are delivered", len(seen), photos*each)
	}
}

// Webhooks come, change and go while others go on; what makes no sense leaves what runs as it was.
func TestSet(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	one, two, three := newReceiver(t), newReceiver(t), newReceiver(t)
	b := newBus(t, store, impatient, nil)
	hook := func(id, url string) Spec { return Spec{ID: id, Channel: channel, Webhook: &Webhook{URL: url}} }
	if err := b.Set([]Spec{hook("a", one.url)}); err != nil {
		t.Fatal(err)
	}
	defer b.lead("hook:a")()
	b.add("1", "p")
	eventually(t, "1 at one", func() bool { return slices.Contains(one.got(), "1") })
	if err := b.Set([]Spec{hook("a", one.url), hook("b", two.url)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group of b", func() bool { return b.pending("hook:b") == 0 })
	b.add("2", "p")
	eventually(t, "2 at both", func() bool { return slices.Contains(one.got(), "2") && slices.Contains(two.got(), "2") })
	if err := b.Set([]Spec{hook("a", three.url), hook("b", "ftp://no")}); err == nil {
		t.Error("a URL that is none is taken")
	}
	eventually(t, "the new form of a", func() bool { return b.lookup(channel, "a").stats().Running })
	b.add("3", "p")
	eventually(t, "3 at three and two", func() bool { return slices.Contains(three.got(), "3") && slices.Contains(two.got(), "3") })
	if err := b.Set([]Spec{hook("b", two.url)}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of a", func() bool { return b.pending("hook:a") == -1 })
	b.add("4", "p")
	eventually(t, "4 at two", func() bool { return slices.Contains(two.got(), "4") })
	if err := b.Set(nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of all", func() bool { return b.pending("hook:b") == -1 })
	if got := [][]string{one.got(), two.got(), three.got()}; fmt.Sprint(got) != "[[1 2] [2 3 4] [3]]" {
		t.Errorf("delivered %v", got)
	}
	b.wantLetters()
}

// A webhook with too many errors is removed where it came from, and rests even if that takes its time.
func TestWebhookMaxErrors(t *testing.T) {
	t.Parallel()
	store, rec := newStore(t), newReceiver(t)
	rec.set(func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { w.WriteHeader(404) })
	removed := make(chan string, 2)
	b := newBus(t, store, impatient, func(p *Parts) {
		tries := 0
		p.Removed = func(_ context.Context, id string) error {
			if tries++; tries == 1 {
				return errBroken
			}
			removed <- id
			return nil
		}
	})
	spec := Spec{ID: "s", Webhook: &Webhook{URL: rec.url}, MaxErrors: 2, Concurrency: 1}
	b.hook(spec)
	defer b.lead("hook:s")()
	for _, id := range []string{"1", "2", "3"} {
		b.add(id, "p")
	}
	if id := <-removed; id != "s" {
		t.Errorf("%q is removed", id)
	}
	eventually(t, "the group's end", func() bool { return b.pending("hook:s") == -1 })
	b.wantLetters("permanent 1 1 unknown", "permanent 2 1 unknown", "unsubscribed 3 0 unknown")
	b.hook(spec) // the table has not been read again yet
	if n := b.Stats().TotalSubscriptions; n != 0 {
		t.Error("it is run again as it was")
	}
	spec.MaxErrors = 3
	rec.set(nil)
	b.hook(spec)
	eventually(t, "the new form", func() bool { return b.pending("hook:s") == 0 })
	b.add("4", "p")
	eventually(t, "4", func() bool { return slices.Contains(rec.got(), "4") })
}
