package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"
)

func rawJSON(s string) json.RawMessage { return json.RawMessage(s) }

func TestAckFromServer(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(s *Server) {
		for _, name := range []string{"/", "/chat"} {
			n := s.Of(name)
			n.On("none", func(context.Context, *Socket, *Event) {})
			n.On("empty", func(_ context.Context, _ *Socket, e *Event) { _ = e.Ack() })
			n.On("some", func(_ context.Context, _ *Socket, e *Event) {
				if !e.WantsAck() {
					return
				}
				_ = e.Ack(1, "two", nil, map[string]bool{"ok": true}, rawJSON(`{"raw": 1}`))
				if e.WantsAck() {
					t.Error("wants another answer")
				}
				_ = e.Ack("again")
			})
		}
	})
	c := s.client(t)
	c.enter("/chat", "")
	const some = `[1,"two",null,{"ok":true},{"raw": 1}]`
	for send, want := range map[string]string{
		`21["none"]`:                 "",
		`2["empty"]`:                 "",
		`2["some"]`:                  "",
		`20["empty"]`:                `30[]`,
		`2007["empty"]`:              `37[]`,
		`29007199254740991["empty"]`: `39007199254740991[]`,
		`25["some"]`:                 `35` + some,
		`2/chat,12["some"]`:          `3/chat,12` + some,
		`2/chat,["some"]`:            "",
	} {
		c.send(send)
		if want != "" {
			c.want(want)
		}
		c.wantNothing()
	}
}

// asker is a namespace whose sockets can be asked from outside.
func asker(sockets chan *Socket) func(*Server) {
	return func(s *Server) {
		s.Of("/").OnConnect(func(_ context.Context, s *Socket) { sockets <- s })
	}
}

type answer struct {
	args []json.RawMessage
	err  error
}

func ask(ctx context.Context, s *Socket, event string, args ...any) <-chan answer {
	out := make(chan answer, 1)
	go func() {
		got, err := s.EmitWithAck(ctx, event, args...)
		out <- answer{got, err}
	}()
	return out
}

func (a answer) want(t *testing.T, args string, err error) {
	t.Helper()
	if got := asText(a.args); got != args || !errors.Is(a.err, err) {
		t.Errorf("got %q, %v, want %q, %v", got, a.err, args, err)
	}
}

func TestAckFromClient(t *testing.T) {
	t.Parallel()
	sockets := make(chan *Socket, 1)
	c := serve(t, Options{}, asker(sockets)).client(t)
	s := <-sockets
	ctx := context.Background()

	first := ask(ctx, s, "q", 1)
	c.want(`20["q",1]`)
	second := ask(ctx, s, "q", 2)
	c.want(`21["q",2]`)
	c.send(`31["b"]`)  // not in the order asked
	c.send(`31["bb"]`) // no more asked for
	c.send(`399["nobody asked"]`)
	c.send(`30[null,{"a": [1]}]`)
	(<-second).want(t, `"b"`, nil)
	(<-first).want(t, `null {"a": [1]}`, nil)

	third := ask(ctx, s, "q")
	c.want(`22["q"]`)
	c.send(`32[]`)
	(<-third).want(t, "", nil)
	c.wantNothing()
}

func TestAckTimeout(t *testing.T) {
	t.Parallel()
	sockets := make(chan *Socket, 1)
	c := serve(t, Options{}, asker(sockets)).client(t)
	s := <-sockets
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	(<-ask(ctx, s, "q")).want(t, "", context.DeadlineExceeded)
	c.want(`20["q"]`)
	c.send(`30["late"]`)
	c.wantNothing()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.acks) != 0 {
		t.Errorf("%d acks are still waited for", len(s.acks))
	}
}

func TestAckWhenDisconnected(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(*raw, *Socket){
		"transport close":             func(c *raw, _ *Socket) { c.drop() },
		"client namespace disconnect": func(c *raw, _ *Socket) { c.send("1") },
		"server namespace disconnect": func(_ *raw, s *Socket) { s.Disconnect() },
		"forced close":                func(_ *raw, s *Socket) { s.Conn().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sockets := make(chan *Socket, 1)
			c := serve(t, Options{}, asker(sockets)).client(t)
			s := <-sockets
			var waiting []<-chan answer
			for i := range 3 {
				waiting = append(waiting, ask(context.Background(), s, "q"))
				c.want(fmt.Sprintf(`2%d["q"]`, i))
			}
			leave(c, s)
			for _, a := range waiting {
				(<-a).want(t, "", ErrDisconnected)
			}
			(<-ask(context.Background(), s, "q")).want(t, "", ErrDisconnected)
			if err := s.Emit("dropped"); err != nil {
				t.Errorf("Emit to one who has left: %v", err)
			}
		})
	}
}
