//go:build linux

package main

import (
	"bytes"
	"fmt"
)

// session is what a Socket.IO client knows of its connection and tells when it returns, so that the server makes the
// new one whole.
type session struct {
	pid    string
	offset []byte // of the last event that had one
}

var (
	eventPacket = []byte(`42[`)
	pidKey      = []byte(`"pid":"`)
)

// learn takes the offset off an event: its last argument, if that is a string.
func (s *session) learn(m []byte) {
	if s.pid == "" || !bytes.HasPrefix(m, eventPacket) || !bytes.HasSuffix(m, []byte(`"]`)) {
		return
	}
	m = m[:len(m)-len(`"]`)]
	if i := bytes.LastIndexByte(m, '"'); i > 0 && m[i-1] == ',' {
		s.offset = append(s.offset[:0], m[i+1:]...)
	}
}

// connectPacket asks for a connection, or for the one that was lost.
func (s *session) connectPacket(token string) []byte {
	switch {
	case s.pid == "":
		return fmt.Appendf(nil, `40{"token":%q}`, token)
	case len(s.offset) == 0: // had no event yet
		return fmt.Appendf(nil, `40{"token":%q,"pid":%q}`, token, s.pid)
	}
	return fmt.Appendf(nil, `40{"token":%q,"pid":%q,"offset":%q}`, token, s.pid, s.offset)
}

// resumed reads the answer: the same pid as before means that the session goes on; another one begins a new session.
func (s *session) resumed(answer []byte) bool {
	_, rest, _ := bytes.Cut(answer, pidKey)
	pid, _, _ := bytes.Cut(rest, []byte(`"`))
	if len(pid) > 0 && string(pid) == s.pid {
		return true
	}
	s.pid, s.offset = string(pid), nil
	return false
}
