package auth

import "testing"

func TestHas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		held, asked string
		want        bool
	}{
		{"photo:read:p1", "photo:read:p1", true},
		{"photo:read:*", "photo:read:p1", true},
		{"photo:read:*", "photo:read:p:1", true}, // a name may have colons
		{"photo:read:p:*", "photo:read:p:1", true},
		{"photo:read:*", "photo:read:*", true},
		{"admin:*", "admin:filters", true},
		{"admin", "admin", true},
		{"event_bus:publish:*", "event_bus:publish:photo:upload", true},
		{"event_bus:publish:photo:*", "event_bus:publish:photo:upload", true},
		{"event_bus:publish:photo:upload", "event_bus:publish:photo:upload", true},
		{"event_bus:*", "event_bus:publish:photo:upload", false},
		{"event_bus:*:*", "event_bus:publish:x", false},
		{"*", "admin", false},
		{"*", "photo:read:p1", false},
		{"photo:*", "photo:read:p1", false},
		{"photo:read:p*", "photo:read:p1", false},
		{"photo:read:p1", "photo:read:*", false},
		{"photo:read:*", "photo:read:", false},
		{"photo:read:*", "photo:read", false},
		{"photo:read", "photo:read:p1", false},
		{"photo:read:*", "photo:readx:p1", false},
		{"Photo:read:p1", "photo:read:p1", false},
		{"", "", false},
		{":*", ":x", true},
	} {
		if got := with("alice", "x", tt.held).Has(tt.asked); got != tt.want {
			t.Errorf("%q for %q: got %v, want %v", tt.held, tt.asked, got, tt.want)
		}
	}
	if (Identity{}).Has("x") {
		t.Error("somebody without permissions has one")
	}
}

// TestHasAgreesWithPolicy: whoever may use a channel by permission, has that permission.
func TestHasAgreesWithPolicy(t *testing.T) {
	t.Parallel()
	p := newPolicy(t, PolicyConfig{}, album{})
	for _, held := range []string{"event_bus:publish:*", "event_bus:publish:photo:upload", "event_bus:publish:photo", "event_bus:*", "x"} {
		for _, channel := range []string{"photo:upload", "photo", "a:b:c"} {
			id := with("alice", held)
			policy, has := p.Channel(id, Publish, channel) == nil, id.Has("event_bus:publish:"+channel)
			if policy != has {
				t.Errorf("%s on %s: policy %v, Has %v", held, channel, policy, has)
			}
		}
	}
}
