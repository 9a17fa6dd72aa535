package auth

import (
	"errors"
	"fmt"
)

// What Verify and Policy answer with. None of them, nor what wraps them, ever holds a token or a part of one.
var (
	// ErrMissing: the client sent no token.
	ErrMissing = errors.New("no token")
	// ErrInvalid: the token is malformed, not signed by a key of ours, or its claims do not hold here and now.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired is the ErrInvalid of a token that was good until its exp claim passed.
	ErrExpired = fmt.Errorf("%w: expired", ErrInvalid)
	// ErrRevoked is the ErrInvalid of a token that was good until somebody took it back: see Revocations.
	ErrRevoked = fmt.Errorf("%w: revoked", ErrInvalid)
	// ErrUnavailable: we could not judge the token, because its keys could not be fetched. The client is not to blame.
	ErrUnavailable = errors.New("verification keys unavailable")
	// ErrDenied: the identity is known, and may not do this.
	ErrDenied = errors.New("access denied")
)

// Message is the text a refused client reads in its connect_error, exactly as front-ends compare it. An error that is
// not about the token itself is our own fault and reads as "Authentication failed".
func Message(err error) string {
	switch {
	case errors.Is(err, ErrMissing):
		return "Authentication required"
	case errors.Is(err, ErrInvalid):
		return "Invalid token"
	default:
		return "Authentication failed"
	}
}
