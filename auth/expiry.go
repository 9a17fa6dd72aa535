package auth

import "fmt"

// OnExpiry says what becomes of a connection when its token expires.
type OnExpiry string

const (
	// CloseOnExpiry ends the connection, so that the client comes back with a fresh token.
	CloseOnExpiry OnExpiry = "close"
	// KeepOnExpiry leaves it open until it ends by itself, for front-ends that cannot renew a token. A new connection
	// still needs a token that is good, and a revocation still ends the old one.
	KeepOnExpiry OnExpiry = "keep"
)

// Validate refuses what is neither of the two, nor empty.
func (o OnExpiry) Validate() error {
	switch o {
	case "", CloseOnExpiry, KeepOnExpiry:
		return nil
	}
	return fmt.Errorf("security.jwt.onExpiry: %q is unknown; choose close or keep", string(o))
}
