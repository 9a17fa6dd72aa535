package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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

var (
	errPacket = errors.New("not a Socket.IO server")
	errClosed = errors.New("the server closed the connection")
)

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
