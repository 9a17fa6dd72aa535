package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/server/socketio"
)

// client is what is known of a socket's client.
type client struct {
	auth.Identity

	pace auth.Pace // of its events

	mu     sync.Mutex
	names  [2]string   // the rooms client:… and session:… of its last identify
	expiry *time.Timer // closes the transport when the token expires
}

func of(sock *socketio.Socket) *client { return sock.Data().(*client) }

// sessionData is what a client's session says of it, wherever it comes back: what the design's Node servers have in
// socket.data, and whom it identified as.
type sessionData struct {
	User struct {
		ID string `json:"id"`
	} `json:"user"`
	ClientID  string `json:"clientId,omitempty"`
	SessionID string `json:"sessionId,omitempty"`
}

// MarshalJSON encodes what another server is to know.
func (c *client) MarshalJSON() ([]byte, error) { return json.Marshal(c.sessionData()) }

func (c *client) sessionData() (d sessionData) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.User.ID = c.UserID
	d.ClientID, _ = strings.CutPrefix(c.names[0], "client:")
	d.SessionID, _ = strings.CutPrefix(c.names[1], "session:")
	return d
}

// readSession reads the data of a session: a client of this server, or what another one has stored. A Node server may have
// stored something else; then it is not known who the client was, and what it may see is decided by its token alone.
func readSession(data any) (d sessionData) {
	switch data := data.(type) {
	case *client:
		return data.sessionData()
	case json.RawMessage:
		if json.Unmarshal(data, &d) != nil {
			return sessionData{}
		}
	}
	return d
}

// rooms are those of the last identify.
func (d sessionData) rooms() (names [2]string) {
	if d.ClientID != "" {
		names[0] = "client:" + d.ClientID
	}
	if d.SessionID != "" {
		names[1] = "session:" + d.SessionID
	}
	return names
}

// serveClients registers what browsers can do.
func (s *Server) serveClients() {
	n := s.sockets.Of("/")
	s.clients = n
	n.Use(s.authenticate)
	n.OnResume(s.resume)
	n.OnConnect(s.connected)
	n.OnDisconnect(s.disconnected)
	n.On("identify", s.paced(s.identify))
	n.On("subscribe:photo", s.paced(s.subscribePhoto))
	n.On("unsubscribe:photo", s.paced(s.unsubscribe("photoId", "photo:")))
	n.On("subscribe:user", s.paced(s.subscribeUser))
	n.On("unsubscribe:user", s.paced(s.unsubscribe("userId", "user:")))
	n.On("heartbeat", s.paced(heartbeat))
	n.OnAny(s.paced(func(_ context.Context, sock *socketio.Socket, e *socketio.Event) { s.refuse(sock, e, "Unknown event") }))
}

// authenticate looks for the token where the seed's clients put it: auth.token, else the Authorization header.
func (s *Server) authenticate(ctx context.Context, sock *socketio.Socket, given json.RawMessage) error {
	var fields struct {
		Token any `json:"token"`
	}
	addr := s.address(sock)
	if ok, wait := s.addresses.Allow(auth.AddrKey(addr)); !ok { // before any work is done for it
		return s.tooOften(auth.Record{IP: addr.String(), Action: "connect"}, wait)
	}
	if given != nil && json.Unmarshal(given, &fields) != nil {
		return s.unauthorized(sock, auth.ErrInvalid)
	}
	token, isText := fields.Token.(string)
	if fields.Token != nil && !isText {
		return s.unauthorized(sock, auth.ErrInvalid)
	}
	if token == "" {
		token = sock.Conn().Handshake().Header.Get("Authorization")
	}
	id, err := s.Verify(ctx, token)
	if err != nil {
		return s.unauthorized(sock, err)
	}
	if ok, wait := s.users.Allow(id.UserID); !ok {
		return s.tooOften(auth.Record{UserID: id.UserID, IP: addr.String(), Action: "connect"}, wait)
	}
	sock.SetData(&client{Identity: id, pace: s.limits.Load().Pace()})
	return nil
}

