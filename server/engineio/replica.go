package engineio

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// The id of a session that polls names its replica, "<20 random characters>.<replica>", because a load balancer may
// send its next request to any. A websocket stays where it was opened; its id has no need of a name.

const (
	randomSize = 20 // of the random characters: 15 bytes in base64
	maxReplica = 32
)

// replicaOf is the replica that a session id names. Anybody can make ids up, so only what we could have made is taken.
func replicaOf(sid string) (replica string, ok bool) {
	if len(sid) > randomSize+1+maxReplica {
		return "", false
	}
	random, replica, ok := strings.Cut(sid, ".")
	return replica, ok && len(random) == randomSize && urlSafe(random) && validReplica(replica)
}

func validReplica(name string) bool {
	return 0 < len(name) && len(name) <= maxReplica && urlSafe(name)
}

// urlSafe reports whether s has only characters of URL-safe base64.
func urlSafe(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'A' || 'Z' < c) && (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// elsewhere has the request of another replica's session served there, and reports whether it is answered. Limits are
// kept here, where the client is; CORS headers come with the answer.
func (s *Server) elsewhere(w http.ResponseWriter, r *http.Request, sid string, upgrade bool) bool {
	replica, ok := replicaOf(sid)
	if !ok || s.opts.Elsewhere == nil || replica == s.opts.Replica {
		return false
	}
	if r.Method != http.MethodGet && (r.Method != http.MethodPost || upgrade) {
		return false // such requests no session takes
	}
	tooBig := new(http.MaxBytesError)
	err := error(tooBig)
	if r.ContentLength <= int64(s.opts.MaxPayload) {
		err = s.elsewhereWithin(w, r, replica, upgrade)
	}
	if errors.As(err, &tooBig) {
		s.cors(w, r)
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	}
	return err == nil
}

// elsewhereWithin bounds the time and the size of what Elsewhere does.
func (s *Server) elsewhereWithin(w http.ResponseWriter, r *http.Request, replica string, upgrade bool) error {
	limit := s.opts.UpgradeTimeout
	if !upgrade {
		// As long as here: a poll waits for the next ping and a body for a slow client, then the answer goes out.
		once := s.opts.PingInterval + s.opts.PingTimeout
		limit = 2 * once
		rc := http.NewResponseController(w)
		if r.Method == http.MethodPost {
			_ = rc.SetReadDeadline(time.Now().Add(once))
		}
		_ = rc.SetWriteDeadline(time.Now().Add(limit))
		defer func() { _ = rc.SetWriteDeadline(time.Time{}) }()
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = http.MaxBytesReader(w, r.Body, int64(s.opts.MaxPayload))
	return s.opts.Elsewhere(replica, w, r)
}

// Forwarded serves what the other replicas' Elsewhere send: requests for sessions that are here, and nothing else. It
// is for a port that only they reach.
func (s *Server) Forwarded() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("sid") == "" {
			errBadRequest.write(w)
			return
		}
		s.serve(w, r, false)
	})
}
