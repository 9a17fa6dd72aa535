package engineio

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws"
)

// reply is an HTTP response, read.
type reply struct {
	status int
	body   string
	header http.Header
}

// do sends a request. It may be called from any goroutine.
func (h *harness) do(method, query, body string, header http.Header) reply {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, h.web.URL+"/?"+query, strings.NewReader(body))
	if err != nil {
		h.t.Error(err)
		return reply{}
	}
	for k, v := range header {
		req.Header[k] = v
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		h.t.Errorf("%s %s: %v", method, query, err)
		return reply{}
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Errorf("%s %s: %v", method, query, err)
	}
	return reply{res.StatusCode, string(got), res.Header}
}

// open is the payload of the OPEN packet.
type open struct {
	SID          string
	Upgrades     []string
	PingInterval int
	PingTimeout  int
	MaxPayload   int
}

func parseOpen(t testing.TB, packet string) (o open) {
	t.Helper()
	body, isOpen := strings.CutPrefix(packet, "0")
	if err := json.Unmarshal([]byte(body), &o); err != nil || !isOpen {
		t.Fatalf("got %q (%v), want an OPEN packet", packet, err)
	}
	return o
}

// pollClient is a client that polls.
type pollClient struct {
	h     *harness
	query string
	*recorder
}

func (h *harness) polling() *pollClient {
	h.t.Helper()
	got := h.do("GET", "EIO=4&transport=polling", "", nil)
	if got.status != 200 {
		h.t.Fatalf("handshake: got %d %s, want 200", got.status, got.body)
	}
	sid := parseOpen(h.t, got.body).SID
	return &pollClient{h, "EIO=4&transport=polling&sid=" + sid, h.recorder(sid)}
}

func (p *pollClient) get() reply { p.h.t.Helper(); return p.h.do("GET", p.query, "", nil) }

func (p *pollClient) post(body string) reply {
	p.h.t.Helper()
	return p.h.do("POST", p.query, body, nil)
}

// poll starts a GET and returns when it waits at the server.
func (p *pollClient) poll() <-chan reply {
	p.h.t.Helper()
	got := make(chan reply, 1)
	go func() { got <- p.get() }()
	p.polled()
	return got
}

func (p *pollClient) wantGet(status int, body string) {
	p.h.t.Helper()
	p.want(p.get(), status, body)
}

func (p *pollClient) wantPost(packets string, status int, body string) {
	p.h.t.Helper()
	p.want(p.post(packets), status, body)
}

func (p *pollClient) want(got reply, status int, body string) {
	p.h.t.Helper()
	if got.status != status || got.body != body {
		p.h.t.Fatalf("got %d %q, want %d %q", got.status, got.body, status, body)
	}
}

// wsClient is the client's end of a websocket.
type wsClient struct {
	net.Conn
	t  testing.TB
	rd *bufio.Reader
	*recorder
}

// connect does the websocket handshake.
func (h *harness) connect(query string, extensions ...httphead.Option) *wsClient {
	h.t.Helper()
	c, err := h.tryConnect(query, extensions...)
	if err != nil {
		h.t.Fatalf("websocket handshake: %v", err)
	}
	h.t.Cleanup(func() { c.Conn.Close() })
	return c
}

func (h *harness) tryConnect(query string, extensions ...httphead.Option) (*wsClient, error) {
	d := ws.Dialer{
		Timeout:    patience,
		TLSConfig:  h.web.Client().Transport.(*http.Transport).TLSClientConfig,
		Extensions: extensions,
	}
	url := strings.Replace(h.web.URL, "http", "ws", 1) + "/?" + query
	nc, rd, _, err := d.Dial(context.Background(), url)
	if err != nil {
		return nil, err
	}
	if rd == nil {
		rd = bufio.NewReader(nc)
	}
	return &wsClient{Conn: nc, t: h.t, rd: rd}, nil
}

// websocket opens a connection over a websocket, without polling.
func (h *harness) websocket(extensions ...httphead.Option) *wsClient {
	h.t.Helper()
	c := h.connect("EIO=4&transport=websocket", extensions...)
	c.recorder = h.recorder(parseOpen(h.t, c.readText()).SID)
	return c
}

