package server

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/server/engineio"
)

// A client whose every request goes to the next replica sees one session.
func TestForwardRoundRobin(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{PingInterval: 100 * time.Millisecond, PingTimeout: deadline})
	p := c.opened(ask(t, "GET", c.url+"/socket.io/?EIO=4&transport=polling", "", nil))
	var packets []string // but pings
	pings := 0
	collect := func(got answer) {
		t.Helper()
		if got.status != 200 {
			t.Fatalf("poll: got %d %s", got.status, got.body)
		}
		for packet := range strings.SplitSeq(got.body, "\x1e") {
			if packet != "2" {
				packets = append(packets, packet)
				continue
			}
			pings++
			p.wantPost(c.url, "3", 200, "ok")
		}
	}
	var sent []string
	for i := range 100 {
		text, binary := fmt.Sprintf("4message %d", i), base64.StdEncoding.EncodeToString([]byte{byte(i), 0, 255})
		p.wantPost(c.url, text+"\x1eb"+binary, 200, "ok")
		sent = append(sent, text, "4bin", "b"+binary)
		for len(packets) < len(sent) {
			collect(p.get(c.url))
		}
	}
	if !slices.Equal(packets, sent) {
		t.Errorf("got %q, want %q", packets, sent)
	}
	for pings < 5 {
		collect(p.get(c.url))
	}
	home, other := c.replicas[0], c.replicas[1]
	other.wantOutcomes(float64(c.asked.Load()/2), "served")
	home.wantOutcomes(0, "served")
}

func TestForwardPollWaits(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	p := c.connect(c.replicas[0])
	got := p.park(c.replicas[1])
	p.Send(engineio.NewBinaryMessage([]byte("one"), []byte{1}))
	want(t, <-got, 200, "4one\x1ebAQ==")
}

func TestForwardLarge(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	p, through := c.connect(c.replicas[0]), c.replicas[1].public.URL
	large := strings.Repeat("x", 900_000)
	p.wantPost(through, "4"+large, 200, "ok")
	p.wantGet(through, 200, "4"+large)
}

func TestForwardOverlap(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, engineio.Options{})
	t.Run("polls", func(t *testing.T) {
		p := c.connect(c.replicas[0])
		polls := make(chan answer, 2)
		for _, through := range c.replicas[1:] {
			go func() { polls <- p.get(through.public.URL) }()
		}
		got := []answer{<-polls, <-polls}
		if got[0].status == 200 {
			slices.Reverse(got)
		}
		want(t, got[0], 400, "")
		want(t, got[1], 200, "1")
		p.wantClosed(t, engineio.TransportError)
		p.wantGet(c.replicas[1].public.URL, 400, unknownSession)
	})
	t.Run("posts", func(t *testing.T) {
		p := c.connect(c.replicas[0])
		slow := dialRaw(t, c.replicas[1].public.URL)
		fmt.Fprintf(slow, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n4one", p.query)
		eventually(t, "the first body to be on its way", func() bool { return p.home.inside.Load() == 1 })
		// It is read soon after that: until then a second one is only a second one.
		eventually(t, "both to be refused", func() bool {
			return p.post(c.replicas[2].public.URL, "4two").status == 400
		})
		p.wantClosed(t, engineio.TransportError)
	})
}

