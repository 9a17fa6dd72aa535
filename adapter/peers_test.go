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

	"go.uber.org/zap"
)

// asker is what asks and answers: Peers, or a PubSub.
type asker interface {
	Run(ctx context.Context, serve func(Request, func(Response))) error
	Request(ctx context.Context, r Request, each func(Response)) error
	Invalid() uint64
}

// member is a server of a test's cluster.
type member struct {
	asker
	id   string
	bus  *PubSub // nil if there is a log
	stop func()
	in   *reader
}

// wire is a way for servers to speak with each other.
type wire struct {
	name    string
	cluster bool // three nodes
	pubsub  bool
	PeersConfig
}

var wires = []wire{
	{name: "streams"},
	{name: "streams, sharded Pub/Sub", PeersConfig: PeersConfig{Sharded: true}},
	{name: "classic", pubsub: true},
	{name: "classic, specific responses", pubsub: true, PeersConfig: PeersConfig{SpecificResponses: true}},
	{name: "classic on a Cluster", pubsub: true, cluster: true},
	{name: "sharded", pubsub: true, PeersConfig: PeersConfig{Sharded: true}},
	{name: "sharded on a Cluster", pubsub: true, cluster: true, PeersConfig: PeersConfig{Sharded: true}},
}

// onWires runs a test on a real Redis with each of the ways that fit.
func onWires(t *testing.T, fits func(wire) bool, test func(t *testing.T, w wire, r *Redis)) {
	for _, w := range wires {
		if !fits(w) {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			if !w.cluster {
				test(t, w, dialTest(t, "redis://"+startRedis(t).addr))
				return
			}
			test(t, w, dialCluster(t))
		})
	}
}

func anyWire(wire) bool { return true }

