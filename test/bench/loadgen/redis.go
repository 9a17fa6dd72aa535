//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	channel = "photo:processing"

	redisLimit     = 5 * time.Second  // for Redis to take or answer a command
	subscribeLimit = 30 * time.Second // for the server to listen on the channel
)

// The commands without the event, their last argument.
var (
	publishCommand = command("PUBLISH", channel)
	addCommand     = command("XADD", "eventbus:in:"+channel, "MAXLEN", "~", "100000", "*", "event")
)

// command encodes the beginning of a command that has one more argument.
func command(args ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args)+1)
	for _, arg := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(arg), arg)
	}
	return b
}

// publisher publishes over one connection to Redis. Replies are read now and then, only so that Redis can go on.
type publisher struct {
	fd      int
	command []byte
	replies [4096]byte
	waiting int // replies not read yet
	durable bool
}

func newPublisher(port int) (*publisher, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	limit := unix.NsecToTimeval(int64(redisLimit))
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("redis on port %d: %w", port, err)
	}
	return &publisher{fd: fd}, nil
}

func (p *publisher) close() { _ = unix.Close(p.fd) }

// awaitListener waits until the server listens, by events of a photo that nobody subscribed to, and returns the number
// of listeners.
func (p *publisher) awaitListener(probe []byte) (int, error) {
	for end := time.Now().Add(subscribeLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err := p.publish(probe); err != nil {
			return 0, err
		}
		reply, err := p.read(0)
		if err != nil {
			return 0, err
		}
		number, _, _ := bytes.Cut(reply[1:], []byte("\r"))
		listeners, err := strconv.Atoi(string(number))
		if err != nil {
			return 0, fmt.Errorf("redis answered PUBLISH with %.40q", reply)
		}
		if listeners > 0 {
			return listeners, nil
		}
	}
	return 0, fmt.Errorf("nobody listens on %s after %v", channel, subscribeLimit)
}

// publish returns once Redis has the event.
func (p *publisher) publish(event []byte) error {
	b := append(p.command[:0], publishCommand...)
	if p.durable {
		b = append(p.command[:0], addCommand...)
	}
	b = append(b, '$')
	b = strconv.AppendInt(b, int64(len(event)), 10)
	b = append(b, "\r\n"...)
	b = append(b, event...)
	b = append(b, "\r\n"...)
	p.command = b
	for len(b) > 0 {
		n, err := unix.Write(p.fd, b)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("redis: %w", err)
		}
		b = b[max(n, 0):]
	}
	if p.waiting++; p.waiting < 64 {
		return nil
	}
	_, err := p.read(unix.MSG_DONTWAIT)
	return err
}

// read returns what replies there are, each a number of listeners or the id of an entry.
func (p *publisher) read(flags int) ([]byte, error) {
	p.waiting = 0
	n, _, err := unix.Recvfrom(p.fd, p.replies[:], flags)
	for err == unix.EINTR { // sockets with a timeout are not restarted
		n, _, err = unix.Recvfrom(p.fd, p.replies[:], flags)
	}
	switch {
	case err == unix.EAGAIN && flags != 0:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("redis: %w", err)
	case n == 0:
		return nil, fmt.Errorf("redis closed the connection")
	case p.replies[0] == '-':
		return nil, fmt.Errorf("redis: %.80q", p.replies[:n])
	}
	return p.replies[:n], nil
}
