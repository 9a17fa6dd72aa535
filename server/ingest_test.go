package server

import (
	"fmt"
	"slices"
	"testing"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/routing"
)

// The default rules, by who of three clients hears what.
func TestDefaultRouting(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	clients := map[string]*browser{}
	for _, name := range []string{"ann", "bob", "eve"} {
		c := b.connect(t, token(t, name))
		c.joins("identify", `{"clientId":"c-`+name+`","sessionId":"s-`+name+`"}`)
		clients[name] = c
	}
	clients["ann"].joins("subscribe:photo", `{"photoId":"p"}`)
	clients["bob"].joins("subscribe:photo", `{"photoId":"p"}`)

	const photo = `"photoId":"p"`
	tests := []struct {
		channel, kind, data, metadata string
		name                          string
		hear                          []string
	}{
		{"photo:upload", "photo.uploaded", photo, `,"clientId":"c-ann"`, "upload.event", []string{"ann"}},
		{"photo:upload", "photo.uploaded", photo, `,"sessionId":"s-bob"`, "upload.event", []string{"bob"}},
		{"photo:upload", "photo.uploaded", photo, `,"clientId":"c-ann","sessionId":"s-bob"`, "upload.event", []string{"ann", "bob"}},
		{"photo:upload", "photo.deleted", photo, `,"clientId":"c-eve"`, "upload.event", []string{"eve"}},
		{"photo:upload", "photo.deleted", photo, ``, "upload.event", nil},
		{"photo:processing", "photo.processing.started", photo, ``, "processing.event", []string{"ann", "bob"}},
		{"photo:processing", "photo.processing.stage.completed", photo + `,"userId":"eve"`, ``, "processing.event", []string{"ann", "bob", "eve"}},
		{"photo:processing", "photo.processing.started", `"photoId":"q","userId":"eve"`, `,"clientId":"c-ann"`, "processing.event", []string{"eve"}},
		{"photo:completion", "photo.processing.completed", photo, ``, "completion.event", []string{"ann", "bob"}},
		{"photo:completion", "photo.processing.failed", photo, `,"clientId":"c-eve"`, "completion.event", []string{"ann", "bob", "eve"}},
		{"photo:completion", "batch.processing.completed", `"batchId":"b"`, `,"clientId":"c-eve","sessionId":"s-ann"`, "completion.event", []string{"eve"}},
		{"photo:completion", "some.other.type", photo, ``, "completion.event", []string{"ann", "bob"}},
		{"photo:upload", "photo.processing.completed", `"photoId":"p"`, `,"clientId":"c-bob"`, "upload.event", []string{"bob"}}, // the channel decides, not the type
	}
	for i, tt := range tests {
		payload := event(fmt.Sprint(i), tt.kind, tt.data, tt.metadata)
		b.publish(tt.channel, payload)
		for _, who := range tt.hear {
			if offset := clients[who].want(tt.name, payload); offset == "" {
				t.Errorf("event %d came without an offset", i)
			}
		}
	}
	for name, c := range clients { // nobody has heard anything else
		end := event("end-"+name, "photo.uploaded", ``, `,"clientId":"c-`+name+`"`)
		b.publish("photo:upload", end)
		c.want("upload.event", end)
	}
}

