package engineio

import (
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsflate"
)

// link is the byte stream under a websocket. Its methods but start are called under the connection's mu and never
// block.
// In turn it calls input with what it read, from one goroutine at a time, then closed when there is no more to
// read, and writable when it takes bytes again.
type link interface {
	// start begins to read, after what was read early.
	start(early []byte)
	// write takes what can go out now. Where that is not all of p, writable will be called.
	write(p []byte) (int, error)
	// end writes p, if there is any, as the last and ends sending; reading goes on.
	end(p []byte)
	// close ends both, and drops what was not written yet but for the last. It may be called again.
	close()
}

// websocket is the transport of a Conn, or will be once its upgrade is through. What it reads is handled by the
// link's reader alone; the rest is guarded by the connection's mu.
type websocket struct {
	conn    *Conn
	link    link
	deflate bool        // permessage-deflate was negotiated
	said    bool        // our close frame has gone out
	timeout *time.Timer // of the upgrade
	partial *partial
}

// partial is what the reader keeps between reads while a frame or message is incomplete.
type partial struct {
	buf        []byte    // an incomplete frame
	message    []byte    // the fragments of a message so far
	op         ws.OpCode // of that message
	compressed bool
	fragmented bool
}

var closeFrame = ws.MustCompileFrame(ws.NewCloseFrame(nil))

// gather is for merging what waits for one connection into one write.
var gather = sync.Pool{New: func() any { b := make([]byte, 0, 64<<10); return &b }}

func (t *websocket) bytes(m *Message) []byte {
	if t.deflate {
		return m.compressed()
	}
	return m.wire
}

func (t *websocket) size(m *Message) int { return len(t.bytes(m)) }

// flushLocked writes the connection's queue until it is empty or the kernel takes no more.
func (t *websocket) flushLocked() {
	c := t.conn
	for len(c.queue) > 0 && !c.blocked {
		p := t.bytes(c.queue[0])[c.sent:]
		var merged *[]byte
		if len(c.queue) > 1 && len(p) < 32<<10 {
			merged = gather.Get().(*[]byte)
			p = append((*merged)[:0], p...)
			for _, m := range c.queue[1:] {
				b := t.bytes(m)
				if len(p)+len(b) > cap(*merged) {
					break
				}
				p = append(p, b...)
			}
		}
		n, err := t.link.write(p)
		short := n < len(p)
		if merged != nil {
			gather.Put(merged)
		}
		if err != nil {
			t.lostLocked()
			return
		}
		c.popLocked(n)
		c.blocked = short
	}
	if c.closed.Load() && len(c.queue) == 0 {
		t.goodbyeLocked(closeFrame)
	}
}

// goodbyeLocked sends our close frame, once, and then no more.
func (t *websocket) goodbyeLocked(frame []byte) {
	if t.said {
		return
	}
	t.said = true
	if t.conn.ws == t && t.conn.sent > 0 {
		frame = nil // half a message is out: a frame now would be taken for the rest of it
	}
	t.link.end(frame)
}

// writable is the link's word that it takes bytes again.
func (t *websocket) writable() {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ws == t && c.blocked {
		c.blocked = false
		c.flushLocked()
	}
}

// closed is the link's word that nothing more can be read.
func (t *websocket) closed() {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	t.lostLocked()
}

func (t *websocket) lostLocked() {
	c := t.conn
	if t.timeout != nil {
		t.timeout.Stop()
	}
	switch {
	case c.probe == t:
		c.probe = nil
		t.link.close()
	case c.ws != t:
		t.link.close()
	case c.closed.Load():
		c.deadLocked()
	default:
		c.closeLocked(TransportClose)
	}
}

// fail ends the websocket with a status code (RFC 6455 section 7.4.1).
func (t *websocket) fail(code ws.StatusCode, why Reason) {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ws != t {
		t.lostLocked()
		return
	}
	t.goodbyeLocked(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))))
	c.closeLocked(why)
}

// input handles what was read; p is the reader's again when it returns. What comes after the end is dropped.
func (t *websocket) input(p []byte) {
	c := t.conn
	c.reading.Lock()
	if !c.closed.Load() {
		t.frames(p)
	}
	c.reading.Unlock()
	c.settle()
}

func (t *websocket) frames(p []byte) {
	kept := t.partial != nil && len(t.partial.buf) > 0
	if kept {
		t.partial.buf = append(t.partial.buf, p...)
		p = t.partial.buf
	}
	limit := t.conn.srv.opts.MaxPayload
	for len(p) > 0 {
		h, n, err := parseHeader(p)
		if err == io.ErrUnexpectedEOF {
			break
		}
		if err == nil {
			err = ws.CheckHeader(h, t.state())
		}
		if err == nil && h.OpCode.IsControl() && h.Rsv != 0 || h.Rsv&^0x4 != 0 {
			err = ws.ErrProtocolNonZeroRsv
		}
		if err != nil {
			t.fail(ws.StatusProtocolError, TransportError)
			return
		}
		soFar := 0
		if t.partial != nil && !h.OpCode.IsControl() {
			soFar = len(t.partial.message)
		}
		if h.Length > int64(limit-soFar) {
			t.fail(ws.StatusMessageTooBig, TransportError)
			return
		}
		if int64(len(p)-n) < h.Length {
			break
		}
		payload := p[n : n+int(h.Length)]
		p = p[n+int(h.Length):]
		ws.Cipher(payload, h.Mask, 0)
		if !t.frame(h, payload) {
			return
		}
	}
	switch {
	case len(p) > 0 && t.partial == nil:
		t.partial = &partial{buf: append([]byte(nil), p...)}
	case len(p) > 0 && kept:
		t.partial.buf = t.partial.buf[:copy(t.partial.buf, p)]
	case len(p) > 0:
		t.partial.buf = append([]byte(nil), p...)
	case t.partial != nil && !t.partial.fragmented:
		t.partial = nil
	case t.partial != nil:
		t.partial.buf = nil
	}
}

