//go:build linux

package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// Packets of Socket.IO 5 in messages of Engine.IO 4: "4" is an Engine.IO message, its second digit the packet's type.
var (
	openPacket     = []byte("0")
	closePacket    = []byte("1")
	pingPacket     = []byte("2")
	pongPacket     = []byte("3")
	connectPacket  = []byte("40")
	leavePacket    = []byte("41")
	connectRefused = []byte("44")
	event          = []byte(`42["processing.event",`)
	heartbeat      = []byte(`42["heartbeat"`)
	heartbeatQuery = []byte(`42["heartbeat"]`)
	identified     = []byte(`42["identified"`)
	subscribed     = []byte(`42["subscribed"`)
)

// onMessage takes c through the handshake and, once it is ready, hands over events and heartbeats.
func (l *loop) onMessage(c *conn, m []byte, now int64) {
	if l.cfg.scenario == "herd" {
		c.learn(m)
	}
	is := func(prefix []byte) bool { return bytes.HasPrefix(m, prefix) }
	if c.state == ready {
		switch {
		case is(event):
			if l.onEvent != nil {
				l.onEvent(c, m, now)
			}
		case is(heartbeat):
			if l.onEcho != nil {
				l.onEcho(c, now)
			}
		case is(pingPacket):
			l.pings++
			l.text(c, pongPacket)
		case is(leavePacket), is(closePacket):
			l.drop(c, "disconnect packet")
		}
		return
	}
	switch {
	case is(pingPacket):
		l.text(c, pongPacket)
	case c.state == opening && is(openPacket):
		c.state = joining
		l.text(c, c.connectPacket(token(l.cfg.secret, fmt.Sprint("u", c.index))))
	case c.state == joining && is(event) && c.pid != "" && l.onEvent != nil:
		l.onEvent(c, m, now) // Node sends what was missed before it answers; clients take that too
	case c.state == joining && is(connectPacket):
		if c.resumed(m) {
			l.nowReady(c, true) // the server knows its rooms
			return
		}
		c.state = identifying
		l.text(c, fmt.Appendf(nil, `42["identify",{"clientId":"c%d","sessionId":"s%[1]d"}]`, c.index))
	case c.state == identifying && is(identified):
		if l.cfg.scenario == "idle" || l.cfg.scenario == "echo" {
			l.nowReady(c, false)
			return
		}
		c.state = subscribing
		l.text(c, fmt.Appendf(nil, `42["subscribe:photo",{"photoId":"p%d"}]`, c.room))
	case c.state == subscribing && is(subscribed):
		l.nowReady(c, false)
	case is(connectRefused), is(leavePacket), is(closePacket):
		l.drop(c, fmt.Sprintf("refused, %v: %.80q", c.state, m))
	}
}

func (l *loop) nowReady(c *conn, recovered bool) {
	c.state = ready
	l.ready++
	l.pending--
	if l.onReady != nil {
		l.onReady(c, recovered)
	}
}

// token is a JWT (HS256) of user, good for a day, that may read every photo.
func token(secret, user string) string {
	encode := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encode(fmt.Appendf(nil,
		`{"userId":%q,"sub":%[1]q,"roles":["user"],"permissions":["photo:read:*","user:read:*"],"iat":%d,"exp":%d}`,
		user, now-10, now+86400))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}
