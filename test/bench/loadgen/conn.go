//go:build linux

package main

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// state is how far a connection has come.
type state uint8

const (
	shut state = iota
	connecting
	upgrading   // the HTTP request is out
	opening     // waiting for Engine.IO's OPEN
	joining     // CONNECT with the token is out
	identifying // identify is out
	subscribing // subscribe:photo is out
	ready
)

func (s state) String() string {
	return [...]string{"shut", "connecting", "upgrading", "opening", "joining", "identifying", "subscribing", "ready"}[s]
}

// conn is one client.
type conn struct {
	fd      int32
	index   int32
	room    int32
	replica int32 // index of the one it is connected to
	state   state
	member  bool // was ready when the first event was published
	seen    tally
	sentAt  int64 // echo: when the request went out, zero when none is

	session // what a Socket.IO client knows when it returns
	back    returning

	partial []byte // input that is not a whole frame yet
	message []byte // fragments of a message
	unsent  []byte
}

// read and write cannot block, so that they need not tell Go's scheduler, which would cost as much again.
func read(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), errno
}

func write(fd int32, p []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	return int(n), errno
}

// wait is epoll_pwait2 (Linux 5.11): whole milliseconds, as epoll_wait has them, would be a good part of the latency
// of an event that is due in between.
func wait(epoll int, events []unix.EpollEvent, limit time.Duration) (int, unix.Errno) {
	timeout := unix.NsecToTimespec(int64(limit))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&events[0])),
		uintptr(len(events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	return int(n), errno
}

// send writes p, or keeps what the kernel does not take until it does.
func (l *loop) send(c *conn, p []byte) {
	if len(c.unsent) > 0 {
		if len(c.unsent) > maxFrame {
			l.drop(c, "the server does not read")
			return
		}
		c.unsent = append(c.unsent, p...)
		return
	}
	n, errno := write(c.fd, p)
	switch {
	case errno == unix.EAGAIN:
		n = 0
	case errno != 0:
		l.drop(c, "write: "+errno.Error())
		return
	}
	if n < len(p) {
		c.unsent = append(c.unsent, p[n:]...)
		_ = l.watch(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN|unix.EPOLLOUT)
	}
}

// writable ends the connecting, or sends what was left.
func (l *loop) writable(c *conn) {
	if c.state == connecting {
		if errno, _ := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); errno != 0 {
			l.drop(c, "connect: "+unix.Errno(errno).Error())
			return
		}
		c.state = upgrading
		c.unsent = append(c.unsent, upgradeRequest(l.cfg.ports[c.replica])...)
	}
	n, errno := 0, unix.Errno(0)
	if len(c.unsent) > 0 {
		n, errno = write(c.fd, c.unsent)
	}
	switch {
	case errno == unix.EAGAIN:
	case errno != 0:
		l.drop(c, "write: "+errno.Error())
	case n == len(c.unsent):
		c.unsent = nil
		_ = l.watch(c, unix.EPOLL_CTL_MOD, unix.EPOLLIN)
	default:
		c.unsent = c.unsent[:copy(c.unsent, c.unsent[n:])]
	}
}
