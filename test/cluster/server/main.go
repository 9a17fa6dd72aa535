// Command server is a server of a cluster that does what its standard input says, so that a test can have it ask Node's
// servers, and not only be asked. Commands and answers are lines of JSON.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/socketio"
)

func main() {
	url := flag.String("redis", "", "address of Redis")
	kind := flag.String("adapter", "streams", "streams, pubsub or sharded")
	peers := adapter.PeersConfig{}
	flag.BoolVar(&peers.SpecificResponses, "specific", false, "as Node's publishOnSpecificResponseChannel")
	mode := flag.String("mode", "dynamic", "as Node's subscriptionMode")
	flag.BoolVar(&peers.Sharded, "sharded", false, "with streams: as Node's useShardedPubSub")
	flag.Parse()
	peers.SubscriptionMode = adapter.SubscriptionMode(*mode)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *url, *kind, peers); err != nil {
		log.Fatal(err)
	}
}

// cluster is the way to the other servers: adapter.Log and adapter.Peers, or adapter.PubSub.
type cluster struct {
	records interface {
		Start() adapter.Position
		CaughtUp() <-chan struct{}
		Append(ctx context.Context, lease adapter.Lease, records []adapter.Record) ([]bool, error)
		Tail(ctx context.Context, apply func([]adapter.Entry), gap func(adapter.Position)) error
	}
	questions
	occupied func(namespace, room string, yes bool)
}

type questions interface {
	Run(ctx context.Context, serve func(adapter.Request, func(adapter.Response))) error
	Request(ctx context.Context, r adapter.Request, each func(adapter.Response)) error
}

func (c *cluster) Publish(ctx context.Context, m adapter.Message) error {
	_, err := c.records.Append(ctx, adapter.Lease{}, []adapter.Record{{Messages: []adapter.Message{m}}})
	return err
}

func join(ctx context.Context, redis *adapter.Redis, kind string, cfg adapter.PeersConfig) (*cluster, error) {
	logged := adapter.LogConfig{ID: cfg.ID}
	nobody := func() []adapter.Replica { return nil }
	if kind == "streams" {
		events := redis.Log(logged)
		return &cluster{records: events, questions: adapter.NewPeers(redis, cfg, nobody)}, events.Open(ctx)
	}
	cfg.Sharded = kind == "sharded"
	bus := adapter.NewPubSub(redis, cfg, logged, nobody)
	return &cluster{records: bus, questions: bus, occupied: bus.Occupied}, nil
}

func run(ctx context.Context, url, kind string, cfg adapter.PeersConfig) error {
	redis, err := adapter.DialRedis(ctx, adapter.RedisConfig{URL: url}, zap.NewNop())
	if err != nil {
		return err
	}
	defer redis.Close()
	var id [8]byte
	_, _ = rand.Read(id[:])
	cfg.ID = hex.EncodeToString(id[:])
	others, err := join(ctx, redis, kind, cfg)
	if err != nil {
		return err
	}
	srv, err := socketio.New(socketio.Options{
		ID: cfg.ID, Cluster: others, Start: others.records.Start(), Occupied: others.occupied,
	})
	if err != nil {
		return err
	}
	out := &lines{to: json.NewEncoder(os.Stdout)}
	register(srv.Of("/"), others.occupied, out)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", srv)
	web := &http.Server{Handler: mux}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	failed := make(chan error, 4)
	part := func(fn func() error) {
		parts.Go(func() {
			defer cancel() // whichever ends first ends the others
			failed <- fn()
		})
	}
	part(func() error { return others.records.Tail(ctx, srv.Deliver, srv.Reset) })
	part(func() error { return others.Run(ctx, srv.Serve) })
	part(func() error { return srv.Run(ctx) })
	part(func() error { return web.Serve(listener) })
	select {
	case <-others.records.CaughtUp():
		out.write(map[string]any{"listening": listener.Addr().(*net.TCPAddr).Port})
	case <-ctx.Done():
	}
	go serve(ctx, srv.Of("/"), out) // ends with the process: a read of standard input cannot be cut short
	<-ctx.Done()
	_ = web.Close()
	parts.Wait()
	close(failed)
	for one := range failed {
		if !errors.Is(one, http.ErrServerClosed) {
			err = errors.Join(err, one)
		}
	}
	return err
}

