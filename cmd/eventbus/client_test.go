package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const openPacket = `0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

// serveTCP answers each connection, of number 1, 2 and so on, and returns its address.
func serveTCP(t *testing.T, answer func(n int, conn net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			all.Go(func() {
				defer conn.Close()
				answer(n, conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

// serveScript is serveTCP after the websocket handshake.
func serveScript(t *testing.T, script func(n int, conn net.Conn)) string {
	t.Helper()
	return serveTCP(t, func(n int, conn net.Conn) {
		if _, err := ws.Upgrade(conn); err == nil { // tests of the handshake go away during it
			script(n, conn)
		}
	})
}

func say(t *testing.T, conn net.Conn, messages ...string) {
	t.Helper()
	for _, m := range messages {
		if err := wsutil.WriteServerText(conn, []byte(m)); err != nil {
			t.Errorf("write %.100q: %v", m, err)
		}
	}
}

func hear(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	if got, err := wsutil.ReadClientText(conn); string(got) != want || err != nil {
		t.Errorf("got %.100q, %v, want %q", got, err, want)
	}
}

func dialTest(t *testing.T, address string) (*client, error) {
	t.Helper()
	c, err := dialClient(t.Context(), "ws://"+address+"/socket.io/?EIO=4&transport=websocket")
	if err == nil {
		t.Cleanup(c.close)
	}
	return c, err
}

func TestClient(t *testing.T) {
	t.Parallel()
	address := serveScript(t, func(_ int, conn net.Conn) {
		say(t, conn, openPacket)
		hear(t, conn, `40{"token":"secret"}`)
		say(t, conn, "2", `40{"sid":"abc","pid":"def"}`)
		hear(t, conn, "3")
		hear(t, conn, `427["identify",{"clientId":"c"}]`)
		say(t, conn, "6", `42/other,["a"]`, `451-["bin",{"_placeholder":true,"num":0}]`)
		_ = ws.WriteFrame(conn, ws.NewBinaryFrame([]byte("attachment")))
		_ = ws.WriteFrame(conn, ws.NewPingFrame([]byte("websocket ping")))
		if h, err := ws.ReadHeader(conn); err != nil || h.OpCode != ws.OpPong {
			t.Errorf("a ping of the websocket: got %+v, %v, want a pong", h, err)
		} else {
			payload := make([]byte, len("websocket ping"))
			_, err := io.ReadFull(conn, payload)
			if ws.Cipher(payload, h.Mask, 0); err != nil || string(payload) != "websocket ping" {
				t.Errorf("pong: got %q, %v", payload, err)
			}
		}
		say(t, conn, `437[{"ok":true}]`)
		_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpText, false, []byte(`42["frag`)))
		_ = ws.WriteFrame(conn, ws.NewPingFrame(nil))
		_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpContinuation, true, []byte(`ments",1]`)))
		say(t, conn, "41")
		_ = ws.WriteFrame(conn, ws.NewCloseFrame(nil))
		_, _ = io.Copy(io.Discard, conn)
	})
	c, err := dialTest(t, address)
	if err != nil {
		t.Fatal(err)
	}
	if c.silence != 45*time.Second {
		t.Errorf("got a silence of %s, want pingInterval and pingTimeout, 45s", c.silence)
	}
	var welcome struct{ SID, PID string }
	if err := c.connect(t.Context(), map[string]string{"token": "secret"}, &welcome); err != nil || welcome.SID != "abc" || welcome.PID != "def" {
		t.Fatalf("got %+v, %v", welcome, err)
	}
	if err := c.emit(7, "identify", map[string]string{"clientId": "c"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`3 7 [{"ok":true}]`, `2 -1 ["fragments",1]`, `1 -1 `} {
		p, err := c.next(t.Context())
		if got := fmt.Sprintf("%c %d %s", p.kind, p.id, p.data); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if _, err := c.next(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("at the end: got %v, want %v", err, errClosed)
	}
}

func TestClientRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		packet, want string
		retry        time.Duration
	}{
		{`44{"message":"Invalid token"}`, "refused: Invalid token", 0},
		{`44{"message":"Rate limit exceeded","data":{"retryAfter":7}}`, "refused: Rate limit exceeded", 7 * time.Second},
		{`44{"message":"m","data":{"retryAfter":1e300}}`, "refused: m", time.Hour},
		{`44{"message":"m","data":{"retryAfter":-1e300}}`, "refused: m", 0},
		{`44{"message":"m","data":"soon"}`, "refused: m", 0},
		{`44"\u001b[31m"`, `refused: "\u001b[31m"`, 0},
	} {
		address := serveScript(t, func(_ int, conn net.Conn) {
			say(t, conn, openPacket)
			hear(t, conn, `40null`)
			say(t, conn, tt.packet)
		})
		c, err := dialTest(t, address)
		if err != nil {
			t.Fatal(err)
		}
		var refused *refusedError
		err = c.connect(t.Context(), nil, nil)
		if !errors.As(err, &refused) || err.Error() != tt.want || refused.retryAfter != tt.retry {
			t.Errorf("%s: got %v, want %s and %s", tt.packet, err, tt.want, tt.retry)
		}
	}
}

