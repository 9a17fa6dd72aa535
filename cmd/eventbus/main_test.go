package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

const testSecret = "0123456789abcdef0123456789abcdef"

func TestMain(m *testing.M) {
	for _, name := range append(settings(), "EVENTBUS_URL", "EVENTBUS_TOKEN", "DURABLE") { // those of who runs the tests
		os.Unsetenv(name)
	}
	// go-redis looks once a second whether a Redis that is away is back, and then whether its pool has been closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// settings are the environment variables that serve reads, which has all that the other commands have.
func settings() (names []string) {
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	new(config).flags(fs)
	fs.VisitAll(func(f *flag.Flag) { names = append(names, envName(f.Name)) })
	return names
}

// output is what a command wrote so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// wait waits until text has been written n times.
func (o *output) wait(t *testing.T, n int, text string) {
	t.Helper()
	for deadline := time.Now().Add(patience); strings.Count(o.String(), text) < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %d times %q in\n%s", n, text, o)
		}
	}
}

// runningCommand is a command that may not have ended.
type runningCommand struct {
	out, err output
	stop     context.CancelFunc // Ctrl-C
	done     chan struct{}
	code     int // when done is closed
}

func start(t *testing.T, in io.Reader, args ...string) *runningCommand {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &runningCommand{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.code = run(ctx, args, stdio{in, &c.out, &c.err})
	}()
	t.Cleanup(func() {
		cancel()
		c.wait(t)
	})
	return c
}

// wait returns the exit code.
func (c *runningCommand) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("does not end; it wrote\n%s\n%s", &c.out, &c.err)
	}
	return c.code
}

// runToEnd runs a command that ends by itself.
func runToEnd(t *testing.T, in string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := start(t, strings.NewReader(in), args...)
	code = c.wait(t)
	return code, c.out.String(), c.err.String()
}

// service is a `serve --dev` that is ready.
type service struct {
	*runningCommand
	websocket, health, redis string // host:port
}

func startService(t *testing.T, args ...string) *service {
	t.Helper()
	args = append([]string{"serve", "--dev", "--websocket-port=0", "--health-port=0", "--embedded-redis-port=0",
		"--jwt-secret=" + testSecret, "--drain-timeout=100ms"}, args...)
	s := &service{runningCommand: start(t, nil, args...)}
	s.err.wait(t, 1, `"msg":"listening"`)
	for line := range strings.Lines(s.err.String()) {
		var entry struct{ Msg, Websocket, Health, Redis string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if entry.Msg == "listening" {
			s.websocket, s.health, s.redis = entry.Websocket, entry.Health, entry.Redis
		}
	}
	for deadline := time.Now().Add(patience); get(t, "http://"+s.health+"/health/ready") != http.StatusOK; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the service does not get ready:\n%s", &s.err)
		}
	}
	return s
}

func get(t *testing.T, url string) int {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args     string
		code     int
		out, err string // contained; empty means nothing at all
	}{
		{"", 0, "Usage: eventbus COMMAND", ""},
		{"help", 0, "Usage: eventbus COMMAND", ""},
		{"-h", 0, "Usage: eventbus COMMAND", ""},
		{"--help", 0, "Usage: eventbus COMMAND", ""},
		{"serv", 2, "", `unknown command "serv"`},
		{"serve --help", 0, "Usage: eventbus serve", ""},
		{"publish -h", 0, "Usage: eventbus publish", ""},
		{"tail --help", 0, "Usage: eventbus tail", ""},
		{"token --help", 0, "Usage: eventbus token", ""},
		{"publish --bogus", 2, "", "eventbus publish: flag provided but not defined: -bogus"},
		{"token --ttl soon", 2, "", `invalid value "soon" for flag -ttl`},
		{"tail now", 2, "", `unexpected argument "now"`},
		{"token --user u --jwt-secret " + testSecret, 0, ".", ""},
		{"publish --type photo.deleted --data {} --redis-host 127.0.0.1 --redis-port 1", 1, "", "redis at 127.0.0.1:1"},
	} {
		code, out, err := runToEnd(t, "", strings.Fields(tt.args)...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(err, tt.err) ||
			(out == "") != (tt.out == "") || (err == "") != (tt.err == "") {
			t.Errorf("eventbus %s: got %d\nstdout: %s\nstderr: %s\nwant %d, %q, %q", tt.args, code, out, err, tt.code, tt.out, tt.err)
		}
	}
}

func TestUsageListsCommands(t *testing.T) {
	t.Parallel()
	for name := range commands {
		if !strings.Contains(usage, "\n  "+name+" ") {
			t.Errorf("the usage does not list %s", name)
		}
	}
}

func TestHelpListsFlags(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string]string{
		"publish": "file type data id source client-id session-id trace-id channel redis-url redis-host redis-port",
		"token":   "user role permission ttl jwt-secret jwt-issuer jwt-audience",
		"tail":    "url token photo user client session event count jwt-secret",
	} {
		_, out, _ := runToEnd(t, "", name, "--help")
		for _, f := range strings.Fields(flags) {
			if !strings.Contains(out, "\n  -"+f+" ") {
				t.Errorf("%s --help does not list -%s", name, f)
			}
		}
	}
}

// Names like USER and ID are set in many environments, for others.
func TestArgumentsAreNotInTheEnvironment(t *testing.T) {
	for _, name := range []string{"USER", "TYPE", "DATA", "FILE", "ID", "COUNT", "TOKEN", "URL", "TTL"} {
		t.Setenv(name, "from the environment")
	}
	t.Setenv("JWT_SECRET", testSecret)
	for command, want := range map[string]string{
		"token":   "user: none is given",
		"publish": "want -type and -data",
	} {
		if code, _, err := runToEnd(t, "", command); code != 2 || !strings.Contains(err, want) {
			t.Errorf("%s: got %d, %q, want 2, %q", command, code, err, want)
		}
	}
	if code, _, err := runToEnd(t, "", "tail", "--url", "ftp://x"); code != 2 || !strings.Contains(err, `not "ftp"`) || strings.Contains(err, "count") {
		t.Errorf("tail: got %d, %q, want 2 and an error about the address alone", code, err)
	}
}

func TestSettingsInTheEnvironment(t *testing.T) {
	t.Setenv("REDIS_PORT", "many")
	t.Setenv("REDIS_DB", "first")
	code, _, err := runToEnd(t, "", "publish", "--bogus")
	if code != 2 {
		t.Errorf("got exit code %d, want 2", code)
	}
	for _, want := range []string{"REDIS_PORT: invalid value", "REDIS_DB: invalid value", "-bogus"} {
		if !strings.Contains(err, want) {
			t.Errorf("got %q, want all problems at once, with %q", err, want)
		}
	}
	if code, out, _ := runToEnd(t, "", "publish", "--help"); code != 0 || !strings.Contains(out, "Usage") {
		t.Errorf("--help with a wrong environment: got %d, %q, want 0 and the help", code, out)
	}
}
