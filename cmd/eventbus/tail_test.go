package main

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/photo-management/event-bus/events"
)

// startTail follows photo p and waits until it is subscribed.
func startTail(t *testing.T, address string, args ...string) *runningCommand {
	t.Helper()
	args = append([]string{"tail", "--url", "http://" + address, "--jwt-secret", testSecret, "--photo", "p"}, args...)
	c := start(t, nil, args...)
	c.err.wait(t, 1, "subscribed to photo p\n")
	return c
}

// send publishes an event of a photo with eventbus publish.
func (s *service) send(t *testing.T, id, photo string) {
	t.Helper()
	code, _, err := runToEnd(t, "", "publish", "--redis-url", "redis://"+s.redis, "--id", id, "--type", events.PhotoProcessingStarted,
		"--data", fmt.Sprintf(`{"photoId":%q,"jobId":"job <1>","stages":["thumbnail"]}`, photo))
	if code != 0 {
		t.Fatalf("publish: %d, %s", code, err)
	}
}

// printed are the lines of tail's standard output.
func printed(t *testing.T, text string) (lines []struct {
	Event  string
	Data   events.Event
	Offset string
}) {
	t.Helper()
	for line := range strings.Lines(text) {
		lines = append(lines, struct {
			Event  string
			Data   events.Event
			Offset string
		}{})
		if err := json.Unmarshal([]byte(line), &lines[len(lines)-1]); err != nil || !strings.HasSuffix(line, "}\n") {
			t.Errorf("%q: %v", line, err)
		}
	}
	return lines
}

func ids(t *testing.T, c *runningCommand) (ids []string) {
	t.Helper()
	for _, l := range printed(t, c.out.String()) {
		ids = append(ids, l.Data.ID)
	}
	return ids
}

func TestServePublishTail(t *testing.T) {
	t.Parallel()
	s := startService(t)
	c := startTail(t, s.websocket, "--photo", "p2", "--user", "bob", "--client", "c", "--session", "s", "--count", "4")
	c.err.wait(t, 1, "subscribed to user bob\n")
	s.send(t, "1", "p")
	s.send(t, "other", "p3")
	s.send(t, "2", "p2")
	for i, more := range []string{`"c"}`, `"x","sessionId":"s"}`, `"x"}`} { // to the client, to its session, to neither
		event := `{"id":"u` + fmt.Sprint(i) + `","type":"photo.deleted","data":{"photoId":"p"},"metadata":{"clientId":` + more + `}`
		if code, _, err := runToEnd(t, event, "publish", "--redis-url", "redis://"+s.redis, "--file", "-"); code != 0 {
			t.Fatal(err)
		}
	}
	if code := c.wait(t); code != 0 {
		t.Errorf("got exit code %d, want 0 after --count events", code)
	}
	lines := printed(t, c.out.String())
	for i, want := range []string{"processing.event 1", "processing.event 2", "upload.event u0", "upload.event u1"} {
		if got := lines[i].Event + " " + lines[i].Data.ID; got != want {
			t.Errorf("line %d: got %s, want %s", i+1, got, want)
		}
		if !strings.Contains(lines[i].Offset, "-") {
			t.Errorf("line %d: got offset %q", i+1, lines[i].Offset)
		}
	}
	if !strings.Contains(c.out.String(), `"jobId":"job <1>"`) {
		t.Errorf("data should be as it was sent: %s", &c.out)
	}
	want := "connected to " + s.websocket + "\nidentified as client c\nsubscribed to photo p\nsubscribed to photo p2\nsubscribed to user bob\n"
	if c.err.String() != want {
		t.Errorf("got\n%swant\n%s", &c.err, want)
	}
}

func TestTailFilterAndEnd(t *testing.T) {
	t.Parallel()
	s := startService(t)
	all := startTail(t, s.websocket)
	some := startTail(t, s.websocket, "--event", "completion.event", "--event", "upload.event")
	s.send(t, "1", "p")
	code, _, err := runToEnd(t, "", "publish", "--redis-url", "redis://"+s.redis, "--id", "2", "--type", events.PhotoProcessingFailed,
		"--data", `{"photoId":"p","jobId":"j","stage":"thumbnail","error":{"code":"x","message":"y"},"retryable":false,"attemptNumber":1}`)
	if code != 0 {
		t.Fatal(err)
	}
	all.out.wait(t, 2, "\n")
	some.out.wait(t, 1, "\n")
	if got := ids(t, some); !slices.Equal(got, []string{"2"}) {
		t.Errorf("with a filter: got %q, want 2 alone", got)
	}
	for _, c := range []*runningCommand{all, some} {
		c.stop()
		if code := c.wait(t); code != 0 {
			t.Errorf("Ctrl-C: got exit code %d, want 0", code)
		}
	}
}

