package server

import (
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// tail takes entries of the log to this replica's sockets, in order. Alone it emits events, so that everybody has
// one order; it waits for no client.
func (s *Server) tail(entries []adapter.Entry) {
	start := time.Now()
	s.clients.Deliver(entries)
	s.metrics.delivered(len(entries), time.Since(start))
}