// Verify returns whom a token stands for, if it is good and nobody has revoked it.
func (s *Server) Verify(ctx context.Context, token string) (auth.Identity, error) {
	id, err := s.Verifier.Verify(ctx, token)
	if err == nil && s.revocations.Revoked(id) {
		return auth.Identity{}, auth.ErrRevoked
	}
	return id, err
}

func (s *Server) unauthorized(sock *socketio.Socket, err error) error {
	kind := "invalid_token"
	switch {
	case errors.Is(err, auth.ErrRevoked):
		kind = "revoked"
	case errors.Is(err, auth.ErrMissing):
		kind = "no_token"
	case !errors.Is(err, auth.ErrInvalid): // our own fault
		kind = "unavailable"
		s.tokenLog.Do(func() { s.Logger.Warn("token not verified", zap.Error(err)) })
	}
	s.metrics.refuse(kind)
	s.audit(auth.Record{Event: auth.AuthenticationFailed, IP: s.address(sock).String(), Reason: kind})
	return &socketio.ConnectError{Message: auth.Message(err)}
}

// resume looks again at what a returning client had: it must be the same user, and may have lost access.
func (s *Server) resume(ctx context.Context, sock *socketio.Socket, was socketio.Session) ([]string, error) {
	before, now := readSession(was.Data), of(sock)
	if before.User.ID != "" && before.User.ID != now.UserID {
		return nil, auth.ErrDenied
	}
	now.mu.Lock()
	now.names = before.rooms()
	now.mu.Unlock()
	var rooms []string
	for _, room := range was.Rooms {
		err := error(nil)
		if photo, ok := strings.CutPrefix(room, "photo:"); ok {
			err = s.Policy.Photo(ctx, now.Identity, photo)
		} else if user, ok := strings.CutPrefix(room, "user:"); ok {
			err = s.Policy.User(ctx, now.Identity, user)
		}
		if err == nil {
			rooms = append(rooms, room)
		} else if !errors.Is(err, auth.ErrDenied) {
			s.accessLog.Do(func() { s.Logger.Warn("access not decided, so not recovered", zap.Error(err)) })
			return nil, err // the client starts anew and asks again, rather than miss events in silence
		}
	}
	return rooms, nil
}

func (s *Server) connected(_ context.Context, sock *socketio.Socket) {
	s.occupied(sock, true)
	s.metrics.connections.Inc()
	s.metrics.recovered(sock.Recovered())
	c := of(sock)
	// Here, as a socket has no id before it is known whether it is recovered.
	s.audit(auth.Record{Event: auth.ClientAuthenticated, UserID: c.UserID, TokenID: c.TokenID, SocketID: sock.ID(), IP: s.address(sock).String()})
	if s.revocations.Revoked(c.Identity) { // since it was verified: closeRevoked has not seen it
		s.closeAsRevoked(sock)
		return
	}
	if c.Expires.IsZero() || s.cfg.OnExpiry == auth.KeepOnExpiry {
		return
	}
	left := time.Until(c.Expires)
	if left <= 0 {
		left += expiryGrace
	}
	// Not a DISCONNECT packet, after which clients stay away: one whose auth is a function returns with a new token.
	c.mu.Lock()
	c.expiry = time.AfterFunc(left, func() {
		s.audit(auth.Record{Event: auth.TokenExpired, UserID: c.UserID, TokenID: c.TokenID, SocketID: sock.ID()})
		sock.Conn().Close()
	})
	c.mu.Unlock()
}

func (s *Server) disconnected(sock *socketio.Socket, why socketio.Reason) {
	s.occupied(sock, false)
	s.metrics.disconnections.WithLabelValues(reason(why)).Inc()
	s.metrics.sums.disconnected.Add(1)
	c := of(sock)
	c.mu.Lock()
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	c.mu.Unlock()
}

