package engineio

import (
	"net"
	"time"
)

// stalledWrite is how long a peer may take nothing before a blocking write gives up.
const stalledWrite = 30 * time.Second

// lastWords is how long a write under way may go on when its link is closed.
const lastWords = time.Second

// netLink is the link for every kind of net.Conn: TLS, and systems without epoll. It has a goroutine that reads
// and, while there is something to write, one that writes.
type netLink struct {
	t    *websocket
	conn net.Conn

	// guarded by the connection's mu
	writing bool
	last    []byte // to write before the sending side ends
	ending  bool
	closing bool
}

func (l *netLink) start(early []byte) {
	l.t.conn.srv.spawn(func() {
		if len(early) > 0 {
			l.t.input(early)
		}
		buf := make([]byte, 4<<10)
		for {
			n, err := l.conn.Read(buf)
			if n > 0 {
				l.t.input(buf[:n])
			}
			if err != nil {
				l.t.closed()
				return
			}
		}
	})
}

func (l *netLink) write(p []byte) (int, error) {
	switch {
	case l.closing || l.ending:
		return 0, net.ErrClosed
	case l.writing:
		return 0, nil
	}
	l.send(append([]byte(nil), p...))
	return len(p), nil
}

// send writes p in the background, and then what has come up meanwhile.
func (l *netLink) send(p []byte) {
	l.writing = true
	_ = l.conn.SetWriteDeadline(time.Now().Add(stalledWrite)) // hurry may shorten it
	l.t.conn.srv.spawn(func() {
		_, err := l.conn.Write(p)
		l.sent()
		if err != nil {
			l.t.closed()
			return
		}
		l.t.writable()
	})
}

func (l *netLink) sent() {
	c := l.t.conn
	c.mu.Lock()
	l.writing = false
	ended := false
	switch {
	case l.last != nil:
		last := l.last
		l.last = nil
		l.send(last)
		if l.closing {
			l.hurry()
		}
	case l.closing:
		l.drop()
	default:
		ended = l.ending
	}
	c.mu.Unlock()
	if ended {
		l.half()
	}
}

func (l *netLink) end(p []byte) {
	if l.closing || l.ending {
		return
	}
	l.ending = true
	if l.writing {
		l.last = p
	} else {
		l.send(p)
	}
}

// half ends the sending side alone, where there is such a thing. Over TLS that writes, and may wait.
func (l *netLink) half() {
	if c, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}

func (l *netLink) close() {
	if l.closing {
		return
	}
	l.closing = true
	if l.writing {
		l.hurry()
		return
	}
	l.drop()
}

func (l *netLink) hurry() { _ = l.conn.SetWriteDeadline(time.Now().Add(lastWords)) }

// drop goes past TLS, which would first write an alert and could wait for it.
func (l *netLink) drop() {
	if over, ok := l.conn.(interface{ NetConn() net.Conn }); ok {
		_ = over.NetConn().Close()
		return
	}
	_ = l.conn.Close()
}
