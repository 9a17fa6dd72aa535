package socketio

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// ackTimeout is how long another server's question may wait for clients here.
const ackTimeout = time.Minute

// Serve answers another server's request. It returns at once; respond is called from other goroutines, which end with
// Run, one call after the other for a request. While Run is not running nothing is answered.
func (s *Server) Serve(r adapter.Request, respond func(adapter.Response)) {
	name := r.Namespace
	if name == "" {
		name = "/"
	}
	answer := func(out adapter.Response) {
		out.Kind, out.ID, out.From, out.Namespace = r.Kind, r.ID, s.opts.ID, name
		if r.ID != "" {
			respond(out)
		}
	}
	n := s.namespace(name)
	if n == nil { // no sockets, and nobody to say anything
		if r.Kind != adapter.ServerSideEmit {
			s.spawn(func(context.Context) { answer(adapter.Response{}) })
		}
		return
	}
	target := Target{ns: n, rooms: r.Rooms, except: r.Except, local: true}
	switch r.Kind {
	case adapter.FetchSockets:
		s.spawn(func(context.Context) { answer(adapter.Response{Sockets: target.describe()}) })
	case adapter.ListSockets:
		s.spawn(func(context.Context) { answer(adapter.Response{Sockets: target.ids()}) })
	case adapter.ListRooms:
		s.spawn(func(context.Context) { answer(adapter.Response{Rooms: n.rooms.Names()}) })
	case adapter.EmitWithAck:
		target.serveAcks(r, answer)
	case adapter.ServerSideEmit:
		n.serveEvent(r, answer)
	}
}

// serveAcks sends the event in the order of requests, and then waits for the clients' acknowledgements.
func (t Target) serveAcks(r adapter.Request, answer func(adapter.Response)) {
	data := append([]byte{'['}, r.Args...)
	encode := t.ns.plainMessage
	if r.Binary {
		encode = t.ns.message
	}
	q := askAll(t.Sockets(), func(p packet) *engineio.Message { return encode(p, data, nil) })
	ok := t.ns.srv.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, ackTimeout)
		defer cancel()
		answer(adapter.Response{Count: q.sent})
		q.answers(ctx, func(a reply) {
			arg := first(a.args)
			answer(adapter.Response{Count: -1, Args: arg, Binary: a.binary && hasBinary(arg)})
		})
	})
	if !ok {
		q.end()
	}
}

// serveEvent hands an event from another server to its handler. Without one it is not answered, as in Node.
func (n *Namespace) serveEvent(r adapter.Request, answer func(adapter.Response)) {
	data := slices.Concat([]byte{'['}, r.Args, closing)
	if !json.Valid(data) {
		return
	}
	name, ok := eventName(data)
	handle := n.asked[name]
	if !ok || handle == nil {
		return
	}
	args := elements(data)[1:]
	if r.Binary {
		for i, a := range args {
			args[i] = plainBinary(a)
		}
	}
	n.receive(func(ctx context.Context) {
		var once sync.Once
		handle(ctx, args, func(v any) {
			once.Do(func() {
				arg, err := appendArgs(nil, []any{v})
				if err != nil {
					arg = []byte("null")
				}
				answer(adapter.Response{Args: arg, Binary: hasBinary(arg)})
			})
		})
	})
}
