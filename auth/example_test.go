package auth_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/auth"
)

func Example() {
	secret := []byte("a secret of at least 32 random bytes")
	verifier, err := auth.NewVerifier(auth.Config{Secret: secret}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	policy, err := auth.NewPolicy(auth.PolicyConfig{PhotoAccess: auth.PhotoPermission}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := auth.Sign(secret, auth.Identity{UserID: "alice", Permissions: []string{"photo:read:p1"}}, time.Hour)
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	id, err := verifier.Verify(ctx, "Bearer "+token)
	fmt.Println(id.UserID, err)
	fmt.Println(policy.Photo(ctx, id, "p1"))
	fmt.Println(errors.Is(policy.Photo(ctx, id, "p2"), auth.ErrDenied))
	_, err = verifier.Verify(ctx, "forged")
	fmt.Println(auth.Message(err))
	// Output:
	// alice <nil>
	// <nil>
	// true
	// Invalid token
}
