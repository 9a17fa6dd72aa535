package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	odd := []string{"/chat", "/a b", "/ünï☃", "/a?x=1&y=2", "/1", "/-1-", "/a/b/c", "/\"", "/{}", "//"}
	s := serve(t, Options{}, func(s *Server) {
		for _, name := range odd {
			s.Of(name)
		}
	})
	id := regexp.MustCompile(`^[\w-]{20}$`)
	seen := map[string]bool{}
	for _, name := range append(odd, "/") {
		t.Run(name, func(t *testing.T) {
			c := s.dial(t)
			got := c.enter(name, "")
			if !id.MatchString(got.SID) || got.PID != "" || seen[got.SID] {
				t.Errorf("got %+v, want a new sid of 20 URL-safe characters and, without recovery, no pid", got)
			}
			seen[got.SID] = true
			c.wantNothing()
		})
	}
}

func TestConnectUnknownNamespace(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(s *Server) { s.Of("/chat") })
	c := s.dial(t)
	for _, name := range []string{"/none", "/Chat", "/chat/", "/cha", "/chat?x=1", "/ chat"} {
		c.send("0" + name + ",")
		c.want(`4` + name + `,{"message":"Invalid namespace"}`)
		c.send("0" + name) // the comma may be missing where nothing follows
		c.want(`4` + name + `,{"message":"Invalid namespace"}`)
		c.send("0" + name + `,{"token":"x"}`)
		c.want(`4` + name + `,{"message":"Invalid namespace"}`)
	}
	c.enter("/chat", "") // the connection stays good for others
}

func TestMiddlewares(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{}, func(s *Server) {
		n := s.Of("/")
		n.Use(func(ctx context.Context, s *Socket, auth json.RawMessage) error {
			if s.ID() != "" || s.Connected() || s.Recovered() || s.Conn() == nil || s.Namespace() != n || ctx == nil {
				return errors.New("socket is not as it should be")
			}
			s.SetData(string(auth))
			return nil
		})
		n.Use(func(_ context.Context, s *Socket, auth json.RawMessage) error {
			switch s.Data() {
			case `{"token":"plain"}`:
				return errors.New(`"no" <entry>`)
			case `{"token":"data"}`:
				return &ConnectError{Message: "Rate limit exceeded", Data: map[string]int{"retryAfter": 3}}
			case `{"token":"wrapped"}`:
				return fmt.Errorf("inner: %w", &ConnectError{Message: "never seen", Data: []int{1}})
			case `{"token":"unencodable"}`:
				return &ConnectError{Message: "x", Data: make(chan int)}
			}
			return nil
		})
		n.OnConnect(func(_ context.Context, s *Socket) { _ = s.Emit("auth", s.Data()) })
	})
	c := s.dial(t)
	for auth, want := range map[string]string{
		`{"token":"plain"}`:       `4{"message":"\"no\" \u003centry\u003e"}`,
		`{"token":"data"}`:        `4{"message":"Rate limit exceeded","data":{"retryAfter":3}}`,
		`{"token":"wrapped"}`:     `4{"message":"inner: never seen","data":[1]}`,
		`{"token":"unencodable"}`: `4{"message":"internal error"}`,
	} {
		c.send("0" + auth)
		c.want(want)
		c.wantNothing()
	}
	for _, auth := range []string{`{"token":"good"}`, `{}`, ``, `{"a":{"b":[null,1e3,"\u0041"]}}`, `{"a":1} `} {
		c := s.dial(t)
		c.enter("/", auth)
		data, _ := json.Marshal(auth)
		c.want(`2["auth",` + string(data) + `]`)
	}
}

