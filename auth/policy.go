package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
)

// PhotoAccess says who may subscribe to a photo.
type PhotoAccess string

const (
	PhotoOwner      PhotoAccess = "owner"      // its owner, and whoever has the permission
	PhotoPermission PhotoAccess = "permission" // whoever has the permission photo:read:<id> or photo:read:*
	PhotoAny        PhotoAccess = "any"        // everybody with a valid token
)

// Action is what one does with a channel.
type Action string

const (
	Publish   Action = "publish"
	Subscribe Action = "subscribe"
)

// ChannelAccess lists the roles that may use a channel.
type ChannelAccess struct {
	Publish   []string
	Subscribe []string
}

// PolicyConfig says what identities may do.
type PolicyConfig struct {
	// PhotoAccess is who may subscribe to a photo. Empty means PhotoOwner.
	PhotoAccess PhotoAccess
	// ChannelAccess gives roles access to channels, by channel name. Permissions give it as well.
	ChannelAccess map[string]ChannelAccess
}

func (c PolicyConfig) withDefaults() PolicyConfig {
	c.PhotoAccess = cmp.Or(c.PhotoAccess, PhotoOwner)
	return c
}

// Validate reports all that is wrong with the configuration, and what would be right.
func (c PolicyConfig) Validate() error {
	var errs []error
	switch c.withDefaults().PhotoAccess {
	case PhotoOwner, PhotoPermission, PhotoAny:
	default:
		errs = append(errs, fmt.Errorf("security.photoAccess: %q is unknown; choose from owner, permission, any", c.PhotoAccess))
	}
	for channel, access := range c.ChannelAccess {
		if channel == "" {
			errs = append(errs, errors.New("security.channelAccess: a channel has no name; give one or remove it"))
		}
		if slices.Contains(access.Publish, "") || slices.Contains(access.Subscribe, "") {
			errs = append(errs, fmt.Errorf("security.channelAccess.%s: a role is empty; name it or remove it", channel))
		}
	}
	return errors.Join(errs...)
}

// owners knows whom a photo belongs to: Redis in production, where the pipeline notes it at photo.uploaded.
type owners interface {
	// Owner returns known false for a photo never heard of.
	Owner(ctx context.Context, photoID string) (userID string, known bool, err error)
}

// Policy answers what an identity may do. What nothing allows is denied. It is safe for concurrent use.
type Policy struct {
	cfg    PolicyConfig
	owners owners
}

// NewPolicy checks the configuration. The owners may be nil unless PhotoAccess is PhotoOwner.
func NewPolicy(cfg PolicyConfig, owners owners) (*Policy, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if cfg.PhotoAccess == PhotoOwner && owners == nil {
		return nil, errors.New("security.photoAccess: owner needs a store of owners; choose permission or any without one")
	}
	return &Policy{cfg: cfg, owners: owners}, nil
}

// Photo returns nil if the identity may follow the photo, ErrDenied if not, and another error if the owner could not be
// looked up, which the caller must treat as a no. A permission decides without a look-up.
func (p *Policy) Photo(ctx context.Context, id Identity, photoID string) error {
	switch {
	case id.UserID == "" || photoID == "":
		return ErrDenied
	case p.cfg.PhotoAccess == PhotoAny || id.permits("photo:read:", photoID):
		return nil
	case p.cfg.PhotoAccess != PhotoOwner:
		return ErrDenied
	}
	owner, known, err := p.owners.Owner(ctx, photoID)
	if err != nil {
		return fmt.Errorf("look up photo owner: %w", err)
	}
	if !known || owner != id.UserID {
		return ErrDenied
	}
	return nil
}

// User returns nil if the identity may follow the user, which is itself or one it has a permission for, else ErrDenied.
func (p *Policy) User(_ context.Context, id Identity, userID string) error {
	if id.UserID == "" || userID == "" || userID != id.UserID && !id.permits("user:read:", userID) {
		return ErrDenied
	}
	return nil
}

// Channel returns nil if a permission event_bus:<action>:<channel|*> or a role in PolicyConfig.ChannelAccess lets the
// identity do that, else ErrDenied.
func (p *Policy) Channel(id Identity, action Action, channel string) error {
	if id.UserID == "" || channel == "" {
		return ErrDenied
	}
	var prefix string
	var roles []string
	switch action {
	case Publish:
		prefix, roles = "event_bus:publish:", p.cfg.ChannelAccess[channel].Publish
	case Subscribe:
		prefix, roles = "event_bus:subscribe:", p.cfg.ChannelAccess[channel].Subscribe
	default:
		return ErrDenied
	}
	if id.permits(prefix, channel) || slices.ContainsFunc(roles, id.HasRole) {
		return nil
	}
	return ErrDenied
}
