package engineio

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lingerTime is how long the client has to fetch its last packets and close its side after Close.
const lingerTime = 5 * time.Second

// Handshake is what remains of the request that opened a connection.
type Handshake struct {
	// Header has those headers of the request that Options.Headers names.
	Header http.Header
	// Query is the raw query of the URL.
	Query string
	// RemoteAddr is the peer's "IP:port".
	RemoteAddr string
}

// Conn is one client, whatever transport it uses. All methods may be called from any goroutine, from its own
// Handler too.
type Conn struct {
	srv       *Server
	id        string
	handshake Handshake
	handler   Handler

	timed timed // its place on the heartbeat wheel

	// reading is held while the client's packets are handled: it keeps handler calls in order, and Closed last.
	reading  sync.Mutex
	notified bool // Closed was called; guarded by reading

	closed atomic.Bool // set under mu
	due    atomic.Bool // settle has something to do

	mu       sync.Mutex
	tasks    []func()      // of Do
	reason   Reason        // why it closed
	ws       *websocket    // the transport, nil while polling
	probe    *websocket    // an upgrade under way
	poll     chan struct{} // wakes the poll that waits; nil when none does
	posting  bool          // a polling body is being received
	queue    []*Message    // waiting to go out
	sent     int           // bytes of queue[0] that have gone
	queued   int           // bytes in queue, of whole messages
	allowed  int           // bytes that may be queued; over that the client is slow
	blocked  bool          // the kernel takes no more for now
	overflow bool          // the queue was full
	pinged   bool          // a pong is due
	heard    bool          // something else came since the ping
	extended bool          // and the wait for the pong was prolonged for that

	messagesOut uint64        // that were queued for the client
	messagesIn  atomic.Uint64 // that came from it
}

// ID is the session id, known only to this client: do not show it to others.
func (c *Conn) ID() string { return c.id }

// Handshake tells about the request that opened the connection. It is read-only.
func (c *Conn) Handshake() *Handshake { return &c.handshake }

// Transport is the name of the transport in use.
func (c *Conn) Transport() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ws != nil {
		return WebSocket
	}
	return Polling
}

// Send queues m and writes what can go out now. It never blocks.
func (c *Conn) Send(m *Message) {
	c.mu.Lock()
	c.enqueueLocked(m)
	c.flushLocked()
	c.mu.Unlock()
}

// Enqueue queues m without writing: what waits for a connection goes out in one write, so a broadcaster queues
// all it has before it flushes. It does no I/O and may be called under a lock.
func (c *Conn) Enqueue(m *Message) {
	c.mu.Lock()
	c.enqueueLocked(m)
	c.mu.Unlock()
}

// EnqueueBacklog queues messages that a returning client has missed. They do not count as slowness.
func (c *Conn) EnqueueBacklog(missed []*Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range missed {
		c.allowed += m.Len()
		c.enqueueLocked(m)
	}
}

// Flush writes what Enqueue queued. It never blocks.
func (c *Conn) Flush() {
	c.mu.Lock()
	c.flushLocked()
	c.mu.Unlock()
}

// Do calls fn soon, as one of the handler's calls: never beside one.
func (c *Conn) Do(fn func()) {
	c.mu.Lock()
	c.tasks = append(c.tasks, fn)
	c.mu.Unlock()
	c.due.Store(true)
	c.srv.spawn(c.settle)
}

// Close ends the connection with ForcedClose after what is queued has gone out.
func (c *Conn) Close() { c.close(ForcedClose) }

// CloseAs ends the connection for a reason of the caller's knowing. TransportClose leaves nothing for the client to
// fetch: it is gone.
func (c *Conn) CloseAs(why Reason) { c.close(why) }

func (c *Conn) close(why Reason) {
	c.mu.Lock()
	c.closeLocked(why)
	c.mu.Unlock()
}

func (c *Conn) enqueueLocked(m *Message) {
	if c.closed.Load() || c.overflow || m.Volatile && !c.writableLocked() {
		return
	}
	c.queue = append(c.queue, m)
	c.messagesOut++
	c.queued += m.Len()
	if c.queued > c.allowed && len(c.queue) > 1 { // one alone the kernel may well take
		c.overflow = true // Flush closes: here a lock of the caller's may be held
	}
}

// writableLocked reports whether a message sent now would not have to wait.
func (c *Conn) writableLocked() bool {
	if c.ws != nil {
		return !c.blocked
	}
	return c.poll != nil
}

