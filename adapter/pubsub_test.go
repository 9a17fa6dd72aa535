package adapter

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func isPubSub(w wire) bool { return w.pubsub }

// joinBuses starts two servers, without names.
func joinBuses(t *testing.T, w wire, r *Redis) (a, b *member) {
	t.Helper()
	all := join(t, w, r, serveNothing, serveNothing)
	return all[0], all[1]
}

func (m *member) append(t *testing.T, lease Lease, records ...Record) []bool {
	t.Helper()
	fresh, err := m.bus.Append(t.Context(), lease, records)
	if err != nil {
		t.Fatal(err)
	}
	return fresh
}

// keys are those said to be written so far.
func (r *reader) keys() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, e := range r.entries {
		if e.Key != "" && e.Kind == Other {
			out = append(out, e.Key)
		}
	}
	return out
}

func TestPubSubReachesAllOnce(t *testing.T) {
	t.Parallel()
	onWires(t, isPubSub, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		one, two, three := event("1"), event("2"), event("3")
		if fresh := a.append(t, Lease{}, one, two, one); !slices.Equal(fresh, []bool{true, true, false}) {
			t.Errorf("fresh is %v", fresh)
		}
		if fresh := b.append(t, Lease{}, two, three); !slices.Equal(fresh, []bool{false, true}) {
			t.Errorf("fresh is %v", fresh)
		}
		several := Record{Messages: []Message{event("4").Messages[0], event("5").Messages[0]}}
		a.append(t, Lease{}, several, Record{Key: Key("c", "nothing")})
		for _, in := range []*reader{a.in, b.in} {
			in.want(t, `"1"`, `"2"`, `"3"`, `"4"`, `"5"`)
			want := []string{one.Key, two.Key, one.Key, two.Key, three.Key, Key("c", "nothing")}
			eventually(t, "the keys", func() bool { return len(in.keys()) >= len(want) })
			if got := in.keys(); !slices.Equal(got, want) {
				t.Errorf("keys %q are written, want %q", got, want)
			}
			for _, e := range in.entries {
				if e.Volatile || e.Position != (Position{}) {
					t.Errorf("got %+v; it is not to be dropped, and has no place in a log", e)
				}
			}
		}
		if known, err := b.bus.Known(t.Context(), []string{one.Key, "never"}); err != nil || !slices.Equal(known, []bool{true, false}) {
			t.Errorf("known: %v, %v", known, err)
		}
	})
}

func TestPubSubMessages(t *testing.T) {
	t.Parallel()
	onWires(t, isPubSub, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		want := []Message{
			{Kind: Event, Namespace: "/", Rooms: []string{"x", "y"}, Except: []string{"z"}, Args: []byte(`"e",{"_placeholder":true,"num":-1,"base64":"AP8="}`), Binary: true},
			{Kind: Event, Namespace: "/", Args: []byte(`"v",1`), Volatile: true},
			{Kind: Join, Namespace: "/", Rooms: []string{"x"}, Into: []string{"y"}},
			{Kind: Leave, Namespace: "/", Except: []string{"x"}, Into: []string{"y", "z"}},
			{Kind: Disconnect, Namespace: "/", Rooms: []string{"x"}, Close: true},
		}
		for _, m := range want {
			a.append(t, Lease{}, Record{Messages: []Message{m}})
		}
		if _, err := a.bus.Append(t.Context(), Lease{}, []Record{{Messages: []Message{{Kind: Other}}}}); err == nil {
			t.Error("something of no kind is published")
		}
		for _, in := range []*reader{a.in, b.in} {
			var got []Message
			eventually(t, "the messages", func() bool {
				in.mu.Lock()
				defer in.mu.Unlock()
				got = nil
				for _, e := range in.entries {
					got = append(got, e.Message)
				}
				return len(got) >= len(want)
			})
			for i, m := range want {
				if !sameMessage(m, got[i]) {
					t.Errorf("got %+v, want %+v", got[i], m)
				}
			}
		}
	})
}

func sameMessage(a, b Message) bool {
	return a.Kind == b.Kind && a.Namespace == b.Namespace && slices.Equal(a.Rooms, b.Rooms) && slices.Equal(a.Except, b.Except) &&
		string(a.Args) == string(b.Args) && a.Binary == b.Binary && a.Volatile == b.Volatile && slices.Equal(a.Into, b.Into) && a.Close == b.Close
}

