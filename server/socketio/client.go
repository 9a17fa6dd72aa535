package socketio

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/photo-management/event-bus/server/engineio"
)

// client is one connection with its sockets, at most one in a namespace. The engine calls it from one goroutine at
// a time, which is all the locking it has; only its timer comes from elsewhere.
type client struct {
	srv     *Server
	conn    *engineio.Conn
	sockets []*Socket
	timeout *time.Timer // until it is in a namespace
	pending *pending    // a packet whose attachments are still to come
	broken  bool        // it broke the protocol
}

type pending struct {
	packet      packet
	attachments [][]byte
}

// fill puts the attachments where they belong. An acknowledgement may go on to another server, where it must be
// told what was binary.
func (p *pending) fill() (err error) {
	if p.packet.kind != typeAck {
		p.packet.data, err = insertBinary(p.packet.data, p.attachments)
		return err
	}
	attachments := make([]Binary, len(p.attachments))
	for i, a := range p.attachments {
		attachments[i] = a
	}
	p.packet.data, err = insertBinary(p.packet.data, attachments)
	return err
}

func (s *Server) accept(conn *engineio.Conn) engineio.Handler {
	c := &client{srv: s, conn: conn}
	c.timeout = time.AfterFunc(s.opts.ConnectTimeout, conn.Close)
	return c
}

// Message decodes what came and acts on every packet that is complete. A client that breaks the protocol is
// disconnected, as Node does.
func (c *client) Message(data []byte, binary bool) {
	if err := c.decode(data, binary); err != nil {
		c.broken = true
		c.conn.Close()
	}
}

func (c *client) decode(data []byte, binary bool) error {
	if binary {
		p := c.pending
		if p == nil {
			return errPacket
		}
		p.attachments = append(p.attachments, append([]byte{}, data...))
		if len(p.attachments) < p.packet.attachments {
			return nil
		}
		c.pending = nil
		if err := p.fill(); err != nil {
			return err
		}
		return c.handle(p.packet)
	}
	if c.pending != nil {
		return errPacket
	}
	p, err := parsePacket(data, c.srv.opts.MaxAttachments)
	if err != nil {
		return err
	}
	if p.attachments > 0 {
		p.data = append([]byte(nil), p.data...)
		c.pending = &pending{packet: p}
		return nil
	}
	return c.handle(p)
}

func (c *client) handle(p packet) error {
	i := slices.IndexFunc(c.sockets, func(s *Socket) bool { return s.ns.name == p.namespace })
	known := i >= 0
	if known && !c.sockets[i].Connected() { // we have disconnected it; what it sent before it knew is dropped
		if p.kind != typeConnect {
			return nil
		}
		c.sockets = slices.Delete(c.sockets, i, i+1)
		known = false
	}
	switch {
	case p.kind == typeConnect && !known:
		c.connect(p)
	case p.kind == typeEvent && known:
		c.sockets[i].dispatch(p)
	case p.kind == typeAck && known:
		c.sockets[i].acked(p)
	case p.kind == typeDisconnect && known:
		c.sockets[i].end(ClientDisconnect)
		c.sockets = slices.Delete(c.sockets, i, i+1)
	default:
		return errPacket
	}
	return nil
}

// connect answers a CONNECT.
func (c *client) connect(p packet) {
	ns := c.srv.namespace(p.namespace)
	if ns == nil {
		c.refuse(p.namespace, &ConnectError{Message: "Invalid namespace"})
		return
	}
	ctx := c.srv.context()
	s := &Socket{ns: ns, client: c, since: time.Now().UnixMilli()}
	for _, m := range ns.middlewares {
		if err := m(ctx, s, p.data); err != nil {
			c.refuse(p.namespace, err)
			return
		}
	}
	if !ns.resume(ctx, s, p.data) {
		ns.enter(s)
	}
	c.stopTimeout()
	c.sockets = append(c.sockets, s)
	ns.tell(s.pid)
	s.connected.Store(true)
	s.Flush()
	ns.connected(ctx, s)
}

// refuse sends a CONNECT_ERROR. The transport stays: the client may try again, or another namespace.
func (c *client) refuse(namespace string, err error) {
	var body struct {
		Message string `json:"message"`
		Data    any    `json:"data,omitempty"`
	}
	body.Message = err.Error()
	if ce := (*ConnectError)(nil); errors.As(err, &ce) {
		body.Data = ce.Data
	}
	data, merr := json.Marshal(body)
	if merr != nil {
		data = []byte(`{"message":"internal error"}`)
	}
	c.conn.Send(encode(packet{kind: typeConnectError, namespace: namespace, data: data}))
}

// Closed ends all sockets of the connection.
func (c *client) Closed(why engineio.Reason) {
	c.stopTimeout()
	if c.broken {
		why = engineio.ParseError
	}
	for _, s := range slices.Clone(c.sockets) {
		s.end(Reason(why))
	}
}

// close disconnects all sockets of the connection, and closes it.
func (c *client) close() {
	c.conn.Do(func() {
		for _, s := range c.sockets {
			s.Disconnect()
		}
		c.conn.Close()
	})
}

func (c *client) stopTimeout() {
	if c.timeout != nil {
		c.timeout.Stop()
		c.timeout = nil
	}
}

// encode makes the message of a packet without attachments.
func encode(p packet) *engineio.Message { return engineio.NewMessage(appendPacket(nil, p)) }
