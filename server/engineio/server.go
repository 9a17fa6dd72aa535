package engineio

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves Engine.IO. Make it with New, mount it, and run Run.
type Server struct {
	opts   Options
	accept func(*Conn) Handler
	wheel  *wheel
	poller *poller

	running atomic.Bool
	up      chan struct{}  // closed when Run has begun
	work    sync.WaitGroup // goroutines that Run waits for
	open    atomic.Int64

	turnedAway atomic.Uint64
	origins    atomic.Pointer[[]string]

	mu                      sync.Mutex
	conns                   map[string]*Conn // open ones, and closed ones whose goodbye is under way
	ended                   map[Reason]uint64
	stopped                 bool   // Run is ending: no connection comes in any more
	messagesOut, messagesIn uint64 // of connections that are gone
}

// New makes a Server that calls accept for each new connection, before the client hears of it. accept must not
// block for long: the client's handshake waits.
func New(opts Options, accept func(*Conn) Handler) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.WithDefaults()
	s := &Server{
		opts:   opts,
		accept: accept,
		wheel:  newWheel(min(opts.PingInterval, opts.PingTimeout, lingerTime)),
		poller: newPoller(),
		up:     make(chan struct{}),
		conns:  map[string]*Conn{},
		ended:  map[Reason]uint64{},
	}
	s.SetCORSOrigins(opts.CORSOrigins)
	return s, nil
}

// Run serves heartbeats and reads websockets until ctx ends. Then it closes what is still connected and waits for
// every goroutine of the server's. Requests before and after it are answered 503. It can be run once.
func (s *Server) Run(ctx context.Context) error {
	if err := s.poller.open(); err != nil {
		return err
	}
	s.work.Add(1) // so that spawn never meets a finished Wait
	s.running.Store(true)
	close(s.up)
	var loop sync.WaitGroup
	loop.Go(func() { s.poller.run() })

	ticker := time.NewTicker(s.wheel.tick)
	defer ticker.Stop()
	var due []*Conn
	for done := false; !done; {
		select {
		case <-ticker.C:
			due = s.wheel.advance(due[:0])
			for _, c := range due {
				c.timer()
			}
			clear(due)
		case <-ctx.Done():
			done = true
		}
	}

	s.running.Store(false)
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	for _, c := range s.list() {
		c.mu.Lock()
		c.closeLocked(ShuttingDown)
		c.deadLocked()
		c.mu.Unlock()
	}
	s.poller.close()
	loop.Wait()
	s.work.Done()
	s.work.Wait()
	return nil
}

// Drain closes all connections, spread evenly over the given time so that their clients do not come back to the
// other replicas all at once, and refuses new ones from now on. It returns when the last bytes have gone out, at most
// a few seconds later, or ctx ends.
func (s *Server) Drain(ctx context.Context, over time.Duration) {
	s.running.Store(false)
	conns := s.list()
	rand.Shuffle(len(conns), func(i, j int) { conns[i], conns[j] = conns[j], conns[i] })
	const steps = 100
	upTo := func(step int) int { return (len(conns)*step + steps - 1) / steps }
	for i := range steps {
		for _, c := range conns[upTo(i):upTo(i+1)] {
			c.close(ShuttingDown)
		}
		if upTo(i+1) == len(conns) || !pause(ctx, over/steps) {
			break
		}
	}
	for end := time.Now().Add(lingerTime); len(s.list()) > 0 && time.Now().Before(end); {
		if !pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}

// pause reports whether it lasted for d.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// Accepting is closed once Run takes connections.
func (s *Server) Accepting() <-chan struct{} { return s.up }

// Len is the number of open connections.
func (s *Server) Len() int { return int(s.open.Load()) }

// Queued is how many bytes wait for clients to take them. It looks at every connection.
func (s *Server) Queued() int {
	n := 0
	for _, c := range s.list() {
		c.mu.Lock()
		n += c.queued
		c.mu.Unlock()
	}
	return n
}

// Ended counts the connections that have ended, by reason.
func (s *Server) Ended() map[Reason]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ended)
}

func (s *Server) list() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.conns))
}

// spawn runs fn on a goroutine that Run waits for.
func (s *Server) spawn(fn func()) { s.work.Go(fn) }

func (s *Server) lookup(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[sid]
}

// closing and forget are called under the connection's mu.
func (s *Server) closing(c *Conn, why Reason) {
	s.open.Add(-1)
	s.mu.Lock()
	s.ended[why]++
	s.mu.Unlock()
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	if s.conns[c.id] == c {
		delete(s.conns, c.id)
		s.messagesOut += c.messagesOut
		s.messagesIn += c.messagesIn.Load()
	}
	s.mu.Unlock()
}

// Messages counts the packets queued for clients, heartbeats included, and the messages that came from them, since the
// start. It looks at every connection.
func (s *Server) Messages() (out, in uint64) {
	s.mu.Lock()
	out, in = s.messagesOut, s.messagesIn
	conns := slices.Collect(maps.Values(s.conns))
	s.mu.Unlock()
	for _, c := range conns {
		c.mu.Lock()
		out += c.messagesOut
		c.mu.Unlock()
		in += c.messagesIn.Load()
	}
	return out, in
}

