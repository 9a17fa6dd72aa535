package adapter

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// backend is a Redis to run the contract on.
type backend struct {
	addr        string
	stop, start func()
	pings       func() int // answered so far, or a number that grows with them
}

func onEachBackend(t *testing.T, test func(t *testing.T, b backend)) {
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		s := startRedis(t)
		c := plainClient(t, s.addr)
		test(t, backend{
			addr: s.addr, stop: func() { s.stop(t) }, start: func() { s.start(t) },
			pings: func() int { return pings(t, c) },
		})
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		e := startEmbedded(t, "")
		test(t, backend{
			addr: e.Addr(), stop: e.Close, start: func() { startEmbedded(t, e.Addr()) },
			pings: e.srv.CommandCount,
		})
	})
}

// pings is how many PING a redis-server has answered.
func pings(t *testing.T, c redis.UniversalClient) int {
	t.Helper()
	info, err := c.Info(context.Background(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, after, ok := strings.Cut(info, "cmdstat_ping:calls="); ok {
		if _, err := fmt.Sscanf(after, "%d,", &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func startEmbedded(t *testing.T, addr string) *Embedded {
	t.Helper()
	e, err := StartEmbedded(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// received runs Receive until the test ends and keeps what it hands over.
type received struct {
	*Listener
	cancel context.CancelFunc
	done   chan error

	mu  sync.Mutex
	got []string // channel|payload
}

func receive(t *testing.T, r *Redis, channels ...string) *received {
	t.Helper()
	return receiveAll(t, r, Subscription{Channels: channels})
}

func receiveAll(t *testing.T, r *Redis, sub Subscription) *received {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in := &received{Listener: r.Listener(), cancel: cancel, done: make(chan error, 1)}
	sub.Handle = func(channel string, payload []byte) { in.note(channel + "|" + string(payload)) }
	go func() { in.done <- in.Receive(ctx, sub) }()
	t.Cleanup(func() { in.end(t) })
	select {
	case <-in.Subscribed():
	case err := <-in.done:
		in.done <- err
		t.Fatalf("Receive ended with %v before it was subscribed", err)
	case <-time.After(patience):
		t.Fatal("no subscription")
	}
	return in
}

func (in *received) note(what string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.got = append(in.got, what)
}

// end ends Receive and checks that it does so promptly and without error. It may be called twice.
func (in *received) end(t *testing.T) {
	t.Helper()
	in.cancel()
	select {
	case err := <-in.done:
		in.done <- err
		if err != nil {
			t.Errorf("Receive = %v, want nil after its context ended", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("Receive did not return after its context ended")
	}
}

func (in *received) messages() []string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.Clone(in.got)
}

func (in *received) wait(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages", len(want)), func() bool { return len(in.messages()) >= len(want) })
	if got := in.messages(); !slices.Equal(got, want) {
		t.Fatalf("received %.200q, want %.200q", got, want)
	}
}

func publish(t *testing.T, c *redis.Client, channel, payload string) {
	t.Helper()
	n, err := c.Publish(context.Background(), channel, payload).Result()
	if err != nil || n != 1 {
		t.Fatalf("PUBLISH %s reached %d listeners, error %v; want 1", channel, n, err)
	}
}

func TestReceiveInOrder(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr)
		in := receive(t, r, "photo:upload", "photo:processing")
		if !in.Connected() {
			t.Error("Connected() = false after the subscription")
		}
		c := plainClient(t, b.addr)
		publish(t, c, "photo:upload", "1")
		publish(t, c, "photo:processing", "")
		publish(t, c, "photo:upload", "\r\n$-1\x00\xff")
		if n := c.Publish(context.Background(), "photo:other", "x").Val(); n != 0 {
			t.Errorf("%d listen to a channel nobody asked for, want 0", n)
		}
		in.wait(t, "photo:upload|1", "photo:processing|", "photo:upload|\r\n$-1\x00\xff")

		in.end(t)
		if in.Connected() {
			t.Error("Connected() = true after Receive returned")
		}
		again := receive(t, r, "photo:upload")
		eventually(t, "the second subscription", again.Connected)
		publish(t, c, "photo:upload", "2")
		again.wait(t, "photo:upload|2")
	})
}

func TestReceiveBurst(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		const burst = 20_000
		r := dialTest(t, "redis://"+b.addr)
		in := receive(t, r, "burst")
		c := plainClient(t, b.addr)
		want := make([]string, burst)
		pipe := c.Pipeline()
		for i := range want {
			payload := fmt.Sprintf(`{"id":"%d","data":"%s"}`, i, strings.Repeat("x", i%700))
			want[i] = "burst|" + payload
			pipe.Publish(context.Background(), "burst", payload)
		}
		if _, err := pipe.Exec(context.Background()); err != nil {
			t.Fatal(err)
		}
		in.wait(t, want...)
	})
}

func TestReceiveComesBackAfterRestart(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		core, logs := observer.New(zapcore.InfoLevel)
		r, err := DialRedis(context.Background(), RedisConfig{URL: "redis://" + b.addr}, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		in := receive(t, r, "photo:upload")
		publish(t, plainClient(t, b.addr), "photo:upload", "before")
		in.wait(t, "photo:upload|before")

		b.stop()
		eventually(t, "the loss to show", func() bool { return !in.Connected() })
		eventually(t, "the loss to be logged", func() bool { return logs.Len() == 1 })
		b.start()
		eventually(t, "the return to show", in.Connected)
		publish(t, plainClient(t, b.addr), "photo:upload", "after")
		in.wait(t, "photo:upload|before", "photo:upload|after")
		in.end(t)

		if got := in.Reconnects(); got != 1 {
			t.Errorf("Reconnects() = %d, want 1", got)
		}
		var got []string
		for _, e := range logs.All() {
			got = append(got, e.Message)
		}
		if want := []string{"redis pub/sub is lost, trying again", "redis pub/sub is back"}; !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		if err := r.Ping(context.Background()); err != nil {
			t.Errorf("the pool does not recover: %v", err)
		}
	})
}

func TestReceiveEndsWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr)
		in := receive(t, r, "photo:upload")
		b.stop()
		eventually(t, "the loss to show", func() bool { return !in.Connected() })
		in.end(t)
	})
}

