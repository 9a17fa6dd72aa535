package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/photo-management/event-bus/adapter"
)

func (x *node) setDeaf() {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.deaf = true
}

func TestFetchSockets(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3, nil)
	s.sockets[1].SetData(map[string]int{"n": 1})
	s.sockets[2].SetData(make(chan int))
	ids := func(sockets []adapter.RemoteSocket) string {
		var out []string
		for _, r := range sockets {
			for i, id := range s.ids {
				if r.ID == id.SID {
					out = append(out, fmt.Sprint(i))
				}
			}
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	n := s.nodes[0].Of("/")
	for want, target := range map[string]Target{
		"0 1 2": n.To(), "1 2": n.To("1", "2"), "0 2": n.To("r").Except("1"), "0": n.To().Local(), "": n.To("unknown"),
	} {
		got, err := target.FetchSockets(long(t))
		if err != nil || ids(got) != want {
			t.Errorf("got %q, %v, want %q", ids(got), err, want)
		}
	}
	got, err := n.To("1", "2").FetchSockets(long(t))
	if err != nil || len(got) != 2 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, r := range got {
		i := slices.IndexFunc(s.ids, func(id identity) bool { return id.SID == r.ID })
		if want := []string{r.ID, "r", fmt.Sprint(i)}; !slices.Equal(sortedCopy(r.Rooms), sortedCopy(want)) {
			t.Errorf("rooms %v, want %v", r.Rooms, want)
		}
		if want := map[int]string{1: `{"n":1}`, 2: ""}[i]; string(r.Data) != want {
			t.Errorf("data %s, want %s", r.Data, want)
		}
	}
	if got, err := s.nodes[1].Of("/chat").To().FetchSockets(long(t)); err != nil || len(got) != 0 {
		t.Errorf("in an empty namespace: %v, %v", got, err)
	}

	s.nodes[2].setDeaf()
	got, err = n.To().FetchSockets(short(t))
	var partial *adapter.PartialError
	if !errors.As(err, &partial) || !slices.Equal(partial.Missing, []string{s.nodes[2].id}) || ids(got) != "0 1" {
		t.Errorf("got %q, %v", ids(got), err)
	}
	if err != nil && err.Error() != "no complete answer from server 0000000000000003" {
		t.Errorf("says %q", err)
	}
}

// Other services see what is known of a client, and nothing that it proves itself with.
func TestHandshakeHasNoSecrets(t *testing.T) {
	t.Parallel()
	opts := Options{}
	opts.Engine.Headers = []string{"Authorization", "cookie", "Proxy-Authorization", "Origin", "User-Agent"}
	s := serve(t, opts, nil)
	before := time.Now().UnixMilli()
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(http.Header{
		"Authorization": {"Bearer secret"}, "Cookie": {"secret"}, "Proxy-Authorization": {"secret"},
		"Origin": {"https://a.example"}, "User-Agent": {"test"},
	})}
	s.client(t) // the server is up
	url := strings.Replace(s.http.URL, "http", "ws", 1) +
		"/socket.io/?EIO=4&transport=websocket&token=secret&access_token=secret&Authorization=secret&x=1&x=2"
	conn, _, _, err := dialer.Dial(long(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte(`40{"token":"secret"}`)))); err != nil {
		t.Fatal(err)
	}
	var found []adapter.RemoteSocket
	eventually(t, "the second socket", func() bool {
		found, err = s.Of("/").To().FetchSockets(long(t))
		return err == nil && len(found) == 2
	})
	i := slices.IndexFunc(found, func(r adapter.RemoteSocket) bool { return strings.Contains(string(r.Handshake), "a.example") })
	if i < 0 {
		t.Fatalf("got %s", found)
	}
	got := found[i].Handshake
	if strings.Contains(string(got), "secret") {
		t.Errorf("tells a secret: %s", got)
	}
	var shake struct {
		Headers map[string]string
		Time    string
		Address string
		Issued  int64
		XDomain bool
		Query   map[string]any
		Auth    map[string]any
	}
	if err := json.Unmarshal(got, &shake); err != nil {
		t.Fatal(err)
	}
	said, err := time.Parse("Mon Jan 02 2006 15:04:05 GMT-0700 (Coordinated Universal Time)", shake.Time)
	if err != nil || said.UnixMilli()/1000 != shake.Issued/1000 || shake.Issued < before || shake.Issued > time.Now().UnixMilli() {
		t.Errorf("time %s, issued %d, %v", shake.Time, shake.Issued, err)
	}
	if shake.Auth == nil || len(shake.Auth) != 0 || shake.Address != "127.0.0.1" || !shake.XDomain ||
		fmt.Sprint(shake.Headers) != "map[origin:https://a.example user-agent:test]" ||
		fmt.Sprint(shake.Query) != "map[EIO:4 transport:websocket x:[1 2]]" {
		t.Errorf("got %+v", shake)
	}
}

