package socketio_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/photo-management/event-bus/server/socketio"
)

// A chat: who says something is heard by the others in the same room.
func Example() {
	srv, err := socketio.New(socketio.Options{})
	if err != nil {
		log.Fatal(err)
	}
	chat := srv.Of("/")
	chat.On("enter", func(_ context.Context, s *socketio.Socket, e *socketio.Event) {
		var room, name string
		if err := e.Decode(&room, &name); err != nil {
			_ = s.Emit("error", map[string]string{"message": err.Error()})
			return
		}
		s.SetData(name)
		s.Join(room)
		_ = e.Ack(len(chat.To(room).Sockets())) // how many are here
	})
	chat.On("say", func(_ context.Context, s *socketio.Socket, e *socketio.Event) {
		var text string
		if e.Decode(&text) == nil {
			_ = s.To(s.Rooms()...).Emit("said", s.Data(), text)
		}
	})
	url, stop := run(srv)
	defer stop()

	ann, bob := visit(url, "0"), visit(url, "0")
	ann.receive()
	bob.receive()
	ann.send(`20["enter","lobby","Ann"]`)
	fmt.Println("ann:", ann.receive())
	bob.send(`20["enter","lobby","Bob"]`)
	fmt.Println("bob:", bob.receive())
	ann.send(`2["say","Hello!"]`)
	fmt.Println("bob:", bob.receive())
	bob.send(`2["enter"]`)
	fmt.Println("bob:", bob.receive())
	// Output:
	// ann: 30[1]
	// bob: 30[2]
	// bob: 2["said","Ann","Hello!"]
	// bob: 2["error",{"message":"event \"enter\": want 2 arguments, got 0"}]
}

// A middleware sees every connection to its namespace before the client does, and may refuse it.
func ExampleNamespace_Use() {
	srv, err := socketio.New(socketio.Options{})
	if err != nil {
		log.Fatal(err)
	}
	admin := srv.Of("/admin")
	admin.Use(func(_ context.Context, s *socketio.Socket, auth json.RawMessage) error {
		var credentials struct{ Token string }
		if json.Unmarshal(auth, &credentials) != nil || credentials.Token == "" {
			return errors.New("Authentication required")
		}
		if credentials.Token != "secret" {
			return &socketio.ConnectError{Message: "Rate limit exceeded", Data: map[string]int{"retryAfter": 30}}
		}
		s.SetData("root")
		return nil
	})
	admin.OnConnect(func(_ context.Context, s *socketio.Socket) {
		_ = s.Emit("welcome", s.Data())
	})
	url, stop := run(srv)
	defer stop()

	client := visit(url, "0/admin,")
	fmt.Println(client.receive())
	client.send(`0/admin,{"token":"wrong"}`)
	fmt.Println(client.receive())
	client.send(`0/admin,{"token":"secret"}`)
	client.receive() // CONNECT, with an id
	fmt.Println(client.receive())
	// Output:
	// 4/admin,{"message":"Authentication required"}
	// 4/admin,{"message":"Rate limit exceeded","data":{"retryAfter":30}}
	// 2/admin,["welcome","root"]
}

// The server asks and waits. This must not be done in a handler of the same client, whose packets it holds up.
func ExampleSocket_EmitWithAck() {
	srv, err := socketio.New(socketio.Options{})
	if err != nil {
		log.Fatal(err)
	}
	connected := make(chan *socketio.Socket, 1)
	srv.Of("/").OnConnect(func(_ context.Context, s *socketio.Socket) { connected <- s })
	url, stop := run(srv)
	defer stop()

	client := visit(url, "0")
	client.receive()
	socket := <-connected
	go func() {
		fmt.Println("client gets", client.receive())
		client.send(`30["blue"]`)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := socket.EmitWithAck(ctx, "your favourite colour")
	fmt.Printf("server gets %s, %v\n", answer, err)

	client.leave()
	_, err = socket.EmitWithAck(ctx, "are you there")
	fmt.Println(errors.Is(err, socketio.ErrDisconnected))
	// Output:
	// client gets 20["your favourite colour"]
	// server gets ["blue"], <nil>
	// true
}

// A client whose connection broke comes back as the same socket, in the same rooms, and gets what it has missed. Official
// clients do all of this by themselves: what they get as the last argument of an event is the offset they come back with.
func Example_recovery() {
	srv, err := socketio.New(socketio.Options{RecoveryWindow: 2 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	news, left := srv.Of("/"), make(chan struct{}, 2)
	news.OnConnect(func(_ context.Context, s *socketio.Socket) {
		if !s.Recovered() {
			_ = s.EmitAt([]string{"sports"}, "subscribed") // with a first offset
		}
	})
	news.OnDisconnect(func(*socketio.Socket, socketio.Reason) { left <- struct{}{} })
	url, stop := run(srv)
	defer stop()

	client := visit(url, "0")
	sid, pid := client.receiveConnected()
	var event [2]string // the name, and the offset
	_ = json.Unmarshal([]byte(client.receive()[1:]), &event)

	client.leave()
	<-left
	_ = news.To("sports").Emit("goal", 1)
	_ = news.To("music").Emit("concert")
	_ = news.To("sports").Emit("goal", 2)

	client = visit(url, `0{"pid":"`+pid+`","offset":"`+event[1]+`"}`)
	again, _ := client.receiveConnected()
	fmt.Println("the same socket:", again == sid)
	fmt.Println(client.receive()[:len(`2["goal",1`)])
	fmt.Println(client.receive()[:len(`2["goal",2`)])
	// Output:
	// the same socket: true
	// 2["goal",1
	// 2["goal",2
}

// A Binary travels as it is, wherever in an argument it stands; what comes as binary is decoded into a []byte.
func ExampleBinary() {
	srv, err := socketio.New(socketio.Options{})
	if err != nil {
		log.Fatal(err)
	}
	type thumbnail struct {
		Name string          `json:"name"`
		Data socketio.Binary `json:"data"`
	}
	srv.Of("/").On("thumbnail", func(_ context.Context, _ *socketio.Socket, e *socketio.Event) {
		_ = e.Ack(thumbnail{"cat.jpg", socketio.Binary("\xff\xd8")})
	})
	url, stop := run(srv)
	defer stop()

	client := visit(url, "0")
	client.receive()
	client.send(`20["thumbnail"]`)
	fmt.Println(client.receive())
	// Output:
	// 61-0[{"name":"cat.jpg","data":{"_placeholder":true,"num":0}}]
}
