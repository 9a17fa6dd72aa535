package engineio

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestReplicaOf(t *testing.T) {
	t.Parallel()
	random := "0123456789abcdefgh-_"
	for sid, want := range map[string]string{
		random + ".0123456789abcdef":               "0123456789abcdef",
		random + ".a":                              "a",
		random + ".-_AZ" + strings.Repeat("z", 28): "-_AZ" + strings.Repeat("z", 28),
		random + "." + strings.Repeat("z", 33):     "", // too long
		random + "." + strings.Repeat("z", 1<<20):  "",
		random + ".":                               "",
		random:                                     "",
		random[1:] + ".a":                          "",
		random + "x.a":                             "",
		random + ".a.b":                            "",
		random + "..a":                             "",
		"." + random + "a":                         "",
		random + ".127.0.0.1:80":                   "",
		random + ".a/b":                            "",
		random + ".a:b":                            "",
		random + ".a\x00":                          "",
		random + ".ä":                              "",
		random[1:] + " .a":                         "",
		random[2:] + "ä.a":                         "",
		random + ".a\n":                            "",
		"":                                         "",
		".":                                        "",
		".a":                                       "",
	} {
		if got, ok := replicaOf(sid); ok != (want != "") || ok && got != want {
			t.Errorf("%.60q: got %q, %t, want %q", sid, got, ok, want)
		}
	}
}

func FuzzReplicaOf(f *testing.F) {
	for _, seed := range []string{"", "0123456789abcdefghij.a", "0123456789abcdefghij..", strings.Repeat(".", 40)} {
		f.Add(seed)
	}
	ours := regexp.MustCompile(`^[\w-]{20}\.[\w-]{1,32}$`)
	f.Fuzz(func(t *testing.T, sid string) {
		replica, ok := replicaOf(sid)
		if ok != ours.MatchString(sid) || ok && sid[20:] != "."+replica {
			t.Errorf("%q: got %q, %t", sid, replica, ok)
		}
	})
}

func TestSidNamesReplica(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{Replica: "here"}, echo)
	p := h.polling()
	if replica, ok := replicaOf(p.conn.ID()); !ok || replica != "here" {
		t.Errorf("polling: sid %q", p.conn.ID())
	}
	p.wantPost("4x", 200, "ok")
	p.wantGet(200, "4x")
	if id := h.websocket().conn.ID(); len(id) != randomSize {
		t.Errorf("websocket: sid %q, which has no need of a replica", id)
	}
	if id := serve(t, Options{}, nil).polling().conn.ID(); len(id) != randomSize {
		t.Errorf("with no replicas: sid %q", id)
	}
}