// acks is the outcome of an EmitWithAck.
type acks struct {
	got string
	err error
}

func askTarget(ctx context.Context, target Target, event string, args ...any) <-chan acks {
	out := make(chan acks, 1)
	go func() {
		got, err := target.EmitWithAck(ctx, event, args...)
		out <- acks{texts(got), err}
	}()
	return out
}

func TestEmitWithAckOnAllServers(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3, nil)
	n := s.nodes[0].Of("/")
	answer := askTarget(long(t), n.To("r"), "q", "text", Binary("a"))
	for i, c := range s.clients {
		c.want(`51-0["q","text",{"_placeholder":true,"num":0}]`, "binary:a") // and no offset
		if i == 2 {
			c.send(`61-0[{"x":{"_placeholder":true,"num":0}},2]`)
			c.sendBinary("bin")
			continue
		}
		c.send(fmt.Sprintf(`30["%d",2]`, i))
	}
	if got := <-answer; got.got != `"0" "1" {"x":"Ymlu"}` || got.err != nil {
		t.Errorf("got %s, %v", got.got, got.err)
	}
	answer = askTarget(long(t), n.To("1", "2").Except("2"), "q")
	s.clients[1].want(`21["q"]`)
	s.clients[1].send(`31[]`)
	if got := <-answer; got.got != `null` || got.err != nil {
		t.Errorf("got %s, %v", got.got, got.err)
	}
	answer = askTarget(long(t), n.To().Local(), "q")
	s.clients[0].want(`21["q"]`)
	s.clients[0].send(`31[1]`)
	if got := <-answer; got.got != `1` || got.err != nil {
		t.Errorf("got %s, %v", got.got, got.err)
	}
	if got := <-askTarget(long(t), n.To("unknown"), "q"); got.got != "" || got.err != nil {
		t.Errorf("nobody asked: got %s, %v", got.got, got.err)
	}
	if _, err := n.To().EmitWithAck(long(t), "connect"); err == nil {
		t.Error("a reserved name was taken")
	}
	for _, socket := range s.sockets {
		socket.mu.Lock()
		if len(socket.acks) != 0 {
			t.Errorf("%d acks are still waited for", len(socket.acks))
		}
		socket.mu.Unlock()
	}
}

// A look-alike of a binary value stays what it is.
func TestAckThatOnlyLooksBinary(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 2, nil)
	for i, c := range s.clients { // here, and on another server
		answer := askTarget(long(t), s.nodes[0].Of("/").To(fmt.Sprint(i)), "q")
		c.want(`20["q"]`)
		c.send(`30[` + binaryMark + `YQ=="}]`)
		if got := <-answer; got.got != binaryMark+`YQ=="}` {
			t.Errorf("got %s, %v", got.got, got.err)
		}
	}
}

func TestEmitWithAckIncomplete(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3, nil)
	n := s.nodes[0].Of("/")
	s.nodes[2].setDeaf()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answer := askTarget(ctx, n.To("r"), "q")
	s.clients[0].want(`20["q"]`)
	s.clients[0].send(`30[1]`)
	s.clients[0].wantNothing() // it was taken
	s.clients[1].want(`20["q"]`)
	cancel()
	got := <-answer
	var failed *AckError
	if !errors.As(got.err, &failed) || !errors.Is(got.err, context.Canceled) {
		t.Fatalf("got %v", got.err)
	}
	if got.got != "1" || failed.Acked != 1 || failed.Sockets < 1 || failed.Sockets > 2 ||
		!slices.Equal(failed.Servers, []string{s.nodes[1].id, s.nodes[2].id}) {
		t.Errorf("got %s, %+v", got.got, failed)
	}
	if want := fmt.Sprintf("1 of %d sockets acknowledged; not heard to the end: server %s, %s: context canceled",
		failed.Sockets, s.nodes[1].id, s.nodes[2].id); failed.Error() != want {
		t.Errorf("says %q, want %q", failed, want)
	}

	// Whoever leaves will not answer: there is no wait for it.
	answer = askTarget(long(t), n.To().Local(), "q")
	s.clients[0].want(`21["q"]`)
	s.clients[0].drop()
	got = <-answer
	if !errors.As(got.err, &failed) || got.err.Error() != "0 of 1 sockets acknowledged" {
		t.Errorf("got %s, %v", got.got, got.err)
	}
}