func TestReceiveLeavesOutOversized(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		const limit = 1000
		r, err := DialRedis(context.Background(), RedisConfig{URL: "redis://" + b.addr, MaxMessage: limit}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		in := receive(t, r, "c")
		c := plainClient(t, b.addr)
		fits := strings.Repeat("f", limit)
		publish(t, c, "c", fits+"1")
		publish(t, c, "c", fits)
		publish(t, c, "c", strings.Repeat("b", 200<<10))
		publish(t, c, "c", "last")
		in.wait(t, "c|"+fits, "c|last")
		in.end(t)
		if got := in.Oversized(); got != 2 {
			t.Errorf("Oversized() = %d, want 2", got)
		}
	})
}

func TestReceivePayloadIsTheCalleesToKeep(t *testing.T) {
	t.Parallel()
	const n = 2000
	r := undialled(t, fakeRedis(t, func(_ *bufio.Reader, w io.Writer) {
		for i := range n {
			fmt.Fprintf(w, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n%04d\r\n", i)
		}
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var kept [][]byte
	err := r.Listener().Receive(ctx, Subscription{Channels: []string{"c"}, Handle: func(_ string, payload []byte) {
		if kept = append(kept, payload); len(kept) == n {
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range kept {
		if want := fmt.Sprintf("%04d", i); string(got) != want {
			t.Fatalf("payload %d became %q, want %q", i, got, want)
		}
	}
}

func TestReceiveOnlyOnceAtATime(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startEmbedded(t, "").Addr())
	in := receive(t, r, "c")
	if err := in.Receive(context.Background(), Subscription{Channels: []string{"c"}}); err == nil {
		t.Error("second Receive = nil, want an error")
	}
}

func TestReceiveRefusesBadChannels(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startEmbedded(t, "").Addr())
	for _, channels := range [][]string{nil, {"c", ""}, {strings.Repeat("x", maxChannel+1)}} {
		if err := r.Listener().Receive(context.Background(), Subscription{Channels: channels}); err == nil {
			t.Errorf("Receive on channels %.20q = nil, want an error", channels)
		}
	}
}

func TestReceiveWithoutPermission(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	admin := plainClient(t, s.addr)
	acl := func(rules ...any) {
		t.Helper()
		if err := admin.Do(context.Background(), append([]any{"ACL", "SETUSER", "app"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl("on", ">hush-hush", "+@all", "~*", "resetchannels", "&other")
	core, logs := observer.New(zapcore.InfoLevel)
	r, err := DialRedis(context.Background(), RedisConfig{URL: "redis://app:hush-hush@" + s.addr}, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	err = r.Listener().Receive(context.Background(), Subscription{Channels: []string{"photo:upload"}})
	wantMentions(t, err, "photo:upload", `"app"`, "redis.username", "NOPERM", "ACL SETUSER")

	// Once it has worked, a refusal is tried again.
	acl("&photo:upload")
	in := receive(t, r, "photo:upload")
	acl("resetchannels") // Redis disconnects listeners that lost their right
	eventually(t, "the refusal to be logged", func() bool {
		return slices.ContainsFunc(logs.All(), func(e observer.LoggedEntry) bool {
			return strings.Contains(fmt.Sprint(e.ContextMap()["error"]), "NOPERM")
		})
	})
	acl("&photo:upload")
	eventually(t, "the return", in.Connected)
	publish(t, admin, "photo:upload", "again")
	in.wait(t, "photo:upload|again")
}

func TestReceiveWithChangedPassword(t *testing.T) {
	t.Parallel()
	s := startRedis(t, "--requirepass", "old-secret")
	r := dialTest(t, "redis://:old-secret@"+s.addr)
	if err := r.Client().ConfigSet(context.Background(), "requirepass", "new-secret").Err(); err != nil {
		t.Fatal(err)
	}
	err := r.Listener().Receive(context.Background(), Subscription{Channels: []string{"photo:upload"}})
	wantMentions(t, err, "photo:upload", "redis.password", "credentials")
}

// fakeRedis knows no HELLO, confirms a SUBSCRIBE to channel c, and then does what after says.
func fakeRedis(t *testing.T, after func(rd *bufio.Reader, w io.Writer)) (url string) {
	t.Helper()
	return "redis://" + listenAs(t, func(rd *bufio.Reader, w io.Writer) {
		if !readUntil(rd, "hello") {
			return
		}
		_, _ = io.WriteString(w, "-ERR unknown command\r\n")
		if !readUntil(rd, "c") {
			return
		}
		_, _ = io.WriteString(w, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
		after(rd, w)
		_, _ = io.Copy(io.Discard, rd) // silent, until the other side leaves
	})
}

// listenAs serves each connection with serve, and closes it after that.
func listenAs(t *testing.T, serve func(rd *bufio.Reader, w io.Writer)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				serve(bufio.NewReader(conn), conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return l.Addr().String()
}

// readUntil reads up to a word of a command, and is false when the other side leaves before.
func readUntil(rd *bufio.Reader, word string) bool {
	for {
		switch line, err := rd.ReadString('\n'); {
		case err != nil:
			return false
		case line == word+"\r\n":
			return true
		}
	}
}

// undialled leaves out the PING of DialRedis, which not every server of these tests answers.
func undialled(t *testing.T, url string) *Redis {
	t.Helper()
	r, err := newRedis(RedisConfig{URL: url}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestReceiveNoticesHalfOpenConnection(t *testing.T) {
	t.Parallel()
	r := undialled(t, fakeRedis(t, func(*bufio.Reader, io.Writer) {}))
	r.idle, r.answer = 20*time.Millisecond, 20*time.Millisecond
	in := receive(t, r, "c")
	eventually(t, "a reconnect", func() bool { return in.Reconnects() >= 1 })
}

// The hooks tell which messages belong together: no gap is between an Up and its Down.
func TestReceiveHooks(t *testing.T) {
	t.Parallel()
	r := undialled(t, fakeRedis(t, func(_ *bufio.Reader, w io.Writer) { // one message, and silence
		_, _ = io.WriteString(w, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n")
	}))
	r.idle, r.answer = 20*time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []string
	l := r.Listener()
	err := l.Receive(ctx, Subscription{
		Channels: []string{"c"},
		Up: func() {
			got = append(got, fmt.Sprint("up ", l.Connected()))
		},
		Handle: func(string, []byte) {
			if got = append(got, "message"); len(got) >= 5 {
				cancel()
			}
		},
		Down: func() { got = append(got, fmt.Sprint("down ", l.Connected())) },
	})
	want := []string{"up true", "message", "down false", "up true", "message", "down false"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Receive = %v, got %q, want %q", err, got, want)
	}
}

// A connection that breaks is not made again by the client's own means, which would hide the gap and take its time:
// the loss is told while the server takes no connections.
func TestReceiveTellsLossBeforeDialling(t *testing.T) {
	t.Parallel()
	conns, down := make(chan struct{}, 100), make(chan struct{})
	addr := listenAs(t, func(rd *bufio.Reader, w io.Writer) {
		conns <- struct{}{}
		if len(conns) > 1 {
			<-down // it would be waited for
			return
		}
		if readUntil(rd, "hello") {
			_, _ = io.WriteString(w, "-ERR unknown command\r\n")
		}
		if readUntil(rd, "c") {
			_, _ = io.WriteString(w, "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n")
		}
	})
	r := undialled(t, "redis://"+addr)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.Listener().Receive(ctx, Subscription{Channels: []string{"c"}, Down: func() { close(down) }})
	}()
	select {
	case <-down:
		if n := len(conns); n != 1 {
			t.Errorf("%d connections before the loss was told, want 1", n)
		}
	case <-time.After(patience):
		t.Error("the loss is not told")
		close(down)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Receive = %v", err)
	}
}

func TestReceivePatterns(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		in := receiveAll(t, dialTest(t, "redis://"+b.addr), Subscription{Patterns: []string{"photo:*", "x?"}})
		c := plainClient(t, b.addr)
		publish(t, c, "photo:upload", "1")
		publish(t, c, "xy", "2")
		in.wait(t, "photo:upload|1", "xy|2")
	})
}

func TestListenersAreIndependent(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr)
		one, two := receive(t, r, "a"), receive(t, r, "b")
		c := plainClient(t, b.addr)
		publish(t, c, "a", "1")
		publish(t, c, "b", "2")
		one.wait(t, "a|1")
		two.wait(t, "b|2")
		one.end(t)
		if one.Connected() || !two.Connected() {
			t.Errorf("Connected: %v of one that has ended, %v of the other", one.Connected(), two.Connected())
		}
	})
}

func TestReceiveKeepsSilentConnection(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr)
		r.idle, r.answer = 5*time.Millisecond, patience
		in := receive(t, r, "c")
		before := b.pings()
		eventually(t, "a few PINGs", func() bool { return b.pings() >= before+3 })
		publish(t, plainClient(t, b.addr), "c", "still here")
		in.wait(t, "c|still here")
		if got := in.Reconnects(); got != 0 {
			t.Errorf("Reconnects() = %d, want 0", got)
		}
	})
}

// A read that times out within a message would leave its rest to be read as what Redis says next.
func TestReceiveSlowMessageIsOneMessage(t *testing.T) {
	t.Parallel()
	payload := "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$6\r\nforged\r\n"
	r := undialled(t, fakeRedis(t, func(rd *bufio.Reader, w io.Writer) {
		_, _ = fmt.Fprintf(w, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$%d\r\n", len(payload))
		if readUntil(rd, "ping") {
			_, _ = io.WriteString(w, payload+"\r\n")
		}
	}))
	r.idle, r.answer = 20*time.Millisecond, patience
	in := receive(t, r, "c")
	in.wait(t, "c|"+payload)
	in.end(t)
	if got := in.Reconnects(); got != 0 {
		t.Errorf("Reconnects() = %d, want 0", got)
	}
}

func TestReceiveOverRESP3(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		r := dialTest(t, "redis://"+b.addr+"?protocol=3")
		r.idle, r.answer = 5*time.Millisecond, patience
		in := receive(t, r, "c", "d")
		c := plainClient(t, b.addr)
		publish(t, c, "c", "1")
		before := b.pings()
		eventually(t, "a few PINGs", func() bool { return b.pings() >= before+3 })
		publish(t, c, "d", "2")
		in.wait(t, "c|1", "d|2")
		if got := in.Reconnects(); got != 0 {
			t.Errorf("Reconnects() = %d, want 0", got)
		}
	})
}

func TestReceiveLeavesServerThatTalksNonsense(t *testing.T) {
	t.Parallel()
	r := undialled(t, fakeRedis(t, func(_ *bufio.Reader, w io.Writer) {
		_, _ = io.WriteString(w, "HTTP/1.1 400 Bad Request\r\n\r\n")
	}))
	in := receive(t, r, "c")
	eventually(t, "a reconnect", func() bool { return in.Reconnects() >= 1 })
}

func TestReceiveIsUpWithItsLastChannel(t *testing.T) {
	t.Parallel()
	r := undialled(t, fakeRedis(t, func(_ *bufio.Reader, w io.Writer) {
		_, _ = io.WriteString(w, "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$5\r\nearly\r\n"+
			"*3\r\n$9\r\nsubscribe\r\n$1\r\nd\r\n:2\r\n"+
			"*3\r\n$7\r\nmessage\r\n$1\r\nd\r\n$4\r\nlate\r\n")
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var up []bool
	l := r.Listener()
	err := l.Receive(ctx, Subscription{Channels: []string{"d", "c"}, Handle: func(string, []byte) {
		if up = append(up, l.Connected()); len(up) == 2 {
			cancel()
		}
	}})
	if want := []bool{false, true}; err != nil || !slices.Equal(up, want) {
		t.Errorf("Receive = %v, Connected at each message %v; want nil, %v", err, up, want)
	}
}

func TestReceiveEndsInTLSHandshake(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := undialled(t, "rediss://"+l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in := &received{cancel: cancel, done: make(chan error, 1)}
	go func() { in.done <- r.Listener().Receive(ctx, Subscription{Channels: []string{"c"}}) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err != nil { // its greeting, which gets no answer
		t.Fatal(err)
	}
	in.end(t)
}

func TestReceiveEndsInsideBurst(t *testing.T) {
	t.Parallel()
	r := undialled(t, fakeRedis(t, func(_ *bufio.Reader, w io.Writer) {
		_, _ = io.WriteString(w, strings.Repeat("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", 1000))
	}))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var handled int
	err := r.Listener().Receive(ctx, Subscription{Channels: []string{"c"}, Handle: func(string, []byte) {
		handled++
		cancel()
	}})
	if err != nil || handled != 1 {
		t.Errorf("Receive = %v after %d messages, want nil after the one that ended it", err, handled)
	}
}

func TestReconnectDelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attempt int
		jitter  float64
		want    time.Duration
	}{
		{0, 0, 100 * time.Millisecond},
		{0, 1, 200 * time.Millisecond},
		{1, 0.5, 250 * time.Millisecond},
		{4, 1, 2 * time.Second},
		{1 << 40, 0, 100 * time.Millisecond},
		{1 << 40, 1, 2 * time.Second},
	} {
		if got := reconnectDelay(tt.attempt, tt.jitter); got != tt.want {
			t.Errorf("reconnectDelay(%d, %v) = %s, want %s", tt.attempt, tt.jitter, got, tt.want)
		}
	}
}
