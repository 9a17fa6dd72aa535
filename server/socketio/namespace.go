package socketio

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Handler handles an event from a client. Those of one client run one after the other, in the order sent; a
// handler that blocks holds up its own client alone. ctx ends with the server. e is the handler's until it returns.
type Handler func(ctx context.Context, s *Socket, e *Event)

// Reason says why a socket was disconnected, in Node's words: one of these or a transport's engineio.Reason.
type Reason string

const (
	ClientDisconnect Reason = "client namespace disconnect"
	ServerDisconnect Reason = "server namespace disconnect"
)

// ConnectError refuses a connection: the client gets a connect_error with this message and data. Any other error
// that a middleware returns refuses it with the error's text.
type ConnectError struct {
	Message string
	Data    any // JSON; nil means none
}

func (e *ConnectError) Error() string { return e.Message }

// Namespace is a channel of its own over the same connections. Register all handlers before Server.Run.
type Namespace struct {
	srv  *Server
	name string

	middlewares []func(context.Context, *Socket, json.RawMessage) error
	connected   func(context.Context, *Socket)
	resumed     func(context.Context, *Socket, Session) ([]string, error)
	gone        func(*Socket, Reason)
	handlers    map[string]Handler
	fallback    Handler
	asked       map[string]ServerHandler

	rooms    *adapter.Rooms[*engineio.Message]
	sessions *sessions
	emit     sync.Mutex // keeps positions of local broadcasts in order
	telling  sync.Mutex // keeps what Options.Sessions is told in order
	inbox    inbox
}

func newNamespace(s *Server, name string) *Namespace {
	return &Namespace{
		srv:       s,
		name:      name,
		connected: func(context.Context, *Socket) {},
		gone:      func(*Socket, Reason) {},
		fallback:  func(context.Context, *Socket, *Event) {},
		handlers:  map[string]Handler{},
		asked:     map[string]ServerHandler{},
		rooms: adapter.NewRooms[*engineio.Message](adapter.RoomsConfig{
			Window:   max(s.opts.RecoveryWindow, s.opts.HistoryWindow),
			MaxBytes: s.opts.RecoveryBytes,
			Occupied: s.occupied(name),
		}, s.opts.Start),
		sessions: newSessions(s.opts.RecoveryWindow),
	}
}

// Name is the namespace's name, like "/".
func (n *Namespace) Name() string { return n.name }

// Use adds a middleware: it sees every connection, a recovered one too, before its client hears that it is
// connected, with the JSON object that the client gave as auth (or nil). An error refuses the connection.
func (n *Namespace) Use(middleware func(ctx context.Context, s *Socket, auth json.RawMessage) error) {
	n.middlewares = append(n.middlewares, middleware)
}

// OnConnect is called for every socket once its client has been told, before any of its events.
func (n *Namespace) OnConnect(fn func(context.Context, *Socket)) { n.connected = fn }

// OnResume may look again at what a returning client wants back, after the middlewares. It returns the rooms that
// it still may be in; an error makes the connection a new one.
func (n *Namespace) OnResume(fn func(ctx context.Context, s *Socket, was Session) (rooms []string, err error)) {
	n.resumed = fn
}

// OnDisconnect is called once for every socket that was connected, as the last. Where a client came back before its
// old connection was known to be dead, that may be after OnConnect of the new socket, which has the same id.
func (n *Namespace) OnDisconnect(fn func(*Socket, Reason)) { n.gone = fn }

// On handles the events of that name. There is one handler for a name.
func (n *Namespace) On(event string, fn Handler) { n.handlers[event] = fn }

// OnAny handles the events that no handler is there for. Without it they are ignored, as in Node.
func (n *Namespace) OnAny(fn Handler) { n.fallback = fn }

// Position is that of the last broadcast that this server has brought to its sockets here.
func (n *Namespace) Position() adapter.Position { return n.rooms.Position() }

// Rooms is the number of rooms that have members.
func (n *Namespace) Rooms() int { return n.rooms.Len() }

func (s *Server) occupied(namespace string) func(string, bool) {
	if s.opts.Occupied == nil {
		return nil
	}
	return func(room string, yes bool) { s.opts.Occupied(namespace, room, yes) }
}
