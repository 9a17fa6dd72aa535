package socketio

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// BenchmarkDispatch is the way of an event from its packet to its handler.
func BenchmarkDispatch(b *testing.B) {
	for _, bench := range []struct{ name, packet string }{
		{"heartbeat", `2["heartbeat"]`},
		{"subscribe", `27["subscribe:photo",{"photoId":"0b9c6f0e-8f0e-4a53-9b7b-5b0f2d3a7c11"}]`},
	} {
		b.Run(bench.name, func(b *testing.B) {
			srv, err := New(Options{})
			if err != nil {
				b.Fatal(err)
			}
			n, handled := srv.Of("/"), 0
			n.OnAny(func(_ context.Context, _ *Socket, e *Event) {
				var in struct{ PhotoID string }
				if len(e.Args()) > 0 && e.Decode(&in) != nil {
					b.Error("not decoded")
				}
				handled++
			})
			c := &client{srv: srv}
			s := &Socket{ns: n, client: c}
			s.connected.Store(true)
			c.sockets = append(c.sockets, s)
			packet := []byte(bench.packet)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.decode(packet, false); err != nil {
					b.Fatal(err)
				}
			}
			if handled == 0 {
				b.Error("nothing was handled")
			}
		})
	}
}

// sink is a member of rooms without a connection.
type sink struct{ bytes int }

func (s *sink) Enqueue(m *engineio.Message) { s.bytes += m.Len() }
func (s *sink) Flush()                      {}

// BenchmarkEmit is a broadcast to a room of 1000, all but the writing. Deliver is the same from the log.
func BenchmarkEmit(b *testing.B) {
	const members = 1000
	args := map[string]any{"photoId": "0b9c6f0e-8f0e-4a53-9b7b-5b0f2d3a7c11", "stage": "resize", "progress": 42}
	payload := []byte(`{"photoId":"0b9c6f0e-8f0e-4a53-9b7b-5b0f2d3a7c11","progress":42,"stage":"resize"}`)
	for _, window := range []time.Duration{0, time.Minute} {
		room := func(b *testing.B) *Namespace {
			srv, err := New(Options{RecoveryWindow: window, RecoveryBytes: 1 << 20, Start: adapter.Position{MS: 1}})
			if err != nil {
				b.Fatal(err)
			}
			n := srv.Of("/")
			for i := range members {
				var seat adapter.Seat[*engineio.Message]
				n.rooms.Enter(&seat, fmt.Sprint(i), &sink{}, func(adapter.Position) {})
				n.rooms.Join(&seat, []string{"room"}, nil)
			}
			b.ReportAllocs()
			b.ResetTimer()
			return n
		}
		perDelivery := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*members), "ns/delivery")
		}
		b.Run(fmt.Sprint("Emit/window=", window), func(b *testing.B) {
			n := room(b)
			for range b.N {
				_ = n.To("room").Emit("processing.event", args)
			}
			perDelivery(b)
		})
		b.Run(fmt.Sprint("Deliver/window=", window), func(b *testing.B) {
			n := room(b)
			for i := range b.N {
				n.deliver([]adapter.Entry{{
					Position: adapter.Position{MS: 2, Seq: uint64(i)},
					Message:  adapter.Message{Rooms: []string{"room"}, Args: Args("processing.event", payload)},
				}})
			}
			perDelivery(b)
		})
	}
}