func TestTailRefused(t *testing.T) {
	t.Parallel()
	s := startService(t)
	_, alice, _ := runToEnd(t, "", "token", "--user", "alice", "--jwt-secret", testSecret)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--url", "http://" + s.websocket, "--token", "forged"}, 1, "eventbus tail: refused: Invalid token\n"},
		{[]string{"--url", "http://" + s.websocket, "--jwt-secret", "another"}, 1, "eventbus tail: refused: Invalid token\n"},
		{[]string{"--url", "http://" + s.health, "--token", "t"}, 1, "the server answers 400 Bad Request"},
		{[]string{"--url", "http://" + s.websocket + "/elsewhere/", "--token", "t"}, 1, "the server answers 404 Not Found"},
		{nil, 2, "EVENTBUS_TOKEN"},
		{[]string{"--token", "t", "--count=-1"}, 2, "count: -1"},
		{[]string{"--token", "t", "--url", "127.0.0.1:3003"}, 2, "want an address like"},
		{[]string{"--token", "t", "--url", "http://user:pw@x"}, 2, "without credentials"},
		{[]string{"--token", "t", "--photo", ""}, 2, "-photo: want a value"},
		{[]string{"--jwt-secret", "s", "--jwt-algorithms", "RS256"}, 2, "RS256 needs public keys"},
	} {
		if code, out, err := runToEnd(t, "", append([]string{"tail"}, tt.args...)...); code != tt.code || out != "" || !strings.Contains(err, tt.want) {
			t.Errorf("%q: got %d, %q, %q, want %d, %q", tt.args, code, out, err, tt.code, tt.want)
		}
	}

	// What is refused to a token that is good is said, and the rest goes on.
	c := start(t, nil, "tail", "--url", "http://"+s.websocket, "--token", strings.TrimSpace(alice), "--photo", "p", "--user", "alice", "--client", "c")
	c.err.wait(t, 1, "subscribed to user alice\n")
	for _, want := range []string{`error {"message":"Access denied"}` + "\n", "not subscribed to photo p: Access denied\n"} {
		if !strings.Contains(c.err.String(), want) {
			t.Errorf("got %q, want %q", &c.err, want)
		}
	}
	if c.out.String() != "" {
		t.Errorf("got %q on standard output", &c.out)
	}
}

func TestTailFromEnvironment(t *testing.T) {
	s := startService(t)
	_, token, _ := runToEnd(t, "", "token", "--user", "alice", "--jwt-secret", testSecret)
	t.Setenv("EVENTBUS_URL", "http://"+s.websocket)
	t.Setenv("EVENTBUS_TOKEN", token)
	c := start(t, nil, "tail", "--user", "alice")
	c.err.wait(t, 1, "subscribed to user alice\n")
	if _, help, _ := runToEnd(t, "", "tail", "--help"); strings.Contains(help, strings.TrimSpace(token)) || !strings.Contains(help, s.websocket) {
		t.Errorf("the help should show the address and no token:\n%s", help)
	}
}

// With a limit of one connection, the second waits for as long as it is told.
func TestTailRateLimited(t *testing.T) {
	t.Parallel()
	s := startService(t, "--rate-limit-max", "1", "--rate-limit-window", "1h")
	startTail(t, s.websocket)
	c := start(t, nil, "tail", "--url", "http://"+s.websocket, "--jwt-secret", testSecret)
	c.err.wait(t, 1, "refused: Rate limit exceeded; trying again in ")
	if strings.Contains(c.err.String(), "in 0.") || strings.Contains(c.err.String(), "in 1s") {
		t.Errorf("got %s, want a longer wait", &c.err)
	}
}

// proxy stands between a client and a service.
type proxy struct {
	address string

	mu     sync.Mutex
	links  []*link
	closed bool // to new connections, which end at once
}

