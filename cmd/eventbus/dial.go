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
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
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
