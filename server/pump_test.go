package server

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// duplex is one end of a connection in memory whose directions end apart, as TCP's do.
type duplex struct {
	net.Conn // to read
	out      net.Conn
}

func newDuplex() (near, far duplex) {
	nearIn, farOut := net.Pipe()
	farIn, nearOut := net.Pipe()
	return duplex{nearIn, nearOut}, duplex{farIn, farOut}
}

func (d duplex) Write(p []byte) (int, error)        { return d.out.Write(p) }
func (d duplex) SetWriteDeadline(t time.Time) error { return d.out.SetWriteDeadline(t) }
func (d duplex) CloseWrite() error                  { return d.out.Close() }
func (d duplex) Close() error                       { d.out.Close(); return d.Conn.Close() }

// One direction may end before the other, but not long.
func TestRelayHalfEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForwarder(nil, prometheus.NewRegistry())
		client, clientSide := newDuplex()
		peer, peerSide := newDuplex()
		f.relay(clientSide, peerSide, []byte("to client"), []byte("to peer"))
		hears(t, client, "to client")
		hears(t, peer, "to peer")
		_ = client.CloseWrite()
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want %v", err, io.EOF)
		}
		_, _ = peer.Write([]byte("goodbye"))
		hears(t, client, "goodbye")
		time.Sleep(relayHalf - time.Second)
		_, _ = peer.Write([]byte("still here"))
		hears(t, client, "still here")
		begun := time.Now()
		if _, err := client.Read(make([]byte, 1)); err == nil || time.Since(begun) != time.Second {
			t.Errorf("got %v after %s, want the end after a second", err, time.Since(begun))
		}
		f.work.Wait()
	})
}

// A side that takes nothing does not keep the other for ever.
func TestRelayStalled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newForwarder(nil, prometheus.NewRegistry())
		_, clientSide := newDuplex()
		peer, peerSide := newDuplex()
		f.relay(clientSide, peerSide, nil, nil)
		_, _ = peer.Write([]byte("nobody reads this"))
		begun := time.Now()
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF || time.Since(begun) != relayStalled {
			t.Errorf("got %v after %s, want the end after %s", err, time.Since(begun), relayStalled)
		}
		f.work.Wait()
	})
}

func hears(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}
