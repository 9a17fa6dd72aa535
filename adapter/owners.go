package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxID is the longest photo or user id kept, in bytes.
const maxID = 512

// ErrOwned says that a photo already belongs to another user.
var ErrOwned = errors.New("photo belongs to another user")

// setOwner is one script, as SET with NX and GET together needs Redis 7.0 and we run on 6.2.
var setOwner = redis.NewScript(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
	return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

// OwnersConfig bounds how long owners are kept and how long a question may take.
type OwnersConfig struct {
	// TTL is how long an owner is known after the last Set. Zero means 90 days.
	TTL time.Duration
	// Timeout is the deadline of each call. Zero means 2 s.
	Timeout time.Duration
}

func (c OwnersConfig) withDefaults() OwnersConfig {
	c.TTL = cmp.Or(c.TTL, 90*24*time.Hour)
	c.Timeout = cmp.Or(c.Timeout, 2*time.Second)
	return c
}

// Validate reports all problems at once, by key.
func (c OwnersConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.TTL < time.Second {
		errs = append(errs, fmt.Errorf("owners.ttl %s: must be 1s or more", c.TTL))
	}
	if c.Timeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("owners.timeout %s: must be 1ms or more", c.Timeout))
	}
	return errors.Join(errs...)
}

// Owners remembers in Redis which user a photo belongs to, under <prefix>owner:<photoId>. It keeps nothing in memory: a
// cached owner could outlive a Delete on another replica.
type Owners struct {
	cfg    OwnersConfig
	client redis.UniversalClient
	prefix string
}

// Owners gives the owners kept in this Redis. The configuration is taken as valid.
func (r *Redis) Owners(cfg OwnersConfig) *Owners {
	return &Owners{cfg: cfg.withDefaults(), client: r.client, prefix: r.cfg.KeyPrefix + "owner:"}
}

// Set makes userID the owner of photoID, or renews it. The first user stays the owner until Delete or the TTL: for
// any other it returns ErrOwned and changes nothing, so that a forged upload cannot take a photo over.
func (o *Owners) Set(ctx context.Context, photoID, userID string) error {
	if err := errors.Join(checkID("photo id", photoID), checkID("user id", userID)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	set, err := setOwner.Run(ctx, o.client, []string{o.prefix + photoID}, userID, o.cfg.TTL.Milliseconds()).Int()
	if err != nil {
		return fmt.Errorf("set owner of photo: %w", err)
	}
	if set == 0 {
		return ErrOwned
	}
	return nil
}

// Delete forgets the owner of photoID; it is no error if none is known.
func (o *Owners) Delete(ctx context.Context, photoID string) error {
	if err := checkID("photo id", photoID); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	if err := o.client.Del(ctx, o.prefix+photoID).Err(); err != nil {
		return fmt.Errorf("delete owner of photo: %w", err)
	}
	return nil
}

// Owner answers who owns photoID. With an error nothing is known, which is not the same as known being false.
func (o *Owners) Owner(ctx context.Context, photoID string) (userID string, known bool, err error) {
	if err := checkID("photo id", photoID); err != nil {
		return "", false, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Timeout)
	defer cancel()
	userID, err = o.client.Get(ctx, o.prefix+photoID).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("get owner of photo: %w", err)
	}
	return userID, true, nil
}

func checkID(what, id string) error {
	if id == "" || len(id) > maxID {
		return fmt.Errorf("%s of %d bytes: must have 1 to %d", what, len(id), maxID)
	}
	return nil
}
