package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/server/engineio"
)

const (
	// forwardPath is where replicas take each other's requests, whatever path the client asked for: nothing else that
	// is on their internal ports can be reached.
	forwardPath = "/socket.io/"
	// forwardDial is short, as replicas are near each other, and a client waits.
	forwardDial = 3 * time.Second
	// forwardIdle is less than a server keeps its idle connections, so that none is closed as a request goes out.
	forwardIdle = 45 * time.Second
)

// forwarder takes requests of other replicas' sessions to these replicas. Without it, a client that polls would need a
// load balancer that sends all its requests to one place.
type forwarder struct {
	// lookup knows the internal address of each replica that lives or drains, as Parts.Find has it. Anybody can ask for
	// any name, so it answers from memory.
	lookup func(ctx context.Context, replica string) (addr string, ok bool)
	dialer net.Dialer
	secure *tls.Dialer // nil: replicas that do TLS cannot be reached
	pool   *http.Transport
	spare  buffers

	served, unknown, failed, aborted prometheus.Counter

	mu      sync.Mutex
	open    map[*trip]struct{}
	stopped bool
	work    sync.WaitGroup // what is open
}

// trip is a request or a websocket on its way.
type trip struct{ end func() }

var (
	errUnknownReplica = errors.New("no such replica")
	errForwarderEnded = errors.New("forwards no more")
	errNoPeerTLS      = errors.New("the replica does TLS, and this one does not")
)

func newForwarder(lookup func(ctx context.Context, replica string) (addr string, ok bool), reg prometheus.Registerer) *forwarder {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eventbus_forwarded_requests_total",
		Help: "Requests of clients whose session is at another replica, by what came of them.",
	}, []string{"outcome"})
	reg.MustRegister(outcomes)
	f := &forwarder{
		lookup:  lookup,
		dialer:  net.Dialer{Timeout: forwardDial},
		open:    map[*trip]struct{}{},
		served:  outcomes.WithLabelValues("served"),
		unknown: outcomes.WithLabelValues("unknown replica"),
		failed:  outcomes.WithLabelValues("failed"),
		aborted: outcomes.WithLabelValues("aborted"),
	}
	f.pool = &http.Transport{
		DialContext:         f.dialer.DialContext,
		MaxIdleConnsPerHost: 256, // and any number in use: each poll that waits has one
		IdleConnTimeout:     forwardIdle,
		TLSHandshakeTimeout: forwardDial,
		DisableCompression:  true, // what a client accepts is its own business
	}
	return f
}

// useTLS says how replicas are reached that do TLS. It comes before the first request.
func (f *forwarder) useTLS(cfg *tls.Config) {
	if cfg == nil {
		return
	}
	f.pool.TLSClientConfig = cfg
	f.secure = &tls.Dialer{NetDialer: &f.dialer, Config: cfg}
}

// dial connects to a replica.
func (f *forwarder) dial(ctx context.Context, scheme, host string) (net.Conn, error) {
	if scheme != "https" {
		return f.dialer.DialContext(ctx, "tcp", host)
	}
	ctx, cancel := context.WithTimeout(ctx, forwardDial) // for the handshake, too
	defer cancel()
	return f.secure.DialContext(ctx, "tcp", host)
}

// splitAddr takes the scheme off a replica's address.
func splitAddr(addr string) (scheme, host string) {
	if host, secure := strings.CutPrefix(addr, "https://"); secure {
		return "https", host
	}
	return "http", addr
}

