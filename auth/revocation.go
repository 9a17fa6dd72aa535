package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxRevocation  = 8 << 10              // bytes of JSON; ids and reason take 6 bytes a character at worst
	maxRevoked     = 400 * 24 * time.Hour // how long a revocation may be kept
	defaultRevoked = 30 * 24 * time.Hour
)

// Revocation takes back tokens before they expire: one, by its id, or those of a user that were issued before a time.
//
// It must be kept until the last of these tokens has expired: afterwards they would be good again.
type Revocation struct {
	// UserID has its tokens revoked: those issued before Before, and those that do not say when they were.
	UserID string `json:"userId,omitempty"`
	// TokenID is the claim jti of the token that is revoked. Exactly one of UserID and TokenID is given.
	TokenID string `json:"tokenId,omitempty"`
	// Before goes with UserID alone. Zero means the time of the revocation. The claim iat has whole seconds: a token
	// made in the second of the revocation counts as issued before it.
	Before time.Time `json:"before,omitzero"`
	// Reason is for people, at most 256 bytes.
	Reason string `json:"reason,omitempty"`
	// Expires is when the revocation is forgotten, at most 400 days ahead. Zero means when the token expires if that is
	// known, else in 30 days: tokens that live longer need more.
	Expires time.Time `json:"expires,omitzero"`
}

// ParseRevocation reads {"userId" or "tokenId", "before"?, "reason"?, "expires"?}, times as in RFC 3339. Members that are
// unknown or of another type are refused. Complete and Validate are left to the caller.
func ParseRevocation(b []byte) (Revocation, error) {
	if len(b) > maxRevocation {
		return Revocation{}, fmt.Errorf("revocation: %d bytes; give at most %d", len(b), maxRevocation)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil || members == nil || !utf8.Valid(b) {
		return Revocation{}, errors.New("revocation: not a JSON object; give one like " + `{"userId": "alice"}`)
	}
	var r Revocation
	var errs []error
	for name, raw := range members {
		text := func(into *string) {
			if raw[0] != '"' || json.Unmarshal(raw, into) != nil {
				errs = append(errs, fmt.Errorf("%s: want a string", name))
			}
		}
		date := func(into *time.Time) {
			if raw[0] != '"' || json.Unmarshal(raw, into) != nil {
				errs = append(errs, fmt.Errorf(`%s: want a time like "2026-01-31T12:00:00Z"`, name))
			}
		}
		switch name { // to the letter, which a struct's would not be
		case "userId":
			text(&r.UserID)
		case "tokenId":
			text(&r.TokenID)
		case "before":
			date(&r.Before)
		case "reason":
			text(&r.Reason)
		case "expires":
			date(&r.Expires)
		default:
			errs = append(errs, fmt.Errorf("%.64q is unknown; choose from userId, tokenId, before, reason, expires", name))
		}
	}
	if len(errs) > 0 {
		return Revocation{}, joinSorted(errs)
	}
	return r, nil
}

// joinSorted makes one error of many, in the same order whichever way a map was walked.
func joinSorted(errs []error) error {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// Complete fills in what was left out of a revocation declared now. tokenExpires is when the token of TokenID expires, if
// the caller knows, else zero.
func (r Revocation) Complete(now, tokenExpires time.Time) Revocation {
	if r.UserID != "" && r.Before.IsZero() {
		r.Before = now
	}
	if r.Expires.IsZero() {
		r.Expires = now.Add(defaultRevoked)
		if r.TokenID != "" && tokenExpires.After(now) { // a verifier forgives clocks that differ
			r.Expires = tokenExpires.Add(maxLeeway)
			if last := now.Add(maxRevoked); r.Expires.After(last) {
				r.Expires = last
			}
		}
	}
	r.Before, r.Expires = r.Before.UTC(), r.Expires.UTC()
	return r
}

// Validate reports all that is wrong with a completed revocation, and what would be right.
func (r Revocation) Validate(now time.Time) error {
	var errs []error
	if (r.UserID == "") == (r.TokenID == "") {
		errs = append(errs, errors.New("userId, tokenId: give exactly one of them"))
	}
	for _, text := range []struct{ name, value string }{{"userId", r.UserID}, {"tokenId", r.TokenID}, {"reason", r.Reason}} {
		if len(text.value) > maxID || !utf8.ValidString(text.value) {
			errs = append(errs, fmt.Errorf("%s: give at most %d bytes of UTF-8", text.name, maxID))
		}
	}
	switch {
	case r.TokenID != "" && !r.Before.IsZero():
		errs = append(errs, errors.New("before: goes with userId; leave it out with tokenId"))
	case r.UserID != "" && r.Before.IsZero():
		errs = append(errs, errors.New("before: missing; give the time before which tokens must have been issued to be revoked"))
	}
	if r.Expires.Before(now) || r.Expires.Sub(now) > maxRevoked {
		errs = append(errs, fmt.Errorf("expires: %s; give a time in the next %d days", r.Expires.Format(time.RFC3339), maxRevoked/(24*time.Hour)))
	}
	if r.Before.After(r.Expires) {
		errs = append(errs, errors.New("before: give a time that is not after expires"))
	}
	return errors.Join(errs...)
}

// Key names what is revoked, so that revoking it again replaces the revocation.
func (r Revocation) Key() string {
	if r.UserID != "" {
		return "user:" + r.UserID
	}
	return "token:" + r.TokenID
}
