package server

import (
	"context"
	"runtime/debug"
	"time"
)

// releaseFrom is how many connections make it worth while to give memory back early.
const releaseFrom = 1000

// release gives memory back to the system when more than half of many clients have left. The garbage collector
// would get there too, minutes later, as hardly anything is allocated once they are gone.
func (s *Server) release(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	most := 0
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		now := s.Connections()
		most = max(most, now)
		if most >= releaseFrom && now < most/2 {
			debug.FreeOSMemory()
			most = now
		}
	}
}