func (c *Conn) flushLocked() {
	if c.overflow && !c.closed.Load() {
		c.closeLocked(SlowClient)
		return
	}
	if c.ws != nil {
		c.ws.flushLocked()
	} else if len(c.queue) > 0 {
		c.wakePollLocked()
	}
}

func (c *Conn) wakePollLocked() {
	if c.poll != nil {
		select {
		case c.poll <- struct{}{}:
		default:
		}
	}
}

// popLocked takes n written bytes off the queue.
func (c *Conn) popLocked(n int) {
	n += c.sent
	done := 0
	for done < len(c.queue) && n >= c.ws.size(c.queue[done]) {
		n -= c.ws.size(c.queue[done])
		done++
	}
	c.sent = n
	c.dropLocked(done)
}

// dropLocked takes the first n messages off the queue.
func (c *Conn) dropLocked(n int) {
	for _, m := range c.queue[:n] {
		c.queued -= m.Len()
	}
	rest := copy(c.queue, c.queue[n:])
	clear(c.queue[rest:])
	c.queue = c.queue[:rest]
	if rest == 0 {
		c.allowed = c.srv.opts.MaxQueue
		if cap(c.queue) > 8 { // an idle connection holds no buffer
			c.queue = nil
		}
	}
}

// closeLocked ends the connection for the handler at once. The orderly reasons leave what is queued, and a word
// of goodbye, for the client to fetch within lingerTime.
func (c *Conn) closeLocked(why Reason) {
	if c.closed.Load() {
		return
	}
	c.reason = why
	c.closed.Store(true)
	c.srv.closing(c, why)
	if c.probe != nil {
		c.probe.timeout.Stop()
		c.probe.link.close()
		c.probe = nil
	}
	orderly := why == ForcedClose || why == ShuttingDown
	if !orderly {
		c.queue, c.queued, c.sent = nil, 0, 0
	}
	switch {
	case c.ws == nil && orderly:
		c.wakePollLocked() // the poll, or the next one, brings the close packet
		c.srv.wheel.set(c, lingerTime)
	case c.ws == nil, why == TransportClose || why == PingTimeout || why == SlowClient:
		c.deadLocked()
	default:
		c.srv.wheel.set(c, lingerTime)
		c.flushLocked()
	}
	c.due.Store(true)
	c.srv.spawn(c.settle)
}

// deadLocked frees what a closed connection still has.
func (c *Conn) deadLocked() {
	if c.ws != nil {
		c.ws.link.close()
	}
	c.queue = nil
	c.wakePollLocked()
	c.srv.wheel.remove(c)
	c.srv.forget(c)
}

// settle does what is due in turn with handler calls: what Do was given, and Closed once c is closed. Both who makes
// it due and who ends a handler call come here, so one of them finds the way free.
func (c *Conn) settle() {
	for c.due.Load() && c.reading.TryLock() {
		c.due.Store(false)
		c.mu.Lock()
		tasks := c.tasks
		c.tasks = nil
		c.mu.Unlock()
		for _, task := range tasks {
			task()
		}
		if c.closed.Load() && !c.notified {
			c.notified = true
			c.handler.Closed(c.reason)
		}
		c.reading.Unlock()
	}
}

// timer is called by the wheel: send a ping, or see that no pong came, or that a goodbye took too long.
func (c *Conn) timer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.srv.wheel.has(c): // set anew before we came to it
	case c.closed.Load():
		c.deadLocked()
	case !c.pinged:
		c.pinged, c.heard, c.extended = true, false, false
		c.enqueueLocked(pingMessage)
		c.flushLocked()
		c.srv.wheel.set(c, c.srv.opts.PingTimeout)
	case c.heard && !c.extended: // it may be busy, as Node thinks too
		c.extended = true
		c.srv.wheel.set(c, c.srv.opts.PingTimeout)
	default:
		c.closeLocked(PingTimeout)
	}
}

// receive handles a packet from the transport in use. The caller holds reading.
func (c *Conn) receive(p packet) {
	if c.closed.Load() {
		return
	}
	switch p.kind {
	case typeMessage:
		c.messagesIn.Add(1)
		c.handler.Message(p.data, p.binary)
	case typePong:
		c.mu.Lock()
		if c.pinged && !c.closed.Load() {
			c.pinged = false
			c.srv.wheel.set(c, c.srv.opts.PingInterval)
		}
		c.mu.Unlock()
	case typePing: // in this protocol only servers ping
		c.close(TransportError)
	case typeClose:
		c.close(TransportClose)
	}
}
