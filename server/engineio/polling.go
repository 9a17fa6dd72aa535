package engineio

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// noopDelay is how long a poll is kept waiting while an upgrade is under way: the client stops polling only when
// its poll has been answered. Node looks as often.
const noopDelay = 100 * time.Millisecond

func (s *Server) servePollingHandshake(w http.ResponseWriter, r *http.Request) {
	c := s.newConn(r)
	if !s.start(c) {
		notAccepting(w)
		return
	}
	s.serveGET(w, r, c)
}

func (s *Server) servePolling(w http.ResponseWriter, r *http.Request, c *Conn) {
	switch r.Method {
	case http.MethodGet:
		s.serveGET(w, r, c)
	case http.MethodPost:
		s.servePOST(w, r, c)
	default:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "want GET to receive or POST to send", http.StatusMethodNotAllowed)
	}
}

// serveGET answers with what waits for the client, as soon as there is something.
func (s *Server) serveGET(w http.ResponseWriter, r *http.Request, c *Conn) {
	wake := make(chan struct{}, 1)
	c.mu.Lock()
	if c.ws != nil { // it came late: the client has upgraded meanwhile
		c.mu.Unlock()
		errBadRequest.write(w)
		return
	}
	if c.poll != nil { // two polls at once: no order could be kept
		c.closeLocked(TransportError)
		c.mu.Unlock()
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.poll = wake
	if len(c.queue) > 0 || c.closed.Load() {
		c.wakePollLocked()
	}
	upgrading := c.probe != nil
	c.mu.Unlock()

	var noop <-chan time.Time
	if upgrading {
		timer := time.NewTimer(noopDelay)
		defer timer.Stop()
		noop = timer.C
	}
	select {
	case <-wake:
	case <-noop:
	case <-r.Context().Done():
		c.pollBroke(wake)
		return
	}

	buf := gather.Get().(*[]byte)
	defer gather.Put(buf)
	body := c.takePayload((*buf)[:0])
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	// A client that does not read is as gone as one that does not answer pings.
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(s.opts.PingInterval + s.opts.PingTimeout))
	_, err := w.Write(body)
	if err == nil {
		if err = rc.Flush(); errors.Is(err, http.ErrNotSupported) {
			err = nil // something around us buffers, and flushes when we return
		}
	}
	_ = rc.SetWriteDeadline(time.Time{})
	if err != nil {
		c.pollBroke(nil)
	}
}

// pollBroke ends the connection, unless it has upgraded and its last poll does not matter any more.
func (c *Conn) pollBroke(wake chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.poll == wake {
		c.poll = nil
	}
	if c.ws == nil {
		c.closeLocked(TransportError)
	}
}

// takePayload takes what one poll brings: up to MaxPayload bytes, at least one packet.
func (c *Conn) takePayload(body []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poll = nil
	n := 0
	if c.ws == nil {
		for n < len(c.queue) && (n == 0 || len(body)+c.queue[n].Len() <= c.srv.opts.MaxPayload) {
			body = c.queue[n].appendPayload(body)
			n++
		}
		c.dropLocked(n)
	}
	switch {
	case c.ws == nil && c.closed.Load() && len(c.queue) == 0:
		goodbye := packet{kind: typeClose}
		if c.reason == TransportClose { // it was the client who said so
			goodbye.kind = typeNoop
		}
		body = appendSeparated(body, goodbye)
		c.deadLocked()
	case n == 0:
		body = noopMessage.appendPayload(body)
	}
	return body
}

// servePOST takes a payload of packets from the client.
func (s *Server) servePOST(w http.ResponseWriter, r *http.Request, c *Conn) {
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream") {
		c.close(TransportError)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	overlap := c.posting
	c.posting = true
	c.mu.Unlock()
	if overlap {
		c.close(TransportError)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	defer func() {
		c.mu.Lock()
		c.posting = false
		c.mu.Unlock()
	}()

	// A body may take as long as a client that does not answer pings.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.opts.PingInterval + s.opts.PingTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.opts.MaxPayload)))
	if tooBig := new(http.MaxBytesError); errors.As(err, &tooBig) {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	} else if err != nil {
		c.close(TransportError)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.payload(body)
	h := w.Header()
	h.Set("Content-Type", "text/html") // text/plain makes some old browsers offer a download
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok"))
}

// payload handles the packets of one POST.
func (c *Conn) payload(body []byte) {
	defer c.settle()
	c.reading.Lock()
	defer c.reading.Unlock()
	err := eachPacket(body, func(p packet) bool {
		c.mu.Lock()
		c.heard = true
		polling := c.ws == nil
		c.mu.Unlock()
		if polling {
			c.receive(p)
		}
		return polling && !c.closed.Load()
	})
	if err != nil {
		c.close(ParseError)
	}
}
