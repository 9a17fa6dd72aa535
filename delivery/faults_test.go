package delivery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/adapter/redistest"
	"github.com/photo-management/event-bus/events"
)

// handled are the ids of events that a subscription was done with, in whatever process.
type handled struct {
	mu  sync.Mutex
	ids map[string]bool
}

// handle fails now and then.
func (h *handled) handle(ctx context.Context, ev events.Event) error {
	if rand.IntN(5) == 0 {
		return errBroken
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids[ev.ID] = true
	return ctx.Err()
}

// writer appends events as ingest does: again and again until it works.
type writer struct {
	t    *testing.T
	logs []*adapter.Log // of several servers, each with a belief of its own on whether there is a feed
	next int
}

func (w *writer) append(ctx context.Context, id string) {
	w.next++
	log := w.logs[w.next%len(w.logs)]
	r := adapter.Record{Key: adapter.Key(channel, id), Event: eventOf(w.t, id, "p"+id[len(id)-1:]).Raw()}
	for ctx.Err() == nil {
		if _, err := log.Append(ctx, adapter.Lease{Channel: channel}, []adapter.Record{r}); err == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.t.Error("the event does not get into the log")
}

// mischief is one kind of what can happen to a Redis and its clients.
func mischief(ctx context.Context, s *redistest.Server, client redis.UniversalClient) {
	switch rand.IntN(4) {
	case 0:
		s.Stop()
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		s.Start()
	case 1:
		s.Signal(syscall.SIGSTOP)
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		s.Signal(syscall.SIGCONT)
	default:
		_ = client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal").Err()
	}
}

// What is accepted while there is a group reaches it, or is among the dead letters: whatever happens to Redis, to connections
// and to leaders, of which there are two at times, as one is frozen and does not know yet that it leads no more.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	const replicas, n = 3, 400
	server := redistest.New(t, "--appendonly", "yes", "--appendfsync", "always")
	w := &writer{t: t}
	done := map[string]*handled{"go:h": {ids: map[string]bool{}}, "hook:w": {ids: map[string]bool{}}}
	rec := newReceiver(t)
	rec.set(func(rw http.ResponseWriter, _ *http.Request, _ string, _ int) {
		if rand.IntN(5) == 0 {
			rw.WriteHeader(503)
		}
	})
	var all []*Subscribers
	var store *adapter.Store
	for i := range replicas {
		r := dial(t, server)
		w.logs = append(w.logs, r.Log(adapter.LogConfig{ID: fmt.Sprintf("%016x", i)}))
		store = r.Store("")
		s := New(impatient, Parts{Store: store, Channels: []string{channel}, Logger: zap.NewNop(), Metrics: prometheus.NewRegistry()})
		t.Cleanup(s.sender.close)
		if _, err := s.Handle(HandlerSpec{ID: "h", Channel: channel, Handler: done["go:h"].handle, Ordered: PerPhoto}); err != nil {
			t.Fatal(err)
		}
		if err := s.Set([]Spec{{ID: "w", Channel: channel, Webhook: &Webhook{URL: rec.url}}}); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	for g := range done {
		if err := store.Feed(channel).Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}

	var chaos, leaders sync.WaitGroup
	ctx, end := context.WithCancel(t.Context())
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: server.Socket(), MaxRetries: -1})
	defer client.Close()
	chaos.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
			mischief(ctx, server, client)
		}
	})
	chaos.Go(func() { // one leader after the other, each of which goes on for a while when the next one has begun
		for i := 0; ctx.Err() == nil; i++ {
			leading, stop := context.WithCancel(context.Background())
			leaders.Go(func() { all[i%replicas].Lead(leading, channel) })
			time.Sleep(time.Duration(rand.IntN(900)) * time.Millisecond)
			time.AfterFunc(time.Duration(rand.IntN(500))*time.Millisecond, stop)
		}
	})
	made, after := make(chan error, 1), make(chan struct{}) // a group comes to be amid all that
	for i := range n {
		if i == n/2 {
			go func() {
				defer close(after)
				for {
					err := store.Feed(channel).Create(ctx, "svc:late")
					if err == nil || ctx.Err() != nil {
						made <- err
						return
					}
				}
			}()
		}
		if i == 3*n/4 {
			<-after
		}
		w.append(t.Context(), fmt.Sprint("e", i))
		time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond)
	}
	end()
	chaos.Wait()
	leaders.Wait()
	if err := <-made; err != nil {
		t.Fatal(err)
	}

	b := &bus{all[0], t, store, store.DeadLetters(adapter.DeadLettersConfig{})}
	stop := b.lead()
	for g := range done {
		eventually(t, g+" to have all", func() bool { return b.pending(g) == 0 })
	}
	stop()
	for _, id := range rec.got() {
		done["hook:w"].ids[id] = true
	}
	letters, _, err := b.dead.List(t.Context(), adapter.DeadLetterQuery{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range letters {
		done[Group(l.Subscription)].ids[l.EventID] = true
	}
	late := map[string]bool{}
	reader := store.Feed(channel).Reader("svc:late", "c")
	defer reader.Close()
	for {
		entries, err := reader.Read(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			ev, err := events.Decode(e.Event, 0)
			if err != nil {
				t.Fatal(err)
			}
			late[ev.ID] = true
		}
	}
	for i := range n {
		id := fmt.Sprint("e", i)
		for g, h := range done {
			if !h.ids[id] {
				t.Errorf("%s has not got %s, and it is not among the dead letters", g, id)
			}
		}
		if i >= 3*n/4 && !late[id] {
			t.Errorf("svc:late has not got %s, which came after it was made", id)
		}
	}
	t.Logf("%d dead letters", len(letters))
}

// A subscription that is removed and soon declared again, as those do who replace it, gets what is accepted from then on.
func TestRemovedAndDeclaredAgain(t *testing.T) {
	t.Parallel()
	server := redistest.New(t)
	r := dial(t, server)
	w := &writer{t: t, logs: []*adapter.Log{r.Log(adapter.LogConfig{})}}
	b := newBus(t, r.Store(""), impatient, nil)
	rec := newReceiver(t)
	spec := Spec{ID: "w", Channel: channel, Webhook: &Webhook{URL: rec.url}}
	b.hook(spec)
	stop := b.lead("hook:w")
	defer stop()
	var want []string
	for i, wait := range []time.Duration{0, 500, 990, 1000, 1010, 1500} {
		if err := b.Set(nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait * time.Millisecond)
		if err := b.store.Feed(channel).Create(t.Context(), "hook:w"); err != nil { // as Server.AddWebhook does
			t.Fatal(err)
		}
		for k := range 5 {
			id := fmt.Sprint(i, "-", k)
			w.append(t.Context(), id)
			want = append(want, id)
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond) // the leader hears of it later
		b.hook(spec)
	}
	eventually(t, "all to come", func() bool {
		got := rec.got()
		for _, l := range b.letters() {
			var reason, id string
			if _, err := fmt.Sscan(l, &reason, &id); err != nil {
				t.Fatal(errors.New(l))
			}
			got = append(got, id)
		}
		return !slices.ContainsFunc(want, func(id string) bool { return !slices.Contains(got, id) })
	})
}
