package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/server/engineio"
)

// replica is an Engine.IO server that echoes, with its public and its internal port.
type replica struct {
	t                testing.TB
	name             string
	engine           *engineio.Server
	forwarder        *forwarder
	registry         *prometheus.Registry
	public, internal *httptest.Server
	stop             func()       // ends it, and waits
	kill             func()       // ends it as a power cut does
	inside, secrets  atomic.Int32 // forwarded requests here now, and what nobody may reach

	mu    sync.Mutex
	conns map[string]*echoed
}

// echoed is a connection at its replica.
type echoed struct {
	*engineio.Conn
	closed chan engineio.Reason
}

func (e *echoed) Message(data []byte, binary bool) {
	if binary {
		e.Send(engineio.NewBinaryMessage([]byte("bin"), data))
	} else {
		e.Send(engineio.NewMessage(data))
	}
}

func (e *echoed) Closed(why engineio.Reason) { e.closed <- why }

func (e *echoed) wantClosed(t testing.TB, want engineio.Reason) {
	t.Helper()
	select {
	case got := <-e.closed:
		if got != want {
			t.Errorf("closed with reason %q, want %q", got, want)
		}
	case <-time.After(deadline):
		t.Fatalf("not closed, want reason %q", want)
	}
}

// cluster is replicas that know each other, and a balancer that sends each request to the next of them.
type cluster struct {
	t        testing.TB
	replicas []*replica
	url      string       // of the balancer
	asked    atomic.Int64 // requests to it
	lookups  atomic.Int32
}

// startCluster starts n replicas, called a, b and so on.
func startCluster(t testing.TB, n int, opts engineio.Options) *cluster {
	c := &cluster{t: t}
	for i := range n {
		c.replicas = append(c.replicas, c.start(string(rune('a'+i)), opts))
	}
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.replicas[int(c.asked.Add(1)-1)%n].engine.ServeHTTP(w, r)
	}))
	t.Cleanup(balancer.Close)
	t.Cleanup(func() { // before the listeners wait for their requests
		for _, r := range c.replicas {
			r.stop()
		}
	})
	c.url = balancer.URL
	return c
}

func (c *cluster) lookup(_ context.Context, name string) (string, bool) {
	c.lookups.Add(1)
	for _, r := range c.replicas {
		if r.name == name {
			return r.internal.Listener.Addr().String(), true
		}
	}
	return "", false
}

func (c *cluster) start(name string, opts engineio.Options) *replica {
	r := &replica{t: c.t, name: name, registry: prometheus.NewRegistry(), conns: map[string]*echoed{}}
	r.forwarder = newForwarder(c.lookup, r.registry)
	opts.Replica, opts.Elsewhere = name, r.forwarder.forward
	var err error
	r.engine, err = engineio.New(opts, func(conn *engineio.Conn) engineio.Handler {
		e := &echoed{conn, make(chan engineio.Reason, 1)}
		r.mu.Lock()
		r.conns[conn.ID()] = e
		r.mu.Unlock()
		return e
	})
	must(c.t, err)
	r.public = httptest.NewServer(r.engine)
	internal := http.NewServeMux()
	forwarded := r.engine.Forwarded()
	internal.HandleFunc("/socket.io/", func(w http.ResponseWriter, req *http.Request) {
		r.inside.Add(1)
		defer r.inside.Add(-1)
		forwarded.ServeHTTP(w, req)
	})
	internal.HandleFunc("/secret", func(http.ResponseWriter, *http.Request) { r.secrets.Add(1) })
	r.internal = httptest.NewServer(internal)

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.engine.Run(ctx) })
	running.Go(func() { _ = r.forwarder.run(ctx) })
	r.stop = func() {
		cancel()
		running.Wait()
	}
	r.kill = func() {
		r.internal.Listener.Close()
		r.internal.CloseClientConnections()
	}
	c.t.Cleanup(r.internal.Close)
	c.t.Cleanup(r.public.Close)
	<-r.engine.Accepting()
	return r
}

// wantOutcomes waits for a count of forwarded requests, as clients hear some things before they are counted.
func (r *replica) wantOutcomes(want float64, outcome string) {
	r.t.Helper()
	(&bus{t: r.t, registry: r.registry}).wantMetric(want, "forwarded_requests_total", "outcome", outcome)
}

// poller is a client that polls.
type poller struct {
	t     testing.TB
	home  *replica
	query string
	*echoed
}

// answer is an HTTP response, read.
type answer struct {
	status int
	body   string
	header http.Header
}

const unknownSession = `{"code":1,"message":"Session ID unknown"}`

// connect opens a session at one of the replicas.
func (c *cluster) connect(at *replica) *poller {
	c.t.Helper()
	got := ask(c.t, "GET", at.public.URL+"/socket.io/?EIO=4&transport=polling", "", nil)
	return c.opened(got)
}

// opened is the client of a handshake.
func (c *cluster) opened(got answer) *poller {
	c.t.Helper()
	var open struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(got.body, "0")), &open); err != nil {
		c.t.Fatalf("handshake: got %d %s", got.status, got.body)
	}
	for _, r := range c.replicas {
		r.mu.Lock()
		e := r.conns[open.SID]
		r.mu.Unlock()
		if e != nil {
			return &poller{c.t, r, "/socket.io/?EIO=4&transport=polling&sid=" + open.SID, e}
		}
	}
	c.t.Fatalf("no replica has %s", open.SID)
	return nil
}

// ask sends a request. It may be called from any goroutine.
func ask(t testing.TB, method, url, body string, header http.Header) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return answer{}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := testClient.Do(req)
	if err != nil {
		t.Errorf("%s %s: %v", method, url, err)
		return answer{}
	}
	defer res.Body.Close()
	var got bytes.Buffer
	if _, err := io.Copy(&got, res.Body); err != nil {
		t.Errorf("%s %s: %v", method, url, err)
	}
	return answer{res.StatusCode, got.String(), res.Header}
}

// testClient opens a connection for each request, so that no test leaves one behind.
var testClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}

func (p *poller) get(base string) answer {
	p.t.Helper()
	return ask(p.t, "GET", base+p.query, "", nil)
}

func (p *poller) post(base, body string) answer {
	p.t.Helper()
	return ask(p.t, "POST", base+p.query, body, nil)
}

func (p *poller) wantGet(base string, status int, body string) {
	p.t.Helper()
	want(p.t, p.get(base), status, body)
}

func (p *poller) wantPost(base, packets string, status int, body string) {
	p.t.Helper()
	want(p.t, p.post(base, packets), status, body)
}

func want(t testing.TB, got answer, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Fatalf("got %d %.200q, want %d %.200q", got.status, got.body, status, body)
	}
}

// park starts a poll through another replica than the session's, and returns when it is there.
func (p *poller) park(through *replica) <-chan answer {
	p.t.Helper()
	got := make(chan answer, 1)
	go func() { got <- p.get(through.public.URL) }()
	eventually(p.t, "a poll to be forwarded", func() bool { return p.home.inside.Load() == 1 })
	return got
}

// dialRaw opens a TCP connection to a server.
func dialRaw(t testing.TB, base string) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), deadline)
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(deadline)))
	return conn
}