func TestServerSide(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := newSpread(t, 3, func(s *Server) {
		n := s.Of("/chat")
		n.OnServerSide("told", func(_ context.Context, args []json.RawMessage, ack func(any)) {
			j.note(asText(args))
			ack("nobody asked")
		})
		n.OnServerSide("asked", func(_ context.Context, args []json.RawMessage, ack func(any)) {
			switch string(args[0]) {
			case `"binary"`:
				ack(map[string]any{"got": args[1], "x": Binary("y")})
			case `"unencodable"`:
				ack(make(chan int))
			case `"later"`:
				go func() { ack("late"); ack("twice") }()
			}
		})
		n.OnServerSide("disconnect", func(context.Context, []json.RawMessage, func(any)) { j.note("disconnect") })
	})
	n := s.nodes[0].Of("/chat")
	for i := range 50 { // in order, on each
		if err := s.nodes[i%2].Of("/chat").ServerSideEmit(long(t), "told", i, Binary("a")); err != nil {
			t.Fatal(err)
		}
		j.want(t, fmt.Sprintf(`%d "YQ=="`, i), fmt.Sprintf(`%d "YQ=="`, i))
	}
	j.wantNothing(t)
	for kind, want := range map[string]string{
		"binary":      `{"got":"Yg==","x":"eQ=="} {"got":"Yg==","x":"eQ=="}`,
		"unencodable": "null null",
		"later":       `"late" "late"`,
	} {
		got, err := n.ServerSideEmitWithAck(long(t), "asked", kind, Binary("b"))
		if err != nil || texts(got) != want {
			t.Errorf("%s: got %s, %v, want %s", kind, texts(got), err, want)
		}
	}
	for _, name := range []string{"connect", "connection", "new_namespace"} {
		if err := n.ServerSideEmit(long(t), name); err == nil {
			t.Errorf("the reserved name %s was taken", name)
		}
		if _, err := n.ServerSideEmitWithAck(long(t), name); err == nil {
			t.Errorf("the reserved name %s was taken", name)
		}
	}
	if err := n.ServerSideEmit(long(t), "disconnect"); err != nil { // means nothing between servers
		t.Error(err)
	}
	j.want(t, "disconnect", "disconnect")

	s.nodes[2].setDeaf()
	got, err := n.ServerSideEmitWithAck(short(t), "asked", "binary", 1)
	var partial *adapter.PartialError
	if !errors.As(err, &partial) || !slices.Equal(partial.Missing, []string{s.nodes[2].id}) || len(got) != 1 {
		t.Errorf("got %s, %v", texts(got), err)
	}
	if got, err := n.ServerSideEmitWithAck(short(t), "unknown"); !errors.As(err, &partial) || len(got) != 0 {
		t.Errorf("got %s, %v", texts(got), err)
	}
}

