package auth

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"github.com/tidwall/gjson"
)

const (
	maxID      = 256 // bytes of a user id, a token id, a role, a permission
	maxEntries = 256 // roles, permissions
)

// claims are those of RFC 7519 4.1 we look at, and our own. Names are matched exactly, unlike encoding/json would:
// "UserID" next to "userId" is another claim. Of a name that comes twice the last counts (RFC 7519 4).
type claims struct {
	raw                string
	userID, subject    string
	tokenID, issuer    string
	audience           jwt.ClaimStrings
	expires, notBefore *jwt.NumericDate
	issued             *jwt.NumericDate
	roles, permissions string // JSON
}

// UnmarshalJSON only keeps the text. The parser calls it before the signature is checked, having seen to it that
// the text is JSON.
func (c *claims) UnmarshalJSON(b []byte) error {
	c.raw = string(b)
	return nil
}

func (c *claims) decode() error {
	all := gjson.Parse(c.raw)
	if !all.IsObject() || !utf8.ValidString(c.raw) {
		return fmt.Errorf("%w: claims are not a JSON object in UTF-8", ErrInvalid)
	}
	var err error
	all.ForEach(func(name, value gjson.Result) bool {
		if value.Type == gjson.Null {
			return true
		}
		ok := true
		switch name.Str {
		case "userId":
			c.userID, ok = identifier(value)
		case "sub":
			c.subject, ok = identifier(value)
		case "jti":
			c.tokenID, ok = identifier(value)
		case "iss":
			c.issuer, ok = value.Str, value.Type == gjson.String
		case "aud":
			c.audience, ok = texts(value)
		case "exp":
			c.expires, ok = date(value)
		case "nbf":
			c.notBefore, ok = date(value)
		case "iat":
			c.issued, _ = date(value) // it makes no token better or worse: one that is no date is none
		case "roles":
			c.roles = value.Raw
		case "permissions":
			c.permissions = value.Raw
		}
		if !ok {
			err = fmt.Errorf("%w: claim %s is malformed or too long", ErrInvalid, name.Str)
		}
		return ok
	})
	return err
}

// identity makes what outlives the claims: its strings are copies, so the token's text can go.
func (c *claims) identity(l *lists) (Identity, error) {
	user := c.userID
	if user == "" {
		user = c.subject
	}
	if user == "" {
		return Identity{}, fmt.Errorf("%w: neither userId nor sub", ErrInvalid)
	}
	roles, ok := l.parse(c.roles)
	if !ok {
		return Identity{}, fmt.Errorf("%w: claim roles is malformed or too long", ErrInvalid)
	}
	permissions, ok := l.parse(c.permissions)
	if !ok {
		return Identity{}, fmt.Errorf("%w: claim permissions is malformed or too long", ErrInvalid)
	}
	id := Identity{UserID: strings.Clone(user), Roles: roles, Permissions: permissions, TokenID: strings.Clone(c.tokenID)}
	if c.expires != nil {
		id.Expires = c.expires.Time
	}
	if c.issued != nil {
		id.Issued = c.issued.Time
	}
	return id, nil
}

// identifier takes a string, or a whole number as its digits: issuers with numeric user ids leave out the quotes.
func identifier(v gjson.Result) (string, bool) {
	switch {
	case v.Type == gjson.String:
		return v.Str, len(v.Str) <= maxID
	case v.Type == gjson.Number:
		return v.Raw, len(v.Raw) <= maxID && strings.Trim(v.Raw, "0123456789") == ""
	}
	return "", false
}

// date reads a NumericDate (RFC 7519 2). The bound keeps the conversion exact; the year 31,000,000 is no date.
func date(v gjson.Result) (*jwt.NumericDate, bool) {
	if v.Type != gjson.Number || !(math.Abs(v.Num) < 1e15) {
		return nil, false
	}
	sec, frac := math.Modf(v.Num)
	return &jwt.NumericDate{Time: time.Unix(int64(sec), int64(frac*1e9)).UTC()}, true
}

// texts takes an array of strings, or one string as an array of one.
func texts(v gjson.Result) (list []string, ok bool) {
	if v.Type != gjson.String && !v.IsArray() {
		return nil, false
	}
	ok = true
	v.ForEach(func(_, entry gjson.Result) bool { // a string is iterated as itself
		ok = entry.Type == gjson.String && len(entry.Str) <= maxID && len(list) < maxEntries
		list = append(list, entry.Str)
		return ok
	})
	return list, ok
}

// The rest is jwt.Claims, for the library's validator.

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expires, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.notBefore, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.subject, nil }
