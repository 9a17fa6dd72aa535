package auth

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Sign makes an HS256 token for development and tests; in production the issuer does. A positive ttl sets exp, rounded
// up to a whole second; zero makes a token that never expires. Identity.Expires and Issued are not looked at.
func Sign(secret []byte, id Identity, ttl time.Duration) (string, error) {
	return Config{Secret: secret}.Sign(id, ttl)
}

// Sign makes a token as the function Sign does, with all that a Verifier of the same Config asks for besides: the first
// of its Algorithms, its Issuer and its Audience. It needs a Secret: with public keys only their owner can sign.
func (c Config) Sign(id Identity, ttl time.Duration) (string, error) {
	c = c.withDefaults()
	if len(c.Secret) == 0 || id.UserID == "" || ttl < 0 {
		return "", errors.New("sign token: needs a secret, a user id and a lifetime that is not negative")
	}
	if ttl == 0 && c.RequireExpiry {
		return "", errors.New("sign token: needs a lifetime, as tokens that never expire are refused")
	}
	if err := c.validateAlgorithms(); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	now := time.Now()
	claims := jwt.MapClaims{"userId": id.UserID, "sub": id.UserID, "iat": now.Unix()}
	if len(id.Roles) > 0 {
		claims["roles"] = id.Roles
	}
	if len(id.Permissions) > 0 {
		claims["permissions"] = id.Permissions
	}
	if id.TokenID != "" {
		claims["jti"] = id.TokenID
	}
	if c.Issuer != "" {
		claims["iss"] = c.Issuer
	}
	if c.Audience != "" {
		claims["aud"] = c.Audience
	}
	if ttl > 0 {
		claims["exp"] = now.Add(ttl + time.Second - 1).Unix()
	}
	token, err := jwt.NewWithClaims(jwt.GetSigningMethod(c.Algorithms[0]), claims).SignedString(c.Secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}