// forward is engineio's Elsewhere. A dead replica's session is as good as unknown: it is answered like that, and the
// client opens a new one at once. A 502 would do no more for it, but could have load balancers think ill of us.
func (f *forwarder) forward(replica string, w http.ResponseWriter, r *http.Request) (err error) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	t, ok := f.begin(cancel)
	if !ok {
		f.aborted.Inc()
		return errForwarderEnded
	}
	defer f.finish(t)

	outcome := f.failed
	defer func() { // it may panic, to break the client's connection off
		if outcome == f.failed && (ctx.Err() == context.Canceled || errors.As(err, new(*http.MaxBytesError))) {
			outcome = f.aborted
		}
		outcome.Inc()
	}()
	addr, ok := f.lookup(ctx, replica)
	if !ok {
		outcome = f.unknown
		return errUnknownReplica
	}
	scheme, host := splitAddr(addr)
	if scheme == "https" && f.secure == nil {
		return errNoPeerTLS
	}
	send := f.request
	if strings.EqualFold(r.Header.Get("Upgrade"), engineio.WebSocket) {
		send = f.upgrade
	}
	if err = send(scheme, host, w, r.WithContext(ctx)); err == nil {
		outcome = f.served
	}
	return err
}

// request forwards what is no websocket. Bodies stream through, both ways.
func (f *forwarder) request(scheme, host string, w http.ResponseWriter, r *http.Request) (err error) {
	proxy := httputil.ReverseProxy{
		Transport: f.pool,
		Rewrite: func(p *httputil.ProxyRequest) {
			out := p.Out
			out.URL.Scheme, out.URL.Host = scheme, host
			out.URL.Path, out.URL.RawPath = forwardPath, ""
			out.Header.Del("Connection") // which asks for an upgrade, if for anything
			out.Header.Del("Upgrade")
			forwardedFor(out.Header, r)
			if out.Body == nil {
				// Without a body, the transport sends it again when a connection breaks, and the messages that the
				// first poll had taken would be lost without anybody knowing.
				out.Body = io.NopCloser(strings.NewReader(""))
			}
		},
		FlushInterval: -1, // before time is up for the client to read
		BufferPool:    &f.spare,
		ErrorLog:      quiet,
		ErrorHandler:  func(_ http.ResponseWriter, _ *http.Request, e error) { err = e },
	}
	proxy.ServeHTTP(w, r)
	return err
}

// forwardedFor tells the replica what the headers said here, and where the request comes from.
func forwardedFor(h http.Header, r *http.Request) {
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := r.Header.Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		h.Set("X-Forwarded-For", strings.Join(append(slices.Clone(r.Header.Values("X-Forwarded-For")), ip), ", "))
	}
}

// begin notes a trip, which end must end soon when it is called. It reports false when there are to be no more.
func (f *forwarder) begin(end func()) (*trip, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, false
	}
	t := &trip{end}
	f.open[t] = struct{}{}
	f.work.Add(1)
	return t, true
}

func (f *forwarder) finish(t *trip) {
	f.mu.Lock()
	delete(f.open, t)
	f.mu.Unlock()
	f.work.Done()
}

func (f *forwarder) trips() []*trip {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.open))
}

// drain ends what is under way, evenly over the given time, or until ctx ends: these clients must go through another
// replica. What begins meanwhile is served: it is of clients whose turn has not come.
func (f *forwarder) drain(ctx context.Context, over time.Duration) {
	trips := f.trips()
	rand.Shuffle(len(trips), func(i, j int) { trips[i], trips[j] = trips[j], trips[i] })
	begun := time.Now()
	for i, t := range trips {
		t.end()
		turn := begun.Add(over * time.Duration(i+1) / time.Duration(len(trips)))
		if wait := time.Until(turn); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// run ends everything once ctx has ended, and waits for it.
func (f *forwarder) run(ctx context.Context) error {
	<-ctx.Done()
	f.mu.Lock()
	f.stopped = true
	f.mu.Unlock()
	for _, t := range f.trips() {
		t.end()
	}
	f.work.Wait()
	f.pool.CloseIdleConnections()
	return nil
}

// Forwarded serves the requests that other replicas forward to this one's sessions. Mount it at /socket.io/ of the
// internal port, and keep it until Run has returned.
func (s *Server) Forwarded() http.Handler { return s.sockets.Engine().Forwarded() }

// quiet is for what is counted: clients could fill a log with it.
var quiet = log.New(io.Discard, "", 0)

// buffers are those that answers are copied through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 16<<10)
}

func (b *buffers) Put(p []byte) { b.pool.Put(&p) }
