package engineio

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPollingMessages(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, post string
		want       []message
		answer     string
	}{
		{"text", "4hello", []message{{"hello", false}}, "4hello"},
		{"empty text", "4", []message{{"", false}}, "4"},
		{"not ASCII", "4grüß\u2028🙂", []message{{"grüß\u2028🙂", false}}, "4grüß\u2028🙂"},
		{"several", "4a\x1e4b\x1e4c", []message{{"a", false}, {"b", false}, {"c", false}}, "4a\x1e4b\x1e4c"},
		{"binary", "bAQIDBA==", []message{{"\x01\x02\x03\x04", true}}, "4bin\x1ebAQIDBA=="},
		{"binary without padding", "bAQIDBA", []message{{"\x01\x02\x03\x04", true}}, "4bin\x1ebAQIDBA=="},
		{"binary with + and /", "b+/8=", []message{{"\xfb\xff", true}}, "4bin\x1eb+/8="},
		{"empty binary", "b", []message{{"", true}}, "4bin\x1eb"},
		{"mixed", "4hello\x1ebAQID\x1e4x", []message{{"hello", false}, {"\x01\x02\x03", true}, {"x", false}},
			"4hello\x1e4bin\x1ebAQID\x1e4x"},
		{"noop before", "6\x1e4x", []message{{"x", false}}, "4x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, Options{}, echo).polling()
			p.wantPost(test.post, 200, "ok")
			p.wantMessages(test.want...)
			p.wantGet(200, test.answer)
		})
	}
}

func TestPollWaitsForMessage(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{}, nil).polling()
	got := p.poll()
	p.conn.Send(NewBinaryMessage([]byte("one"), []byte{1}, []byte{2}))
	p.want(<-got, 200, "4one\x1ebAQ==\x1ebAg==")
}

func TestPollHeaders(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{}, echo).polling()
	if got := p.post("4x").header; got.Get("Content-Type") != "text/html" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("POST: got %v, want text/html, no-store", got)
	}
	got := p.get().header
	if got.Get("Content-Type") != "text/plain; charset=UTF-8" || got.Get("Cache-Control") != "no-store" {
		t.Errorf("GET: got %v, want text/plain; charset=UTF-8, no-store", got)
	}
}

// A poll brings about MaxPayload bytes, and whole messages only.
func TestPollIsBounded(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{MaxPayload: 1000}, nil).polling()
	small, big := strings.Repeat("s", 300), strings.Repeat("b", 2500)
	for _, m := range []string{small, small, small, small, big, small} {
		p.conn.Send(text(m))
	}
	p.wantGet(200, "4"+small+"\x1e4"+small+"\x1e4"+small)
	p.wantGet(200, "4"+small)
	p.wantGet(200, "4"+big)
	p.wantGet(200, "4"+small)
}

func TestPollingParseError(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"unknown type":     "4first\x1eabc",
		"empty packet":     "4first\x1e\x1e4second",
		"bad base64":       "4first\x1eb!!!!",
		"invalid UTF-8":    "4first\x1e4\xff",
		"trailing divider": "4first\x1e",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, Options{}, nil).polling()
			p.post(body)
			p.wantTexts("first") // what came before is whole
			p.wantClosed(ParseError)
		})
	}
	t.Run("empty body", func(t *testing.T) {
		t.Parallel()
		p := serve(t, Options{}, nil).polling()
		p.post("")
		p.wantClosed(ParseError)
	})
}

func TestOverlappingPolls(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{}, nil).polling()
	first := p.poll()
	p.wantGet(400, "")
	p.want(<-first, 200, "1")
	p.wantClosed(TransportError)
	p.wantGet(400, `{"code":1,"message":"Session ID unknown"}`)
}

func TestOverlappingPosts(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	p := h.polling()
	body, slow := io.Pipe()
	req, err := http.NewRequest("POST", h.web.URL+"/?"+p.query, body)
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	go func() {
		res, err := h.web.Client().Do(req)
		if err == nil {
			res.Body.Close()
		}
		first <- err
	}()
	if _, err := slow.Write([]byte("4one")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first POST is read", func() bool {
		p.conn.mu.Lock()
		defer p.conn.mu.Unlock()
		return p.conn.posting
	})
	p.wantPost("4two", 400, "")
	p.wantClosed(TransportError)
	slow.Close()
	<-first
	p.wantNoMessage()
}

func TestPostTooLarge(t *testing.T) {
	t.Parallel()
	p := serve(t, Options{MaxPayload: 100}, echo).polling()
	p.wantPost("4"+strings.Repeat("x", 100), 413, "")
	fits := "4" + strings.Repeat("x", 99)
	p.wantPost(fits, 200, "ok")
	p.wantGet(200, fits)
}

func TestPostOctetStream(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, nil)
	p := h.polling()
	p.want(h.do("POST", p.query, "4x", http.Header{"Content-Type": {"application/octet-stream"}}), 400, "")
	p.wantClosed(TransportError)
}

func TestPollingMethods(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, echo)
	p := h.polling()
	if got := h.do("PUT", p.query, "4x", nil); got.status != 405 || got.header.Get("Allow") != "GET, POST" {
		t.Errorf("got %d %v, want 405 and Allow: GET, POST", got.status, got.header)
	}
	p.wantPost("4x", 200, "ok")
}

// A websocket's session cannot be polled, whatever the query says: its packets go where it reads.
func TestPollOfWebSocket(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, echo)
	c := h.websocket()
	for _, transport := range []string{Polling, WebSocket} {
		for _, method := range []string{"GET", "POST"} {
			got := h.do(method, "EIO=4&transport="+transport+"&sid="+c.conn.ID(), "4x", nil)
			if want := `{"code":3,"message":"Bad request"}`; got.status != 400 || got.body != want {
				t.Errorf("%s with transport=%s: got %d %s, want 400 %s", method, transport, got.status, got.body, want)
			}
		}
	}
	c.sendText("4still here")
	c.wantText("4still here")
}

// plainWriter has nothing but what http.ResponseWriter asks for, like those of many a middleware.
type plainWriter struct{ http.ResponseWriter }

func TestPollThroughMiddleware(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{}, echo)
	h.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(plainWriter{w}, r)
	}))
	t.Cleanup(h.web.Close)
	p := h.polling()
	for range 3 {
		p.wantPost("4x", 200, "ok")
		p.wantGet(200, "4x")
	}
}
