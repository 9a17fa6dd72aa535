package server

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/photo-management/event-bus/auth"
)

// started is an event that everybody who follows a photo hears.
func started(id, photo string) string {
	return event(id, "photo.processing.started", `"photoId":"`+photo+`"`, "")
}

func TestRecovery(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["p"] = "alice" })
	alice := token(t, "alice")
	first := b.connect(t, alice)
	first.joins("identify", `{"clientId":"c","sessionId":"s"}`)
	first.joins("subscribe:photo", `{"photoId":"p"}`)
	heard := started("0", "p")
	b.publish("photo:processing", heard)
	offset := first.want("processing.event", heard)
	first.leave()

	var missed []string
	for i := range 100 {
		missed = append(missed, started(fmt.Sprint(i+1), "p"))
		b.publish("photo:processing", missed[i])
		b.publish("photo:processing", started(fmt.Sprint("q", i), "q"))
	}
	second := b.back(t, first, alice, offset)
	if second.sid != first.sid || second.pid != first.pid {
		t.Errorf("came back as %s (%s), want %s (%s)", second.sid, second.pid, first.sid, first.pid)
	}
	for _, want := range missed {
		offset = second.want("processing.event", want)
	}
	if got, want := b.rooms(second), []string{"client:c", "photo:p", "session:s", "user:alice"}; !slices.Equal(got, want) {
		t.Errorf("rooms = %q, want %q", got, want)
	}
	live := started("live", "p")
	b.publish("photo:processing", live)
	second.want("processing.event", live)

	// Again, from before what it heard last, and this time before the server has noticed that it had left.
	third := b.back(t, second, alice, offset)
	third.want("processing.event", live)
	wait(t, "the old connection to be closed", second.gone)
	third.quiet()

	// What it identified as is known still: somebody else's rooms are left.
	third.joins("identify", `{"clientId":"c2"}`)
	if got, want := b.rooms(third), []string{"client:c2", "photo:p", "user:alice"}; !slices.Equal(got, want) {
		t.Errorf("rooms = %q, want %q", got, want)
	}
	b.wantMetric(2, "recoveries_total", "outcome", "recovered")
	b.wantMetric(1, "recoveries_total", "outcome", "new")
}

// The answers of identify and subscribe bring an offset, so that a client whom no event has reached can recover.
func TestRecoveryFromFirstOffset(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	for _, first := range []string{"identify", "subscribe:user"} {
		c := b.connect(t, token(t, "alice"))
		offset := c.joins(first, `{"clientId":"c","userId":"alice"}`)
		if offset == "" {
			t.Errorf("%s is answered without an offset", first)
		}
		c.leave()
		missed := event(first, "photo.processing.started", `"userId":"alice"`, "")
		b.publish("photo:processing", missed)
		back := b.back(t, c, token(t, "alice"), offset)
		if back.sid != c.sid {
			t.Fatalf("after %s it is not recovered", first)
		}
		back.want("processing.event", missed)
		back.leave()
	}
}

// Without recovery there are no offsets and no pids, and nobody comes back.
func TestNoRecovery(t *testing.T) {
	t.Parallel()
	var config Config
	config.Socket.RecoveryWindow = -1
	b := start(t, setup{config: config})
	c := b.connect(t, token(t, "alice"))
	if offset := c.joins("identify", `{"clientId":"c"}`); offset != "" || c.pid != "" {
		t.Errorf("offset %q and pid %q, want none", offset, c.pid)
	}
	payload := event("1", "photo.uploaded", ``, `,"clientId":"c"`)
	b.publish("photo:upload", payload)
	if offset := c.want("upload.event", payload); offset != "" {
		t.Errorf("offset %q, want none", offset)
	}
}

// A stolen pid is of no use with another user's token.
func TestStolenSession(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	alice := b.connect(t, token(t, "alice"))
	alice.joins("identify", `{"clientId":"c"}`)
	offset := alice.joins("subscribe:photo", `{"photoId":"p"}`)
	alice.leave()
	b.publish("photo:processing", started("1", "p"))

	eve := b.back(t, alice, token(t, "eve"), offset)
	if eve.sid == alice.sid || eve.pid == alice.pid {
		t.Error("eve came back as alice")
	}
	if got := b.rooms(eve); len(got) > 0 {
		t.Errorf("eve is in %q", got)
	}
	b.publish("photo:processing", started("2", "p"))
	eve.joins("identify", `{"clientId":"e"}`)
	own := event("3", "photo.uploaded", ``, `,"clientId":"e"`)
	b.publish("photo:upload", own)
	eve.want("upload.event", own) // and none of alice's
	b.wantMetric(0, "recoveries_total", "outcome", "recovered")
}

