package server

import (
	"syscall"
	"testing"

	"github.com/gobwas/ws"

	"github.com/photo-management/event-bus/auth"
)

// BenchmarkHeartbeat is a client's event and its answer, over loopback, a hundred at a time. The client's part is in it, and is
// the same whatever the server does.
func BenchmarkHeartbeat(b *testing.B) {
	const burst = 100
	s := start(b, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	conn, from := s.follow(b, `["heartbeat"]`, "heartbeat")
	var asks []byte
	for range burst {
		frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(`42["heartbeat"]`))))
		must(b, err)
		asks = append(asks, frame...)
	}
	cpu := func() int64 {
		var u syscall.Rusage
		must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return u.Utime.Nano() + u.Stime.Nano()
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := cpu()
	for n := 0; n < b.N; n += burst {
		_, err := conn.Write(asks)
		must(b, err)
		for range burst {
			_, err := readFrame(from)
			must(b, err)
		}
	}
	b.ReportMetric(float64(cpu()-began)/float64(b.N), "cpu-ns/op")
}
