package engineio

import (
	"net"
	"time"
)

// stalledWrite is how long a peer may take nothing before a blocking write gives up.
const stalledWrite = 30 * time.Second

// netLink is the link for every kind of net.Conn: TLS, and systems without epoll. It has a goroutine that reads
// and, while there is something to write, one that writes.
type netLink struct {
	t       *websocket
	conn    net.Conn
	writing bool // these are guarded by the connection's mu
	shutOff bool
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
	if l.writing {
		return 0, nil
	}
	l.writing = true
	p = append([]byte(nil), p...)
	l.t.conn.srv.spawn(func() {
		_ = l.conn.SetWriteDeadline(time.Now().Add(stalledWrite))
		_, err := l.conn.Write(p)
		l.t.conn.mu.Lock()
		l.writing = false
		if l.shutOff {
			l.shutNow()
		}
		l.t.conn.mu.Unlock()
		if err != nil {
			l.t.closed()
			return
		}
		l.t.writable()
	})
	return len(p), nil
}

func (l *netLink) shut() {
	l.shutOff = true
	if !l.writing {
		l.shutNow()
	}
}

func (l *netLink) shutNow() {
	if half, ok := l.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// close goes past TLS, which would first write an alert and could wait for it.
func (l *netLink) close() {
	if over, ok := l.conn.(interface{ NetConn() net.Conn }); ok {
		_ = over.NetConn().Close()
		return
	}
	_ = l.conn.Close()
}
