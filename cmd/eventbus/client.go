package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const (
	clientMaxHandshake = 64 << 10 // bytes of the HTTP answer to the websocket handshake
	clientMaxMessage   = 8 << 20  // bytes of a websocket message, far above what the service sends
	clientTimeout      = 20 * time.Second
)

// client is one connection to a Socket.IO server: protocol 5 in Engine.IO 4, over websocket, in the namespace "/". It is
// for one goroutine.
type client struct {
	conn    net.Conn
	in      wsutil.Reader
	silence time.Duration // after which the server is gone
}

// clientPacket is a Socket.IO packet: kind is '0' CONNECT, '1' DISCONNECT, '2' EVENT, '3' ACK or '4' CONNECT_ERROR.
type clientPacket struct {
	kind byte
	id   int             // of the ack, or -1
	data json.RawMessage // or nil
}

var (
	errPacket = errors.New("not a Socket.IO server")
	errClosed = errors.New("the server closed the connection")
)

// dialClient opens a websocket at a ws:// or wss:// address, and the Engine.IO session in it.
func dialClient(ctx context.Context, url string) (*client, error) {
	var limit *limitedConn
	answer := ""
	dialer := ws.Dialer{
		Timeout: clientTimeout,
		WrapConn: func(conn net.Conn) net.Conn {
			limit = &limitedConn{Conn: conn, left: clientMaxHandshake}
			return limit
		},
		OnStatusError: func(_ int, _ []byte, r io.Reader) { answer = readAnswer(r) },
	}
	conn, early, _, err := dialer.Dial(ctx, url)
	if status := ws.StatusError(0); errors.As(err, &status) {
		return nil, &statusError{int(status), answer}
	}
	if err != nil {
		return nil, err
	}
	limit.left = -1
	c := &client{conn: conn, silence: clientTimeout}
	c.in = wsutil.Reader{Source: early, State: ws.StateClientSide, CheckUTF8: true, MaxMessageSize: clientMaxMessage, OnIntermediate: c.control}
	if early == nil { // nothing came with the handshake
		c.in.Source = bufio.NewReader(conn)
	}
	if err := c.open(ctx); err != nil {
		c.conn.Close()
		return nil, err
	}
	return c, nil
}

// open reads the OPEN packet (Engine.IO protocol 4, "Handshake").
func (c *client) open(ctx context.Context) error {
	p, err := c.read(ctx)
	if err != nil {
		return err
	}
	var open struct{ PingInterval, PingTimeout int64 } // milliseconds
	if len(p) == 0 || p[0] != '0' || json.Unmarshal(p[1:], &open) != nil {
		return errPacket
	}
	const day = 24 * 60 * 60 * 1000
	if open.PingInterval < 1 || open.PingInterval > day || open.PingTimeout < 1 || open.PingTimeout > day {
		return errPacket
	}
	c.silence = time.Duration(open.PingInterval+open.PingTimeout) * time.Millisecond
	return nil
}

// connect sends CONNECT with auth and decodes what the server answers into welcome. A *refusedError says no.
func (c *client) connect(ctx context.Context, auth, welcome any) error {
	data, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	if err := c.write(append([]byte("40"), data...)); err != nil {
		return err
	}
	for {
		p, err := c.next(ctx)
		switch {
		case err != nil:
			return err
		case p.kind == '4':
			return newRefusedError(p.data)
		case p.kind == '0':
			if json.Unmarshal(p.data, welcome) != nil {
				return errPacket
			}
			return nil
		}
	}
}

// emit sends an event that asks for the ack id.
func (c *client) emit(id int, event string, arg any) error {
	data, err := json.Marshal([]any{event, arg})
	if err != nil {
		return err
	}
	return c.write(append(strconv.AppendInt([]byte("42"), int64(id), 10), data...))
}

// next waits for the next packet, and answers pings meanwhile.
func (c *client) next(ctx context.Context) (clientPacket, error) {
	for {
		p, err := c.read(ctx)
		if err != nil {
			return clientPacket{}, err
		}
		if len(p) == 0 {
			return clientPacket{}, errPacket
		}
		switch p[0] {
		case '1':
			return clientPacket{}, errClosed
		case '2':
			if err := c.write([]byte("3")); err != nil {
				return clientPacket{}, err
			}
		case '4':
			packet, ok, err := parseClientPacket(p[1:])
			if ok || err != nil {
				return packet, err
			}
		}
	}
}