// What a client does that ends its session ends it through another replica too.
func TestForwardEndsOfSessions(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	home, other := c.replicas[0], c.replicas[1]
	t.Run("close packet", func(t *testing.T) {
		p := c.connect(home)
		got := p.park(other)
		p.wantPost(other.public.URL, "1", 200, "ok")
		if poll := <-got; poll.status != 400 { // it was there in time
			want(t, poll, 200, "6")
		}
		p.wantClosed(t, engineio.TransportClose)
		p.wantGet(other.public.URL, 400, unknownSession)
	})
	t.Run("parse error", func(t *testing.T) {
		p := c.connect(home)
		p.wantPost(other.public.URL, "nonsense", 200, "ok")
		p.wantClosed(t, engineio.ParseError)
	})
	t.Run("octet stream", func(t *testing.T) {
		p := c.connect(home)
		got := ask(t, "POST", other.public.URL+p.query, "4x", http.Header{"Content-Type": {"application/octet-stream"}})
		want(t, got, 400, "")
		p.wantClosed(t, engineio.TransportError)
	})
	t.Run("client gone while it polls", func(t *testing.T) {
		p := c.connect(home)
		conn := dialRaw(t, other.public.URL)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", p.query)
		eventually(t, "the poll to be forwarded", func() bool { return home.inside.Load() == 1 })
		conn.Close()
		p.wantClosed(t, engineio.TransportError)
		other.wantOutcomes(1, "aborted")
	})
	t.Run("client gone while it posts", func(t *testing.T) {
		p := c.connect(home)
		conn := dialRaw(t, other.public.URL)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n4half", p.query)
		eventually(t, "the body to be on its way", func() bool { return home.inside.Load() == 1 })
		conn.Close()
		p.wantClosed(t, engineio.TransportError)
	})
	t.Run("closed by the server", func(t *testing.T) {
		p := c.connect(home)
		got := p.park(other)
		p.Send(engineio.NewMessage([]byte("last")))
		p.Close()
		first := <-got
		if first.body == "4last" {
			want(t, p.get(other.public.URL), 200, "1")
		} else {
			want(t, first, 200, "4last\x1e1")
		}
		p.wantClosed(t, engineio.ForcedClose)
	})
}

// A client of a dead replica hears what it hears of any session that is gone, so it opens a new one.
func TestForwardToDeadReplica(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{CORSOrigins: []string{"https://app.example"}})
	home, other := c.replicas[0], c.replicas[1]
	p := c.connect(home)
	p.wantPost(other.public.URL, "4x", 200, "ok") // there is a connection to use again
	p.wantGet(other.public.URL, 200, "4x")
	parked := p.park(other)
	home.kill()
	want(t, <-parked, 400, unknownSession)
	got := ask(t, "POST", other.public.URL+p.query, "4x", http.Header{"Origin": {"https://app.example"}})
	want(t, got, 400, unknownSession)
	if cors := got.header.Values("Access-Control-Allow-Origin"); !slices.Equal(cors, []string{"https://app.example"}) {
		t.Errorf("CORS of an error: got %q", cors)
	}
	other.wantOutcomes(2, "failed")

	nobody := strings.Replace(p.query, ".a", ".nobody", 1)
	want(t, ask(t, "GET", other.public.URL+nobody, "", nil), 400, unknownSession)
	other.wantOutcomes(1, "unknown replica")
}

func TestForwardHeadersOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{CORSOrigins: []string{"https://app.example"}})
	p := c.connect(c.replicas[0])
	origin := http.Header{"Origin": {"https://app.example"}}
	for _, method := range []string{"POST", "GET", "OPTIONS"} {
		got := ask(t, method, c.replicas[1].public.URL+p.query, strings.Repeat("4x", len(method)%3), origin)
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": "https://app.example", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
		} {
			if v := got.header.Values(name); !slices.Equal(v, []string{want}) {
				t.Errorf("%s: %s is %q, want it once: %s", method, name, v, want)
			}
		}
		if n := len(got.header.Values("Date")); n != 1 {
			t.Errorf("%s: %d dates", method, n)
		}
	}
}

func TestForwardBodyTooLarge(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{MaxPayload: 1000})
	home, other := c.replicas[0], c.replicas[1]
	p := c.connect(home)
	p.wantPost(other.public.URL, "4"+strings.Repeat("x", 1000), 413, "")
	if c.lookups.Load() != 0 {
		t.Error("a body of known size that is too large was forwarded")
	}
	p.wantPost(other.public.URL, "4"+strings.Repeat("x", 999), 200, "ok")

	conn := dialRaw(t, other.public.URL)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n%s\r\n", p.query, strings.Repeat("x", 1001))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("endless body: got %d, want 413", res.StatusCode)
	}
	p.wantClosed(t, engineio.TransportError) // half a body has reached it
	other.wantOutcomes(1, "aborted")
}

