package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/photo-management/event-bus/adapter"
)

// ServerHandler handles an event from another server. ack answers it, once, if that was asked for; what it is given
// is encoded as JSON. Handlers of a namespace run one after the other, in the order received. ctx ends with the server.
type ServerHandler func(ctx context.Context, args []json.RawMessage, ack func(any))

// reservedServerEvents mean something to Node's servers.
var reservedServerEvents = []string{"connect", "connection", "new_namespace"}

// OnServerSide handles the events of that name from other servers. There is one handler for a name.
func (n *Namespace) OnServerSide(event string, fn ServerHandler) { n.asked[event] = fn }

// ServerSideEmit sends an event to all other servers.
func (n *Namespace) ServerSideEmit(ctx context.Context, event string, args ...any) error {
	r, err := serverSide("", event, args)
	if err != nil {
		return err
	}
	return n.request(ctx, r, func(adapter.Response) {})
}

// ServerSideEmitWithAck sends an event to all other servers and waits for their answers. With an *adapter.PartialError
// come the answers that there were before ctx ended.
func (n *Namespace) ServerSideEmitWithAck(ctx context.Context, event string, args ...any) ([]json.RawMessage, error) {
	r, err := serverSide(newRequestID(), event, args)
	if err != nil {
		return nil, err
	}
	var answers []json.RawMessage
	err = n.request(ctx, r, func(answer adapter.Response) { answers = append(answers, answerOf(answer)) })
	return answers, err
}

func serverSide(id, event string, args []any) (adapter.Request, error) {
	if slices.Contains(reservedServerEvents, event) {
		return adapter.Request{}, fmt.Errorf("event %q: the name is reserved", event)
	}
	data, err := encodeEvent(event, args)
	if err != nil {
		return adapter.Request{}, err
	}
	return adapter.Request{Kind: adapter.ServerSideEmit, ID: id, Args: data[1:], Binary: hasBinary(data)}, nil
}

// answerOf is the value in a response, with binary as base64 strings.
func answerOf(r adapter.Response) json.RawMessage {
	switch {
	case len(r.Args) == 0:
		return json.RawMessage("null")
	case r.Binary:
		return plainBinary(r.Args)
	}
	return r.Args
}

// inbox has the events from other servers that wait for their handlers. One goroutine, while there are any, takes
// them out.
type inbox struct {
	mu   sync.Mutex
	work []func(context.Context)
	busy bool
}

// maxInbox bounds the events from other servers that may wait in a namespace. Further ones are not answered.
const maxInbox = 10_000

func (n *Namespace) receive(fn func(context.Context)) {
	b := &n.inbox
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.work) >= maxInbox {
		return
	}
	b.work = append(b.work, fn)
	if !b.busy {
		b.busy = n.srv.spawn(b.run)
	}
	if !b.busy {
		b.work = nil
	}
}

func (b *inbox) run(ctx context.Context) {
	for {
		b.mu.Lock()
		work := b.work
		b.work = nil
		b.busy = len(work) > 0
		b.mu.Unlock()
		if len(work) == 0 {
			return
		}
		for _, fn := range work {
			if ctx.Err() == nil {
				fn(ctx)
			}
		}
	}
}