// Handlers of events from servers run one after the other, in the order received, and hold nobody up who sends.
func TestServerSideInOrder(t *testing.T) {
	t.Parallel()
	j := newJournal()
	entered, block, other := make(chan struct{}), make(chan struct{}), make(chan struct{})
	openBlock := sync.OnceFunc(func() { close(block) })
	defer openBlock() // whatever happens
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").OnServerSide("n", func(_ context.Context, args []json.RawMessage, _ func(any)) {
			if string(args[0]) == "0" {
				close(entered)
				<-block
			}
			j.note(asText(args))
		})
		s.Of("/other").OnServerSide("n", func(context.Context, []json.RawMessage, func(any)) { close(other) })
	})
	s.client(t) // it is running
	const events = 500
	for i := range events {
		s.Serve(adapter.Request{Kind: adapter.ServerSideEmit, Args: fmt.Appendf(nil, `"n",%d`, i)}, nil)
		if i == 0 {
			wait(t, "the first handler", entered)
		}
	}
	s.Serve(adapter.Request{Kind: adapter.ServerSideEmit, Namespace: "/other", Args: []byte(`"n"`)}, nil)
	wait(t, "the handler in another namespace", other)
	j.wantNothing(t)
	openBlock()
	for i := range events {
		j.want(t, fmt.Sprint(i))
	}
}

func TestAServerAlone(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, nil)
	c := s.client(t)
	n := s.Of("/")
	if got, err := n.To().FetchSockets(long(t)); err != nil || len(got) != 1 {
		t.Errorf("FetchSockets: %v, %v", got, err)
	}
	answer := askTarget(long(t), n.To(), "q")
	c.want(`20["q"]`)
	c.send(`30[1]`)
	if got := <-answer; got.got != "1" || got.err != nil {
		t.Errorf("EmitWithAck: %s, %v", got.got, got.err)
	}
	if err := n.ServerSideEmit(long(t), "x"); err != nil {
		t.Error(err)
	}
	if got, err := n.ServerSideEmitWithAck(long(t), "x"); err != nil || len(got) != 0 {
		t.Errorf("ServerSideEmitWithAck: %v, %v", got, err)
	}
	if err := errors.Join(n.To().Join("a"), n.To("a").Leave("a"), n.To().Close()); err != nil {
		t.Error(err)
	}
	c.wantClosed("1")
}

// Requests are answered while Run runs, and whatever waits for an answer then ends with it.
func TestServeEndsWithRun(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var answered []string
	respond := func(r adapter.Response) {
		mu.Lock()
		defer mu.Unlock()
		answered = append(answered, fmt.Sprint(r.Kind, " ", r.Count))
	}
	srv, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	requests := []adapter.Request{
		{Kind: adapter.FetchSockets, ID: "1"}, {Kind: adapter.FetchSockets, ID: "1", Namespace: "/unknown"},
		{Kind: adapter.EmitWithAck, ID: "2", Args: []byte(`"q"`)}, {Kind: adapter.EmitWithAck, ID: "2", Namespace: "/unknown"},
		{Kind: adapter.ServerSideEmit, ID: "3", Args: []byte(`"q"`)}, {Kind: adapter.ServerSideEmit, ID: "3", Args: []byte(`"`)},
		{Kind: adapter.ServerSideEmit, ID: "3", Args: []byte(`"block"`)}, {Kind: 99, ID: "4"},
	}
	ask := func(s *Server) {
		for _, r := range requests {
			s.Serve(r, respond)
		}
	}
	srv.Of("/").OnServerSide("block", func(ctx context.Context, _ []json.RawMessage, ack func(any)) { ack(1) })
	ask(srv) // it is not running
	if len(answered) != 0 {
		t.Errorf("answered %v before Run", answered)
	}

	entered, block, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	openBlock := sync.OnceFunc(func() { close(block) })
	defer openBlock() // whatever happens
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").OnServerSide("block", func(ctx context.Context, _ []json.RawMessage, ack func(any)) {
			close(entered)
			<-ctx.Done()
			<-block
		})
	})
	c := s.client(t)
	ask(s.Server)
	c.want(`20["q"]`) // which it never acknowledges
	wait(t, "the handler", entered)
	eventually(t, "four answers", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(answered) == 4
	})
	go func() { s.stop(); close(stopped) }()
	eventually(t, "Run to end but for the handler", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return !s.running
	})
	select {
	case <-stopped:
		t.Error("Run has not waited for the handler")
	case <-time.After(20 * time.Millisecond): // it waits for ever; this is to see if it does not
	}
	openBlock()
	wait(t, "Run to end", stopped)
	slices.Sort(answered)
	if got, want := strings.Join(answered, ", "), "0 0, 0 0, 1 0, 1 1"; got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
	ask(s.Server)
	if len(answered) != 4 {
		t.Errorf("answered %v after Run", answered)
	}
}