// Nor does it harm the one it was stolen from, connected or away.
func TestStolenSessionStays(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	connected, away := b.connect(t, token(t, "alice")), b.connect(t, token(t, "alice"))
	offset := away.joins("subscribe:user", `{"userId":"alice"}`)
	away.leave()
	b.wantMetric(1, "websocket_disconnections_total", "reason", "transport close")

	b.back(t, away, token(t, "eve"), offset)
	b.back(t, connected, token(t, "eve"), offset)
	if back := b.back(t, away, token(t, "alice"), offset); back.sid != away.sid {
		t.Error("alice cannot come back after eve tried to be her")
	}
	if n := b.metric("websocket_disconnections_total", "reason", "transport close"); n != 1 {
		t.Errorf("%v connections have ended, want none but the one that left: eve threw alice out", n)
	}
}

// Rooms are asked for again: one that is no longer allowed is not restored, nor is what was told there.
func TestRecoveryChecksAccess(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["own"], o.known["sold"] = "alice", "alice" })
	first := b.connect(t, token(t, "alice", "photo:read:a", "photo:read:b", "user:read:bob", "user:read:carl"))
	first.joins("identify", `{"clientId":"c","sessionId":"s"}`)
	offset := ""
	for _, photo := range []string{"a", "b", "own", "sold"} {
		offset = first.joins("subscribe:photo", `{"photoId":"`+photo+`"}`)
	}
	first.joins("subscribe:user", `{"userId":"bob"}`)
	first.joins("subscribe:user", `{"userId":"carl"}`)
	first.leave()
	b.owners.put(func(o *fakeOwners) { o.known["sold"] = "bob" })
	var allowed []string
	for i, photo := range []string{"a", "b", "own", "sold", "a"} {
		payload := started(fmt.Sprint(i), photo)
		b.publish("photo:processing", payload)
		if photo == "a" || photo == "own" {
			allowed = append(allowed, payload)
		}
	}

	second := b.back(t, first, token(t, "alice", "photo:read:a", "user:read:carl"), offset)
	if second.sid != first.sid {
		t.Error("it is not recovered")
	}
	for _, want := range allowed {
		second.want("processing.event", want)
	}
	want := []string{"client:c", "photo:a", "photo:own", "session:s", "user:alice", "user:carl"}
	if got := b.rooms(second); !slices.Equal(got, want) {
		t.Errorf("rooms = %q, want %q", got, want)
	}
	b.publish("photo:processing", started("6", "sold"))
	b.publish("photo:processing", started("7", "b"))
	last := started("8", "a")
	b.publish("photo:processing", last)
	second.want("processing.event", last)
}

// When it cannot be known whether rooms are still allowed, the client starts anew and asks again: better than to miss
// events in silence.
func TestRecoveryWithoutOwners(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["p"] = "alice" })
	first := b.connect(t, token(t, "alice"))
	offset := first.joins("subscribe:photo", `{"photoId":"p"}`)
	first.leave()
	b.publish("photo:processing", started("1", "p"))
	b.owners.put(func(o *fakeOwners) { o.fault = errors.New("redis is away") })
	second := b.back(t, first, token(t, "alice"), offset)
	if second.sid == first.sid {
		t.Error("it is recovered")
	}
	if got := b.rooms(second); len(got) > 0 {
		t.Errorf("rooms = %q, want none", got)
	}
	second.quiet()
	b.wantMetric(2, "recoveries_total", "outcome", "new")
	b.wantMetric(0, "recoveries_total", "outcome", "recovered")
}

// A user who may not connect does not get a session back either.
func TestRecoveryNeedsAToken(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	first := b.connect(t, token(t, "alice"))
	offset := first.joins("subscribe:user", `{"userId":"alice"}`)
	first.leave()
	c := b.dial(t, nil)
	c.send(fmt.Sprintf(`0{"pid":%q,"offset":%q}`, first.pid, offset))
	if got, want := c.next(), `4{"message":"Authentication required"}`; got != want {
		t.Errorf("answered with %s, want %s", got, want)
	}
	if back := b.back(t, first, token(t, "alice"), offset); back.sid != first.sid {
		t.Error("the session is gone after a refused attempt")
	}
}
