package adapter

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// clockTick is how late a key of the embedded server may expire. Each tick visits all keys, so it is not finer.
const clockTick = 250 * time.Millisecond

// Embedded is a Redis-compatible server within this process, for `serve --dev` and tests: nothing to install, and
// ordinary Redis clients can publish to it. It keeps everything in memory, asks for no password, knows no ACLs and has no
// bound on what is stored: it is not for production, and listens on loopback only.
type Embedded struct {
	srv  *miniredis.Miniredis
	addr string
}

// StartEmbedded listens on addr, which must be a loopback address with a port; zero means 127.0.0.1:0, a free port.
func StartEmbedded(addr string) (*Embedded, error) {
	addr = cmp.Or(addr, "127.0.0.1:0")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("embedded redis on %q: want host:port, such as 127.0.0.1:6379: %w", addr, err)
	}
	if host == "localhost" {
		host = "127.0.0.1" // whatever a hosts file may say
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("embedded redis on %q: it has no password, so it listens on loopback only: "+
			"use 127.0.0.1, or a real Redis", addr)
	}
	srv := miniredis.NewMiniRedis()
	if err := srv.StartAddr(net.JoinHostPort(host, port)); err != nil {
		return nil, fmt.Errorf("embedded redis: %w", err)
	}
	return &Embedded{srv: srv, addr: srv.Addr()}, nil
}

// Addr is host:port, still after Close.
func (e *Embedded) Addr() string { return e.addr }

// Run moves the clock by which keys expire, until ctx ends; without it they never do. It returns nil.
func (e *Embedded) Run(ctx context.Context) error {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			e.srv.FastForward(now.Sub(last))
			last = now
		}
	}
}

// Close disconnects all clients and waits until the server is gone. What it stored is lost.
func (e *Embedded) Close() { e.srv.Close() }
