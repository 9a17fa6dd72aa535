package server

import (
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// tail takes entries of the log to this replica's sockets, in order. Alone it emits events, so that everybody has
// one order; it waits for no client.
func (s *Server) tail(entries []adapter.Entry) {
	start := time.Now()
	s.sockets.Deliver(entries)
	s.metrics.delivered(entries, start)
	s.tracing.delivered(entries, start)
	s.written(entries)
}

// gap is called where entries are gone that the tail has not read. What was missed cannot be told, but that it was:
// all clients are closed, and come back as new ones.
func (s *Server) gap(at adapter.Position) { s.sockets.Reset(at) }