// occupied tells of the room of a socket's id, of which Rooms does not.
func (s *Server) occupied(sock *socketio.Socket, yes bool) {
	if s.Occupied != nil {
		s.Occupied(sock.Namespace().Name(), sock.ID(), yes)
	}
}

// expiryGrace is for tokens that the verifier's leeway for clocks has let pass.
const expiryGrace = 5 * time.Second

// maxID bounds ids in bytes.
const maxID = 512

// readID is an id in a payload: a string, or a number, which JavaScript would have put into the room's name as
// well. bad says what is wrong with it; one that is not needed may be empty, null or absent.
func readID(payload map[string]json.RawMessage, field string, needed bool) (id, bad string) {
	raw := payload[field]
	if !needed && (raw == nil || string(raw) == "null" || string(raw) == `""`) {
		return "", ""
	}
	var number json.Number
	if json.Unmarshal(raw, &id) != nil && json.Unmarshal(raw, &number) == nil {
		id = number.String()
		if f, err := number.Float64(); err == nil && math.Abs(f) < 1e21 { // as JavaScript writes it
			id = strconv.FormatFloat(f, 'f', -1, 64)
		}
	}
	switch {
	case id == "":
		return "", field + ": want a non-empty string"
	case len(id) > maxID:
		return "", field + ": want at most " + strconv.Itoa(maxID) + " bytes"
	}
	return id, ""
}

// identify joins the rooms of a client, its session and its user.
func (s *Server) identify(_ context.Context, sock *socketio.Socket, e *socketio.Event) {
	info, ok := s.decode(sock, e, "want {clientId, sessionId?}")
	if !ok {
		return
	}
	clientID, bad := readID(info, "clientId", true)
	sessionID, bad2 := readID(info, "sessionId", false)
	if bad = cmp.Or(bad, bad2); bad != "" {
		s.refuse(sock, e, bad)
		return
	}
	c := of(sock)
	names := [2]string{"client:" + clientID, ""}
	join := []string{names[0], "user:" + c.UserID}
	if sessionID != "" {
		names[1] = "session:" + sessionID
		join = append(join, names[1])
	}
	c.mu.Lock()
	for i, old := range c.names {
		if old != "" && old != names[i] {
			sock.Leave(old) // it is somebody else now
		}
	}
	c.names = names
	c.mu.Unlock()
	answer := struct {
		OK        bool   `json:"ok,omitempty"`
		SocketID  string `json:"socketId"`
		Timestamp string `json:"timestamp"`
	}{false, sock.ID(), time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}
	_ = sock.EmitAt(join, "identified", answer)
	answer.OK = true
	_ = e.Ack(answer)
}

// subscribePhoto joins the room of a photo, and answers with its last events if history says how many.
func (s *Server) subscribePhoto(ctx context.Context, sock *socketio.Socket, e *socketio.Event) {
	payload, ok := s.decode(sock, e, "want {photoId}")
	if !ok {
		return
	}
	photo, bad := readID(payload, "photoId", true)
	n, bad2 := readHistory(payload["history"])
	if bad = cmp.Or(bad, bad2); bad == "" && n > 0 && s.history == nil {
		bad = noHistory
	}
	if bad != "" {
		s.refuse(sock, e, bad)
		return
	}
	room := "photo:" + photo
	if !s.maySubscribe(sock, e, room, s.Policy.Photo(ctx, of(sock).Identity, photo)) {
		return
	}
	if n > 0 {
		s.subscribeSince(ctx, sock, e, room, n)
		return
	}
	subscribe(sock, e, room)
}

func (s *Server) subscribeUser(ctx context.Context, sock *socketio.Socket, e *socketio.Event) {
	user, ok := s.idOf(sock, e, "userId")
	if !ok {
		return
	}
	if room := "user:" + user; s.maySubscribe(sock, e, room, s.Policy.User(ctx, of(sock).Identity, user)) {
		subscribe(sock, e, room)
	}
}