// parseClientPacket reports ok for what is for us: not other namespaces, nor packets with binary attachments, as the
// service has neither.
func parseClientPacket(p []byte) (packet clientPacket, ok bool, err error) {
	if len(p) == 0 || p[0] < '0' || p[0] > '6' {
		return packet, false, errPacket
	}
	packet = clientPacket{kind: p[0], id: -1}
	p = p[1:]
	if packet.kind > '4' || bytes.HasPrefix(p, []byte("/")) {
		return packet, false, nil
	}
	digits := len(p) - len(bytes.TrimLeft(p, "0123456789"))
	if digits > 0 {
		if packet.id, err = strconv.Atoi(string(p[:digits])); err != nil {
			return packet, false, errPacket
		}
		p = p[digits:]
	}
	if len(p) > 0 {
		packet.data = p
	}
	return packet, true, nil
}

// read waits for the next text message. Binary ones are attachments.
func (c *client) read(ctx context.Context) ([]byte, error) {
	defer context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })()
	for {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.silence))
		if err := ctx.Err(); err != nil { // else, if it ends now, the deadline comes after ours
			return nil, err
		}
		h, err := c.in.NextFrame()
		if err != nil {
			return nil, c.lost(ctx, err)
		}
		if h.OpCode.IsControl() {
			if err := c.control(h, &c.in); err != nil {
				return nil, c.lost(ctx, err)
			}
			continue
		}
		p, err := io.ReadAll(&c.in)
		if err != nil {
			return nil, c.lost(ctx, err)
		}
		if h.OpCode == ws.OpText {
			return p, nil
		}
	}
}

// control answers pings and close frames of the websocket itself.
func (c *client) control(h ws.Header, r io.Reader) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(clientTimeout))
	return wsutil.ControlFrameHandler(c.conn, ws.StateClientSide)(h, r)
}

// lost says in words why nothing more can be read.
func (c *client) lost(ctx context.Context, err error) error {
	closed := wsutil.ClosedError{}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no sign of life from the server for %s", c.silence)
	case errors.As(err, &closed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errClosed
	case errors.Is(err, wsutil.ErrMessageTooLarge):
		return fmt.Errorf("%w: over %d bytes", err, clientMaxMessage)
	}
	return err
}

func (c *client) write(p []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(clientTimeout))
	return wsutil.WriteClientText(c.conn, p)
}

// goodbye tells the server that this client will not return, so that it keeps nothing for it.
func (c *client) goodbye() {
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second)) // it may be gone
	_ = wsutil.WriteClientText(c.conn, []byte("41"))
	_ = wsutil.WriteClientMessage(c.conn, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
}

func (c *client) close() { c.conn.Close() }

// statusError is an HTTP answer that is no websocket.
type statusError struct {
	status int
	body   string // the beginning of it
}

func (e *statusError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %q", e.status, http.StatusText(e.status), e.body)
}

func readAnswer(r io.Reader) string {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // what there is
	return plain(string(bytes.TrimSpace(body)))
}

// refusedError is a CONNECT_ERROR.
type refusedError struct {
	message    string
	retryAfter time.Duration // 0: never
}

func (e *refusedError) Error() string { return "refused: " + e.message }

func newRefusedError(data []byte) error {
	var body struct {
		Message string
		Data    json.RawMessage
	}
	var more struct{ RetryAfter float64 } // seconds
	if json.Unmarshal(data, &body) != nil {
		body.Message = string(data)
	}
	_ = json.Unmarshal(body.Data, &more) // other refusals have other data, or none
	const most = 3600
	seconds := max(0, min(more.RetryAfter, most))
	return &refusedError{plain(body.Message), time.Duration(seconds * float64(time.Second))}
}

// limitedConn reads no more than left bytes; less than 0 is no limit.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left < 0 {
		return c.Conn.Read(p)
	}
	if c.left == 0 {
		return 0, fmt.Errorf("the answer to the websocket handshake has over %d bytes", clientMaxHandshake)
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}
