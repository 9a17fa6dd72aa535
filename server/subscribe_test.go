package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "alice", "user:read:bob"))
	long := strings.Repeat("x", 512)
	tests := []struct{ kind, payload, room string }{
		{"photo", `{"photoId":"p1"}`, "photo:p1"},
		{"photo", `{"photoId":"p1","more":[1,{}]}`, "photo:p1"},
		{"photo", `{"photoId":42}`, "photo:42"},
		{"photo", `{"photoId":0}`, "photo:0"},
		{"photo", `{"photoId":-1.5}`, "photo:-1.5"},
		{"photo", `{"photoId":1e+21}`, "photo:1e+21"},
		{"photo", `{"photoId":"` + long + `"}`, "photo:" + long},
		{"photo", `{"photoId":"größe 🙂 \u003c"}`, "photo:größe 🙂 <"},
		{"user", `{"userId":"alice"}`, "user:alice"},
		{"user", `{"userId":"bob"}`, "user:bob"},
	}
	for _, tt := range tests {
		t.Run(tt.kind+" "+tt.payload[:min(len(tt.payload), 40)], func(t *testing.T) {
			room, err := json.Marshal(tt.room)
			must(t, err)
			check := func(event, answer string) {
				t.Helper()
				e, ack := c.call(event, tt.payload)
				if want := `{"room":` + string(room) + `}`; e.name != answer || e.arg != want {
					t.Errorf("%s is answered with %s %s, want %s %s", event, e.name, e.arg, answer, want)
				}
				if want := `{"ok":true,"room":` + string(room) + `}`; ack != want {
					t.Errorf("%s is acknowledged with %s, want %s", event, ack, want)
				}
			}
			for range 2 { // again is fine
				check("subscribe:"+tt.kind, "subscribed")
				if got := b.rooms(c); !slices.Equal(got, []string{tt.room}) {
					t.Errorf("rooms = %q, want %q", got, tt.room)
				}
			}
			for range 2 {
				check("unsubscribe:"+tt.kind, "unsubscribed")
				if got := b.rooms(c); len(got) > 0 {
					t.Errorf("rooms = %q, want none", got)
				}
			}
		})
	}
}

// A number for an id means the same in an event and in a subscription.
func TestSubscribedHears(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "7"))
	c.joins("subscribe:photo", `{"photoId":42}`)
	c.joins("subscribe:user", `{"userId":7}`)
	photo := event("1", "photo.processing.started", `"photoId":42`, "")
	user := event("2", "photo.processing.started", `"photoId":"other","userId":"7"`, "")
	b.publish("photo:processing", photo)
	b.publish("photo:processing", user)
	c.want("processing.event", photo)
	c.want("processing.event", user)

	c.joins("unsubscribe:photo", `{"photoId":"42"}`)
	b.publish("photo:processing", event("3", "photo.processing.completed", `"photoId":42`, ""))
	last := event("4", "photo.processing.started", `"photoId":42,"userId":7`, "")
	b.publish("photo:processing", last)
	c.want("processing.event", last)
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	for _, args := range [][]string{nil, {"null"}, {`{"any":"thing"}`, "1"}} {
		before := time.Now().UnixMilli()
		e, ack := c.call("heartbeat", args...)
		after := time.Now().UnixMilli()
		var at struct{ Timestamp int64 }
		if err := json.Unmarshal([]byte(e.arg), &at); err != nil || e.name != "heartbeat" || at.Timestamp < before || at.Timestamp > after {
			t.Errorf("answered with %s %s, want heartbeat {timestamp} from %d to %d", e.name, e.arg, before, after)
		}
		if want := fmt.Sprintf(`{"ok":true,"timestamp":%d}`, at.Timestamp); ack != want {
			t.Errorf("acknowledged with %s, want %s", ack, want)
		}
	}
}

func TestTooManySubscriptions(t *testing.T) {
	t.Parallel()
	b := start(t, setup{config: Config{MaxSubscriptions: 3}, policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "alice", "user:read:bob"))
	c.joins("subscribe:photo", `{"photoId":"1"}`)
	c.joins("subscribe:photo", `{"photoId":"2"}`)
	c.joins("subscribe:user", `{"userId":"bob"}`)
	refused := func(event, payload string) {
		t.Helper()
		e, ack := c.call(event, payload)
		if want := `{"event":"` + event + `","message":"Too many subscriptions"}`; e.name != "error" || e.arg != want {
			t.Errorf("%s is answered with %s %s, want error %s", event, e.name, e.arg, want)
		}
		if want := `{"ok":false,"error":"Too many subscriptions"}`; ack != want {
			t.Errorf("%s is acknowledged with %s, want %s", event, ack, want)
		}
	}
	refused("subscribe:photo", `{"photoId":"3"}`)
	c.joins("unsubscribe:user", `{"userId":"bob"}`)
	c.joins("subscribe:photo", `{"photoId":"3"}`)
	refused("subscribe:user", `{"userId":"bob"}`)
	if got, want := b.rooms(c), []string{"photo:1", "photo:2", "photo:3"}; !slices.Equal(got, want) {
		t.Errorf("rooms = %q, want %q", got, want)
	}
	b.wantMetric(2, "client_events_refused_total")
}

// To subscribe to what one is subscribed to takes no more room: front-ends do it whenever they connect, and a
// recovered one is in its rooms already.
func TestSubscribeAgainAtTheLimit(t *testing.T) {
	t.Parallel()
	b := start(t, setup{config: Config{MaxSubscriptions: 2}, policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "alice"))
	c.joins("subscribe:photo", `{"photoId":"1"}`)
	c.joins("subscribe:photo", `{"photoId":"2"}`)
	c.joins("subscribe:photo", `{"photoId":"1"}`)
}

// The rooms of identify are no subscriptions: Config.MaxSubscriptions counts photos and users.
func TestIdentifyTakesNoSubscriptions(t *testing.T) {
	t.Parallel()
	b := start(t, setup{config: Config{MaxSubscriptions: 1}, policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c","sessionId":"s"}`)
	c.joins("subscribe:photo", `{"photoId":"1"}`)
}

// Events of one client are handled in the order sent, however long one takes; nobody else waits for it.
func TestOrderOfClientEvents(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	release := make(chan struct{})
	b.owners.put(func(o *fakeOwners) { o.known["p"], o.hold = "alice", release })
	slow, other := b.connect(t, token(t, "alice")), b.connect(t, token(t, "bob"))
	slow.joins("identify", `{"clientId":"c"}`)
	slow.send(`2["subscribe:photo",{"photoId":"p"}]`)
	if got := <-b.owners.asked; got != "p" {
		t.Fatalf("the owner of %q is asked for", got)
	}
	slow.send(`2["heartbeat"]`)
	slow.send(`2["unsubscribe:photo",{"photoId":"p"}]`)
	other.quiet()
	upload := event("1", "photo.uploaded", ``, `,"clientId":"c"`)
	b.publish("photo:upload", upload)
	slow.want("upload.event", upload) // although its own event is being handled

	close(release)
	slow.want("subscribed", `{"room":"photo:p"}`)
	if e := slow.event(); e.name != "heartbeat" {
		t.Errorf("got %s, want heartbeat", e.name)
	}
	slow.want("unsubscribed", `{"room":"photo:p"}`)
}
