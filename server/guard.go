package server

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/server/socketio"
)

// address is where a client comes from.
func (s *Server) address(sock *socketio.Socket) netip.Addr {
	h := sock.Conn().Handshake()
	return auth.ClientAddr(h.RemoteAddr, h.Header, s.cfg.TrustedProxies)
}

// tooOften refuses a handshake, as DESIGN has it: with the seconds after which it may be tried again.
func (s *Server) tooOften(r auth.Record, wait time.Duration) error {
	s.metrics.refuse("rate_limit")
	r.Event = auth.RateLimitExceeded
	s.audit(r)
	seconds := int(math.Ceil(wait.Seconds()))
	return &socketio.ConnectError{Message: "Rate limit exceeded", Data: map[string]int{"retryAfter": seconds}}
}

// paced handles an event unless its sender sends too many, for which it waits for other replicas 50 ms at most. The
// connection stays.
func (s *Server) paced(handle socketio.Handler) socketio.Handler {
	return func(ctx context.Context, sock *socketio.Socket, e *socketio.Event) {
		c := of(sock)
		ok, _ := c.pace.Allow()
		if ok && s.UserEvents != nil {
			ok, _ = s.UserEvents.Allow(ctx, c.UserID)
		}
		if !ok {
			s.audit(auth.Record{Event: auth.RateLimitExceeded, UserID: c.UserID, SocketID: sock.ID(), Action: e.Name})
			s.refuse(sock, e, "Rate limit exceeded")
			return
		}
		handle(ctx, sock, e)
	}
}

// ReloadLimits changes how often clients may do what. Connections that are open keep the pace they were let in with.
func (s *Server) ReloadLimits(l auth.Limits) error {
	if err := l.Validate(); err != nil {
		return err
	}
	err := errors.Join(s.users.Reload(l.Connections), s.addresses.Reload(l.Of(l.PerIP)))
	if s.UserEvents != nil {
		err = errors.Join(err, s.UserEvents.Reload(l.Of(l.Events.PerUser)))
	}
	if err == nil {
		s.limits.Store(&l)
	}
	return err
}

// SetCORSOrigins changes from which origins browsers may poll.
func (s *Server) SetCORSOrigins(origins []string) { s.sockets.Engine().SetCORSOrigins(origins) }

// audit records a security event.
func (s *Server) audit(r auth.Record) { s.Audit.Log(r) } // a nil one takes nothing

// auditDenial records that somebody may not be in a room.
func (s *Server) auditDenial(sock *socketio.Socket, room string) {
	r := auth.Record{Event: auth.PhotoAccessDenied, UserID: of(sock).UserID, SocketID: sock.ID(), Action: "subscribe", Target: room}
	if strings.HasPrefix(room, "user:") {
		r.Event = auth.UserAccessDenied
	}
	s.audit(r)
}

// auditRefusal records that an event from Redis was refused.
func (s *Server) auditRefusal(channel string, in *arrival) {
	if errors.Is(in.refused, ErrLimited) {
		s.audit(auth.Record{Event: auth.RateLimitExceeded, Channel: channel, EventType: in.event.Type, EventID: in.event.ID, Action: "publish"})
		return
	}
	s.audit(auth.Record{
		Event: auth.EventValidationFailed, Channel: channel, EventType: in.event.Type, EventID: in.event.ID, Reason: in.refused.Error(),
	})
}

// closeRevoked closes the connections here whose tokens are revoked.
func (s *Server) closeRevoked() {
	for _, sock := range s.clients.To().Sockets() {
		if c, ok := sock.Data().(*client); ok && s.revocations.Revoked(c.Identity) {
			s.closeAsRevoked(sock)
		}
	}
}

func (s *Server) closeAsRevoked(sock *socketio.Socket) {
	c := of(sock)
	s.Logger.Info("connection closed, as its token is revoked", zap.String("socket", sock.ID()))
	s.audit(auth.Record{Event: auth.TokenRevoked, UserID: c.UserID, TokenID: c.TokenID, SocketID: sock.ID()})
	sock.Conn().Close()
}
