// Command server does what reference.mjs does, on our own engine, so that the two can be compared byte by byte.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/photo-management/event-bus/server/engineio"
	"github.com/photo-management/event-bus/server/socketio"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	srv, err := socketio.New(socketio.Options{
		Engine: engineio.Options{
			PingInterval:   300 * time.Millisecond,
			PingTimeout:    time.Second,
			UpgradeTimeout: 2 * time.Second,
			MaxPayload:     1e6,
		},
		ConnectTimeout: 2 * time.Second,
		RecoveryWindow: 2 * time.Minute,
	})
	if err != nil {
		return err
	}
	srv.Of("/auth").Use(checkToken)
	var reasons sync.Map // socket id -> why it was disconnected
	for _, name := range []string{"/", "/custom", "/auth", "/a b/ü", "/a?b=c"} {
		register(srv.Of(name), &reasons)
	}

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	web := &http.Server{Handler: mux}
	served := make(chan error, 1)
	go func() { served <- web.Serve(listener) }()
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)

	err = srv.Run(ctx)
	_ = web.Close()
	if werr := <-served; !errors.Is(werr, http.ErrServerClosed) {
		err = errors.Join(err, werr)
	}
	return err
}

func checkToken(_ context.Context, _ *socketio.Socket, auth json.RawMessage) error {
	var in struct {
		Token any `json:"token"`
	}
	_ = json.Unmarshal(auth, &in) // no auth is no token
	switch in.Token {
	case "good":
		return nil
	case nil, "":
		return errors.New("no token")
	}
	return &socketio.ConnectError{Message: "wrong token", Data: map[string]any{"token": in.Token, "tries": []any{1, nil}}}
}

type parcel struct {
	File  socketio.Binary   `json:"file"`
	Parts []socketio.Binary `json:"parts"`
	N     int               `json:"n"`
}

func register(n *socketio.Namespace, reasons *sync.Map) {
	n.Use(func(_ context.Context, s *socketio.Socket, auth json.RawMessage) error {
		if auth == nil {
			auth = json.RawMessage("{}")
		}
		s.SetData(slices.Clone(auth))
		return nil
	})
	n.OnConnect(func(_ context.Context, s *socketio.Socket) {
		if !s.Recovered() {
			_ = s.Emit("auth", s.Data())
		}
	})
	n.OnDisconnect(func(s *socketio.Socket, why socketio.Reason) { reasons.Store(s.ID(), why) })

	on := func(event string, fn func(*socketio.Socket, *socketio.Event)) {
		n.On(event, func(_ context.Context, s *socketio.Socket, e *socketio.Event) { fn(s, e) })
	}
	on("echo", func(s *socketio.Socket, e *socketio.Event) {
		if e.WantsAck() {
			_ = e.Ack(list(e.Args())...)
		} else {
			_ = s.Emit("echoed", append([]json.RawMessage{}, e.Args()...))
		}
	})
	on("binary", func(_ *socketio.Socket, e *socketio.Event) {
		var data socketio.Binary
		if e.Decode(&data) == nil {
			_ = e.Ack(data)
		}
	})
	on("binary back", func(s *socketio.Socket, e *socketio.Event) {
		var data socketio.Binary
		if e.Decode(&data) == nil {
			_ = s.Emit("binary", data, []socketio.Binary{data}, 1)
		}
	})
	on("parcel", func(_ *socketio.Socket, e *socketio.Event) {
		var p parcel
		if e.Decode(&p) == nil {
			_ = e.Ack(p)
		}
	})
	on("ask", func(s *socketio.Socket, e *socketio.Event) {
		question := slices.Clone(e.Args()[0])
		go func() { // a handler must not wait for its own client
			if answer, err := s.EmitWithAck(context.Background(), "question", question); err == nil {
				_ = s.Emit("answered", append([]json.RawMessage{}, answer...))
			}
		}()
	})
	room := func(fn func(s *socketio.Socket, rooms ...string)) func(*socketio.Socket, *socketio.Event) {
		return func(s *socketio.Socket, e *socketio.Event) {
			var name string
			if e.Decode(&name) == nil {
				fn(s, name)
				_ = e.Ack()
			}
		}
	}
	on("join", room((*socketio.Socket).Join))
	on("leave", room((*socketio.Socket).Leave))
	on("say", func(_ *socketio.Socket, e *socketio.Event) {
		var name string
		var what json.RawMessage
		if e.Decode(&name, &what) == nil {
			_ = n.To(name).Emit("said", what)
		}
	})
	on("tell others", func(s *socketio.Socket, e *socketio.Event) { _ = s.To().Emit("said", e.Args()[0]) })
	on("tell me", func(s *socketio.Socket, e *socketio.Event) { _ = s.Emit("told", e.Args()[0]) })
	on("volatile", func(_ *socketio.Socket, e *socketio.Event) { _ = n.To().Volatile().Emit("said", e.Args()[0]) })
	on("burst", func(s *socketio.Socket, e *socketio.Event) {
		var count int
		if e.Decode(&count) == nil {
			for i := range count {
				_ = s.Emit("n", i)
			}
		}
	})
	on("rooms", func(s *socketio.Socket, e *socketio.Event) {
		rooms := append([]string{}, s.Rooms()...) // none is [], not null
		slices.Sort(rooms)
		_ = e.Ack(rooms)
	})
	on("leave me", func(s *socketio.Socket, _ *socketio.Event) { s.Disconnect() })
	on("close me", func(s *socketio.Socket, _ *socketio.Event) {
		s.Disconnect()
		s.Conn().Close()
	})
	on("reason", func(_ *socketio.Socket, e *socketio.Event) {
		var id string
		_ = e.Decode(&id)
		why, _ := reasons.Load(id)
		_ = e.Ack(why)
	})
}

// list is args as Ack takes them.
func list(args []json.RawMessage) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = a
	}
	return out
}