// dialCluster connects to a Cluster of its own.
func dialCluster(t *testing.T) *Redis {
	t.Helper()
	r, err := DialRedis(t.Context(), startCluster(t, false).config(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// serveNothing never answers.
func serveNothing(Request, func(Response)) {}

// serveKind answers as a server with one socket and one room, both named for it.
func serveKind(id string) func(Request, func(Response)) {
	return func(r Request, respond func(Response)) {
		switch r.Kind {
		case FetchSockets, ListSockets:
			respond(Response{Sockets: []RemoteSocket{{ID: "socket of " + id, Rooms: r.Rooms}}})
		case ListRooms:
			respond(Response{Rooms: []string{"room of " + id}})
		case EmitWithAck:
			respond(Response{Count: 2})
			for n := range 2 {
				respond(Response{Count: -1, Args: fmt.Appendf(nil, `"%s %d"`, id, n)})
			}
		case ServerSideEmit:
			if r.ID != "" {
				respond(Response{Args: fmt.Appendf(nil, `["%s",%s]`, id, r.Args)})
			}
		}
	}
}

// join starts servers named a, b, … that know each other by name; it returns when all are heard.
func join(t *testing.T, w wire, r *Redis, serves ...func(Request, func(Response))) []*member {
	t.Helper()
	var named []Replica
	for i := range serves {
		named = append(named, Replica{ID: strings.Repeat(string(rune('a'+i)), 16), Name: string(rune('A' + i))})
	}
	var all []*member
	for i, serve := range serves {
		all = append(all, joinOne(t, w, r, named[i].ID, func() []Replica { return named }, serve))
	}
	asking := all[0].asking()
	eventually(t, "all servers to be there", func() bool {
		n, err := r.numSub(t.Context(), asking.audience("/"), w.Sharded)
		return err == nil && n == len(all)
	})
	for _, m := range all {
		eventually(t, "answers to be heard", func() bool { _, yes := m.asking().hears(); return yes })
	}
	return all
}

func (m *member) asking() *asking {
	if m.bus != nil {
		return m.bus.asking
	}
	return m.asker.(*Peers).asking
}

func joinOne(t *testing.T, w wire, r *Redis, id string, named func() []Replica, serve func(Request, func(Response))) *member {
	t.Helper()
	m := &member{id: id, in: &reader{}}
	w.ID = id
	if w.pubsub {
		m.bus = NewPubSub(r, w.PeersConfig, LogConfig{ID: id}, named)
		m.asker = m.bus
	} else {
		m.asker = NewPeers(r, w.PeersConfig, named)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	run := func(fn func() error) {
		parts.Go(func() {
			if err := fn(); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		})
	}
	run(func() error { return m.Run(ctx, serve) })
	if m.bus != nil {
		run(func() error { return m.bus.Tail(ctx, m.in.apply, m.in.gap) })
		select {
		case <-m.bus.CaughtUp():
		case <-time.After(patience):
			t.Fatal("it does not hear")
		}
	}
	m.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(m.stop)
	return m
}

// ask collects the answers to a request as text, in the order of the alphabet.
func (m *member) ask(ctx context.Context, r Request) ([]string, error) {
	var out []string
	err := m.Request(ctx, r, func(answer Response) {
		for _, s := range answer.Sockets {
			out = append(out, s.ID)
		}
		out = append(out, answer.Rooms...)
		if answer.Args != nil {
			out = append(out, string(answer.Args))
		}
	})
	slices.Sort(out)
	return out, err
}

func TestRequestsAreAnsweredByAll(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		b, c := strings.Repeat("b", 16), strings.Repeat("c", 16)
		all := join(t, w, r, serveNothing, serveKind(b), serveKind(c))
		args := []byte(`"name",{"n":1}`)
		for what, test := range map[string]struct {
			Request
			want []string
		}{
			"sockets": {Request{Kind: FetchSockets, Rooms: []string{"x"}}, []string{"socket of " + b, "socket of " + c}},
			"acks":    {Request{Kind: EmitWithAck, Args: args}, []string{`"` + b + ` 0"`, `"` + b + ` 1"`, `"` + c + ` 0"`, `"` + c + ` 1"`}},
			"servers": {Request{Kind: ServerSideEmit, Args: args}, []string{`["` + b + `","name",{"n":1}]`, `["` + c + `","name",{"n":1}]`}},
			"ids":     {Request{Kind: ListSockets}, []string{"socket of " + b, "socket of " + c}},
			"rooms":   {Request{Kind: ListRooms}, []string{"room of " + b, "room of " + c}},
		} {
			t.Run(what, func(t *testing.T) {
				test.ID = "request " + what
				if classic := w.pubsub && !w.Sharded; !classic && (test.Kind == ListSockets || test.Kind == ListRooms) {
					if _, err := all[0].ask(t.Context(), test.Request); err == nil {
						t.Error("no error, though cluster adapters have no such request")
					}
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				got, err := all[0].ask(ctx, test.Request)
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("got %q, %v; want %q", got, err, test.want)
				}
			})
		}
		for _, m := range all {
			if n := m.Invalid(); n != 0 {
				t.Errorf("%s: %d invalid messages", m.id, n)
			}
		}
	})
}

func TestRequestWithoutAnswer(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		got := make(chan Request, 10)
		all := join(t, w, r, serveNothing, func(r Request, _ func(Response)) { got <- r })
		if err := all[0].Request(t.Context(), Request{Kind: ServerSideEmit, Args: []byte(`"a"`)}, nil); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-got:
			if r.Kind != ServerSideEmit || string(r.Args) != `"a"` || r.From != all[0].id || r.ID != "" {
				t.Errorf("got %+v", r)
			}
		case <-time.After(patience):
			t.Fatal("the other server hears nothing")
		}
	})
}

// hears is a serve that tells of the first request.
func hears(asked chan<- struct{}) func(Request, func(Response)) {
	return func(Request, func(Response)) {
		select {
		case asked <- struct{}{}:
		default:
		}
	}
}

func TestRequestToOneThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		b := strings.Repeat("b", 16)
		asked := make(chan struct{}, 1)
		all := join(t, w, r, serveNothing, serveKind(b), hears(asked))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var got []string
		err := all[0].Request(ctx, Request{Kind: FetchSockets, ID: "1"}, func(answer Response) {
			got = append(got, answer.Sockets[0].ID)
			<-asked
			cancel() // the one has answered, the other has heard and will not
		})
		want := "C"
		if w.pubsub && !w.Sharded {
			want = "1 of unknown name" // answers do not say who gives them
		}
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || !slices.Equal(partial.Missing, []string{want}) {
			t.Errorf("got %v, want one that misses %s", err, want)
		}
		if !slices.Equal(got, []string{"socket of " + b}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestRequestToOneThatAnswersInPart(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		all := join(t, w, r, serveNothing, func(_ Request, respond func(Response)) {
			respond(Response{Count: 2})
			respond(Response{Count: -1, Args: []byte(`1`)})
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := all[0].Request(ctx, Request{Kind: EmitWithAck, ID: "1", Args: []byte(`"x"`)}, func(answer Response) {
			if answer.Count < 0 {
				cancel()
			}
		})
		if _, ok := errors.AsType[*PartialError](err); !ok {
			t.Errorf("got %v, want a PartialError", err)
		}
	})
}

func TestRequestToOneThatDies(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		b := strings.Repeat("b", 16)
		asked := make(chan struct{}, 1)
		all := join(t, w, r, serveNothing, serveKind(b), hears(asked))
		go func() {
			<-asked
			all[2].stop()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		got, err := all[0].ask(ctx, Request{Kind: FetchSockets, ID: "1"})
		if err != nil || !slices.Equal(got, []string{"socket of " + b}) {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// After a break nobody can tell how many answers were lost: the request must not pass for answered.
func TestRequestWhileRedisRestarts(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		if w.cluster || w.Sharded {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			r := dialTest(t, "redis://"+server.addr)
			asked := make(chan struct{}, 1)
			all := join(t, w, r, serveNothing, hears(asked))
			answered := make(chan error, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				_, err := all[0].ask(ctx, Request{Kind: FetchSockets, ID: "1"})
				answered <- err
			}()
			<-asked
			all[1].stop()
			server.stop(t)
			if _, err := all[0].ask(t.Context(), Request{Kind: FetchSockets, ID: "2"}); err == nil {
				t.Error("a question while there is no Redis is answered")
			}
			server.start(t)
			eventually(t, "to be back", func() bool { n, yes := all[0].asking().hears(); return yes && n > 0 })
			select {
			case err := <-answered:
				t.Fatalf("answered, by nobody: %v", err)
			case <-time.After(3 * recountTime):
			}
			cancel()
			if err := <-answered; err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestRequestAlone(t *testing.T) {
	t.Parallel()
	onWires(t, anyWire, func(t *testing.T, w wire, r *Redis) {
		all := join(t, w, r, func(Request, func(Response)) { t.Error("it is asked by itself") })
		if got, err := all[0].ask(t.Context(), Request{Kind: FetchSockets, ID: "1"}); err != nil || len(got) > 0 {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

func TestRequestBeforeRun(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	p := NewPeers(r, PeersConfig{ID: strings.Repeat("a", 16)}, func() []Replica { return nil })
	err := p.Request(t.Context(), Request{Kind: FetchSockets, ID: "1"}, nil)
	if !errors.Is(err, errDeaf) {
		t.Errorf("got %v, want %v", err, errDeaf)
	}
}

// hostile are messages of nobody we know.
var hostile = []string{
	"", "nonsense", "{", "{}", "[]", "null", "\xc1", "\xdf\xff\xff\xff\xff", strings.Repeat("[", 100_000),
	strings.Repeat("\x91", 100_000), `{"type":7}`, `{"type":7,"uid":"x","nsp":"/","data":{"opts":{"rooms":"x"},"requestId":"1"}}`,
	`{"type":"7","uid":"x","nsp":"/","data":{}}`, `{"type":8,"uid":"x","nsp":"/","data":{"requestId":"1","sockets":[{"id":7}]}}`,
	`{"type":11,"uid":"x","nsp":"/","data":{"requestId":"1","clientCount":-1}}`,
	`{"type":11,"uid":"x","nsp":"/","data":{"requestId":"1","clientCount":1e300}}`,
	`{"type":9,"uid":"x","nsp":"/","data":{"requestId":"1","packet":["connection"]}}`,
}

func TestPeersHearHostileMessages(t *testing.T) {
	t.Parallel()
	onWires(t, func(w wire) bool { return !w.pubsub }, func(t *testing.T, w wire, r *Redis) {
		all := join(t, w, r, serveNothing, serveKind("b"))
		a := all[0].asking()
		for _, payload := range hostile {
			for _, channel := range []string{"socket.io#/#", "socket.io#/#" + all[0].id + "#"} {
				if err := a.publish(t.Context(), r.Client(), published{channel, []byte(payload)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got, err := all[0].ask(t.Context(), Request{Kind: FetchSockets, ID: "1"}); err != nil || len(got) != 1 {
			t.Errorf("afterwards: got %q, %v", got, err)
		}
		eventually(t, "all to be counted", func() bool {
			return all[0].Invalid() == uint64(2*len(hostile)) && all[1].Invalid() == uint64(len(hostile))
		})
	})
}
