package server

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/auth"
)

// wantDenied checks that a subscription is denied in the words that clients know, and nothing more.
func wantDenied(t *testing.T, c *browser, event, payload string) {
	t.Helper()
	e, ack := c.call(event, payload)
	if e.name != "error" || e.arg != `{"message":"Access denied"}` {
		t.Errorf("%s %s is answered with %s %s, want error Access denied", event, payload, e.name, e.arg)
	}
	if want := `{"ok":false,"error":"Access denied"}`; ack != want {
		t.Errorf("%s %s is acknowledged with %s, want %s", event, payload, ack, want)
	}
	c.quiet()
}

func TestPhotoAccess(t *testing.T) {
	t.Parallel()
	tests := []struct {
		access      auth.PhotoAccess
		user        string
		permissions []string
		allowed     []string // of the photos alice's, bob's, unknown and *
	}{
		{auth.PhotoOwner, "alice", nil, []string{"alice's"}},
		{auth.PhotoOwner, "bob", nil, []string{"bob's"}},
		{auth.PhotoOwner, "eve", nil, nil},
		{auth.PhotoOwner, "eve", []string{"photo:read:unknown", "photo:write:bob's"}, []string{"unknown"}},
		{auth.PhotoOwner, "bob", []string{"photo:read:alice's"}, []string{"alice's", "bob's"}},
		{auth.PhotoOwner, "eve", []string{"photo:read:*"}, []string{"alice's", "bob's", "unknown", "*"}},
		{auth.PhotoPermission, "alice", nil, nil},
		{auth.PhotoPermission, "alice", []string{"photo:read:bob's"}, []string{"bob's"}},
		{auth.PhotoPermission, "alice", []string{"user:read:*", "event_bus:subscribe:*"}, nil},
		{auth.PhotoPermission, "alice", []string{"photo:read:*"}, []string{"alice's", "bob's", "unknown", "*"}},
		{auth.PhotoAny, "eve", nil, []string{"alice's", "bob's", "unknown", "*"}},
		{"", "alice", nil, []string{"alice's"}},
	}
	for _, tt := range tests {
		t.Run(string(tt.access)+" "+tt.user+" "+strings.Join(tt.permissions, " "), func(t *testing.T) {
			t.Parallel()
			b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: tt.access}})
			b.publish("photo:upload", event("1", "photo.uploaded", `"photoId":"alice's","userId":"alice"`, ""))
			b.publish("photo:upload", event("2", "photo.uploaded", `"photoId":"bob's","userId":"bob"`, ""))
			c := b.connect(t, token(t, tt.user, tt.permissions...))
			denied := 0
			var rooms []string
			for _, photo := range []string{"alice's", "bob's", "unknown", "*"} {
				if payload := `{"photoId":"` + photo + `"}`; slices.Contains(tt.allowed, photo) {
					c.joins("subscribe:photo", payload)
					rooms = append(rooms, "photo:"+photo)
				} else {
					wantDenied(t, c, "subscribe:photo", payload)
					denied++
				}
			}
			slices.Sort(rooms)
			if got := b.rooms(c); !slices.Equal(got, rooms) {
				t.Errorf("rooms = %q, want %q", got, rooms)
			}
			b.wantMetric(float64(denied), "subscriptions_denied_total")
			b.wantMetric(0, "client_events_refused_total")
		})
	}
}

func TestUserAccess(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	tests := []struct {
		permissions []string
		user        string
		allowed     bool
	}{
		{nil, "alice", true},
		{nil, "bob", false},
		{nil, "Alice", false},
		{nil, "*", false},
		{[]string{"user:read:bob"}, "bob", true},
		{[]string{"user:read:bob"}, "eve", false},
		{[]string{"photo:read:*", "user:write:*"}, "bob", false},
		{[]string{"user:read:*"}, "eve", true},
	}
	for _, tt := range tests {
		c := b.connect(t, token(t, "alice", tt.permissions...))
		if payload := `{"userId":"` + tt.user + `"}`; tt.allowed {
			c.joins("subscribe:user", payload)
		} else {
			wantDenied(t, c, "subscribe:user", payload)
		}
	}
}

// A store that does not answer says no to the client, in the same words, and why to the log alone.
func TestOwnersUnavailable(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["p"], o.fault = "alice", errors.New("dial tcp 10.1.2.3:6379: refused") })
	c := b.connect(t, token(t, "alice"))
	for range 5 {
		wantDenied(t, c, "subscribe:photo", `{"photoId":"p"}`)
	}
	if got := b.rooms(c); len(got) > 0 {
		t.Errorf("rooms = %q, want none", got)
	}
	if logs := b.logs.FilterMessage("access not decided").Len(); logs != 1 {
		t.Errorf("%d log lines, want one a burst", logs)
	}
	c.joins("identify", `{"clientId":"c"}`)
	b.publish("photo:processing", event("1", "photo.processing.started", `"photoId":"p"`, ""))
	own := event("2", "photo.uploaded", ``, `,"clientId":"c"`)
	b.publish("photo:upload", own)
	c.want("upload.event", own) // and not what is told to the photo's room

	b.owners.put(func(o *fakeOwners) { o.fault = nil })
	c.joins("subscribe:photo", `{"photoId":"p"}`)
}

// A denied subscription does not take away what one has.
func TestDeniedKeepsOtherRooms(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoPermission}})
	c := b.connect(t, token(t, "alice", "photo:read:p"))
	c.joins("subscribe:photo", `{"photoId":"p"}`)
	wantDenied(t, c, "subscribe:photo", `{"photoId":"q"}`)
	if got := b.rooms(c); !slices.Equal(got, []string{"photo:p"}) {
		t.Errorf("rooms = %q, want photo:p", got)
	}
}
