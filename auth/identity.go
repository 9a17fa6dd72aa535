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
	Expires     time.Time // claim exp in UTC; zero means never. Verify still accepts the token for Config.Leeway after it
}

// HasRole reports whether the identity carries the role, compared byte by byte.
func (id Identity) HasRole(role string) bool { return slices.Contains(id.Roles, role) }

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