// What a middleware does with a socket that is not in the namespace yet must not panic: the whole server would go.
func TestSocketInMiddleware(t *testing.T) {
	t.Parallel()
	uses := map[string]func(*Socket){
		"Join":       func(s *Socket) { s.Join("room") },
		"Leave":      func(s *Socket) { s.Leave("room") },
		"Rooms":      func(s *Socket) { _ = s.Rooms() },
		"Emit":       func(s *Socket) { _ = s.Emit("early") },
		"EmitAt":     func(s *Socket) { _ = s.EmitAt([]string{"room"}, "early") },
		"To":         func(s *Socket) { _ = s.To("room").Emit("early") },
		"Disconnect": func(s *Socket) { s.Disconnect() },
		"EmitWithAck": func(s *Socket) {
			_, _ = s.EmitWithAck(context.Background(), "early")
		},
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			panicked := make(chan any, 1)
			s := serve(t, Options{}, func(s *Server) {
				s.Of("/").Use(func(_ context.Context, s *Socket, _ json.RawMessage) error {
					defer func() { panicked <- recover() }()
					use(s)
					return nil
				})
			})
			c := s.client(t)
			if p := <-panicked; p != nil {
				t.Errorf("panic: %v", p)
			}
			c.wantNothing()
		})
	}
}

func TestConnectOutOfTurn(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		send []string
		want []string // before the connection closes
	}{
		{"CONNECT twice", []string{"0/chat,", "0/chat,"}, nil},
		{"event before CONNECT", []string{`2["hello"]`}, nil},
		{"event in another namespace", []string{"0/chat,", `2["hello"]`}, nil},
		{"ack before CONNECT", []string{`30[]`}, nil},
		{"DISCONNECT before CONNECT", []string{`1`}, nil},
		{"DISCONNECT twice", []string{"0/chat,", "1/chat,", "1/chat,"}, nil},
		{"event after DISCONNECT", []string{"0/chat,", "1/chat,", `2/chat,["hello"]`}, nil},
		{"event after a refusal", []string{"0/none,", `2/none,["hello"]`}, []string{`4/none,{"message":"Invalid namespace"}`}},
		{"CONNECT_ERROR from a client", []string{"0/chat,", `4/chat,{"message":"x"}`}, nil},
		{"auth is null", []string{"0null"}, nil},
		{"auth is an array", []string{"0[]"}, nil},
		{"auth is text", []string{`0"token"`}, nil},
		{"auth is broken", []string{`0{"token":`}, nil},
		{"auth is followed by more", []string{`0{}{}`}, nil},
		{"unknown type", []string{"7"}, nil},
		{"no type", []string{""}, nil},
		{"text", []string{"hello"}, nil},
		{"namespace of 2 kB", []string{"0/" + strings.Repeat("n", 2000) + ","}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, Options{}, func(s *Server) { s.Of("/chat") })
			c := s.dial(t)
			c.send(tt.send...)
			wait(t, "the connection to close", c.gone)
			var got []string
			for p := range c.in {
				if !strings.HasPrefix(p, `0/chat,{"sid"`) {
					got = append(got, p)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %q before the end, want %q", got, tt.want)
			}
		})
	}
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{ConnectTimeout: 50 * time.Millisecond}, nil)
	idle, refused, in := s.dial(t), s.dial(t), s.client(t)
	refused.send("0/none,")
	idle.wantClosed()
	refused.wantClosed(`4/none,{"message":"Invalid namespace"}`)
	in.wantNothing()
}

// A name without a slash could never be asked for.
func TestOf(t *testing.T) {
	t.Parallel()
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := s.Of("/")
	if s.Of("/") != root || s.Of("/a") == root {
		t.Error("a name is not one namespace")
	}
	if got := s.Of("chat"); got.Name() != "/chat" || got != s.Of("/chat") {
		t.Errorf("namespace %q, want /chat as in Node", got.Name())
	}
}

func TestOptionsValidate(t *testing.T) {
	t.Parallel()
	bad := Options{ConnectTimeout: -1, MaxAttachments: -1, RecoveryWindow: -1, RecoveryBytes: -1}
	bad.Engine.PingInterval = -1
	_, err := New(bad)
	for _, name := range []string{"websocket.connectTimeout", "MaxAttachments", "websocket.recovery.window", "websocket.recovery.maxBytes", "websocket.pingInterval"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New says %v, want something about %s", err, name)
		}
	}
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}
