//go:build !linux

package engineio

import "net"

func (s *Server) newLink(t *websocket, nc net.Conn) (link, error) {
	return &netLink{t: t, conn: nc}, nil
}

// poller has nothing to do where every connection has a goroutine.
type poller struct{}

func newPoller() *poller    { return &poller{} }
func (*poller) open() error { return nil }
func (*poller) run()        {}
func (*poller) close()      {}
