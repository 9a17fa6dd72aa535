package socketio

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// echo answers every event with its name and arguments.
func echo(s *Server) {
	s.Of("/").OnAny(func(_ context.Context, s *Socket, e *Event) {
		_ = s.Emit("echo", e.Name, asText(e.Args()))
	})
}

func TestEventPayloads(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, echo)
	c := s.client(t)
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	long := strings.Repeat("x", 900_000)
	tests := []struct{ send, name, args string }{
		{`["hello"]`, `hello`, ``},
		{`["hello",1,"two",null,true,{"a":[]}]`, `hello`, `1 \"two\" null true {\"a\":[]}`},
		{"[ \"hello\" ,\t1\r\n, [ 2 ] ]\n", `hello`, `1 [ 2 ]`},
		{`[""]`, ``, ``},
		{`[5,"x"]`, `5`, `\"x\"`},
		{`[-1.5e3]`, `-1.5e3`, ``},
		{`["\u0068\"\\,[]{}",",]"]`, `h\"\\,[]{}`, `\",]\"`},
		{`["a\ud800b"]`, `a�b`, ``},
		{`["__proto__",{"__proto__":null}]`, `__proto__`, `{\"__proto__\":null}`},
		{`["ünï☃","😀"]`, `ünï☃`, `\"😀\"`},
		{`["hello",1e400]`, `hello`, `1e400`},
		{`["hello",` + deep + `]`, `hello`, deep},
		{`["hello","` + long + `"]`, `hello`, `\"` + long + `\"`},
		{`["` + long[:100_000] + `"]`, long[:100_000], ``},
	}
	for _, tt := range tests {
		c.send("2" + tt.send)
		c.want(`2["echo","` + tt.name + `","` + tt.args + `"]`)
	}
}

// What is no event ends the connection, as in Node; nothing reaches a handler.
func TestBadEvents(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"no payload":              `2`,
		"null":                    `2null`,
		"a number":                `2/,`,
		"text":                    `2"hello"`,
		"an object":               `2{"0":"hello"}`,
		"no name":                 `2[]`,
		"null for a name":         `2[null]`,
		"true for a name":         `2[true]`,
		"an object for a name":    `2[{}]`,
		"an array for a name":     `2[["hello"]]`,
		"broken":                  `2["hello"`,
		"trailing comma":          `2["hello",]`,
		"a space in front":        `2 ["hello"]`,
		"two payloads":            `2["hello"]["hello"]`,
		"not JSON":                `2['hello']`,
		"NaN":                     `2["hello",NaN]`,
		"control character":       "2[\"hel\nlo\"]",
		"huge id":                 `2` + strings.Repeat("9", 100_000) + `["hello"]`,
		"id over 2^53":            `29007199254740992["hello"]`,
		"id over 2^64":            `218446744073709551616["hello"]`,
		"too deep":                `2["hello",` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `]`,
		"ack without id":          `3["hello"]`,
		"ack without payload":     `31`,
		"ack of an object":        `31{}`,
		"disconnect with payload": `1{}`,
		"connect":                 `2["connect"]`,
		"connect_error":           `2["connect_error"]`,
		"disconnect":              `2["disconnect"]`,
		"disconnecting":           `2["disconnecting"]`,
		"newListener":             `2["newListener"]`,
		"removeListener":          `2["removeListener"]`,
		"connect, in escapes":     `2["\u0063onnect"]`,
	}
	for name, packet := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newJournal()
			s := serve(t, Options{}, func(s *Server) {
				n := s.Of("/")
				n.OnAny(func(_ context.Context, _ *Socket, e *Event) { j.note(e.Name) })
				n.OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
			})
			c := s.client(t)
			c.send(packet, `2["late"]`)
			c.wantClosed()
			j.want(t, "parse error")
			j.wantNothing(t)
		})
	}
}

func TestUnknownEventsAreIgnored(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, nil)
	c := s.client(t)
	c.send(`2["what"]`, `21["what"]`, `2["connection"]`, `2["error"]`)
	c.wantNothing()
}

func TestDecode(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").On("sum", func(_ context.Context, _ *Socket, e *Event) {
			var a, b int
			if err := e.Decode(&a, &b); err != nil {
				j.note(err.Error())
				return
			}
			j.note(fmt.Sprint(a + b))
		})
	})
	c := s.client(t)
	for _, tt := range []struct{ args, want string }{
		{`,1,2`, `3`},
		{`,1,2,3`, `3`},
		{`,1`, `event "sum": want 2 arguments, got 1`},
		{``, `event "sum": want 2 arguments, got 0`},
		{`,1,"2"`, `event "sum", argument 2: json: cannot unmarshal string into Go value of type int`},
		{`,null,2`, `2`}, // as encoding/json has it
	} {
		c.send(`2["sum"` + tt.args + `]`)
		j.want(t, tt.want)
	}
}

