package auth

import (
	"sync/atomic"
	"time"
)

// Revocations answers whether a token was taken back. It is safe for concurrent use, and reading takes no lock: it is
// asked in every handshake, and of every socket whenever the set changes. The zero value revokes nothing.
//
// Bound and storage are the caller's, as is closing the connections of whoever is revoked.
type Revocations struct{ set atomic.Pointer[revocationSet] }

type revocationSet struct {
	users  map[string]userRevocation
	tokens map[string]time.Time // when the revocation expires; zero means never
}

type userRevocation struct{ before, expires time.Time }

// Set replaces all revocations. Those that name the same are one, which takes back whatever one of them does, for as long
// as one of them says.
func (r *Revocations) Set(all []Revocation) {
	now := time.Now()
	s := &revocationSet{users: map[string]userRevocation{}, tokens: map[string]time.Time{}}
	for _, one := range all {
		switch {
		case over(one.Expires, now):
		case one.UserID != "":
			if was, ok := s.users[one.UserID]; ok {
				one.Before, one.Expires = latest(was.before, one.Before), latestExpiry(was.expires, one.Expires)
			}
			s.users[one.UserID] = userRevocation{one.Before, one.Expires}
		case one.TokenID != "":
			if was, ok := s.tokens[one.TokenID]; ok {
				one.Expires = latestExpiry(was, one.Expires)
			}
			s.tokens[one.TokenID] = one.Expires
		}
	}
	r.set.Store(s)
}

// Revoked reports whether the token of this identity was taken back. Its cost does not grow with their number.
func (r *Revocations) Revoked(id Identity) bool {
	s := r.set.Load()
	if s == nil {
		return false
	}
	user, isUser := s.users[id.UserID]
	token, isToken := s.tokens[id.TokenID]
	if !isUser && !isToken {
		return false
	}
	now := time.Now()
	if isToken && !over(token, now) {
		return true
	}
	// A token that is not to be issued yet has milliseconds for seconds, or an issuer whose clock is wrong.
	return isUser && !over(user.expires, now) &&
		(id.Issued.IsZero() || id.Issued.Before(user.before) || id.Issued.After(now.Add(maxLeeway)))
}

// over reports whether an expiry has passed; zero never does.
func over(expires, now time.Time) bool { return !expires.IsZero() && !now.Before(expires) }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func latestExpiry(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	return latest(a, b)
}