type link struct {
	from, to net.Conn
	mute     atomic.Bool // it takes all and passes on nothing
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{}
	p.address = serveTCP(t, func(_ int, from net.Conn) {
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		service, err := net.Dial("tcp", to)
		if err != nil {
			t.Error(err)
			return
		}
		defer service.Close()
		l := &link{from: from, to: service}
		p.mu.Lock()
		p.links = append(p.links, l)
		p.mu.Unlock()
		var back sync.WaitGroup
		back.Go(func() { l.pump(from, service) })
		l.pump(service, from)
		back.Wait()
	})
	t.Cleanup(p.cut) // before the listener waits for its connections
	return p
}

// pump passes on until either side has gone, and then closes both.
func (l *link) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		if err == nil && !l.mute.Load() {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			return
		}
	}
}

// cut ends all connections, and new ones until it is mended.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, l := range p.links {
		l.from.Close()
		l.to.Close()
	}
	p.links = nil
}

func (p *proxy) mend() {
	p.mu.Lock()
	p.closed = false
	p.mu.Unlock()
}

// silence lets the connections there are go on without a word.
func (p *proxy) silence() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.mute.Store(true)
	}
}

func TestTailRecovers(t *testing.T) {
	t.Parallel()
	s := startService(t, "--ping-interval=200ms", "--ping-timeout=400ms")
	witness := startTail(t, s.websocket)
	p := startProxy(t, s.websocket)
	c := startTail(t, p.address)

	s.send(t, "1", "p")
	c.out.wait(t, 1, "\n")
	p.cut()
	s.send(t, "2", "p")
	s.send(t, "3", "p")
	witness.out.wait(t, 3, "\n") // out, and the other was not there
	p.mend()
	c.err.wait(t, 1, "reconnected, no events were missed\n")
	c.out.wait(t, 3, "\n")

	p.silence()
	s.send(t, "4", "p")
	c.err.wait(t, 1, "no sign of life from the server for 600ms; trying again in ")
	c.err.wait(t, 2, "reconnected, no events were missed\n")
	s.send(t, "5", "p")
	c.out.wait(t, 5, "\n")
	for _, c := range []*runningCommand{c, witness} {
		if got := ids(t, c); !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
			t.Errorf("got %q, want each event once, in order", got)
		}
	}
	if strings.Contains(c.err.String(), "may have been missed") || !strings.Contains(c.err.String(), "the server closed the connection; trying again in ") {
		t.Errorf("got %s", &c.err)
	}
}

func TestTailCannotRecover(t *testing.T) {
	t.Parallel()
	s := startService(t, "--recovery-window=-1s")
	p := startProxy(t, s.websocket)
	c := startTail(t, p.address)
	p.cut()
	s.send(t, "lost", "p")
	c.err.wait(t, 1, "trying again")
	p.mend()
	c.err.wait(t, 1, "reconnected, events may have been missed\n")
	c.err.wait(t, 2, "subscribed to photo p\n")
	s.send(t, "1", "p")
	c.out.wait(t, 1, "\n")
	if l := printed(t, c.out.String()); l[0].Data.ID != "1" || l[0].Offset != "" {
		t.Errorf("got %+v", l)
	}
}

func TestTailWaitsForTheService(t *testing.T) {
	t.Parallel()
	s := startService(t)
	p := startProxy(t, s.websocket)
	p.cut()
	c := start(t, nil, "tail", "--url", "http://"+p.address, "--jwt-secret", testSecret, "--photo", "p")
	c.err.wait(t, 1, "trying again")
	p.mend()
	c.err.wait(t, 1, "connected to "+p.address+"\n")
	s.stop()
	c.err.wait(t, 1, "the server closed the connection; trying again in ")
}

