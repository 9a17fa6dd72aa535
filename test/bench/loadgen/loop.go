//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// perAddress connections come from one source address, 127.0.0.2 and up, so that ports never run short.
	perAddress = 10_000
	maxConns   = 250 * perAddress

	connectLimit = 3 * time.Minute // for all connections together
)

// loop is all connections and the one thread that serves them, level-triggered: one read per readiness, parsed in
// place in a shared buffer.
type loop struct {
	cfg    config
	start  time.Time
	epoll  int
	events []unix.EpollEvent
	conns  []*conn
	byFD   []*conn
	in     []byte // read buffer
	out    []byte // frame under construction

	ready   int
	pending int            // handshakes under way
	closed  int            // connections lost after they were ready
	failed  int            // handshakes refused or broken
	reasons map[string]int // for those two

	onEvent func(c *conn, m []byte, now int64)
	onEcho  func(c *conn, now int64)
	onLost  func(c *conn)
	onReady func(c *conn, recovered bool)
	pings   int
}

func newLoop(cfg config) (*loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &loop{cfg: cfg, start: time.Now(), epoll: epoll, events: make([]unix.EpollEvent, 1024),
		in: make([]byte, 2*maxFrame), reasons: map[string]int{}}, nil
}

// now is in nanoseconds since the start.
func (l *loop) now() int64 { return int64(time.Since(l.start)) }

// connectAll opens all connections and takes them through the handshake. Those that are not ready in time are
// closed and counted as stuck.
func (l *loop) connectAll(server *process, res result) error {
	begin, cpu := time.Now(), server.cpu()
	for next := 0; next < l.cfg.n || l.pending > 0; {
		for ; next < l.cfg.n && l.pending < l.cfg.inflight; next++ {
			if err := l.dial(next); err != nil {
				return err
			}
		}
		l.poll(100 * time.Millisecond)
		if time.Since(begin) > connectLimit || l.failed > 200 && l.ready == 0 {
			break
		}
	}
	took := time.Since(begin)
	res.count("stuck", l.pending)
	for _, c := range l.conns {
		if c.state != ready {
			l.shut(c)
		}
	}
	l.pending = 0
	if l.ready == 0 {
		return fmt.Errorf("no connection became ready: %v", l.reasons)
	}
	res.count("connected", l.ready)
	res.set("connect_rate", float64(l.ready)/took.Seconds())
	res.set("connect_cpu_us", float64(server.cpu()-cpu)/float64(l.ready))
	return nil
}

// dial starts connection i; the handshake goes on in poll.
func (l *loop) dial(i int) error {
	c := &conn{index: int32(i), room: int32(i / l.cfg.perRoom), replica: int32(i % len(l.cfg.ports))}
	l.conns = append(l.conns, c)
	return l.open(c)
}

// open connects c to its replica, for the first time or again.
func (l *loop) open(c *conn) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EMFILE) {
		return fmt.Errorf("connection %d: %w: raise ulimit -n or lower -n", c.index, err)
	}
	if err != nil {
		return fmt.Errorf("connection %d: %w", c.index, err)
	}
	c.fd, c.state = int32(fd), connecting
	c.partial, c.message, c.unsent = nil, nil, nil
	if fd >= len(l.byFD) {
		l.byFD = append(l.byFD, make([]*conn, fd+1024-len(l.byFD))...)
	}
	l.byFD[fd] = c
	l.pending++
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + int(c.index)/perAddress)}}),
		l.watch(c, unix.EPOLL_CTL_ADD, unix.EPOLLIN|unix.EPOLLOUT))
	if err != nil {
		return fmt.Errorf("connection %d: %w", c.index, err)
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: l.cfg.ports[c.replica], Addr: [4]byte{127, 0, 0, 1}})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		l.drop(c, "connect: "+err.Error())
	}
	return nil
}

func (l *loop) watch(c *conn, op int, events uint32) error {
	return unix.EpollCtl(l.epoll, op, int(c.fd), &unix.EpollEvent{Events: events, Fd: c.fd})
}

// drop ends a connection that the server or the network failed.
func (l *loop) drop(c *conn, why string) {
	switch c.state {
	case shut:
		return
	case ready:
		l.closed++
		l.ready--
	default:
		l.failed++
		l.pending--
	}
	if _, known := l.reasons[why]; known || len(l.reasons) < 20 {
		l.reasons[why]++
	}
	wasReady := c.state == ready
	l.shut(c)
	if wasReady && l.onLost != nil {
		l.onLost(c)
	}
}

func (l *loop) shut(c *conn) {
	if c.state != shut {
		c.state = shut
		_ = unix.Close(int(c.fd))
	}
}

// disconnectAll is our own goodbye, which counts for nothing.
func (l *loop) disconnectAll() {
	for _, c := range l.conns {
		l.shut(c)
	}
	l.conns, l.ready, l.pending = l.conns[:0], 0, 0
}

func (l *loop) close() {
	l.disconnectAll()
	_ = unix.Close(l.epoll)
}

// pump serves the connections for d.
func (l *loop) pump(d time.Duration) {
	l.pumpUntil(d, func() bool { return false })
}

// pumpUntil serves the connections until done says so, at most for d.
func (l *loop) pumpUntil(d time.Duration, done func() bool) {
	for end := time.Now().Add(d); time.Now().Before(end) && !done(); {
		l.poll(min(time.Until(end), 100*time.Millisecond))
	}
}

// poll waits for something to happen and handles it.
func (l *loop) poll(limit time.Duration) {
	n, err := wait(l.epoll, l.events, max(0, limit))
	if err != 0 {
		return // interrupted
	}
	for _, e := range l.events[:n] {
		c := l.byFD[e.Fd]
		if c.state != shut && e.Events&unix.EPOLLOUT != 0 {
			l.writable(c)
		}
		if c.state != shut && e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			l.readable(c)
		}
	}
}

// readable reads once and handles all whole frames; what is left waits for more.
func (l *loop) readable(c *conn) {
	kept := copy(l.in, c.partial)
	n, errno := read(c.fd, l.in[kept:])
	switch {
	case errno == unix.EAGAIN:
		return
	case errno != 0:
		l.drop(c, "read: "+errno.Error())
		return
	case n == 0:
		l.drop(c, fmt.Sprintf("closed by the server, %v", c.state))
		return
	}
	now, p := l.now(), l.in[:kept+n]
	if c.state == upgrading {
		p = l.upgraded(c, p)
	}
	for c.state > upgrading {
		f, size, err := parseFrame(p)
		if err != nil {
			l.drop(c, err.Error())
			return
		}
		if size == 0 {
			break
		}
		l.onFrame(c, f, now)
		p = p[size:]
	}
	switch {
	case len(p) == 0 && cap(c.partial) > 4096:
		c.partial = nil
	case len(p) == 0:
		c.partial = c.partial[:0]
	default:
		c.partial = append(c.partial[:0], p...)
	}
}
