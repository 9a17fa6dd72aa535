package server

import (
	"encoding/json"
	"strings"
	"testing"
)

// idEvents are the events whose payload has one id, and its member.
var idEvents = map[string]string{
	"subscribe:photo": "photoId", "unsubscribe:photo": "photoId", "subscribe:user": "userId", "unsubscribe:user": "userId",
}

// wantRefused checks that an event is answered with error and a false ack, and that the connection stays.
func wantRefused(t *testing.T, c *browser, event, problem string, args ...string) {
	t.Helper()
	e, ack := c.call(event, args...)
	name, _ := json.Marshal(event)
	text, _ := json.Marshal(problem)
	if want := `{"event":` + string(name) + `,"message":` + string(text) + `}`; e.name != "error" || e.arg != want {
		t.Errorf("%s %.80q is answered with %s %s, want error %s", event, args, e.name, e.arg, want)
	}
	if want := `{"ok":false,"error":` + string(text) + `}`; ack != want {
		t.Errorf("%s %.80q is acknowledged with %s, want %s", event, args, ack, want)
	}
	c.quiet()
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	huge := strings.Repeat("x", 100_000)
	tests := []struct{ id, problem string }{
		{`""`, ": want a non-empty string"},
		{`null`, ": want a non-empty string"},
		{`true`, ": want a non-empty string"},
		{`["p"]`, ": want a non-empty string"},
		{`{"p":1}`, ": want a non-empty string"},
		{`"` + huge + `"`, ": want at most 512 bytes"},
		{`"` + strings.Repeat("x", 513) + `"`, ": want at most 512 bytes"},
		{`"` + strings.Repeat("ß", 257) + `"`, ": want at most 512 bytes"},
		{strings.Repeat("1", 100_000), ": want at most 512 bytes"},
	}
	refused := 0
	for event, field := range idEvents {
		for _, tt := range tests {
			wantRefused(t, c, event, field+tt.problem, `{"`+field+`":`+tt.id+`}`)
			refused++
		}
		wantRefused(t, c, event, field+": want a non-empty string", `{}`)
		wantRefused(t, c, event, field+": want a non-empty string", `{"PHOTOID":"p","USERID":"u"}`)
		refused += 2
	}
	if got := b.rooms(c); len(got) > 0 {
		t.Errorf("rooms = %q, want none", got)
	}
	b.wantMetric(float64(refused), "client_events_refused_total")
	b.wantMetric(0, "subscriptions_denied_total")
}

func TestBadPayloads(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	huge := strings.Repeat("x", 100_000)
	wants := map[string]string{"identify": "want {clientId, sessionId?}"}
	for event, field := range idEvents {
		wants[event] = "want {" + field + "}"
	}
	for event, problem := range wants {
		wantRefused(t, c, event, problem) // no payload at all
		for _, payload := range []string{
			`null`, `[]`, `[{"photoId":"p","userId":"u","clientId":"c"}]`, `"p"`, `"` + huge + `"`, `""`, `1`, `true`,
			strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		} {
			wantRefused(t, c, event, problem, payload)
		}
	}
	if got := b.rooms(c); len(got) > 0 {
		t.Errorf("rooms = %q, want none", got)
	}
}

func TestBadIdentify(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	long := strings.Repeat("x", 513)
	tests := []struct{ payload, problem string }{
		{`{}`, "clientId: want a non-empty string"},
		{`{"sessionId":"s"}`, "clientId: want a non-empty string"},
		{`{"clientId":""}`, "clientId: want a non-empty string"},
		{`{"clientId":null}`, "clientId: want a non-empty string"},
		{`{"clientId":"` + long + `"}`, "clientId: want at most 512 bytes"},
		{`{"clientId":"c","sessionId":"` + long + `"}`, "sessionId: want at most 512 bytes"},
		{`{"clientId":"` + strings.Repeat("c", 100_000) + `"}`, "clientId: want at most 512 bytes"},
		{`{"clientId":true}`, "clientId: want a non-empty string"},
		{`{"clientId":["c"]}`, "clientId: want a non-empty string"},
		{`{"clientId":{"c":1}}`, "clientId: want a non-empty string"},
		{`{"clientId":"c","sessionId":{}}`, "sessionId: want a non-empty string"},
		{`{"clientId":"c","sessionId":false}`, "sessionId: want a non-empty string"},
	}
	for _, tt := range tests {
		wantRefused(t, c, "identify", tt.problem, tt.payload)
	}
	if got := b.rooms(c); len(got) > 0 {
		t.Errorf("rooms = %q, want none", got)
	}
}

// A member's name is matched as JavaScript does: "CLIENTID" is another one.
func TestIdentifyMatchesNamesExactly(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	wantRefused(t, c, "identify", "clientId: want a non-empty string", `{"CLIENTID":"c"}`)
}

// Binary where an id should be is refused like any other wrong type.
func TestBinaryPayload(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice", "photo:read:*"))
	for _, payload := range []string{`{"_placeholder":true,"num":0}`, `{"photoId":{"_placeholder":true,"num":0}}`} {
		c.send(`51-1["subscribe:photo",` + payload + `]`)
		c.binary("YWJj")
		if e := c.event(); e.name != "error" {
			t.Errorf("%s is answered with %s %s, want error", payload, e.name, e.arg)
		}
		if got, want := c.next(), `31[{"ok":false,"error":"want {photoId}"}]`; got != want {
			t.Errorf("%s is acknowledged with %s, want %s", payload, got, want)
		}
	}
	c.quiet()
}

func TestUnknownEvents(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	c := b.connect(t, token(t, "alice"))
	tests := []struct{ name, told string }{
		{"nonsense", "nonsense"},
		{"", ""},
		{"Identify", "Identify"},
		{`<b>"ß"` + "\x00\n", `<b>"ß"` + "\x00\n"},
		{strings.Repeat("n", 64), strings.Repeat("n", 64)},
		{strings.Repeat("n", 100_000), strings.Repeat("n", 64) + "…"},
		{"n" + strings.Repeat("ß", 50_000), "n" + strings.Repeat("ß", 31) + "…"}, // not cut within a letter
	}
	for _, tt := range tests {
		e, ack := c.call(tt.name, `{"photoId":"p"}`)
		var got map[string]string
		if err := json.Unmarshal([]byte(e.arg), &got); err != nil || e.name != "error" || len(got) != 2 ||
			got["message"] != "Unknown event" || got["event"] != tt.told {
			t.Errorf("%.20q is answered with %s %s, want error {message: Unknown event, event: %q}", tt.name, e.name, e.arg, tt.told)
		}
		if want := `{"ok":false,"error":"Unknown event"}`; ack != want {
			t.Errorf("%.20q is acknowledged with %s, want %s", tt.name, ack, want)
		}
	}
	c.send(`2[42,{}]`)
	c.want("error", `{"event":"42","message":"Unknown event"}`)
	c.quiet()
	b.wantMetric(float64(len(tests)+1), "client_events_refused_total")
}
