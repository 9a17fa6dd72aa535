package engineio_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/photo-management/event-bus/server/engineio"
)

// echo answers every message with itself.
type echo struct{ conn *engineio.Conn }

func (e echo) Message(data []byte, _ bool)   { e.conn.Send(engineio.NewMessage(data)) }
func (e echo) Closed(reason engineio.Reason) { fmt.Println("closed:", reason) }

// client is a websocket: the connection, and what came right behind the handshake's answer.
type client struct {
	net.Conn
	io.Reader
}

func (c client) Read(p []byte) (int, error) { return c.Reader.Read(p) }

func dial(ctx context.Context, url string) (client, error) {
	conn, early, _, err := ws.Dial(ctx, "ws"+url[len("http"):]+"/?EIO=4&transport=websocket")
	if early != nil {
		return client{conn, early}, err
	}
	return client{conn, conn}, err
}

// An echo server, and a client that opens a websocket, says hello and goes.
func Example() {
	srv, err := engineio.New(engineio.Options{}, func(c *engineio.Conn) engineio.Handler { return echo{c} })
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- srv.Run(ctx) }()
	web := httptest.NewServer(srv) // in earnest: http.Handle("/engine.io/", srv)
	defer web.Close()

	<-srv.Accepting()

	client, err := dial(ctx, web.URL)
	if err != nil {
		log.Fatal(err)
	}
	open, _ := wsutil.ReadServerText(client)
	fmt.Printf("OPEN is packet type %c\n", open[0])

	_ = wsutil.WriteClientText(client, []byte("4hello"))
	answer, _ := wsutil.ReadServerText(client)
	fmt.Printf("%s\n", answer)

	_ = wsutil.WriteClientText(client, []byte("1")) // CLOSE
	_, _ = wsutil.ReadServerText(client)            // ends when the server has closed its side
	client.Close()
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// OPEN is packet type 0
	// 4hello
	// closed: transport close
}
