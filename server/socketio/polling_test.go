package socketio

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// poller is a client that speaks the protocol by hand over HTTP long-polling.
type poller struct {
	t   *testing.T
	url string
	in  []string // packets polled and not asked for yet
}

func (s *testServer) poll(t *testing.T) *poller {
	t.Helper()
	p := &poller{t: t, url: s.http.URL + "/socket.io/?EIO=4&transport=polling"}
	var open struct {
		SID string `json:"sid"`
	}
	eventually(t, "the server to take connections", func() bool {
		status, body := p.do("GET", "")
		if status == http.StatusOK && json.Unmarshal([]byte(body[1:]), &open) != nil {
			t.Fatalf("OPEN is %s", body)
		}
		return status == http.StatusOK
	})
	p.url += "&sid=" + open.SID
	return p
}

func (p *poller) do(method, body string) (status int, answer string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, p.url, bytes.NewBufferString(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Close = true // no idle connection outlives the test
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

// send posts Engine.IO packets.
func (p *poller) send(packets ...string) {
	p.t.Helper()
	if status, body := p.do("POST", strings.Join(packets, "\x1e")); status != http.StatusOK || body != "ok" {
		p.t.Fatalf("POST answers %d %s", status, body)
	}
}

// next is the Engine.IO packet that comes next; pings are answered.
func (p *poller) next() string {
	p.t.Helper()
	for {
		for len(p.in) == 0 {
			status, body := p.do("GET", "")
			if status != http.StatusOK {
				p.t.Fatalf("GET answers %d %s", status, body)
			}
			p.in = strings.Split(body, "\x1e")
		}
		packet := p.in[0]
		p.in = p.in[1:]
		if packet != "2" {
			return packet
		}
		p.send("3")
	}
}

func (p *poller) want(packets ...string) {
	p.t.Helper()
	for _, want := range packets {
		if got := p.next(); got != want {
			p.t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func TestPolling(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := serve(t, Options{RecoveryWindow: time.Minute}, func(s *Server) {
		n := s.Of("/")
		n.On("file", func(_ context.Context, s *Socket, e *Event) {
			var data Binary
			if err := e.Decode(&data); err != nil {
				t.Error(err)
			}
			_ = e.Ack(data, len(data))
		})
		n.On("n", func(_ context.Context, _ *Socket, e *Event) { j.note(asText(e.Args())) })
		n.OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	p := s.poll(t)
	p.send("40")
	if got := p.next(); !strings.HasPrefix(got, `40{"sid":"`) {
		t.Fatalf("CONNECT is answered with %s", got)
	}
	p.send(`42["n",1]`, `42["n",2]`, `451-7["file",{"_placeholder":true,"num":0}]`, `bAP8=`, `42["n",3]`)
	j.want(t, "1", "2", "3")
	p.want(`461-7[{"_placeholder":true,"num":0},2]`, `bAP8=`)
	p.send(`40/nowhere,`, `42["n",4]`)
	j.want(t, "4")
	p.want(`44/nowhere,{"message":"Invalid namespace"}`)
	p.send("1")
	j.want(t, "transport close")
}

func TestPollingRefused(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := serve(t, Options{}, func(s *Server) {
		s.Of("/").OnDisconnect(func(_ *Socket, why Reason) { j.note(string(why)) })
	})
	p := s.poll(t)
	p.send("40")
	p.next()
	p.send(`42[]`)
	j.want(t, "parse error")
	p.want("1") // the last poll brings the word that it is over
	if status, body := p.do("POST", `42["late"]`); status != http.StatusBadRequest || !strings.Contains(body, "Session ID unknown") {
		t.Errorf("a late POST answers %d %s", status, body)
	}
}
