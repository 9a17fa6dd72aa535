package engineio

import (
	"net/http"
	"time"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// handshakeWrite bounds the writing of the 101 answer.
const handshakeWrite = 10 * time.Second

// serveWebSocket opens a websocket: a new connection, or with c the upgrade of one that polls. Nothing of the
// HTTP server's is kept.
func (s *Server) serveWebSocket(w http.ResponseWriter, r *http.Request, c *Conn) {
	deflate := wsflate.Extension{Parameters: wsflate.Parameters{
		ServerNoContextTakeover: true, // or no broadcast could be encoded once
		ClientNoContextTakeover: true, // or every connection would keep a window
	}}
	up := ws.HTTPUpgrader{Timeout: handshakeWrite}
	if s.opts.Deflate {
		up.Negotiate = func(o httphead.Option) (httphead.Option, error) {
			accepted, err := deflate.Negotiate(o)
			if err != nil { // an offer that we do not understand is declined (RFC 7692 section 5.1)
				return httphead.Option{}, nil
			}
			return accepted, nil
		}
	}
	nc, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			nc.Close()
		}
		return // Upgrade has answered
	}
	early := make([]byte, rw.Reader.Buffered())
	_, _ = rw.Read(early) // from the buffer: it cannot fail
	_, compress := deflate.Accepted()
	t := &websocket{conn: c, deflate: compress}
	fresh := c == nil
	if fresh {
		t.conn = s.newConn(r)
	}
	if t.link, err = s.newLink(t, nc); err != nil {
		nc.Close()
		return
	}
	if fresh {
		t.conn.ws = t
		if !s.start(t.conn) {
			t.link.close()
			return
		}
	} else if !c.beginUpgrade(t) {
		return
	}
	t.link.start(early)
}

// beginUpgrade takes t as the connection's next transport. The polls go on until the client has probed it.
func (c *Conn) beginUpgrade(t *websocket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() || c.ws != nil || c.probe != nil {
		t.goodbyeLocked(closeFrame)
		t.link.close()
		return false
	}
	c.probe = t
	t.timeout = time.AfterFunc(c.srv.opts.UpgradeTimeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.probe == t {
			t.lostLocked()
		}
	})
	return true
}

// upgrade handles what comes over a transport that is being probed: "2probe", answered with "3probe", then "5".
// It reports whether to go on.
func (t *websocket) upgrade(p packet) bool {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.probe != t:
		return false
	case p.kind == typePing && string(p.data) == "probe":
		_, _ = t.link.write(probeAnswer.wire) // the first bytes on a new socket always fit
		c.wakePollLocked()                    // a noop ends the poll, so the client can pause
		return true
	case p.kind == typeUpgrade:
		t.timeout.Stop()
		c.probe, c.ws = nil, t
		c.wakePollLocked()
		c.flushLocked()
		return true
	}
	t.lostLocked()
	return false
}
