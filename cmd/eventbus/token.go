package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// token prints a token. Standard output has nothing else, so that it can be used in $(...).
func token(ctx context.Context, args []string, std stdio) error {
	var sign signing
	var id auth.Identity
	var ttl time.Duration
	fs := newFlags("token", "Prints a token for development, signed with the secret that the service verifies with.", std)
	sign.flags(fs)
	if err := parseFlags(fs, args, func() {
		fs.StringVar(&id.UserID, "user", "", "`id` of the user that the token is for; needed")
		fs.Func("role", "a `role` of the user's; several are separated by commas, or the flag is repeated", listed(&id.Roles))
		fs.Func("permission", "a `permission` like photo:read:*; several as with -role", listed(&id.Permissions))
		fs.DurationVar(&ttl, "ttl", time.Hour, "how long the token is good; 0 is for ever")
	}); err != nil {
		return err
	}
	var errs []error
	if id.UserID == "" {
		errs = append(errs, errors.New("user: none is given; want --user and an id"))
	}
	if ttl < 0 {
		errs = append(errs, fmt.Errorf("ttl: %s is no lifetime; want more than 0, or 0 for ever", ttl))
	}
	if err := errors.Join(append(errs, sign.check())...); err != nil {
		return usageError{err}
	}
	text, err := sign.token(ctx, id, ttl)
	if err != nil {
		return err
	}
	if weak := sign.Weak(); weak != "" {
		fmt.Fprintf(std.err, "eventbus token: warning: %s\n", weak)
	}
	_, err = fmt.Fprintln(std.out, text)
	return err
}

// signing is what makes tokens that the service takes: serve's own settings of the same names.
type signing struct{ auth.Config }

func (s *signing) flags(fs *flag.FlagSet) {
	fs.Func("jwt-secret", "`secret` that signs tokens; better in the environment (JWT_SECRET) than on a command line", func(v string) error {
		s.Secret = []byte(v)
		return nil
	})
	fs.Var((*list)(&s.Algorithms), "jwt-algorithms", "comma-separated `algorithms` that tokens may use; the first one signs (default HS256)")
	fs.StringVar(&s.Issuer, "jwt-issuer", "", "`iss` of the token, where the service asks for one")
	fs.StringVar(&s.Audience, "jwt-audience", "", "`aud` of the token, where the service asks for one")
}

func (s *signing) check() error {
	if len(s.Secret) == 0 {
		return errors.New("jwt-secret (JWT_SECRET): none is set; use the one that the service has")
	}
	return s.Validate()
}

// token makes a token and holds it against the service's own rules.
func (s *signing) token(ctx context.Context, id auth.Identity, ttl time.Duration) (string, error) {
	text, err := s.Sign(id, ttl)
	if err != nil {
		return "", err
	}
	verifier, err := auth.NewVerifier(s.Config, nil)
	if err != nil {
		return "", err
	}
	if _, err := verifier.Verify(ctx, text); err != nil {
		return "", fmt.Errorf("the service would not take this token: %w", err)
	}
	return text, nil
}