func TestClientLimits(t *testing.T) {
	t.Parallel()
	part := ws.NewFrame(ws.OpText, false, []byte(strings.Repeat("4", clientMaxMessage)))
	for name, tt := range map[string]struct {
		send func(conn net.Conn)
		want error
	}{
		"frame": {func(conn net.Conn) {
			_ = ws.WriteHeader(conn, ws.Header{Fin: true, OpCode: ws.OpText, Length: clientMaxMessage + 1})
		}, wsutil.ErrMessageTooLarge},
		"fragments": {func(conn net.Conn) {
			_ = ws.WriteFrame(conn, part)
			_ = ws.WriteFrame(conn, ws.NewFrame(ws.OpContinuation, true, []byte("4")))
		}, wsutil.ErrMessageTooLarge},
		"masked":  {func(conn net.Conn) { _ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewTextFrame([]byte("2")))) }, ws.ErrProtocolMaskUnexpected},
		"empty":   {func(conn net.Conn) { say(t, conn, "") }, errPacket},
		"unknown": {func(conn net.Conn) { say(t, conn, "49") }, errPacket},
		"ack id":  {func(conn net.Conn) { say(t, conn, "43"+strings.Repeat("9", 30)+"[]") }, errPacket},
		"close":   {func(conn net.Conn) { say(t, conn, "1") }, errClosed},
		"gone":    {func(net.Conn) {}, errClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serveScript(t, func(_ int, conn net.Conn) {
				say(t, conn, openPacket)
				tt.send(conn)
			})
			c, err := dialTest(t, address)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := c.next(t.Context()); !errors.Is(err, tt.want) {
				t.Errorf("got %c, %v, want %v", p.kind, err, tt.want)
			}
		})
	}
	t.Run("large but good", func(t *testing.T) {
		t.Parallel()
		event := `["e","` + strings.Repeat("x", clientMaxMessage-len(`42["e",""]`)) + `"]`
		c, err := dialTest(t, serveScript(t, func(_ int, conn net.Conn) { say(t, conn, openPacket, "42"+event) }))
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.next(t.Context()); err != nil || string(p.data) != event {
			t.Errorf("got %d bytes, %v, want %d", len(p.data), err, len(event))
		}
	})
}

func TestClientHandshake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, want string }{
		{"status", "HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\n{\"a\":1}", `the server answers 400 Bad Request: "{\"a\":1}"`},
		{"endless header", "HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", 2*clientMaxHandshake), "has over 65536 bytes"},
		{"endless body", "HTTP/1.1 503 Service Unavailable\r\n\r\n" + strings.Repeat("y", 1<<20), `503 Service Unavailable: "` + strings.Repeat("y", 300) + `"`},
		{"no HTTP", "220 mail.example ESMTP\r\n", "malformed HTTP"},
		{"nothing", "", "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := dialTest(t, serveTCP(t, func(_ int, conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					t.Error(err)
				}
				_, _ = io.WriteString(conn, tt.answer) // the client may have enough before the end
			}))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	for _, open := range []string{"4", `0[]`, `0{"pingInterval":0,"pingTimeout":1}`, `0{"pingInterval":1,"pingTimeout":86400001}`} {
		if _, err := dialTest(t, serveScript(t, func(_ int, conn net.Conn) { say(t, conn, open) })); !errors.Is(err, errPacket) {
			t.Errorf("OPEN %s: got %v, want %v", open, err, errPacket)
		}
	}
}

func TestClientSilenceAndCancel(t *testing.T) {
	t.Parallel()
	address := serveScript(t, func(_ int, conn net.Conn) {
		say(t, conn, `0{"pingInterval":20,"pingTimeout":30}`)
		_, _ = io.Copy(io.Discard, conn)
	})
	c, err := dialTest(t, address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.next(t.Context()); err == nil || err.Error() != "no sign of life from the server for 50ms" {
		t.Errorf("got %v, want an end of the silence", err)
	}

	c, err = dialTest(t, address)
	if err != nil {
		t.Fatal(err)
	}
	c.silence = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel) // before or after the read begins: both must end it
	if _, err := c.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := c.next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("again: got %v, want %v", err, context.Canceled)
	}
}

func FuzzClientPacket(f *testing.F) {
	for _, seed := range []string{"", "2", `2["e"]`, `212["e",{}]`, `31[]`, "4{}", "2/ns,[]", `51-["x"]`, "399999999999999999999[]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		packet, ok, err := parseClientPacket(p)
		if ok && (err != nil || packet.kind < '0' || packet.kind > '4' || packet.id < -1) {
			t.Errorf("%q: got %+v, %v", p, packet, err)
		}
		if ok && packet.id < 0 && string(p) != string(packet.kind)+string(packet.data) {
			t.Errorf("%q: got %+v, which is not all of it", p, packet)
		}
	})
}
