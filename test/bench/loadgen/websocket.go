//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

const (
	maxHeader = 8 << 10   // bytes of the answer to the upgrade
	maxFrame  = 512 << 10 // bytes of a frame's or message's payload

	// The key and the answer to it are RFC 6455's own example (section 1.3): nobody needs surprising here.
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// Opcodes of RFC 6455 section 5.2.
const (
	opContinuation = 0
	opText         = 1
	opClose        = 8
	opPing         = 9
	opPong         = 10
	final          = 0x80
	masked         = 0x80
)

func upgradeRequest(port int) []byte {
	return []byte("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:" + strconv.Itoa(port) +
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: " + wsKey +
		"\r\nSec-WebSocket-Version: 13\r\n\r\n")
}

// upgraded takes the answer to the upgrade off p and returns the rest; all of p, if the answer is not complete.
func (l *loop) upgraded(c *conn, p []byte) []byte {
	header, rest, whole := bytes.Cut(p, []byte("\r\n\r\n"))
	switch {
	case len(header) > maxHeader:
		l.drop(c, "upgrade: answer too long")
	case !whole:
		return p
	case !bytes.HasPrefix(header, []byte("HTTP/1.1 101 ")) || !bytes.Contains(header, []byte(wsAccept)):
		l.drop(c, fmt.Sprintf("upgrade: %.60q", header))
	default:
		c.state = opening
	}
	return rest
}

// frame is a websocket frame as a server sends it; its payload lies in the read buffer.
type frame struct {
	op      byte
	final   bool
	payload []byte
}

var (
	errMasked   = errors.New("masked frame from the server")
	errTooLarge = fmt.Errorf("frame of more than %d bytes", maxFrame)
)

// parseFrame reads the frame p begins with and its size; zero means that it is not all there.
func parseFrame(p []byte) (f frame, size int, err error) {
	if len(p) < 2 {
		return frame{}, 0, nil
	}
	if p[1]&masked != 0 {
		return frame{}, 0, errMasked
	}
	length, head := uint64(p[1]), 2
	switch length {
	case 126:
		if head = 4; len(p) < head {
			return frame{}, 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		if head = 10; len(p) < head {
			return frame{}, 0, nil
		}
		length = binary.BigEndian.Uint64(p[2:])
	}
	if length > maxFrame {
		return frame{}, 0, errTooLarge
	}
	if size = head + int(length); len(p) < size {
		return frame{}, 0, nil
	}
	return frame{op: p[0] & 0x0f, final: p[0]&final != 0, payload: p[head:size]}, size, nil
}

func (l *loop) onFrame(c *conn, f frame, now int64) {
	switch f.op {
	case opText, opContinuation:
		m := f.payload
		if len(c.message) > 0 || !f.final {
			if len(c.message)+len(m) > maxFrame {
				l.drop(c, errTooLarge.Error())
				return
			}
			c.message = append(c.message, m...)
			if !f.final {
				return
			}
			m, c.message = c.message, nil
		}
		l.onMessage(c, m, now)
	case opPing:
		l.sendFrame(c, opPong, f.payload)
	case opClose:
		reason := f.payload[min(2, len(f.payload)):] // after the code
		l.drop(c, fmt.Sprintf("close frame, %v: %.60q", c.state, reason))
	default:
		l.drop(c, fmt.Sprintf("frame with opcode %d", f.op))
	}
}

// sendFrame sends p, of less than 64 KiB, in a frame masked by zeros: legal, and the payload stays as it is, though
// the server has to unmask it all the same.
func (l *loop) sendFrame(c *conn, op byte, p []byte) {
	b := append(l.out[:0], final|op)
	if len(p) < 126 {
		b = append(b, masked|byte(len(p)))
	} else {
		b = append(b, masked|126)
		b = binary.BigEndian.AppendUint16(b, uint16(len(p)))
	}
	b = append(b, 0, 0, 0, 0)
	b = append(b, p...)
	l.out = b
	l.send(c, b)
}

func (l *loop) text(c *conn, s []byte) { l.sendFrame(c, opText, s) }