func TestPubSubFencesADeposedLeader(t *testing.T) {
	t.Parallel()
	onWires(t, isPubSub, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		lease := Lease{Channel: "c", Key: a.bus.Key("lease:c"), Token: "old"}
		r.client.Set(t.Context(), lease.Key, "old", 0)
		with := event("1")
		with.Cursor = Position{7, 1}
		a.append(t, lease, with)
		for _, token := range []string{"new", ""} {
			if r.client.Set(t.Context(), lease.Key, token, 0); token == "" {
				r.client.Del(t.Context(), lease.Key)
			}
			with = event("2")
			with.Cursor = Position{8, 1}
			if _, err := a.bus.Append(t.Context(), lease, []Record{with}); !errors.Is(err, ErrDeposed) {
				t.Fatalf("Append is %v, want ErrDeposed", err)
			}
			if known, _ := a.bus.Known(t.Context(), []string{with.Key}); known[0] {
				t.Error("its event counts as published")
			}
			if c, err := a.bus.Cursor(t.Context(), "c"); c != (Position{7, 1}) || err != nil {
				t.Errorf("cursor is %v, %v, want 7-1", c, err)
			}
		}
		b.append(t, Lease{}, event("3"))
		b.in.want(t, `"1"`, `"3"`)
	})
}

// deafProxy passes bytes on to a Redis until it is cut: from then on its answers get lost, once.
type deafProxy struct {
	addr string
	cut  atomic.Bool
}

func startDeafProxy(t *testing.T, to string) *deafProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &deafProxy{addr: l.Addr().String()}
	var conns sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	conns.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			shut := sync.OnceFunc(func() { _, _ = near.Close(), far.Close() })
			context.AfterFunc(ctx, shut)
			conns.Go(func() {
				defer shut()
				b := make([]byte, 64<<10)
				for n, err := near.Read(b); err == nil; n, err = near.Read(b) {
					if _, err := far.Write(b[:n]); err != nil {
						return
					}
				}
			})
			conns.Go(func() {
				defer shut()
				b := make([]byte, 64<<10)
				for n, err := far.Read(b); err == nil && !p.cut.CompareAndSwap(true, false); n, err = far.Read(b) {
					if _, err := near.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		conns.Wait()
	})
	return p
}

func TestPubSubAttemptOfUnknownOutcomeIsMadeTwiceAndCountsOnce(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		if !w.pubsub || w.cluster {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			proxy := startDeafProxy(t, server.addr)
			a, _ := joinBuses(t, w, dialTest(t, "redis://"+server.addr))
			w.ID = strings.Repeat("c", 16)
			sender := NewPubSub(dialTest(t, "redis://"+proxy.addr), w.PeersConfig, LogConfig{ID: w.ID}, nil)
			send := func(records ...Record) ([]bool, error) { return sender.Append(t.Context(), Lease{}, records) }
			if _, err := send(event("1")); err != nil { // and Redis has the script
				t.Fatal(err)
			}
			proxy.cut.Store(true)
			if _, err := send(event("2"), event("3")); err == nil {
				t.Fatal("no error, though the answer is lost")
			}
			if fresh, err := send(event("2"), event("3"), event("4")); err != nil || !slices.Equal(fresh, []bool{false, false, true}) {
				t.Errorf("fresh is %v, %v", fresh, err)
			}
			a.in.want(t, `"1"`, `"2"`, `"3"`, `"4"`)
		})
	}
}