// lines are what the test reads.
type lines struct {
	mu sync.Mutex
	to *json.Encoder
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.to.Encode(v)
}

// register serves clients as test/lib/node.mjs does, and other servers.
func register(n *socketio.Namespace, occupied func(namespace, room string, yes bool), out *lines) {
	own := func(s *socketio.Socket, yes bool) {
		if occupied != nil {
			occupied(n.Name(), s.ID(), yes)
		}
	}
	ok := map[string]bool{"ok": true}
	n.OnConnect(func(_ context.Context, s *socketio.Socket) { own(s, true) })
	n.OnDisconnect(func(s *socketio.Socket, _ socketio.Reason) { own(s, false) })
	n.On("identify", func(_ context.Context, s *socketio.Socket, e *socketio.Event) {
		var who struct{ ClientID, SessionID string }
		_ = e.Decode(&who)
		s.SetData(map[string]any{"clientId": who.ClientID})
		s.Join("client:"+who.ClientID, "session:"+who.SessionID)
		_ = s.Emit("identified", map[string]string{"socketId": s.ID()})
		_ = e.Ack(ok)
	})
	n.On("subscribe:photo", func(_ context.Context, s *socketio.Socket, e *socketio.Event) {
		var what struct{ PhotoID string }
		_ = e.Decode(&what)
		s.Join("photo:" + what.PhotoID)
		_ = e.Ack(ok)
	})
	n.OnServerSide("note", func(_ context.Context, args []json.RawMessage, _ func(any)) {
		out.write(map[string]any{"note": args})
	})
	n.OnServerSide("question", func(_ context.Context, args []json.RawMessage, ack func(any)) {
		ack(map[string]any{"from": "go", "args": args})
	})
}

// command is what the test wants done.
type command struct {
	ID      int               `json:"id"`
	Do      string            `json:"do"`
	Rooms   []string          `json:"rooms"`
	Except  []string          `json:"except"`
	Event   string            `json:"event"`
	Args    []json.RawMessage `json:"args"`
	Into    []string          `json:"into"`
	Timeout int               `json:"timeout"` // ms
}

// values are the arguments; an object with the one member "binary" stands for bytes.
func (c *command) values() []any {
	out := make([]any, len(c.Args))
	for i, raw := range c.Args {
		var b map[string][]byte
		if json.Unmarshal(raw, &b) == nil && len(b) == 1 && b["binary"] != nil {
			out[i] = socketio.Binary(b["binary"])
		} else {
			out[i] = raw
		}
	}
	return out
}

func serve(ctx context.Context, n *socketio.Namespace, out *lines) {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var c command
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			log.Fatalf("command %s: %v", in.Bytes(), err)
		}
		answer := func() {
			result, err := c.do(ctx, n)
			line := map[string]any{"id": c.ID, "result": result}
			if err != nil {
				line["error"] = err.Error()
			}
			out.write(line)
		}
		switch c.Do {
		case "emitWithAck", "fetchSockets", "serverSideEmitWithAck":
			go answer() // others may be asked meanwhile
		default:
			answer()
		}
	}
}

func (c *command) do(ctx context.Context, n *socketio.Namespace) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Timeout)*time.Millisecond)
	defer cancel()
	to := n.To(c.Rooms...).Except(c.Except...)
	switch c.Do {
	case "emit":
		return nil, to.Emit(c.Event, c.values()...)
	case "volatile":
		return nil, to.Volatile().Emit(c.Event, c.values()...)
	case "fetchSockets":
		return to.FetchSockets(ctx)
	case "socketsJoin":
		return nil, to.Join(c.Into...)
	case "socketsLeave":
		return nil, to.Leave(c.Into...)
	case "disconnectSockets":
		return nil, to.Disconnect()
	case "close":
		return nil, to.Close()
	case "emitWithAck":
		return to.EmitWithAck(ctx, c.Event, c.values()...)
	case "serverSideEmit":
		return nil, n.ServerSideEmit(ctx, c.Event, c.values()...)
	case "serverSideEmitWithAck":
		return n.ServerSideEmitWithAck(ctx, c.Event, c.values()...)
	default:
		return nil, fmt.Errorf("unknown command %q", c.Do)
	}
}
