package engineio

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkBroadcast is one message to n websockets whose kernel takes everything: encode, enqueue, flush.
func BenchmarkBroadcast(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		for _, burst := range []int{1, 10} {
			b.Run(fmt.Sprintf("conns=%d/burst=%d", n, burst), func(b *testing.B) {
				srv, err := New(Options{}, func(c *Conn) Handler { return newRecorder(b, c) })
				if err != nil {
					b.Fatal(err)
				}
				links := make([]*fakeLink, n)
				for i := range links {
					links[i] = addFakeConn(b, srv)
					links[i].forgetWritten = true
				}
				payload := []byte(`2["processing.event",{"id":"` + strings.Repeat("x", 300) + `"}]`)
				b.ReportAllocs()
				for b.Loop() {
					for range burst {
						m := NewMessage(payload)
						for _, l := range links {
							l.t.conn.Enqueue(m)
						}
					}
					for _, l := range links {
						l.t.conn.Flush()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n*burst), "ns/delivery")
				b.ReportMetric(float64(links[0].writes)/float64(b.N), "writes/conn")
				for _, l := range links {
					l.t.conn.CloseAs(TransportClose)
				}
				srv.work.Wait()
			})
		}
	}
}

// BenchmarkEcho is a message to the server and back over loopback.
func BenchmarkEcho(b *testing.B) {
	for _, link := range []struct {
		name  string
		serve serveFunc
	}{{"tcp", serve}, {"tls", serveTLS}} {
		b.Run(link.name, func(b *testing.B) {
			c := link.serve(b, Options{}, func(r *recorder) {
				answer := text("pong")
				r.on = func([]byte, bool) {
					r.messages = r.messages[:0] // or they pile up
					r.conn.Send(answer)
				}
			}).websocket()
			ask := clientFrame(1, true, "4ping")
			b.ReportAllocs()
			for b.Loop() {
				c.raw(ask)
				c.wantText("4pong")
			}
		})
	}
}

// BenchmarkFrames is the decoding of what clients send.
func BenchmarkFrames(b *testing.B) {
	srv, err := New(Options{}, func(c *Conn) Handler { return discard{} })
	if err != nil {
		b.Fatal(err)
	}
	l := addFakeConn(b, srv)
	var stream []byte
	for range 20 {
		stream = append(stream, clientFrame(1, true, "4"+strings.Repeat("x", 99))...)
	}
	buf := make([]byte, len(stream))
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, stream) // unmasking is done in place
		l.t.input(buf)
	}
	l.t.conn.CloseAs(TransportClose)
	srv.work.Wait()
}

type discard struct{}

func (discard) Message([]byte, bool) {}
func (discard) Closed(Reason)        {}
