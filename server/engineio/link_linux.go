package engineio

import (
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// On Linux a plain TCP connection is taken from net/http as a bare descriptor and watched by an epoll instance of
// our own, so that an idle websocket costs neither a goroutine nor a read buffer nor the runtime's network
// structures: about a kilobyte instead of eight.

// newLink takes nc over.
func (s *Server) newLink(t *websocket, nc net.Conn) (link, error) {
	tcp, plain := nc.(*net.TCPConn) // without TLS or anything else around it
	if !plain {
		return &netLink{t: t, conn: nc}, nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if cerr := raw.Control(func(f uintptr) { fd, err = unix.FcntlInt(f, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return nil, cerr
	}
	if err != nil {
		return nil, fmt.Errorf("duplicate the socket: %w", err)
	}
	_ = tcp.Close() // the duplicate keeps the connection
	return &epollLink{t: t, poller: s.poller, fd: fd}, nil
}

// epollLink is a link on a non-blocking descriptor. A goroutine exists only while there is something to read.
type epollLink struct {
	t      *websocket
	poller *poller
	fd     int // guarded by the connection's mu, and by the reader's turn: close waits for it
	id     uint32
	early  []byte
	state  atomic.Uint32
}

// Bits of epollLink.state.
const (
	linkReading = 1 << iota // a goroutine has its turn
	linkAgain               // something happened since it last looked
	linkEnding              // the peer has sent its last
	linkClosed
)

func (l *epollLink) start(early []byte) {
	l.early = early
	l.poller.add(l)
	if len(early) > 0 {
		l.ready(0)
	}
}

// ready gives the link's reader a turn. Edge-triggered events that come meanwhile make it look again.
func (l *epollLink) ready(events uint32) {
	news := uint32(linkReading | linkAgain)
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		news |= linkEnding
	}
	if old := l.state.Or(news); old&(linkReading|linkClosed) == 0 {
		l.poller.readers.push(l)
	} else if old&(linkReading|linkClosed) == linkClosed {
		l.state.And(^uint32(linkReading)) // nobody reads, and nobody will
	}
}

var readBuffers = sync.Pool{New: func() any { return new([8 << 10]byte) }}

// read is the reader's turn: until the kernel has nothing more, or the end.
func (l *epollLink) read() {
	if len(l.early) > 0 {
		l.t.input(l.early)
		l.early = nil
	}
	buf := readBuffers.Get().(*[8 << 10]byte)
	defer readBuffers.Put(buf)
	for {
		old := l.state.Load()
		if old&linkClosed != 0 {
			_ = unix.Close(l.fd) // close left it to us
			return
		}
		if old&linkAgain == 0 {
			if l.state.CompareAndSwap(old, old&^linkReading) {
				return
			}
			continue
		}
		l.state.And(^uint32(linkAgain))
		if !l.drain(buf[:]) {
			l.t.closed() // which closes the link
		}
	}
}

// drain reads what there is and reports whether the peer may send more.
func (l *epollLink) drain(buf []byte) bool {
	for l.state.Load()&linkClosed == 0 {
		n, err := unix.Read(l.fd, buf)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return true
		case err != nil || n == 0:
			return false
		default:
			l.t.input(buf[:n])
			if n < len(buf) && l.state.Load()&linkEnding == 0 {
				return true // drained: what comes now is a new edge, see epoll(7); the end may have come with an old one
			}
		}
	}
	return true
}

func (l *epollLink) write(p []byte) (int, error) {
	if l.state.Load()&linkClosed != 0 {
		return 0, net.ErrClosed
	}
	done := 0
	for done < len(p) {
		n, err := unix.Write(l.fd, p[done:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return done, nil
		case err != nil:
			return done, err
		default:
			done += n
		}
	}
	return done, nil
}

func (l *epollLink) end(p []byte) {
	if l.state.Load()&linkClosed == 0 {
		_, _ = l.write(p) // where it does not fit, the peer does without
		_ = unix.Shutdown(l.fd, unix.SHUT_WR)
	}
}

// close closes the descriptor, or where the reader has its turn leaves that to it: a number that is still in use
// must not be given to another connection.
func (l *epollLink) close() {
	old := l.state.Or(linkClosed)
	if old&linkClosed != 0 {
		return
	}
	l.poller.remove(l)
	if old&linkReading == 0 {
		_ = unix.Close(l.fd)
	}
}

// poller is one epoll instance. It sits in the Go runtime's own poller, so waiting holds no thread.
type poller struct {
	fd   int
	file *os.File

	readers readers

	mu    sync.Mutex
	next  uint32
	links map[uint32]*epollLink
}

func newPoller() *poller { return &poller{links: map[uint32]*epollLink{}} }

func (p *poller) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	p.fd, p.file = fd, os.NewFile(uintptr(fd), "epoll")
	return nil
}

func (p *poller) close() {
	_ = p.file.Close()
	p.readers.stop()
}

// add begins to watch l. The event carries an id and not the descriptor, whose number is soon used again.
func (p *poller) add(l *epollLink) {
	c := l.t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.state.Load()&linkClosed != 0 {
		return
	}
	p.mu.Lock()
	p.next++
	l.id = p.next
	p.links[l.id] = l
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | epollET, Fd: int32(l.id)}
	if err := unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, l.fd, &ev); err != nil {
		l.t.lostLocked()
	}
}

const epollET = 1 << 31 // unix.EPOLLET is negative on some platforms

func (p *poller) remove(l *epollLink) {
	p.mu.Lock()
	delete(p.links, l.id)
	p.mu.Unlock()
}

// run waits for events until close.
func (p *poller) run() {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 256)
	links := make([]*epollLink, len(events))
	n := 0
	wait := func(fd uintptr) bool {
		n, err = unix.EpollWait(int(fd), events, 0)
		return n > 0 || err != nil && err != syscall.EINTR
	}
	for raw.Read(wait) == nil {
		p.mu.Lock()
		for i := range max(n, 0) {
			links[i] = p.links[uint32(events[i].Fd)]
		}
		p.mu.Unlock()
		for i := range max(n, 0) {
			l := links[i]
			if l == nil {
				continue // closed meanwhile
			}
			if events[i].Events&unix.EPOLLOUT != 0 {
				l.t.writable()
			}
			if events[i].Events&^unix.EPOLLOUT != 0 {
				l.ready(events[i].Events)
			}
		}
		clear(links[:max(n, 0)])
	}
}
