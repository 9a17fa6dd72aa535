package server

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Whose a photo is, by what was published.
func TestOwnersNoted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, kind, data string
		want             string // the call of the store, or nothing
	}{
		{"uploaded", "photo.uploaded", `"photoId":"p","userId":"alice"`, "set p alice"},
		{"numbers", "photo.uploaded", `"photoId":42,"userId":7`, "set 42 7"},
		{"deleted", "photo.deleted", `"photoId":"p","userId":"alice"`, "delete p"},
		{"deleted by nobody", "photo.deleted", `"photoId":"p"`, "delete p"},
		{"no user", "photo.uploaded", `"photoId":"p"`, ""},
		{"no photo", "photo.uploaded", `"userId":"alice"`, ""},
		{"no photo deleted", "photo.deleted", `"userId":"alice"`, ""},
		{"another type", "photo.processing.started", `"photoId":"p","userId":"alice"`, ""},
	}
	for _, tt := range tests {
		b := start(t, setup{})
		b.publish("photo:upload", event("1", tt.kind, tt.data, ""))
		if got := strings.Join(b.owners.noted(), ", "); got != tt.want {
			t.Errorf("%s: the store was asked to %q, want %q", tt.name, got, tt.want)
		}
	}
}

// What is no id owns nothing and is owned by nobody. A user "null" would keep the photo from its owner for good.
func TestOwnersAreIDs(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	for i, data := range []string{
		`"photoId":"p","userId":null`, `"photoId":"p","userId":true`, `"photoId":"p","userId":{"id":"alice"}`,
		`"photoId":"p","userId":["alice"]`, `"photoId":"p","userId":""`,
		`"photoId":null,"userId":"alice"`, `"photoId":["p"],"userId":"alice"`, `"photoId":"","userId":"alice"`,
	} {
		b.publish("photo:upload", event(string(rune('a'+i)), "photo.uploaded", data, ""))
	}
	b.publish("photo:upload", event("z", "photo.deleted", `"photoId":null`, ""))
	if got := b.owners.noted(); len(got) > 0 {
		t.Errorf("the store was asked to %q, want nothing", got)
	}
}

// The owner is known before anybody hears of the photo and asks for it.
func TestOwnerBeforeDelivery(t *testing.T) {
	t.Parallel()
	log := newFakeLog()
	b := newBus(t, setup{log: log})
	var mu sync.Mutex
	var known []string // when something was appended
	log.before = func() {
		mu.Lock()
		defer mu.Unlock()
		known = append(known, strings.Join(b.owners.noted(), ", "))
	}
	b.run()
	close(b.source.subscribed)
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	for _, photo := range []string{"p1", "p2"} {
		upload := event(photo, "photo.uploaded", `"photoId":"`+photo+`","userId":"alice"`, `,"clientId":"c"`)
		b.publish("photo:upload", upload)
		c.want("upload.event", upload)
		c.joins("subscribe:photo", `{"photoId":"`+photo+`"}`)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"set p1 alice", "set p1 alice, set p2 alice"}; !slices.Equal(known, want) {
		t.Errorf("known at each append: %q, want %q", known, want)
	}
}

// A forged upload does not take a photo over. Its event goes on, as its readers are not to blame.
func TestForgedOwner(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	eve := b.connect(t, token(t, "eve"))
	eve.joins("identify", `{"clientId":"c"}`)
	b.publish("photo:upload", event("1", "photo.uploaded", `"photoId":"p","userId":"alice"`, ""))
	forged := event("2", "photo.uploaded", `"photoId":"p","userId":"eve"`, `,"clientId":"c"`)
	b.publish("photo:upload", forged)
	eve.want("upload.event", forged)
	wantDenied(t, eve, "subscribe:photo", `{"photoId":"p"}`)
	b.connect(t, token(t, "alice")).joins("subscribe:photo", `{"photoId":"p"}`)
	b.wantMetric(1, "event_errors_total", "category", "permission", "channel", "photo:upload", "error_type", "owned")
	b.wantMetric(2, "events_received_total", "channel", "photo:upload", "event_type", "photo.uploaded")

	b.publish("photo:upload", event("3", "photo.deleted", `"photoId":"p"`, ""))
	b.publish("photo:upload", event("4", "photo.uploaded", `"photoId":"p","userId":"eve"`, ""))
	eve.joins("subscribe:photo", `{"photoId":"p"}`)
}

// The channel an event came by is the one that is counted.
func TestForgedOwnerByChannel(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.publish("photo:completion", event("1", "photo.uploaded", `"photoId":"p","userId":"alice"`, ""))
	b.publish("photo:completion", event("2", "photo.uploaded", `"photoId":"p","userId":"eve"`, ""))
	if got := b.metric("event_errors_total", "category", "permission", "channel", "photo:completion", "error_type", "owned"); got != 1 {
		t.Errorf("%v forged owners counted on photo:completion, want 1", got)
	}
}

// The event goes on when the store fails, and the failure shows.
func TestOwnerNotKept(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	b.owners.put(func(o *fakeOwners) { o.fault = errors.New("redis is away") })
	for _, id := range []string{"1", "2"} {
		upload := event(id, "photo.uploaded", `"photoId":"p","userId":"alice"`, `,"clientId":"c"`)
		b.publish("photo:upload", upload)
		c.want("upload.event", upload)
	}
	if got := b.logs.FilterMessage("owner of photo not kept").Len(); got != 1 {
		t.Errorf("%d lines in the log, want one a burst", got)
	}
	b.wantMetric(2, "events_received_total", "channel", "photo:upload", "event_type", "photo.uploaded")
}

// At least once means that a publisher may send an event again. A duplicate does nothing a second time: neither does it
// give a deleted photo its owner back, nor does it take one away.
func TestDuplicatesDoNotChangeOwners(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	uploaded := event("1", "photo.uploaded", `"photoId":"p","userId":"alice"`, "")
	deleted := event("2", "photo.deleted", `"photoId":"p"`, "")
	again := event("3", "photo.uploaded", `"photoId":"p","userId":"bob"`, "")
	for _, payload := range []string{uploaded, deleted, uploaded} {
		b.publish("photo:upload", payload)
	}
	if got, known, _ := b.owners.Owner(t.Context(), "p"); known {
		t.Errorf("a deleted photo belongs to %s after a duplicate", got)
	}
	b.owners.put(func(o *fakeOwners) { clear(o.known) })
	b.publish("photo:upload", again)
	b.publish("photo:upload", deleted)
	if got, _, _ := b.owners.Owner(t.Context(), "p"); got != "bob" {
		t.Errorf("the photo belongs to %q after a duplicate of an earlier deletion, want bob", got)
	}
}
