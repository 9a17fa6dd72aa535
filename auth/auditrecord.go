package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// AuditEvent is what a Record is about.
type AuditEvent string

// The first five are the design's own.
const (
	ClientAuthenticated   AuditEvent = "client_authenticated"
	AuthenticationFailed  AuditEvent = "authentication_failed"
	RateLimitExceeded     AuditEvent = "rate_limit_exceeded"
	ChannelAccessDenied   AuditEvent = "channel_access_denied"
	EventValidationFailed AuditEvent = "event_validation_failed"
	PhotoAccessDenied     AuditEvent = "photo_access_denied"
	UserAccessDenied      AuditEvent = "user_access_denied"
	TokenExpired          AuditEvent = "token_expired" // a connection ended with its token
	TokenRevoked          AuditEvent = "token_revoked"
	SubscriptionChanged   AuditEvent = "subscription_changed"
	DeadLetterReplayed    AuditEvent = "dead_letter_replayed"
	AdminAction           AuditEvent = "admin_action"
)

var auditEvents = []AuditEvent{ClientAuthenticated, AuthenticationFailed, RateLimitExceeded, ChannelAccessDenied,
	EventValidationFailed, PhotoAccessDenied, UserAccessDenied, TokenExpired, TokenRevoked, SubscriptionChanged,
	DeadLetterReplayed, AdminAction}

// Outcomes of a Record.
const (
	Succeeded = "success"
	Denied    = "denied"
	Failed    = "failure"
)

// Record is one line of the audit. Fields that do not apply are empty, and left out. Each text is cut off after 256 bytes,
// and what looks like a token in it is replaced; a reason is for people, and says nothing that is not ours to say.
type Record struct {
	Time      time.Time  `json:"time"` // zero means now
	Event     AuditEvent `json:"event"`
	UserID    string     `json:"userId,omitempty"`
	TokenID   string     `json:"tokenId,omitempty"` // given as claim jti; written as the first 16 bytes of its SHA-256 in hex
	SocketID  string     `json:"socketId,omitempty"`
	IP        string     `json:"ip,omitempty"`
	RequestID string     `json:"requestId,omitempty"`
	Channel   string     `json:"channel,omitempty"`
	Action    string     `json:"action,omitempty"` // what was done, or would have been: publish, subscribe, an operation of the API
	Target    string     `json:"target,omitempty"` // what it was done to: a room, a filter's id, a path of the API
	EventType string     `json:"eventType,omitempty"`
	EventID   string     `json:"eventId,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Status    int        `json:"status,omitempty"` // of HTTP
	Outcome   string     `json:"outcome"`          // Succeeded, Denied or Failed; empty is written as what the event implies
	Replica   string     `json:"replica"`          // filled in by Audit
}

// rare reports whether strangers cannot bring the record about: room is kept for these.
func (r *Record) rare() bool {
	switch r.Event {
	case TokenRevoked, SubscriptionChanged, DeadLetterReplayed, AdminAction:
		return r.Outcome != Denied
	}
	return false
}

// encode returns the record as a line.
func (r Record) encode() []byte {
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Time = r.Time.UTC()
	if r.Outcome == "" {
		r.Outcome = r.Event.outcome()
	}
	if r.TokenID != "" {
		sum := sha256.Sum256([]byte(r.TokenID))
		r.TokenID = hex.EncodeToString(sum[:16])
	}
	r.Event = AuditEvent(clean(string(r.Event)))
	for _, field := range []*string{&r.UserID, &r.SocketID, &r.IP, &r.RequestID, &r.Channel, &r.Action, &r.Target, &r.EventType,
		&r.EventID, &r.Reason, &r.Outcome} {
		*field = clean(*field)
	}
	line, err := json.Marshal(r)
	if err != nil { // a time in the year 10,000
		r.Time = time.Now().UTC()
		line, _ = json.Marshal(r)
	}
	return append(line, '\n')
}

func (e AuditEvent) outcome() string {
	switch e {
	case ClientAuthenticated, TokenRevoked, SubscriptionChanged, DeadLetterReplayed, AdminAction:
		return Succeeded
	}
	return Denied
}

const (
	maxField   = 256      // bytes of a text in a record
	maxScanned = 16 << 10 // bytes of a text that are looked at: a token that begins in the first 256 is seen whole
	minToken   = 20       // bytes of one
	redacted   = "[token]"
)

// clean bounds a text, and takes tokens out of it.
func clean(s string) string {
	s = redact(s[:min(len(s), maxScanned)])
	return strings.ToValidUTF8(s[:min(len(s), maxField)], "\uFFFD")
}

// redact replaces what looks like a token: base64url parts between dots (RFC 7515 7.1), of which the first begins as JSON
// does, or the third is as long as the shortest signature. Event types and host names have dots too, and stay.
func redact(s string) string {
	var out strings.Builder
	kept := 0 // of s, in out
	for at := 0; at < len(s); {
		if !tokenChar(s[at]) {
			at++
			continue
		}
		end := at + 1
		for end < len(s) && tokenChar(s[end]) {
			end++
		}
		if isToken(s[at:end]) {
			out.WriteString(s[kept:at])
			out.WriteString(redacted)
			kept = end
		}
		at = end
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

func tokenChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

func isToken(word string) bool {
	if len(word) < minToken || !strings.Contains(word, ".") {
		return false
	}
	parts := strings.Split(word, ".")
	for i, head := range parts[:len(parts)-1] {
		// The middle part may be cut off, the third be missing: a token without its end still tells what it says.
		if startsAsJSON(head) && startsAsJSON(parts[i+1]) {
			return true
		}
		if i+2 < len(parts) && len(head) >= 8 && (startsAsJSON(head) || len(parts[i+2]) >= 43) {
			return true
		}
	}
	return false
}

// startsAsJSON reports whether base64url text begins with a brace, and a quote or space.
func startsAsJSON(part string) bool {
	if len(part) < 8 {
		return false
	}
	switch part[:3] {
	case "eyJ", "eyA", "ewo", "ewk", "ew0":
		return true
	}
	return false
}