// What another replica forwards is served or refused, but goes no further.
func TestForwardedOnce(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, engineio.Options{})
	p := c.connect(c.replicas[0])
	stranger := c.replicas[1].internal.URL
	p.wantGet(stranger, 400, unknownSession)
	want(t, ask(t, "GET", stranger+"/socket.io/?EIO=4&transport=polling", "", nil), 400, `{"code":3,"message":"Bad request"}`)
	if n := c.lookups.Load(); n != 0 {
		t.Errorf("%d lookups, want none", n)
	}
	p.wantPost(c.replicas[0].internal.URL, "4x", 200, "ok")
}

// A replica that drains serves its sessions to the end, and takes other replicas' requests as long.
func TestForwardWhileDraining(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	home, other := c.replicas[0], c.replicas[1]
	first, second := c.connect(home), c.connect(home)
	guest := c.connect(other)
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		home.engine.Drain(ctx, 1000*deadline)
	}()
	eventually(t, "the first session's turn", func() bool { return len(first.closed)+len(second.closed) == 1 })
	if len(second.closed) == 1 {
		first, second = second, first
	}
	first.wantGet(other.public.URL, 200, "1")
	second.wantPost(other.public.URL, "4x", 200, "ok")
	second.wantGet(other.public.URL, 200, "4x")
	guest.wantPost(home.public.URL, "4x", 200, "ok")
	guest.wantGet(home.public.URL, 200, "4x")
	cancel()
	<-drained
}

// Clients that came through a replica that drains leave it one by one, and those that are left when it ends.
func TestForwarderDrains(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2, engineio.Options{})
	home, other := c.replicas[0], c.replicas[1]
	one := c.connect(home)
	parked := one.park(other)
	other.forwarder.drain(t.Context(), time.Millisecond)
	want(t, <-parked, 400, unknownSession)
	one.wantClosed(t, engineio.TransportError)

	var left [2]*poller
	answers := make(chan answer, len(left))
	for i := range left {
		p := c.connect(home)
		left[i] = p
		go func() { answers <- p.get(other.public.URL) }()
	}
	eventually(t, "both polls to be forwarded", func() bool { return home.inside.Load() == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		other.forwarder.drain(ctx, 1000*deadline)
	}()
	want(t, <-answers, 400, unknownSession)
	cancel()
	<-drained
	if len(answers) != 0 {
		t.Error("both clients had to go at once")
	}
	other.stop()
	want(t, <-answers, 400, unknownSession)
	left[0].wantGet(other.public.URL, 400, unknownSession)
	if c.lookups.Load() != 3 {
		t.Error("a forwarder that has ended has looked for a replica")
	}
}

// standIn is a forwarder to one replica, which is whatever the test wants it to be.
func standIn(t *testing.T, opts engineio.Options, addr string) (url string, f *forwarder) {
	t.Helper()
	f = newForwarder(func(context.Context, string) (string, bool) { return addr, true }, prometheus.NewRegistry())
	opts.Replica, opts.Elsewhere = "here", f.forward
	engine, err := engineio.New(opts, nil) // nobody connects
	must(t, err)
	public := httptest.NewServer(engine)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.run(ctx)
	}()
	t.Cleanup(public.Close)
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return public.URL + "/socket.io/?EIO=4&transport=polling&sid=" + strings.Repeat("s", 20) + ".there", f
}

