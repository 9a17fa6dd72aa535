package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Sign makes an HS256 token for development and tests; in production the issuer does. A positive ttl sets exp, rounded
// up to a whole second; zero makes a token that never expires. Identity.Expires is not looked at.
func Sign(secret []byte, id Identity, ttl time.Duration) (string, error) {
	if len(secret) == 0 || id.UserID == "" || ttl < 0 {
		return "", errors.New("sign token: needs a secret, a user id and a lifetime that is not negative")
	}
	now := time.Now()
	c := jwt.MapClaims{"userId": id.UserID, "sub": id.UserID, "iat": now.Unix()}
	if len(id.Roles) > 0 {
		c["roles"] = id.Roles
	}
	if len(id.Permissions) > 0 {
		c["permissions"] = id.Permissions
	}
	if id.TokenID != "" {
		c["jti"] = id.TokenID
	}
	if ttl > 0 {
		c["exp"] = now.Add(ttl + time.Second - 1).Unix()
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}
