package auth

import (
	"slices"
	"testing"
)

// authorizeChannelAccess is the design's (9.1), to the letter.
func authorizeChannelAccess(user Identity, access map[string]ChannelAccess, channel string, action Action) bool {
	hasPermission := func(p string) bool { return slices.Contains(user.Permissions, p) }
	if hasPermission("event_bus:"+string(action)+":"+channel) || hasPermission("event_bus:"+string(action)+":*") {
		return true
	}
	channelConfig, ok := access[channel]
	allowedRoles := channelConfig.Publish
	if action == Subscribe {
		allowedRoles = channelConfig.Subscribe
	}
	return ok && slices.ContainsFunc(user.Roles, func(role string) bool { return slices.Contains(allowedRoles, role) })
}

// TestPolicyChannelAsDesigned compares all combinations.
func TestPolicyChannelAsDesigned(t *testing.T) {
	t.Parallel()
	access := map[string]ChannelAccess{
		"photo:upload":     {Publish: []string{"service"}, Subscribe: []string{"user", "admin"}},
		"photo:processing": {Publish: []string{"service", "admin"}},
		"photo:completion": {},
	}
	p := newPolicy(t, PolicyConfig{ChannelAccess: access}, album{})
	channels := []string{"photo:upload", "photo:processing", "photo:completion", "photo", "other", "*"}
	permissions := []string{"event_bus:publish:*", "event_bus:subscribe:*", "event_bus:*", "*", "event_bus:publish"}
	for _, channel := range channels {
		permissions = append(permissions, "event_bus:publish:"+channel, "event_bus:subscribe:"+channel)
	}
	allowed := 0
	for _, roles := range [][]string{nil, {"user"}, {"service"}, {"admin"}, {"nobody", "admin"}, {"Admin", ""}} {
		for _, permission := range permissions {
			for _, channel := range channels {
				for _, action := range []Action{Publish, Subscribe} {
					user := Identity{UserID: "alice", Roles: roles, Permissions: []string{"x", permission}}
					want := authorizeChannelAccess(user, access, channel, action)
					if got := p.Channel(user, action, channel) == nil; got != want {
						t.Errorf("roles %q, permission %s: %s on %s: got %v, want %v", roles, permission, action, channel, got, want)
					}
					if want {
						allowed++
					}
				}
			}
		}
	}
	if allowed == 0 {
		t.Error("the design allows nothing at all")
	}
}