// protocolError is an answer to a bad request, with the codes and words of Node's engine.io.
type protocolError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var (
	errUnknownTransport   = &protocolError{0, "Transport unknown"}
	errUnknownSID         = &protocolError{1, "Session ID unknown"}
	errBadHandshakeMethod = &protocolError{2, "Bad handshake method"}
	errBadRequest         = &protocolError{3, "Bad request"}
	errUnsupported        = &protocolError{5, "Unsupported protocol version"}
)

func forbidden(message string) *protocolError { return &protocolError{4, message} }

func (e *protocolError) write(w http.ResponseWriter) {
	status := http.StatusBadRequest
	if e.Code == 4 {
		status = http.StatusForbidden
	}
	body, _ := json.Marshal(e) // two plain fields
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// ServeHTTP takes handshakes, polls and websocket upgrades, at whatever path it is mounted.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.serve(w, r, true) }

// serve takes requests of sessions that are here, and if it may forward, those of other replicas' sessions too.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, forward bool) {
	q := r.URL.Query()
	sid := q.Get("sid")
	upgrade := isUpgrade(r)
	c, bad := s.verify(r, q, sid, upgrade)
	if bad == errUnknownSID && forward && s.elsewhere(w, r, sid, upgrade) {
		return
	}
	if s.cors(w, r) {
		return
	}
	if bad == nil && c == nil && (!s.running.Load() || s.full()) {
		notAccepting(w)
		return
	}
	switch {
	case bad != nil:
		bad.write(w)
	case upgrade:
		s.serveWebSocket(w, r, c)
	case c == nil:
		s.servePollingHandshake(w, r)
	default:
		s.servePolling(w, r, c)
	}
}

// verify checks a request as Node's engine.io does, in its order, and finds the connection of its sid.
func (s *Server) verify(r *http.Request, q url.Values, sid string, upgrade bool) (*Conn, *protocolError) {
	transport := q.Get("transport")
	if !slices.Contains(s.opts.Transports, transport) {
		return nil, errUnknownTransport
	}
	if sid != "" {
		c := s.lookup(sid)
		switch {
		case c == nil, c.closed.Load() && (c.Transport() == WebSocket || r.Method != http.MethodGet):
			return nil, errUnknownSID // a closed one can only be asked for its last packets
		case !upgrade && c.Transport() != Polling, q.Get("EIO") != Protocol, upgrade != (transport == WebSocket):
			return nil, errBadRequest
		}
		return c, nil
	}
	switch {
	case r.Method != http.MethodGet:
		return nil, errBadHandshakeMethod
	case (transport == WebSocket) != upgrade:
		return nil, errBadRequest
	}
	if s.opts.AllowRequest != nil {
		if err := s.opts.AllowRequest(r); err != nil {
			return nil, forbidden(err.Error())
		}
	}
	if q.Get("EIO") != Protocol {
		return nil, errUnsupported
	}
	return nil, nil
}

// full reports whether there are as many connections as there may be, and counts those it turns away. Handshakes at the
// same moment may bring a few more than that.
func (s *Server) full() bool {
	if s.opts.MaxConnections == 0 || s.Len() < s.opts.MaxConnections {
		return false
	}
	s.turnedAway.Add(1)
	return true
}

// TurnedAway counts the connections that were refused because there were too many.
func (s *Server) TurnedAway() uint64 { return s.turnedAway.Load() }

func notAccepting(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "not accepting connections", http.StatusServiceUnavailable)
}

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), WebSocket)
}

// newConn makes a connection that start makes known.
func (s *Server) newConn(r *http.Request) *Conn {
	random := make([]byte, 15)
	_, _ = crand.Read(random) // never fails, says crypto/rand
	id := base64.RawURLEncoding.EncodeToString(random)
	if s.opts.Replica != "" && !isUpgrade(r) {
		id += "." + s.opts.Replica
	}
	c := &Conn{
		srv:       s,
		id:        id,
		handshake: Handshake{Query: r.URL.RawQuery, RemoteAddr: r.RemoteAddr},
		allowed:   s.opts.MaxQueue,
	}
	for _, name := range s.opts.Headers {
		if v := r.Header.Values(name); len(v) > 0 {
			if c.handshake.Header == nil {
				c.handshake.Header = http.Header{}
			}
			c.handshake.Header[http.CanonicalHeaderKey(name)] = slices.Clone(v) // not a part of all that was sent
		}
	}
	return c
}

// start makes c known, attaches its handler, sends the OPEN packet and begins heartbeats. It reports whether the
// server still takes connections.
func (s *Server) start(c *Conn) bool {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return false
	}
	s.conns[c.id] = c
	s.mu.Unlock()
	s.open.Add(1)

	c.reading.Lock() // nothing is handled before there is a handler
	c.mu.Lock()
	c.enqueueLocked(s.openMessage(c))
	c.mu.Unlock()
	c.handler = s.accept(c)
	c.reading.Unlock()

	c.mu.Lock()
	if !c.closed.Load() {
		s.wheel.set(c, s.opts.PingInterval)
	}
	c.flushLocked()
	c.mu.Unlock()
	c.settle()
	return true
}

func (s *Server) openMessage(c *Conn) *Message {
	upgrades := []string{}
	if c.ws == nil && slices.Contains(s.opts.Transports, WebSocket) {
		upgrades = append(upgrades, WebSocket)
	}
	open, _ := json.Marshal(struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}{c.id, upgrades, s.opts.PingInterval.Milliseconds(), s.opts.PingTimeout.Milliseconds(), s.opts.MaxPayload})
	return newPacket(typeOpen, open)
}
