// Package socketio is a Socket.IO server, protocol 5: what official clients of version 3 and 4 speak.
//
// A Server is an http.Handler. Its namespaces carry events between sockets and handlers, with acknowledgements,
// binary attachments, rooms and connection state recovery. What the events mean is for the caller; how bytes
// travel is the engineio package's. Rooms and the recovery window are the adapter package's.
//
//	srv, err := socketio.New(socketio.Options{})
//	srv.Of("/").On("chat", func(ctx context.Context, s *socketio.Socket, e *socketio.Event) {
//		var text string
//		if e.Decode(&text) == nil {
//			s.Namespace().To("lobby").Emit("chat", text)
//		}
//	})
//	http.Handle("/socket.io/", srv)
//	go http.ListenAndServe(":3000", nil)
//	err = srv.Run(ctx)
package socketio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Options configures a Server. The zero value works.
type Options struct {
	// Engine configures the transports.
	Engine engineio.Options
	// ConnectTimeout is how long a client may stay without a namespace. Zero means 45 s.
	ConnectTimeout time.Duration
	// MaxAttachments is how many binary attachments one packet from a client may have. Zero means 10.
	MaxAttachments int
	// RecoveryWindow is for how long a client may be away and yet get its id, rooms and missed broadcasts back.
	// Zero means that every connection is a new one.
	RecoveryWindow time.Duration
	// RecoveryBytes bounds the broadcasts that each namespace keeps for that, in bytes on the wire; each costs some
	// 300 more. Zero means 256 MiB.
	RecoveryBytes int
	// HistoryWindow is how long broadcasts are kept at least for Event.JoinSince. Zero means as for recovery.
	HistoryWindow time.Duration
	// Occupied is told, under a lock, when a room gets its first socket here and when it has lost its last.
	Occupied func(namespace, room string, yes bool)
	// Start is the position before the first broadcast. Zero means now.
	Start adapter.Position
	// Cluster joins this server to others. Nil means that it is alone.
	Cluster cluster
	// Sessions keeps the sessions of all servers, so that clients may return to another one. Nil means that they come
	// back to this one only.
	Sessions store
	// ID is this server's among the others, 16 hexadecimal digits. It is needed with Cluster or Sessions.
	ID string
}

// Validate reports everything that is wrong with o at once.
func (o Options) Validate() error {
	var errs []error
	for key, ok := range map[string]bool{
		"websocket.connectTimeout":    o.ConnectTimeout >= 0,
		"option MaxAttachments":       o.MaxAttachments >= 0,
		"websocket.recovery.window":   o.RecoveryWindow >= 0,
		"websocket.recovery.maxBytes": o.RecoveryBytes >= 0,
		"option HistoryWindow":        o.HistoryWindow >= 0,
	} {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: want zero or more", key))
		}
	}
	if (o.Cluster != nil || o.Sessions != nil) && !serverID.MatchString(o.ID) {
		errs = append(errs, fmt.Errorf("option ID: %q is none; want 16 hexadecimal digits", o.ID))
	}
	return errors.Join(append(errs, o.Engine.Validate())...)
}

var serverID = regexp.MustCompile(`^[0-9a-f]{16}$`)

// Server is a Socket.IO server. Make it with New, register namespaces and handlers, mount it, and run Run.
type Server struct {
	opts   Options
	engine *engineio.Server
	claims claims
	tasks  sync.WaitGroup // what spawn started

	mu         sync.RWMutex
	base       context.Context // of handlers: Run's, which is not there yet when they are registered
	running    bool
	namespaces map[string]*Namespace
}

// New makes a Server with the namespace "/".
func New(opts Options) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts.Engine = opts.Engine.WithDefaults()
	opts.ConnectTimeout = cmp.Or(opts.ConnectTimeout, 45*time.Second)
	opts.MaxAttachments = cmp.Or(opts.MaxAttachments, 10)
	if opts.Start == (adapter.Position{}) {
		opts.Start = opts.Start.Next(time.Now())
	}
	s := &Server{
		opts:       opts,
		base:       context.Background(),
		namespaces: map[string]*Namespace{},
		claims:     claims{under: map[string]*claiming{}},
	}
	engine, err := engineio.New(opts.Engine, s.accept)
	if err != nil {
		return nil, err
	}
	s.engine = engine
	s.Of("/")
	return s, nil
}

// Of returns the namespace of that name and registers it if it is new. Names begin with a slash, which may be left
// out. Clients cannot make namespaces.
func (s *Server) Of(name string) *Namespace {
	if !strings.HasPrefix(name, "/") {
		name = "/" + name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaces[name]
	if n == nil {
		n = newNamespace(s, name)
		s.namespaces[name] = n
	}
	return n
}

func (s *Server) namespace(name string) *Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.namespaces[name]
}

// ServeHTTP serves the transports. Mount it at /socket.io/, where clients look by default.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.engine.ServeHTTP(w, r) }

// Engine is the server's transport layer, for its counts.
func (s *Server) Engine() *engineio.Server { return s.engine }

// Drain refuses new connections and closes the open ones, spread over the given time.
func (s *Server) Drain(ctx context.Context, over time.Duration) { s.engine.Drain(ctx, over) }

// Run serves until ctx ends, then disconnects everybody and waits for every handler.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.base, s.running = ctx, true
	s.mu.Unlock()
	var housekeeping sync.WaitGroup
	housekeeping.Go(func() { s.expire(ctx) })
	err := s.engine.Run(ctx)
	housekeeping.Wait()
	s.mu.Lock()
	s.running = false // before the wait: nothing is spawned after it
	s.mu.Unlock()
	s.tasks.Wait()
	return err
}

// spawn runs fn on a goroutine that Run waits for, with Run's context. It reports false when Run is not running.
func (s *Server) spawn(fn func(context.Context)) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.running {
		return false
	}
	ctx := s.base
	s.tasks.Go(func() { fn(ctx) })
	return true
}

// all lists the namespaces.
func (s *Server) all() []*Namespace {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Values(s.namespaces))
}

// context is the context of handlers.
func (s *Server) context() context.Context {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.base
}

// expire forgets, every second, the sessions and broadcasts that have left the recovery window.
func (s *Server) expire(ctx context.Context) {
	if max(s.opts.RecoveryWindow, s.opts.HistoryWindow) == 0 {
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, n := range s.all() {
			n.rooms.Trim()
			n.sessions.expire(time.Now())
		}
	}
}
