package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// album owns photos by name, and fails for the photo "lost".
type album map[string]string

var errAlbum = errors.New("redis: connection refused")

func (a album) Owner(_ context.Context, photoID string) (string, bool, error) {
	if photoID == "lost" {
		return "", false, errAlbum
	}
	userID, known := a[photoID]
	return userID, known, nil
}

func newPolicy(t *testing.T, cfg PolicyConfig, o owners) *Policy {
	t.Helper()
	p, err := NewPolicy(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func with(userID string, permissions ...string) Identity {
	return Identity{UserID: userID, Permissions: permissions}
}

func TestPolicyPhoto(t *testing.T) {
	t.Parallel()
	owned := album{"p1": "alice", "": "alice", "orphan": ""}
	for _, tt := range []struct {
		name   string
		access PhotoAccess
		id     Identity
		photo  string
		want   error
	}{
		{"own", "", with("alice"), "p1", nil},
		{"own, said aloud", PhotoOwner, with("alice"), "p1", nil},
		{"another's", PhotoOwner, with("bob"), "p1", ErrDenied},
		{"unknown photo", PhotoOwner, with("alice"), "p2", ErrDenied},
		{"permission", PhotoOwner, with("bob", "photo:read:p1"), "p1", nil},
		{"wildcard", PhotoOwner, with("bob", "x", "photo:read:*"), "p1", nil},
		{"permission for another", PhotoOwner, with("bob", "photo:read:p"), "p1", ErrDenied},
		{"longer permission", PhotoOwner, with("bob", "photo:read:p1:x"), "p1", ErrDenied},
		{"other verb", PhotoOwner, with("bob", "photo:write:p1", "user:read:*"), "p1", ErrDenied},
		{"pattern", PhotoOwner, with("bob", "photo:read:p*"), "p1", ErrDenied},
		{"asking for the wildcard", PhotoOwner, with("bob", "photo:read:p1"), "*", ErrDenied},
		{"store away", PhotoOwner, with("alice"), "lost", errAlbum},
		{"store away, permission", PhotoOwner, with("alice", "photo:read:lost"), "lost", nil},
		{"no photo", PhotoOwner, with("alice", "photo:read:"), "", ErrDenied},
		{"no user", PhotoOwner, Identity{}, "orphan", ErrDenied},
		{"permission only, own", PhotoPermission, with("alice"), "p1", ErrDenied},
		{"permission only", PhotoPermission, with("bob", "photo:read:p1"), "p1", nil},
		{"permission only, store not asked", PhotoPermission, with("bob"), "lost", ErrDenied},
		{"any", PhotoAny, with("bob"), "p1", nil},
		{"any, store not asked", PhotoAny, with("bob"), "lost", nil},
		{"any, but somebody", PhotoAny, Identity{}, "p1", ErrDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := newPolicy(t, PolicyConfig{PhotoAccess: tt.access}, owned).Photo(t.Context(), tt.id, tt.photo)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if tt.want == errAlbum && errors.Is(err, ErrDenied) {
				t.Error("a store that is away reads as a denial")
			}
		})
	}
}

func TestPolicyUser(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, PolicyConfig{}, album{})
	for _, tt := range []struct {
		id   Identity
		user string
		want error
	}{
		{with("alice"), "alice", nil},
		{with("alice"), "bob", ErrDenied},
		{with("alice", "user:read:bob"), "bob", nil},
		{with("alice", "user:read:*"), "bob", nil},
		{with("alice", "user:read:bo"), "bob", ErrDenied},
		{with("alice", "user:read:bob"), "*", ErrDenied},
		{with("alice", "user:read:"), "", ErrDenied},
		{Identity{}, "", ErrDenied},
	} {
		if err := p.User(t.Context(), tt.id, tt.user); !errors.Is(err, tt.want) {
			t.Errorf("%+v for %q: got %v, want %v", tt.id, tt.user, err, tt.want)
		}
	}
}

func TestPolicyChannel(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, PolicyConfig{ChannelAccess: map[string]ChannelAccess{
		"photo:upload": {Publish: []string{"service", "admin"}, Subscribe: []string{"viewer"}},
	}}, album{})
	role := func(roles ...string) Identity { return Identity{UserID: "alice", Roles: roles} }
	for _, tt := range []struct {
		id      Identity
		action  Action
		channel string
		want    error
	}{
		{with("a", "event_bus:publish:photo:upload"), Publish, "photo:upload", nil},
		{with("a", "event_bus:publish:*"), Publish, "photo:upload", nil},
		{with("a", "event_bus:publish:*"), Subscribe, "photo:upload", ErrDenied},
		{with("a", "event_bus:subscribe:*"), Subscribe, "other", nil},
		{with("a", "event_bus:subscribe:photo"), Subscribe, "photo:upload", ErrDenied},
		{with("a", "event_bus:*:*", "*"), Publish, "photo:upload", ErrDenied},
		{role("admin"), Publish, "photo:upload", nil},
		{role("x", "service"), "publish", "photo:upload", nil},
		{role("viewer"), Subscribe, "photo:upload", nil},
		{role("viewer"), Publish, "photo:upload", ErrDenied},
		{role("Admin"), Publish, "photo:upload", ErrDenied},
		{role("admin"), Publish, "other", ErrDenied},
		{role(), Publish, "photo:upload", ErrDenied},
		{with("a", "event_bus:delete:*"), "delete", "photo:upload", ErrDenied},
		{with("a", "event_bus:publish:*"), Publish, "", ErrDenied},
		{with("", "event_bus:publish:*"), Publish, "photo:upload", ErrDenied},
	} {
		if err := p.Channel(tt.id, tt.action, tt.channel); !errors.Is(err, tt.want) {
			t.Errorf("%+v %s %q: got %v, want %v", tt.id, tt.action, tt.channel, err, tt.want)
		}
	}
}

func TestPolicyConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg    PolicyConfig
		owners owners
		want   []string // in the error; none means valid
	}{
		{PolicyConfig{}, album{}, nil},
		{PolicyConfig{PhotoAccess: PhotoAny}, nil, nil},
		{PolicyConfig{}, nil, []string{"needs a store of owners"}},
		{PolicyConfig{PhotoAccess: "all", ChannelAccess: map[string]ChannelAccess{"": {}, "c": {Publish: []string{""}}}}, nil,
			[]string{`"all" is unknown`, "a channel has no name", "channelAccess.c: a role is empty"}},
	} {
		_, err := NewPolicy(tt.cfg, tt.owners)
		if len(tt.want) == 0 && err != nil {
			t.Errorf("%+v: got %v", tt.cfg, err)
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want it to say %q", tt.cfg, err, want)
			}
		}
	}
}

// TestPolicyAllocates nothing for the answers that need no look-up.
func TestPolicyAllocates(t *testing.T) {
	p := newPolicy(t, PolicyConfig{ChannelAccess: map[string]ChannelAccess{"c": {Publish: []string{"r"}}}}, album{})
	id := Identity{UserID: "alice", Roles: []string{"r"}, Permissions: []string{"photo:read:p1", "user:read:bob"}}
	ctx := t.Context()
	got := testing.AllocsPerRun(100, func() {
		if errors.Join(p.Photo(ctx, id, "p1"), p.User(ctx, id, "bob"), p.Channel(id, Publish, "c")) != nil {
			t.Error("denied")
		}
	})
	if got != 0 {
		t.Errorf("got %v allocations, want 0", got)
	}
}