func (t *websocket) state() ws.State {
	s := ws.StateServerSide
	if t.deflate {
		s = s.Set(ws.StateExtended)
	}
	if t.partial != nil && t.partial.fragmented {
		s = s.Set(ws.StateFragmented)
	}
	return s
}

// frame handles one whole frame: control frames at once, data once its message is complete. It reports whether
// to go on.
func (t *websocket) frame(h ws.Header, payload []byte) bool {
	switch h.OpCode {
	case ws.OpPing:
		if t.current() {
			t.conn.Send(&Message{wire: ws.MustCompileFrame(ws.NewPongFrame(payload)), parts: []part{}})
		}
		return true
	case ws.OpPong:
		return true
	case ws.OpClose:
		t.peerClosed(payload)
		return false
	}
	op, compressed := h.OpCode, h.Rsv != 0
	if h.OpCode == ws.OpContinuation {
		if compressed {
			t.fail(ws.StatusProtocolError, TransportError)
			return false
		}
		t.partial.message = append(t.partial.message, payload...)
		payload, op, compressed = t.partial.message, t.partial.op, t.partial.compressed
	} else if !h.Fin {
		if t.partial == nil {
			t.partial = &partial{}
		}
		t.partial.message, t.partial.op = append([]byte(nil), payload...), op
		t.partial.compressed, t.partial.fragmented = compressed, true
	}
	if !h.Fin {
		return true
	}
	if t.partial != nil {
		t.partial.message, t.partial.fragmented = nil, false
	}
	if compressed {
		var err error
		switch payload, err = inflate(payload, t.conn.srv.opts.MaxPayload); {
		case errors.Is(err, errInflated):
			t.fail(ws.StatusMessageTooBig, TransportError)
			return false
		case err != nil:
			t.fail(ws.StatusInvalidFramePayloadData, TransportError)
			return false
		}
	}
	return t.message(op, payload)
}

// message handles a whole websocket message: an Engine.IO packet.
func (t *websocket) message(op ws.OpCode, data []byte) bool {
	p := packet{kind: typeMessage, binary: true, data: data}
	if op == ws.OpText {
		if !utf8.Valid(data) {
			t.fail(ws.StatusInvalidFramePayloadData, TransportError)
			return false
		}
		var err error
		if p, err = parsePacket(data); err != nil {
			t.fail(ws.StatusNormalClosure, ParseError)
			return false
		}
	}
	if !t.current() {
		return t.upgrade(p)
	}
	t.conn.receive(p)
	return !t.conn.closed.Load()
}

// current reports whether t is its connection's transport by now, and notes the sign of life.
func (t *websocket) current() bool {
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = true
	return c.ws == t
}

// peerClosed answers a close frame and ends the connection.
func (t *websocket) peerClosed(body []byte) {
	code := ws.StatusNormalClosure
	if len(body) > 0 {
		var reason string
		code, reason = ws.ParseCloseFrameData(body)
		if len(body) == 1 || ws.CheckCloseFrameData(code, reason) != nil {
			code = ws.StatusProtocolError
		}
	}
	c := t.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	t.goodbyeLocked(ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))))
	t.lostLocked()
}

// parseHeader decodes a frame header (RFC 6455 section 5.2) and returns its size. It is io.ErrUnexpectedEOF
// when p ends within the header.
func parseHeader(p []byte) (h ws.Header, n int, err error) {
	if len(p) < 2 {
		return h, 0, io.ErrUnexpectedEOF
	}
	h.Fin, h.Rsv, h.OpCode = p[0]&0x80 != 0, p[0]&0x70>>4, ws.OpCode(p[0]&0x0f)
	h.Masked, h.Length, n = p[1]&0x80 != 0, int64(p[1]&0x7f), 2
	wide, mask := 0, 0
	switch h.Length {
	case 126:
		wide = 2
	case 127:
		wide = 8
	}
	if h.Masked {
		mask = 4
	}
	if len(p) < n+wide+mask {
		return h, 0, io.ErrUnexpectedEOF
	}
	switch wide {
	case 2:
		h.Length = int64(binary.BigEndian.Uint16(p[n:]))
	case 8:
		h.Length = int64(binary.BigEndian.Uint64(p[n:]))
	}
	if h.Length < 0 {
		return h, 0, ws.ErrHeaderLengthMSB
	}
	n += wide
	n += copy(h.Mask[:], p[n:n+mask])
	return h, n, nil
}

var errInflated = errors.New("message too big when decompressed")

// inflate decompresses a message of at most limit bytes (RFC 7692 section 7.2.2).
func inflate(p []byte, limit int) ([]byte, error) {
	w := &limitedBuffer{limit: limit}
	if err := wsflate.DefaultHelper.DecompressTo(w, p); err != nil {
		return nil, err
	}
	return w.buf, nil
}

type limitedBuffer struct {
	buf   []byte
	limit int
}

func (w *limitedBuffer) Write(p []byte) (int, error) {
	if len(w.buf)+len(p) > w.limit {
		return 0, errInflated
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}