func TestForwardPassesRequestOn(t *testing.T) {
	t.Parallel()
	var got *http.Request
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Set-Cookie", "a=b")
		w.WriteHeader(418)
	}))
	t.Cleanup(peer.Close)
	url, _ := standIn(t, engineio.Options{}, peer.Listener.Addr().String())
	sent := http.Header{
		"Origin": {"https://app.example"}, "Cookie": {"session=1"}, "Authorization": {"Bearer t"}, "User-Agent": {"browser"},
		"X-Forwarded-For": {"203.0.113.9", "10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"app.example"},
		"Forwarded": {"for=203.0.113.9"}, "Upgrade": {"h2c"}, "Connection": {"Upgrade"}, "Accept-Encoding": {"br"},
	}
	url = strings.Replace(url, "/socket.io/", "/socket.io/%2e%2e/secret", 1) + "&t=a%20b"
	answer := ask(t, "POST", url, "4x", sent)
	if answer.status != 418 || answer.header.Get("Set-Cookie") != "a=b" {
		t.Errorf("got %d %v", answer.status, answer.header)
	}
	if got.Method != "POST" || got.URL.Path != "/socket.io/" || got.URL.Query().Get("t") != "a b" || got.ContentLength != 2 {
		t.Errorf("got %s %s, %d bytes", got.Method, got.URL, got.ContentLength)
	}
	sent.Del("Upgrade")
	sent.Del("Connection")
	sent["X-Forwarded-For"] = []string{"203.0.113.9, 10.0.0.1, 127.0.0.1"}
	for name, v := range sent {
		if !slices.Equal(got.Header[name], v) {
			t.Errorf("%s: got %q, want %q", name, got.Header[name], v)
		}
	}
	for _, name := range []string{"Upgrade", "Connection"} {
		if v := got.Header.Get(name); v != "" {
			t.Errorf("%s: got %q, want none", name, v)
		}
	}
}

// A poll that may have been answered is not sent again: the second answer would hide that the first is lost.
func TestForwardSendsOnce(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "POST"} {
		var requests atomic.Int32
		peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if v := r.Header.Get("Accept-Encoding"); v != "" {
				t.Errorf("Accept-Encoding: got %q, which the client did not say", v)
			}
			if requests.Add(1) == 2 {
				panic(http.ErrAbortHandler) // breaks the connection
			}
		}))
		t.Cleanup(peer.Close)
		url, _ := standIn(t, engineio.Options{}, peer.Listener.Addr().String())
		idempotent := http.Header{"Idempotency-Key": {"k"}}
		want(t, ask(t, method, url, "", idempotent), 200, "")
		want(t, ask(t, method, url, "", idempotent), 400, unknownSession)
		if n := requests.Load(); n != 2 {
			t.Errorf("%s: sent %d times, want once", method, n-1)
		}
	}
}

// An answer that breaks off must not look whole to the client.
func TestForwardAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	peer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "4half")
	}))
	t.Cleanup(peer.Close)
	url, f := standIn(t, engineio.Options{}, peer.Listener.Addr().String())
	res, err := testClient.Get(url)
	must(t, err)
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("got %q, want an error", body)
	}
	eventually(t, "it to be counted", func() bool { return counted(t, f.failed) == 1 })
}

func counted(t *testing.T, c prometheus.Counter) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	must(t, err)
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// A replica that takes connections and says nothing holds a client no longer than its own would.
func TestForwardToSilentReplica(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
	must(t, err)
	t.Cleanup(func() { silent.Close() })
	short := engineio.Options{PingInterval: 20 * time.Millisecond, PingTimeout: 20 * time.Millisecond, UpgradeTimeout: 20 * time.Millisecond}
	url, f := standIn(t, short, silent.Addr().String())
	want(t, ask(t, "GET", url, "", nil), 400, unknownSession)
	want(t, ask(t, "POST", url, "4x", nil), 400, unknownSession)
	url = strings.Replace(url, "polling", "websocket", 1)
	want(t, ask(t, "GET", url, "", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}), 400, unknownSession)
	eventually(t, "all to be counted", func() bool { return counted(t, f.failed) == 3 })
}