// Handlers of one client run one at a time, in order, whatever namespace they are for; those of two run together.
func TestOrder(t *testing.T) {
	t.Parallel()
	const events = 500
	j := newJournal()
	var running atomic.Int32
	block := make(chan struct{})
	s := serve(t, Options{}, func(s *Server) {
		for _, name := range []string{"/", "/chat"} {
			n := s.Of(name)
			n.OnConnect(func(context.Context, *Socket) { j.note("connect " + name) })
			n.OnDisconnect(func(_ *Socket, why Reason) { j.note(fmt.Sprint(name, " ", why)) })
			n.On("n", func(_ context.Context, s *Socket, e *Event) {
				if running.Add(1) > 1 {
					t.Error("two handlers of one client at a time")
				}
				if asText(e.Args()) == "1" {
					<-block
				}
				j.note(asText(e.Args()))
				running.Add(-1)
			})
			n.On("other", func(context.Context, *Socket, *Event) { j.note("other") })
		}
	})
	c := s.dial(t)
	c.enter("/", "")
	c.enter("/chat", "")
	j.want(t, "connect /", "connect /chat")
	for i := range events {
		if i%3 == 0 {
			c.send(fmt.Sprintf(`2/chat,["n",%d]`, i))
		} else {
			c.send(fmt.Sprintf(`2["n",%d]`, i))
		}
	}
	c.send("1")
	c.drop()
	j.want(t, "0")
	other := s.dial(t) // the one whose handler blocks holds up nobody else
	other.send("0", `2["other"]`)
	j.want(t, "connect /", "other")
	close(block)
	for i := 1; i < events; i++ {
		j.want(t, fmt.Sprint(i))
	}
	j.want(t, "/ client namespace disconnect")
	j.want(t, "/chat transport close")
}

func TestContextEndsWithServer(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := serve(t, Options{}, func(s *Server) {
		n := s.Of("/")
		n.On("wait", func(ctx context.Context, _ *Socket, _ *Event) {
			j.note("waits")
			select {
			case <-ctx.Done():
				j.note("ended")
			case <-time.After(deadline):
				j.note("never ended")
			}
		})
		n.OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	c := s.client(t)
	c.send(`2["wait"]`)
	j.want(t, "waits")
	s.stop()
	j.want(t, "ended", "server shutting down") // both before Run returns
	c.wantClosed()
}

func TestEmitWhatCannotBeEncoded(t *testing.T) {
	t.Parallel()
	errs := make(chan error, 4)
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").On("go", func(ctx context.Context, s *Socket, e *Event) {
			errs <- s.Emit("x", 1, make(chan int))
			errs <- s.Namespace().Emit("x", make(chan int))
			_, err := s.EmitWithAck(ctx, "x", func() {})
			errs <- err
			errs <- e.Ack(make(chan int))
			_ = e.Ack("after all")
		})
	})
	c := s.client(t)
	c.send(`27["go"]`)
	for range 4 {
		if err := <-errs; err == nil || !strings.Contains(err.Error(), "argument") {
			t.Errorf("got %v, want an error about an argument", err)
		}
	}
	c.want(`37["after all"]`)
	c.wantNothing()
}

// Raw arguments and names that would break the packet must not get out: clients close on such a packet.
func TestEmitBrokenRawArgument(t *testing.T) {
	t.Parallel()
	for name, emit := range map[string]func(*Socket) error{
		"nil raw message": func(s *Socket) error { return s.Emit("x", rawJSON(""), 1) },
		"disconnect":      func(s *Socket) error { return s.Emit("disconnect") },
		"connect_error":   func(s *Socket) error { return s.Namespace().Emit("connect_error") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			errs := make(chan error, 1)
			s := serve(t, Options{}, func(s *Server) {
				s.Of("/").On("go", func(_ context.Context, s *Socket, _ *Event) { errs <- emit(s) })
			})
			c := s.client(t)
			c.send(`2["go"]`, "0/nowhere,")
			err := <-errs
			got := c.next()
			if err == nil && name == "nil raw message" && got == `2["x",null,1]` {
				return // as encoding/json has it
			}
			if err == nil || !strings.HasPrefix(got, "4/nowhere") {
				t.Errorf("Emit says %v, client got %s", err, got)
			}
		})
	}
}