func TestPubSubOccupied(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("s", 20)
	for mode, want := range map[SubscriptionMode][]string{
		"":             {"room", "ü" + strings.Repeat("s", 18)},
		Static:         {},
		Dynamic:        {"room", "ü" + strings.Repeat("s", 18)},
		DynamicPrivate: {"room", "ü" + strings.Repeat("s", 18), id},
	} {
		for _, cluster := range []bool{false, true} {
			w := wire{name: "mode " + string(mode), pubsub: true, cluster: cluster, PeersConfig: PeersConfig{Sharded: true, SubscriptionMode: mode}}
			if cluster {
				if mode != DynamicPrivate {
					continue // slots are the same to all
				}
				w.name += " on a Cluster"
			}
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				var r *Redis
				if cluster {
					r = dialCluster(t)
				} else {
					r = dialTest(t, "redis://"+startRedis(t).addr)
				}
				a, _ := joinBuses(t, w, r)
				listeners := func(room string) int {
					n, err := r.numSub(t.Context(), "socket.io#/#"+room+"#", true)
					if err != nil {
						t.Fatal(err)
					}
					return n
				}
				rooms := []string{"room", "ü" + strings.Repeat("s", 18), id, a.id}
				for _, room := range rooms {
					a.bus.Occupied("/", room, true)
					a.bus.Occupied("/other", "other "+room, true)
				}
				a.bus.Occupied("/", "last", true)
				if mode != Static {
					eventually(t, "the last room's channel", func() bool { return listeners("last") == 1 })
				}
				for _, room := range want {
					eventually(t, room+" to be heard", func() bool { return listeners(room) == 1 })
				}
				for _, room := range rooms {
					heard := slices.Contains(want, room) || room == a.id // its own channel
					if got := listeners(room) == 1; got != heard || listeners("other "+room) != 0 {
						t.Errorf("%s is heard: %v, want %v", room, got, heard)
					}
				}
				for _, room := range want { // a message of Node's for one room
					payload := `{"type":3,"data":{"packet":{"type":2,"data":["` + room + `"]},"opts":{"rooms":["` + room + `"],"except":[],"flags":{}}},"uid":"n","nsp":"/"}`
					if err := r.client.SPublish(t.Context(), "socket.io#/#"+room+"#", payload).Err(); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "messages for rooms", func() bool { return len(a.in.events()) == len(want) })
				for _, room := range rooms {
					a.bus.Occupied("/", room, false)
				}
				for _, room := range want {
					eventually(t, room+" not to be heard", func() bool { return listeners(room) == 0 })
				}
				if listeners(a.id) != 1 {
					t.Error("its own channel is given up")
				}
			})
		}
	}
}

func TestPubSubHearsHostileMessages(t *testing.T) {
	t.Parallel()
	onWires(t, isPubSub, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		channels := []string{"socket.io#/#", "socket.io-request#/#"}
		if w.Sharded {
			channels = append(channels, "socket.io#/#"+a.id+"#")
		} else {
			channels = append(channels, "socket.io#/#room#", "socket.io-response#/#", "socket.io-response#/#"+a.id+"#")
		}
		for _, channel := range channels {
			for _, payload := range append(slices.Clone(hostile), `{"type":3,"requestId":"1"}`, "\x93\x01\x02\x03", "\x93\xa1x\xc0\xc0") {
				if err := r.client.Publish(t.Context(), channel, payload).Err(); err != nil {
					t.Fatal(err)
				}
				if err := r.client.SPublish(t.Context(), channel, payload).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		b.append(t, Lease{}, event("1"))
		a.in.want(t, `"1"`)
		if n := a.bus.Invalid(); n < uint64(len(channels)*len(hostile)/2) {
			t.Errorf("%d invalid messages", n)
		}
		a.in.mu.Lock()
		defer a.in.mu.Unlock()
		for _, e := range a.in.entries {
			if e.Kind != Event && e.Kind != Other {
				t.Errorf("it makes %+v of them", e)
			}
		}
	})
}

func TestPubSubAfterRestart(t *testing.T) {
	t.Parallel()
	for _, w := range wires {
		if !w.pubsub || w.cluster {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			r := dialTest(t, "redis://"+server.addr)
			a, b := joinBuses(t, w, r)
			a.append(t, Lease{}, event("1"))
			b.in.want(t, `"1"`)
			server.stop(t)
			if _, err := a.bus.Append(t.Context(), Lease{}, []Record{event("2")}); err == nil {
				t.Fatal("no error without Redis")
			}
			server.start(t)
			eventually(t, "both to be back", func() bool {
				n, err := r.numSub(t.Context(), a.asking().audience("/"), w.Sharded)
				return err == nil && n == 2
			})
			a.append(t, Lease{}, event("2"))
			b.in.want(t, `"1"`, `"2"`)
		})
	}
}
