package server

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	tests := []struct {
		name, payload string
		rooms         []string
	}{
		{"client and session", `{"clientId":"c1","sessionId":"s1","userAgent":"Mozilla/5.0"}`, []string{"client:c1", "session:s1", "user:alice"}},
		{"no session", `{"clientId":"c1"}`, []string{"client:c1", "user:alice"}},
		{"session null, as undefined sometimes becomes", `{"clientId":"c1","sessionId":null}`, []string{"client:c1", "user:alice"}},
		{"empty session", `{"clientId":"c1","sessionId":""}`, []string{"client:c1", "user:alice"}},
		{"numbers", `{"clientId":17,"sessionId":0}`, []string{"client:17", "session:0", "user:alice"}},
		{"not ASCII", `{"clientId":"größe 🙂 \" <b>"}`, []string{`client:größe 🙂 " <b>`, "user:alice"}},
		{"further members and any userAgent", `{"userAgent":{"a":[1]},"clientId":"c1","x":null}`, []string{"client:c1", "user:alice"}},
		{"another user's id is no way into its room", `{"clientId":"c1","userId":"bob"}`, []string{"client:c1", "user:alice"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := b.connect(t, token(t, "alice"))
			before := time.Now().Truncate(time.Millisecond)
			e, ack := c.call("identify", tt.payload)

			var got, acked map[string]any
			if json.Unmarshal([]byte(e.arg), &got) != nil || json.Unmarshal([]byte(ack), &acked) != nil {
				t.Fatalf("answered with %s, acknowledged with %s", e.arg, ack)
			}
			if e.name != "identified" || len(got) != 2 || got["socketId"] != c.sid {
				t.Errorf("answered with %s %s, want identified {socketId: %q, timestamp}", e.name, e.arg, c.sid)
			}
			stamp, _ := got["timestamp"].(string)
			at, err := time.Parse("2006-01-02T15:04:05.000Z", stamp) // as Date.prototype.toISOString writes it
			if err != nil || at.Before(before) || at.After(time.Now()) {
				t.Errorf("timestamp %q is not now in ISO 8601", stamp)
			}
			if len(acked) != 3 || acked["ok"] != true || acked["socketId"] != c.sid || acked["timestamp"] != stamp {
				t.Errorf("acknowledged with %s, want {ok: true} and the answer", ack)
			}
			if got := b.rooms(c); !slices.Equal(got, tt.rooms) {
				t.Errorf("rooms = %q, want %q", got, tt.rooms)
			}
			c.quiet()
		})
	}
}

func TestIdentifyAgain(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.joins("subscribe:user", `{"userId":"alice"}`)
	steps := []struct {
		payload string
		rooms   []string
	}{
		{`{"clientId":"c1","sessionId":"s1"}`, []string{"client:c1", "session:s1", "user:alice"}},
		{`{"clientId":"c1","sessionId":"s1"}`, []string{"client:c1", "session:s1", "user:alice"}},
		{`{"clientId":"c2","sessionId":"s1"}`, []string{"client:c2", "session:s1", "user:alice"}},
		{`{"clientId":"c2","sessionId":"s2"}`, []string{"client:c2", "session:s2", "user:alice"}},
		{`{"clientId":"c2"}`, []string{"client:c2", "user:alice"}},
		{`{"clientId":"s2","sessionId":"c2"}`, []string{"client:s2", "session:c2", "user:alice"}},
	}
	for _, step := range steps {
		c.joins("identify", step.payload)
		if got := b.rooms(c); !slices.Equal(got, step.rooms) {
			t.Errorf("rooms after %s = %q, want %q", step.payload, got, step.rooms)
		}
	}

	// What is refused changes nothing.
	if _, ack := c.call("identify", `{"clientId":"","sessionId":"s3"}`); ack != `{"ok":false,"error":"clientId: want a non-empty string"}` {
		t.Errorf("acknowledged with %s", ack)
	}
	if got, want := b.rooms(c), steps[len(steps)-1].rooms; !slices.Equal(got, want) {
		t.Errorf("rooms after a refusal = %q, want %q", got, want)
	}
}

// The rooms are those that events are routed to.
func TestIdentifiedHears(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c1","sessionId":"s1"}`)
	byClient := event("1", "photo.uploaded", `"photoId":"p"`, `,"clientId":"c1"`)
	bySession := event("2", "photo.uploaded", `"photoId":"p"`, `,"sessionId":"s1"`)
	byUser := event("3", "photo.processing.started", `"photoId":"p","userId":"alice"`, ``)
	b.publish("photo:upload", byClient)
	b.publish("photo:upload", bySession)
	b.publish("photo:processing", byUser)
	c.want("upload.event", byClient)
	c.want("upload.event", bySession)
	c.want("processing.event", byUser)

	c.joins("identify", `{"clientId":"c2"}`)
	b.publish("photo:upload", event("4", "photo.uploaded", `"photoId":"p"`, `,"clientId":"c1","sessionId":"s1"`))
	toNew := event("5", "photo.uploaded", `"photoId":"p"`, `,"clientId":"c2"`)
	b.publish("photo:upload", toNew)
	c.want("upload.event", toNew)
}

// Events are for connected sockets that did not ask for an ack, too.
func TestIdentifyWithoutAck(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.send(`2["identify",{"clientId":"c1"}]`)
	if e := c.event(); e.name != "identified" {
		t.Errorf("answered with %s", e.name)
	}
	c.send(`2["identify",{}]`)
	c.want("error", `{"event":"identify","message":"clientId: want a non-empty string"}`)
	c.quiet()
}
