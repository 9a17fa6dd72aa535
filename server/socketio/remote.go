package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// FetchSockets tells of the sockets addressed, on all servers. With an *adapter.PartialError come those of the servers
// that have answered before ctx ended.
func (t Target) FetchSockets(ctx context.Context) ([]adapter.RemoteSocket, error) {
	sockets := t.describe()
	if t.acts() {
		return sockets, nil
	}
	r := adapter.Request{Kind: adapter.FetchSockets, ID: newRequestID(), Rooms: t.rooms, Except: t.except}
	err := t.ns.request(ctx, r, func(answer adapter.Response) { sockets = append(sockets, answer.Sockets...) })
	return sockets, err
}

// describe is what other servers may know of the sockets addressed that are here.
func (t Target) ids() []adapter.RemoteSocket {
	sockets := t.Sockets()
	out := make([]adapter.RemoteSocket, len(sockets))
	for i, s := range sockets {
		out[i].ID = s.id
	}
	return out
}

func (t Target) describe() []adapter.RemoteSocket {
	sockets := t.Sockets()
	out := make([]adapter.RemoteSocket, len(sockets))
	for i, s := range sockets {
		rooms := append([]string{s.id}, s.Rooms()...)
		out[i] = adapter.RemoteSocket{ID: s.id, Rooms: rooms, Data: encodeData(s.Data()), Handshake: s.handshake()}
	}
	return out
}

// handshake is Node's socket.handshake as far as it is known: there is no path, and no telling if a proxy has spoken TLS.
// Beyond it, transport is the one in use, where the query has the one that it began with.
// Other services read it, so it has nothing that a client proves itself with: no auth, no such headers, no such
// parameters.
func (s *Socket) handshake() json.RawMessage {
	h := s.client.conn.Handshake()
	since := time.UnixMilli(s.since)
	address, _, err := net.SplitHostPort(h.RemoteAddr)
	if err != nil {
		address = h.RemoteAddr
	}
	shake := map[string]any{
		"headers": publicHeaders(h.Header),
		"time":    since.UTC().Format("Mon Jan 02 2006 15:04:05") + " GMT+0000 (Coordinated Universal Time)",
		"issued":  s.since,
		"address": address,
		"query":   publicQuery(h.Query),
		"auth":    struct{}{},

		"transport": s.client.conn.Transport(),
	}
	kept := func(name string) bool { return strings.EqualFold(name, "Origin") }
	if slices.ContainsFunc(s.ns.srv.opts.Engine.Headers, kept) {
		shake["xdomain"] = h.Header.Get("Origin") != ""
	}
	out, _ := json.Marshal(shake) // all of it encodes
	return out
}

// publicHeaders are headers in Node's form.
func publicHeaders(header http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range header {
		switch name {
		case "Authorization", "Proxy-Authorization", "Cookie":
		default:
			out[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return out
}

// publicQuery are parameters in Node's form: one that is there more than once is an array.
func publicQuery(raw string) map[string]any {
	query, _ := url.ParseQuery(raw) // what can be read of it
	out := map[string]any{}
	for name, values := range query {
		switch lower := strings.ToLower(name); {
		case strings.Contains(lower, "token"), strings.Contains(lower, "auth"), strings.Contains(lower, "jwt"):
		case len(values) == 1:
			out[name] = values[0]
		default:
			out[name] = values
		}
	}
	return out
}

// AckError says that not every socket addressed has acknowledged.
type AckError struct {
	Acked   int
	Sockets int      // those known to have been sent the event
	Servers []string // ids of those that did not answer, or not to the end
	Err     error    // why no more was waited for; nil when the other sockets have left
}

func (e *AckError) Error() string {
	text := fmt.Sprintf("%d of %d sockets acknowledged", e.Acked, e.Sockets)
	if len(e.Servers) > 0 {
		text += "; not heard to the end: server " + strings.Join(e.Servers, ", ")
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *AckError) Unwrap() error { return e.Err }

// EmitWithAck sends an event to every socket addressed and waits for their acknowledgements, the first argument of
// each, null if there is none. It is not kept for those who are away. With an *AckError come the acknowledgements that
// there are. A handler must not wait for its own client, whose packets it holds up.
func (t Target) EmitWithAck(ctx context.Context, event string, args ...any) ([]json.RawMessage, error) {
	data, err := encodeArgs(event, args)
	if err != nil {
		return nil, err
	}
	var (
		mu      sync.Mutex // over all below: two sides answer
		acks    []json.RawMessage
		sockets int
	)
	q := askAll(t.Sockets(), func(p packet) *engineio.Message {
		m := t.ns.message(p, data, nil)
		m.Volatile = t.volatile
		return m
	})
	sockets = q.sent
	var here sync.WaitGroup
	here.Go(func() {
		q.answers(ctx, func(r reply) {
			mu.Lock()
			defer mu.Unlock()
			acks = append(acks, first(r.plain()))
		})
	})
	if !t.acts() {
		r := adapter.Request{
			Kind: adapter.EmitWithAck, ID: newRequestID(), Rooms: t.rooms, Except: t.except,
			Args: data[1:], Binary: hasBinary(data),
		}
		err = t.ns.request(ctx, r, func(answer adapter.Response) {
			mu.Lock()
			defer mu.Unlock()
			if answer.Count >= 0 && answer.Args == nil {
				sockets += answer.Count
			} else {
				acks = append(acks, answerOf(answer))
			}
		})
	}
	here.Wait()
	if err == nil && len(acks) == sockets {
		return acks, nil
	}
	failed := &AckError{Acked: len(acks), Sockets: sockets, Err: err}
	if partial := (*adapter.PartialError)(nil); errors.As(err, &partial) {
		failed.Servers, failed.Err = partial.Missing, nil
	}
	if failed.Err == nil {
		failed.Err = ctx.Err()
	}
	return acks, failed
}

// first is what other servers are told of an acknowledgement, as in Node.
func first(args []json.RawMessage) json.RawMessage {
	if len(args) == 0 {
		return json.RawMessage("null")
	}
	return args[0]
}
