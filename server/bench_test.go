package server

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
)

// benchEvent is an event of 300 bytes whose id is written into it.
func benchEvent(b *testing.B, kind, data, metadata string) (payload []byte, number func(int)) {
	b.Helper()
	const digits = 12
	pad := 300 - len(event(strings.Repeat("0", digits), kind, data+`,"pad":""`, metadata))
	payload = []byte(event(strings.Repeat("0", digits), kind, data+`,"pad":"`+strings.Repeat("x", pad)+`"`, metadata))
	if len(payload) != 300 {
		b.Fatalf("the event has %d bytes", len(payload))
	}
	at := payload[len(`{"id":"`):][:digits]
	return payload, func(n int) {
		for i := digits - 1; n > 0; i-- {
			at[i] = byte('0' + n%10)
			n /= 10
		}
	}
}

// BenchmarkIngestOne is the way of a single event to a log in memory: decode, route, append. Not in it are the payload,
// which the source makes, and the store of owners: these events name no owner. See BenchmarkIngest.
func BenchmarkIngestOne(b *testing.B) {
	for _, bb := range []struct{ channel, kind, data, metadata string }{
		{"photo:upload", "photo.deleted", `"filename":"a.jpg"`, `,"clientId":"client-42","sessionId":"session-42"`},
		{"photo:processing", "photo.processing.started", `"photoId":"photo-123","userId":"user-42"`, ``},
		{"photo:completion", "photo.processing.completed", `"photoId":"photo-123"`, `,"clientId":"client-42"`},
	} {
		b.Run(bb.channel, func(b *testing.B) {
			log := newFakeLog()
			s := newBus(b, setup{log: log})
			ctx, cancel := context.WithCancel(context.Background())
			var tail sync.WaitGroup
			var entries atomic.Int64
			tail.Go(func() { _ = log.memory(ctx, func(e []adapter.Entry) { entries.Add(int64(len(e))) }) })
			payload, number := benchEvent(b, bb.kind, bb.data, bb.metadata)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n++
				number(n) // nobody reads the payload of an entry here, so it may be used again
				must(b, s.ingest(ctx, adapter.Lease{Channel: bb.channel}, []message{{payload: payload}}))
			}
			eventually(b, "the tail", func() bool { return entries.Load() == int64(n) })
			if got := s.metric("events_received_total", "channel", bb.channel, "event_type", bb.kind); got != float64(n) {
				b.Fatalf("%v events were taken in, want %d", got, n)
			}
			cancel()
			tail.Wait()
		})
	}
}

// BenchmarkFanout is one event to 1,000 sockets in one room, over loopback, until all of them have read it. The
// clients' reads are part of it, as they share the processor; send-ns/delivery is the tail's own time.
func BenchmarkFanout(b *testing.B) {
	const sockets = 1000
	var config Config
	config.Socket.RecoveryWindow = time.Second    // keeps what a run leaves in memory from growing
	config.Socket.Engine.PingInterval = time.Hour // nothing but the events is on the wire
	log := newFakeLog()
	var sending atomic.Int64
	log.tail = func(ctx context.Context, apply func([]adapter.Entry)) error {
		return log.memory(ctx, func(e []adapter.Entry) {
			began := time.Now()
			apply(e)
			sending.Add(int64(time.Since(began)))
		})
	}
	s := start(b, setup{config: config, log: log, policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	var read atomic.Int64
	more := make(chan struct{}, 1)
	for range sockets {
		_, from := s.follow(b, `["subscribe:photo",{"photoId":"p"}]`, "subscribed")
		go func() { // until the connection is closed
			buf := make([]byte, 4<<10)
			for {
				n, err := from.Read(buf)
				if err != nil {
					return
				}
				read.Add(int64(n))
				select {
				case more <- struct{}{}:
				default:
				}
			}
		}()
	}
	payload, number := benchEvent(b, "photo.processing.started", `"photoId":"p"`, "")
	offset := s.Log.Start().Next(time.Now()).String()
	wire := 4 + len(`42["processing.event",,""]`) + len(payload) + len(offset) // 4 is the frame's header
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		number(n)
		must(b, s.ingest(b.Context(), adapter.Lease{Channel: "photo:processing"}, []message{{payload: bytes.Clone(payload)}}))
		for want := int64(n * sockets * wire); read.Load() < want; {
			<-more
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*sockets), "ns/delivery")
	b.ReportMetric(float64(sending.Load())/float64(n*sockets), "send-ns/delivery")
	if got, want := read.Load(), int64(n*sockets*wire); got != want {
		b.Fatalf("%d bytes were read, want %d", got, want)
	}
}

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
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime(b)
	for n := 0; n < b.N; n += burst {
		_, err := conn.Write(asks)
		must(b, err)
		for range burst {
			_, err := readFrame(from)
			must(b, err)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(b.N), "cpu-ns/op")
}