// One event reaches the union of its rooms once per socket.
func TestUnionOfRooms(t *testing.T) {
	t.Parallel()
	b := start(t, setup{policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c","sessionId":"s"}`)
	c.joins("subscribe:photo", `{"photoId":"p"}`)
	for i, channel := range []string{"photo:upload", "photo:processing", "photo:completion"} {
		payload := event(fmt.Sprint(i), "photo.processing.started", `"photoId":"p","userId":"alice"`, `,"clientId":"c","sessionId":"s"`)
		b.publish(channel, payload)
		if e := c.event(); e.arg != payload {
			t.Errorf("got %s %s, want event %d once", e.name, e.arg, i)
		}
	}
	end := event("end", "photo.uploaded", ``, `,"clientId":"c"`)
	b.publish("photo:upload", end)
	c.want("upload.event", end)
}

// One event may be emitted under two names; then it comes in the rules' order. A broadcast reaches everybody.
func TestTwoTargets(t *testing.T) {
	t.Parallel()
	rules := map[string][]routing.Rule{"news": {
		{Type: "client", Selector: "metadata.clientId", EventName: "own"},
		{Type: "broadcast", EventName: "all"},
	}}
	b := start(t, setup{rules: rules})
	if got := <-b.source.channels; !slices.Equal(got, []string{"voice", "news"}) {
		t.Errorf("channels %q are received, want voice and news", got)
	}
	c, stranger := b.connect(t, token(t, "alice")), b.connect(t, token(t, "bob"))
	c.joins("identify", `{"clientId":"c"}`)
	stranger.quiet() // so that it is in
	payload := event("1", "photo.uploaded", ``, `,"clientId":"c"`)
	b.publish("news", payload)
	first, second := c.want("own", payload), c.want("all", payload)
	if first >= second {
		t.Errorf("offsets %s, %s do not rise", first, second)
	}
	stranger.want("all", payload)
	b.wantMetric(2, "log_entries_total")
	b.wantMetric(1, "events_received_total", "channel", "news", "event_type", "photo.uploaded")
}

// Ids are the publishers' own: one event a channel.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	first := event("same", "photo.uploaded", `"n":1`, `,"clientId":"c"`)
	for _, channel := range []string{"photo:upload", "photo:upload", "photo:completion", "photo:upload"} {
		b.publish(channel, first)
	}
	b.publish("photo:upload", event("same", "photo.uploaded", `"n":2`, `,"clientId":"c"`)) // whatever else it says
	c.want("upload.event", first)
	c.want("completion.event", first)
	end := event("end", "photo.deleted", ``, `,"clientId":"c"`)
	b.publish("photo:upload", end)
	c.want("upload.event", end)
	b.wantMetric(3, "events_duplicate_total", "channel", "photo:upload")
	b.wantMetric(0, "events_duplicate_total", "channel", "photo:completion")
	b.wantMetric(1, "events_received_total", "channel", "photo:upload", "event_type", "photo.uploaded")
	b.wantMetric(1, "events_received_total", "channel", "photo:completion", "event_type", "photo.uploaded")
	if n := b.logs.Len(); n > 0 {
		t.Errorf("%d lines in the log, want none for duplicates", n)
	}
}

// A browser gets the very bytes of the publisher, members unknown to us included; a CloudEvent is rewritten.
func TestPayloadStays(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	odd := `{"extra":[1e2,"\u00e9<&>` + "\u2028" + `"],  "id":"1","type":"t","data":{"a":1.50,"_placeholder":true,"num":0},"metadata":{"clientId":"c","x":null}}`
	b.publish("photo:upload", "\n "+odd+" \r\n")
	c.want("upload.event", odd)

	b.publish("photo:upload", `{"specversion":"1.0","id":"2","source":"/s","type":"photo.uploaded","clientid":"c","data":{"photoId":"p"}}`)
	c.want("upload.event", `{"id":"2","type":"photo.uploaded","data":{"photoId":"p"},"metadata":{"source":"/s","clientId":"c","version":"1.0"}}`)
}

// Everybody hears one order, that of the log, whatever channel an event came by.
func TestOneOrder(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	var clients []*browser
	for range 3 {
		c := b.connect(t, token(t, "alice"))
		c.joins("identify", `{"clientId":"c"}`)
		clients = append(clients, c)
	}
	channels := []string{"photo:upload", "photo:processing", "photo:completion"}
	var sent []string
	for i := range 300 {
		payload := event(fmt.Sprint(i), "photo.processing.started", `"userId":"alice"`, `,"clientId":"c"`)
		b.publish(channels[i%len(channels)], payload)
		sent = append(sent, payload)
	}
	for _, c := range clients {
		last := ""
		for i, want := range sent {
			e := c.event()
			if e.arg != want {
				t.Fatalf("event %d is %s, want %s", i, e.arg, want)
			}
			if last = e.offset; last == "" {
				t.Fatalf("event %d has no offset", i)
			}
		}
	}
}
