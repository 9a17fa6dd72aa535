package socketio_test

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"

	"github.com/gobwas/ws"

	"github.com/photo-management/event-bus/server/socketio"
)

// run serves srv on a free port until stop is called.
func run(srv *socketio.Server) (url string, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	web := httptest.NewServer(srv)
	return web.URL, func() {
		cancel()
		if err := <-done; err != nil {
			log.Print(err)
		}
		web.Close()
	}
}

// page stands in for a page with socket.io-client: the examples show what goes over its wire.
type page struct {
	conn net.Conn
	in   *bufio.Reader
}

// visit opens a connection and sends CONNECT.
func visit(url, connect string) *page {
	p := &page{}
	for p.conn == nil { // until the server runs
		conn, in, _, err := ws.Dial(context.Background(), strings.Replace(url, "http", "ws", 1)+"/?EIO=4&transport=websocket")
		if err == nil {
			p.conn, p.in = conn, in
		}
	}
	if p.in == nil {
		p.in = bufio.NewReader(p.conn)
	}
	p.receive() // OPEN
	p.send(connect)
	return p
}

func (p *page) send(packet string) {
	if err := ws.WriteFrame(p.conn, ws.MaskFrame(ws.NewTextFrame([]byte("4"+packet)))); err != nil {
		log.Print(err)
	}
}

// receive is the next packet, without the Engine.IO type in front.
func (p *page) receive() string {
	h, err := ws.ReadHeader(p.in)
	if err != nil {
		return err.Error()
	}
	payload := make([]byte, h.Length)
	if _, err := io.ReadFull(p.in, payload); err != nil {
		return err.Error()
	}
	return string(payload[1:])
}

// receiveConnected is the ids that CONNECT is answered with: the socket's, and the secret one to come back with.
func (p *page) receiveConnected() (sid, pid string) {
	_, rest, _ := strings.Cut(p.receive(), `"sid":"`)
	sid, rest, _ = strings.Cut(rest, `"`)
	_, rest, _ = strings.Cut(rest, `"pid":"`)
	pid, _, _ = strings.Cut(rest, `"`)
	return sid, pid
}

func (p *page) leave() { p.conn.Close() }