// Only what may be a session of another replica's is looked for there.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	h := serve(t, Options{Replica: "here", CORSOrigins: []string{"*"}, Elsewhere: func(replica string, w http.ResponseWriter, r *http.Request) error {
		asked.Store(replica)
		if deadline, ok := r.Context().Deadline(); !ok || time.Until(deadline) > 90*time.Second {
			t.Errorf("to be answered until %v", deadline)
		}
		if replica == "dead" {
			return errors.New("connection refused")
		}
		w.Header().Set("Access-Control-Allow-Origin", "its own")
		_, err := io.WriteString(w, "answer")
		return err
	}}, nil)
	own := h.polling()
	gone := h.polling()
	gone.conn.CloseAs(TransportClose)
	random := strings.Repeat("r", randomSize)
	const unknown = `{"code":1,"message":"Session ID unknown"}`
	for _, test := range []struct {
		name, method, sid, transport string
		header                       http.Header
		status                       int
		body, asked                  string
	}{
		{"poll", "GET", random + ".there", Polling, nil, 200, "answer", "there"},
		{"post", "POST", random + ".there", Polling, nil, 200, "answer", "there"},
		{"upgrade", "GET", random + ".there", WebSocket, upgradeHeader, 200, "answer", "there"},
		{"dead replica", "GET", random + ".dead", Polling, nil, 400, unknown, "dead"},
		{"post of an upgrade", "POST", random + ".there", WebSocket, upgradeHeader, 400, unknown, ""},
		{"other method", "PUT", random + ".there", Polling, nil, 400, unknown, ""},
		{"preflight", "OPTIONS", random + ".there", Polling, nil, 204, "", ""},
		{"other transport", "GET", random + ".there", "webtransport", nil, 400, `{"code":0,"message":"Transport unknown"}`, ""},
		{"our own replica", "GET", random + ".here", Polling, nil, 400, unknown, ""},
		{"our own session, gone", "GET", gone.conn.ID(), Polling, nil, 400, unknown, ""},
		{"our own session", "POST", own.conn.ID(), Polling, nil, 200, "ok", ""},
		{"no replica", "GET", random, Polling, nil, 400, unknown, ""},
		{"too long", "GET", random + "." + strings.Repeat("x", 8000), Polling, nil, 400, unknown, ""},
		{"an address", "GET", random + ".127.0.0.1%3A80", Polling, nil, 400, unknown, ""},
	} {
		asked.Store("")
		got := h.do(test.method, "EIO=4&transport="+test.transport+"&sid="+test.sid, "4x", test.header)
		if got.status != test.status || got.body != test.body || asked.Load() != test.asked {
			t.Errorf("%s: got %d %s after asking %q, want %d %s after %q", test.name, got.status, got.body, asked.Load(),
				test.status, test.body, test.asked)
		}
		cors := []string{"*"}
		if test.status == 200 && test.asked != "" {
			cors = []string{"its own"}
		}
		if v := got.header.Values("Access-Control-Allow-Origin"); !slices.Equal(v, cors) {
			t.Errorf("%s: CORS %q, want %q", test.name, v, cors)
		}
	}
}

func TestElsewhereBodyTooLarge(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	h := serve(t, Options{MaxPayload: 100, CORSOrigins: []string{"*"}, Elsewhere: func(_ string, w http.ResponseWriter, r *http.Request) error {
		asked.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		_, err = w.Write(body)
		return err
	}}, nil)
	query := "EIO=4&transport=polling&sid=" + strings.Repeat("r", randomSize) + ".there"
	for size, status := range map[int]int{100: 200, 101: 413} {
		if got := h.do("POST", query, strings.Repeat("x", size), nil); got.status != status {
			t.Errorf("%d bytes: got %d, want %d", size, got.status, status)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("forwarded %d times, want only what is small enough", asked.Load())
	}
	req, err := http.NewRequest("POST", h.web.URL+"/?"+query, io.LimitReader(endless{}, 1000)) // of a size not told
	if err != nil {
		t.Fatal(err)
	}
	res, err := h.web.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 || res.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("chunked: got %d %v, want 413 that a browser may read", res.StatusCode, res.Header)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestForwardedServesItsOwn(t *testing.T) {
	t.Parallel()
	h := serve(t, Options{Replica: "here", Elsewhere: func(replica string, _ http.ResponseWriter, _ *http.Request) error {
		t.Errorf("asked for %q", replica)
		return nil
	}}, echo)
	p := h.polling()
	h.web = httptest.NewServer(h.Forwarded())
	t.Cleanup(h.web.Close)
	p.wantPost("4x", 200, "ok")
	p.wantGet(200, "4x")
	for query, want := range map[string]string{
		"":      `{"code":3,"message":"Bad request"}`,
		"&sid=": `{"code":3,"message":"Bad request"}`,
		"&sid=" + strings.Repeat("r", randomSize) + ".there": `{"code":1,"message":"Session ID unknown"}`,
	} {
		if got := h.do("GET", "EIO=4&transport=polling"+query, "", nil); got.status != 400 || got.body != want {
			t.Errorf("%q: got %d %s, want 400 %s", query, got.status, got.body, want)
		}
	}
}

func TestReplicaOption(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{"": true, "a": true, "pod-1_x": true, strings.Repeat("x", 32): true,
		strings.Repeat("x", 33): false, "a.b": false, "a b": false, "ä": false} {
		if err := (Options{Replica: name}).Validate(); (err == nil) != ok {
			t.Errorf("%q: got %v", name, err)
		}
	}
}