// A client that ends for good says so, and one that is about to return does not: it would not be recovered.
func TestTailGoodbye(t *testing.T) {
	t.Parallel()
	last := make(chan string, 2)
	address := serveScript(t, func(n int, conn net.Conn) {
		say(t, conn, openPacket)
		if _, err := wsutil.ReadClientText(conn); err != nil {
			t.Error(err)
		}
		say(t, conn, `40{"sid":"s"}`)
		if _, err := wsutil.ReadClientText(conn); err != nil { // identify
			t.Error(err)
		}
		if n == 1 {
			say(t, conn, "1")
		} else {
			say(t, conn, `42["upload.event",{}]`)
		}
		p, err := wsutil.ReadClientText(conn)
		last <- fmt.Sprint(string(p), " ", err != nil)
	})
	c := start(t, nil, "tail", "--url", "ws://"+address, "--token", "t", "--count", "1")
	for _, want := range []string{" true", "41 false"} {
		select {
		case got := <-last:
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			t.Fatal("no connection")
		}
	}
	if code := c.wait(t); code != 0 || c.out.String() != `{"event":"upload.event","data":{}}`+"\n" {
		t.Errorf("got %d, %s", code, &c.out)
	}
}

func TestTailDisconnected(t *testing.T) {
	t.Parallel()
	for packet, want := range map[string]string{
		"41":        "disconnected by the service",
		`42["a",1]`: "broken pipe of the test",
		`42{}`:      "not a Socket.IO server",
		"4":         "not a Socket.IO server",
	} {
		address := serveScript(t, func(_ int, conn net.Conn) {
			say(t, conn, openPacket, `40{"sid":"s"}`, packet)
			_, _ = io.Copy(io.Discard, conn)
		})
		var stderr output
		code := run(t.Context(), []string{"tail", "--url", "http://" + address, "--token", "t"}, stdio{nil, brokenPipe{}, &stderr})
		if code != 1 || !strings.Contains(stderr.String(), want) || strings.Contains(stderr.String(), "again") {
			t.Errorf("%s: got %d, %s, want 1 and %q", packet, code, &stderr, want)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe of the test") }

// Not parallel: who trusts which certificates is one setting of the process.
func TestTailOverTLS(t *testing.T) {
	s := startService(t)
	service, err := url.Parse("http://" + s.websocket)
	if err != nil {
		t.Fatal(err)
	}
	secure := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(service))
	defer secure.Close()
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(trusted, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", trusted) // read when the first certificate is verified, which is here
	c := start(t, nil, "tail", "--url", secure.URL, "--jwt-secret", testSecret, "--photo", "p", "--count", "1")
	c.err.wait(t, 1, "subscribed to photo p\n")
	s.send(t, "1", "p")
	if code := c.wait(t); code != 0 || !slices.Equal(ids(t, c), []string{"1"}) {
		t.Errorf("got %d, %s", code, &c.out)
	}
}

func TestWebsocketURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"http://127.0.0.1:3003":      "ws://127.0.0.1:3003/socket.io/?EIO=4&transport=websocket",
		"https://bus.example/":       "wss://bus.example/socket.io/?EIO=4&transport=websocket",
		"ws://[::1]:3003/some/path":  "ws://[::1]:3003/some/path/socket.io/?EIO=4&transport=websocket",
		"wss://bus.example?tenant=a": "wss://bus.example/socket.io/?EIO=4&tenant=a&transport=websocket",
	} {
		if got, err := websocketURL(in); got != want || err != nil {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attempt int
		jitter  float64
		want    time.Duration
	}{
		{0, 0, 500 * time.Millisecond},
		{0, 1, time.Second},
		{1, 1, 2 * time.Second},
		{2, 0.5, 2250 * time.Millisecond},
		{3, 1, 5 * time.Second},
		{3, 0, 500 * time.Millisecond},
		{math.MaxInt, 1, 5 * time.Second},
	} {
		if got := backoff(tt.attempt, tt.jitter); got != tt.want {
			t.Errorf("attempt %d, jitter %g: got %s, want %s", tt.attempt, tt.jitter, got, tt.want)
		}
	}
}

func TestFinal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&refusedError{"Invalid token", 0}, true},
		{&refusedError{"Rate limit exceeded", time.Second}, false},
		{&statusError{400, ""}, true},
		{&statusError{408, ""}, false},
		{&statusError{429, ""}, false},
		{&statusError{503, ""}, false},
		{errClosed, false},
		{errDisconnected, true},
		{errPacket, true},
		{fmt.Errorf("wrapped: %w", wsutil.ErrMessageTooLarge), true},
		{fatalError{errClosed}, true},
	} {
		if got := final(tt.err); got != tt.want {
			t.Errorf("%v: got %t, want %t", tt.err, got, tt.want)
		}
	}
}
