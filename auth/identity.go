package auth

import (
	"slices"
	"strings"
	"time"
)

// Identity is who a verified token speaks for. It lives as long as the connection, so it holds no part of the token,
// and its lists may be shared with other identities: treat them as read-only.
type Identity struct {
	UserID      string    // claim userId, else sub; 1 to 256 bytes of UTF-8
	Roles       []string  // claim roles, nil when absent
	Permissions []string  // claim permissions, such as photo:read:*; nil when absent
	TokenID     string    // claim jti, empty when absent
	Issued      time.Time // claim iat in UTC; zero when absent or no date
	Expires     time.Time // claim exp in UTC; zero means never. Verify still accepts the token for Config.Leeway after it
}

// HasRole reports whether the identity carries the role, compared byte by byte.
func (id Identity) HasRole(role string) bool { return slices.Contains(id.Roles, role) }

// Has reports whether the identity carries the permission, or the same with the wildcard * for its name: what follows
// the second colon, as in photo:read:*, or the last one. No other pattern means anything. So event_bus:publish:* and
// event_bus:publish:photo:* both stand for event_bus:publish:photo:upload, and event_bus:* does not.
func (id Identity) Has(permission string) bool {
	last := strings.LastIndexByte(permission, ':') + 1
	name := last
	if first := strings.IndexByte(permission, ':') + 1; first > 0 {
		if second := strings.IndexByte(permission[first:], ':') + 1; second > 0 {
			name = first + second
		}
	}
	for _, p := range id.Permissions {
		if p == permission {
			return permission != ""
		}
		prefix, wild := strings.CutSuffix(p, "*")
		if wild && prefix != "" && prefix != permission && (prefix == permission[:name] || prefix == permission[:last]) {
			return true
		}
	}
	return false
}

// permits reports whether a permission is prefix followed by name or by the wildcard. It is asked on every
// subscription, so it compares in place and builds no string.
func (id Identity) permits(prefix, name string) bool {
	for _, p := range id.Permissions {
		if rest, ok := strings.CutPrefix(p, prefix); ok && (rest == name || rest == "*") {
			return true
		}
	}
	return false
}
