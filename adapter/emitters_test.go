package adapter

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// msgpackOf is JSON as MessagePack, as notepack.io writes it.
func msgpackOf(t *testing.T, json string) []byte {
	t.Helper()
	out, err := jsonToMsgpack(nil, json, false)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEmitters(t *testing.T) {
	t.Parallel()
	e := Emitters{}
	emitted := func(opts string) []byte {
		return msgpackOf(t, `["emitter",{"type":2,"data":["e",1],"nsp":"/"},`+opts+`]`)
	}
	for name, test := range map[string]struct {
		channel string
		payload []byte
		want    *Message // nil: none of theirs, or nothing for sockets
	}{
		"to all":                               {"socket.io#/#", emitted(`{"rooms":[],"flags":{},"except":[]}`), &Message{Namespace: "/", Args: []byte(`"e",1`)}},
		"to a room":                            {"socket.io#/#r#", emitted(`{"rooms":["r"],"flags":{"volatile":true},"except":["x"]}`), &Message{Namespace: "/", Rooms: []string{"r"}, Except: []string{"x"}, Args: []byte(`"e",1`), Volatile: true}},
		"join":                                 {"socket.io-request#/#", []byte(`{"type":2,"opts":{"rooms":["r"],"except":[]},"rooms":["in"]}`), &Message{Kind: Join, Namespace: "/", Rooms: []string{"r"}, Into: []string{"in"}}},
		"leave":                                {"socket.io-request#/#", []byte(`{"type":3,"opts":{"rooms":[],"except":["r"]},"rooms":["in"]}`), &Message{Kind: Leave, Namespace: "/", Except: []string{"r"}, Into: []string{"in"}}},
		"disconnect":                           {"socket.io-request#/#", []byte(`{"type":4,"opts":{"rooms":["r"],"except":[]},"close":true}`), &Message{Kind: Disconnect, Namespace: "/", Rooms: []string{"r"}, Close: true}},
		"to servers":                           {"socket.io-request#/#", []byte(`{"uid":"emitter","type":6,"data":["e"]}`), nil},
		"a question":                           {"socket.io-request#/#", []byte(`{"uid":"x","requestId":"1","type":5,"opts":{"rooms":[],"except":[]}}`), nil},
		"of a server with the classic adapter": {"socket.io#/#", msgpackOf(t, `["abcdef",{"type":2,"data":["e"],"nsp":"/"},{"rooms":[],"except":[]}]`), nil},
		"of a cluster adapter":                 {"socket.io#/#", msgpackOf(t, `{"type":3,"uid":"x","nsp":"/","data":{}}`), nil},
		"of another namespace":                 {"socket.io#/other#", emitted(`{"rooms":[],"except":[]}`), nil},
		"nothing":                              {"socket.io#/#", nil, nil},
		"an empty command":                     {"socket.io-request#/#", nil, nil},
		"cut":                                  {"socket.io#/#", emitted(`{"rooms":[],"except":[]}`)[:9], nil},
	} {
		got, err := Message{}, errNotEmitted
		if heard := e.Heard(test.channel, test.payload); heard != nil {
			got, err = e.Decode(heard)
		}
		switch {
		case test.want == nil && err == nil:
			t.Errorf("%s: got %+v, want an error", name, got)
		case test.want != nil && (err != nil || !sameMessage(got, *test.want)):
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, *test.want)
		}
	}
}

// A pattern is no pattern where the name of a channel has its characters.
func TestEmittersPattern(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	e := Emitters{Prefix: `a*b?[c]\d`, Namespace: "/n*"}
	heard := make(chan string, 10)
	l := r.Listener()
	done := make(chan error, 1)
	go func() {
		done <- l.Receive(t.Context(), Subscription{Patterns: []string{e.Events()}, Handle: func(c string, _ []byte) { heard <- c }})
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-l.Subscribed()
	want := []string{e.Prefix + "#/n*#", e.Prefix + "#/n*#room#"}
	for _, c := range append([]string{"aXb?[c]\\d#/n*#", "a*bX[c]\\d#/n*#", "a*b?c\\d#/n*#", e.Prefix + "#/nX#"}, want...) {
		if err := r.client.Publish(t.Context(), c, "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := []string{<-heard, <-heard}; !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// Where servers use sharded channels, emitters do not: all our servers hear them.
func TestEmittersBesideShardedServers(t *testing.T) {
	t.Parallel()
	onWires(t, func(w wire) bool { return w.pubsub }, func(t *testing.T, w wire, r *Redis) {
		a, b := joinBuses(t, w, r)
		publish := func(channel string, payload []byte) {
			if err := r.client.Publish(t.Context(), channel, payload).Err(); err != nil {
				t.Fatal(err)
			}
		}
		publish("socket.io#/#", msgpackOf(t, `["emitter",{"type":2,"data":["all"],"nsp":"/"},{"rooms":[],"except":[]}]`))
		for _, m := range []*member{a, b} {
			m.in.want(t, `"all"`) // other channels may be other nodes' of a Cluster, and have no order with this one
		}
		publish("socket.io#/#r#", msgpackOf(t, `["emitter",{"type":2,"data":["room"],"nsp":"/"},{"rooms":["r"],"except":[]}]`))
		publish("socket.io-request#/#", []byte(`{"type":4,"opts":{"rooms":["r"],"except":[]}}`))
		for _, m := range []*member{a, b} {
			m.in.want(t, `"all"`, `"room"`)
			eventually(t, "the command", func() bool {
				m.in.mu.Lock()
				defer m.in.mu.Unlock()
				return slices.ContainsFunc(m.in.entries, func(e Entry) bool { return e.Kind == Disconnect && e.Rooms[0] == "r" })
			})
			if n := m.Invalid(); n != 0 {
				t.Errorf("%d invalid", n)
			}
		}
	})
}

func TestEmittersSayWhatIsNotTheirs(t *testing.T) {
	t.Parallel()
	for _, heard := range []string{"", "event ", "command ", "event \xc1", "command {", "command {}", "event \x93\xa7emitter\xc0\xc0", strings.Repeat("x", 100)} {
		if m, err := (Emitters{}).Decode([]byte(heard)); err == nil {
			t.Errorf("%q is %+v", heard, m)
		} else if !errors.Is(err, errWire) && !errors.Is(err, errNotEmitted) {
			t.Errorf("%q: %v", heard, err)
		}
	}
}