func subscribe(sock *socketio.Socket, e *socketio.Event, room string) {
	_ = sock.EmitAt([]string{room}, "subscribed", roomAnswer{Room: room})
	_ = e.Ack(roomAnswer{OK: true, Room: room})
}

// maySubscribe answers the event if its sender may not be in the room.
func (s *Server) maySubscribe(sock *socketio.Socket, e *socketio.Event, room string, denied error) bool {
	switch {
	case denied != nil:
		if !errors.Is(denied, auth.ErrDenied) {
			s.accessLog.Do(func() { s.Logger.Warn("access not decided", zap.Error(denied)) })
		}
		s.metrics.denied.Inc()
		s.auditDenial(sock, room)
		_ = sock.Emit("error", map[string]string{"message": "Access denied"})
		_ = e.Ack(failure{Error: "Access denied"})
		return false
	case s.full(sock, room):
		s.refuse(sock, e, "Too many subscriptions")
		return false
	}
	return true
}

// full reports whether the socket has all the subscriptions it may have, and room is not among them.
func (s *Server) full(sock *socketio.Socket, room string) bool {
	n, own := 0, "user:"+of(sock).UserID
	for _, r := range sock.Rooms() {
		switch {
		case r == room:
			return false
		case r != own && !strings.HasPrefix(r, "client:") && !strings.HasPrefix(r, "session:"):
			n++
		}
	}
	return n >= s.cfg.MaxSubscriptions
}

func (s *Server) unsubscribe(field, prefix string) socketio.Handler {
	return func(_ context.Context, sock *socketio.Socket, e *socketio.Event) {
		if name, ok := s.idOf(sock, e, field); ok {
			room := prefix + name
			sock.Leave(room)
			_ = sock.Emit("unsubscribed", roomAnswer{Room: room})
			_ = e.Ack(roomAnswer{OK: true, Room: room})
		}
	}
}

func heartbeat(_ context.Context, sock *socketio.Socket, e *socketio.Event) {
	now := strconv.AppendInt(make([]byte, 0, 32), time.Now().UnixMilli(), 10)
	_ = sock.Emit("heartbeat", json.RawMessage(`{"timestamp":`+string(now)+`}`))
	if e.WantsAck() {
		_ = e.Ack(json.RawMessage(`{"ok":true,"timestamp":` + string(now) + `}`))
	}
}

type roomAnswer struct {
	OK   bool   `json:"ok,omitempty"`
	Room string `json:"room"`
}

type failure struct {
	OK    bool   `json:"ok"`
	Error string `json:"error"`
}

// idOf is the one id in the payload of a subscription.
func (s *Server) idOf(sock *socketio.Socket, e *socketio.Event, field string) (string, bool) {
	payload, ok := s.decode(sock, e, "want {"+field+"}")
	if !ok {
		return "", false
	}
	id, bad := readID(payload, field, true)
	if bad != "" {
		s.refuse(sock, e, bad)
		return "", false
	}
	return id, true
}

// decode reads the first argument, an object without binary in it. Further ones are ignored, as in Node. Members
// keep their names to the letter, which a struct's would not.
func (s *Server) decode(sock *socketio.Socket, e *socketio.Event, want string) (map[string]json.RawMessage, bool) {
	var payload map[string]json.RawMessage
	args := e.Args()
	if len(args) == 0 || args[0][0] != '{' || e.Attachments() > 0 || json.Unmarshal(args[0], &payload) != nil {
		s.refuse(sock, e, want)
		return nil, false
	}
	return payload, true
}

// refuse tells the client what was wrong with an event. The connection stays.
func (s *Server) refuse(sock *socketio.Socket, e *socketio.Event, problem string) {
	s.metrics.badEvents.Inc()
	fail(sock, e, problem)
}

// fail says why an event came to nothing.
func fail(sock *socketio.Socket, e *socketio.Event, problem string) {
	name := e.Name
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	_ = sock.Emit("error", map[string]string{"message": problem, "event": name})
	_ = e.Ack(failure{Error: problem})
}