// read returns the next frame, or an error when there is none.
func (c *wsClient) read() (ws.Frame, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	return readFrame(c.rd)
}

// readFrame reads a frame of a size that tests have use for.
func readFrame(rd io.Reader) (f ws.Frame, err error) {
	if f.Header, err = ws.ReadHeader(rd); err != nil {
		return f, err
	}
	if f.Header.Length > 64<<20 {
		return f, fmt.Errorf("frame of %d bytes", f.Header.Length)
	}
	f.Payload = make([]byte, f.Header.Length)
	_, err = io.ReadFull(rd, f.Payload)
	return f, err
}

// wantFrame reads a frame and compares it.
func (c *wsClient) wantFrame(op ws.OpCode, payload string) {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("read: %v, want %q", err, payload)
	}
	if f.Header.OpCode != op || string(f.Payload) != payload {
		c.t.Fatalf("got opcode %#x %s, want %#x %s", f.Header.OpCode, show(message{string(f.Payload), false}),
			op, show(message{payload, false}))
	}
}

func (c *wsClient) readText() string {
	c.t.Helper()
	f, err := c.read()
	if err != nil || f.Header.OpCode != ws.OpText {
		c.t.Fatalf("read: opcode %#x, %v, want a text frame", f.Header.OpCode, err)
	}
	return string(f.Payload)
}

func (c *wsClient) wantText(want ...string) {
	c.t.Helper()
	for _, w := range want {
		c.wantFrame(ws.OpText, w)
	}
}

// wantCloseFrame wants a close frame with the code, zero for none, and then the end.
func (c *wsClient) wantCloseFrame(code ws.StatusCode) {
	c.t.Helper()
	f, err := c.read()
	if err != nil || f.Header.OpCode != ws.OpClose {
		c.t.Fatalf("got opcode %#x %.60q (%v), want a close frame", f.Header.OpCode, f.Payload, err)
	}
	got := ws.StatusCode(0)
	if len(f.Payload) >= 2 {
		got, _ = ws.ParseCloseFrameData(f.Payload)
	}
	if got != code {
		c.t.Fatalf("closed with code %d, want %d", got, code)
	}
	c.wantEnd()
}

// wantEnd wants nothing more, without saying how it ends.
func (c *wsClient) wantEnd() {
	c.t.Helper()
	f, err := c.read()
	if err == nil {
		c.t.Fatalf("got opcode %#x %.60q, want the end", f.Header.OpCode, f.Payload)
	}
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		c.t.Fatal("the connection is still open, want the end")
	}
}

func (c *wsClient) send(op ws.OpCode, payload string) {
	c.t.Helper()
	c.raw(clientFrame(op, true, payload))
}

func (c *wsClient) sendText(packets ...string) {
	c.t.Helper()
	for _, p := range packets {
		c.send(ws.OpText, p)
	}
}

func (c *wsClient) raw(p []byte) {
	c.t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.Write(p); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// clientFrame is a masked frame.
func clientFrame(op ws.OpCode, fin bool, payload string) []byte {
	return ws.MustCompileFrame(ws.MaskFrame(ws.NewFrame(op, fin, []byte(payload))))
}

// pipelined sends everything, a websocket handshake and more, without waiting for an answer. The answer is read.
func (h *harness) pipelined(everything []byte) *wsClient {
	h.t.Helper()
	addr := h.web.Listener.Addr().String()
	nc, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		h.t.Fatal(err)
	}
	if h.web.TLS != nil {
		cfg := h.web.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		cfg.ServerName = "127.0.0.1"
		nc = tls.Client(nc, cfg)
	}
	h.t.Cleanup(func() { nc.Close() })
	c := &wsClient{Conn: nc, t: h.t, rd: bufio.NewReader(nc)}
	c.raw(everything)
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	res, err := http.ReadResponse(c.rd, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		h.t.Fatalf("got %v, %v, want status 101", res, err)
	}
	return c
}
