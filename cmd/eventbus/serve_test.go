package main

import (
	"flag"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/auth"
)

func TestServeReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	code, out, err := runToEnd(t, "", "serve", "--websocket-port", "70000", "--health-port=-1", "--photo-access", "everybody",
		"--redis-host", "redis.example", "--redis-port", "0x10000", "--jwt-secret", testSecret, "--jwt-algorithms", "RS256",
		"--max-payload=-1", "--transports", "pigeon", "--rate-limit-max=-1", "--max-event-size=-1")
	if code != 2 || out != "" {
		t.Errorf("got exit code %d and %q, want 2 and nothing", code, out)
	}
	for _, want := range []string{"WEBSOCKET_PORT", "70000", "HEALTH_PORT", `"everybody"`, "redis.port 65536", "RS256", "websocket.maxPayload",
		`"pigeon"`, "rateLimit", "maxEventSize"} {
		if !strings.Contains(err, want) {
			t.Errorf("%q is missing in\n%s", want, err)
		}
	}
}

func TestServeRefusesToStartWithout(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, args, want, not string }{
		{"anything", "", "REDIS_URL", ""},
		{"secret", "--redis-host 127.0.0.1", "JWT_SECRET", "REDIS_URL"},
		{"Redis", "--jwt-secret " + testSecret, "REDIS_URL", "JWT_SECRET"},
	} {
		args := append([]string{"serve", "--websocket-port=0", "--health-port=0"}, strings.Fields(tt.args)...)
		code, out, err := runToEnd(t, "", args...)
		if code != 2 || out != "" || !strings.Contains(err, tt.want) || tt.not != "" && strings.Contains(err, tt.not) {
			t.Errorf("without %s: got %d, %q, %q, want 2 and an error about %s", tt.name, code, out, err, tt.want)
		}
	}
}

func TestServeWithoutAnswerOfRedis(t *testing.T) {
	t.Parallel()
	code, _, err := runToEnd(t, "", "serve", "--websocket-port=0", "--health-port=0", "--redis-url", "redis://127.0.0.1:1", "--jwt-secret", testSecret)
	if code != 1 || !strings.Contains(err, "redis at 127.0.0.1:1") {
		t.Errorf("got %d, %q, want 1 and an error about Redis", code, err)
	}
}

func TestServeDev(t *testing.T) {
	t.Parallel()
	s := startService(t)
	banner := s.out.String()
	for _, want := range []string{"http://" + s.websocket + "/#token=", "redis://" + s.redis, "publish --redis-url redis://" + s.redis} {
		if !strings.Contains(banner, want) {
			t.Errorf("%q is missing in\n%s", want, banner)
		}
	}
	token := regexp.MustCompile(`Token +(\S+)`).FindStringSubmatch(banner)
	if token == nil {
		t.Fatalf("no token in\n%s", banner)
	}
	verifier, err := auth.NewVerifier(auth.Config{Secret: []byte(testSecret)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := verifier.Verify(t.Context(), token[1]); err != nil || id.UserID == "" {
		t.Errorf("the token of the banner: got %+v, %v", id, err)
	}
	for _, address := range []string{s.websocket, s.health, s.redis} {
		if host, _, err := net.SplitHostPort(address); err != nil || host != "127.0.0.1" {
			t.Errorf("listens on %s, want loopback", address)
		}
	}
	for url, want := range map[string]int{
		"http://" + s.websocket + "/":             http.StatusOK,
		"http://" + s.websocket + "/socket.io/":   http.StatusBadRequest, // without a transport
		"http://" + s.websocket + "/metrics":      http.StatusNotFound,
		"http://" + s.health + "/metrics":         http.StatusOK,
		"http://" + s.health + "/health/live":     http.StatusOK,
		"http://" + s.websocket + "/health/ready": http.StatusNotFound,
	} {
		if got := get(t, url); got != want {
			t.Errorf("GET %s: got %d, want %d", url, got, want)
		}
	}

	s.stop()
	if code := s.wait(t); code != 0 {
		t.Errorf("stopped: got exit code %d, want 0\n%s", code, &s.err)
	}
	if !strings.Contains(s.err.String(), `"msg":"stopped"`) || strings.Contains(s.err.String(), testSecret) {
		t.Errorf("the log should say that it stopped, and no secrets:\n%s", &s.err)
	}
	for _, address := range []string{s.websocket, s.health, s.redis} {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			t.Errorf("something still listens on %s", address)
		}
	}
}

func TestServeDevMakesItsOwnSecret(t *testing.T) {
	t.Parallel()
	tokens := map[string]bool{}
	for range 2 {
		s := start(t, nil, "serve", "--dev", "--websocket-port=0", "--health-port=0", "--embedded-redis-port=0")
		s.err.wait(t, 1, `"msg":"listening"`)
		token := regexp.MustCompile(`Token +\S+\.\S+\.(\S+)`).FindStringSubmatch(s.out.String())
		s.stop()
		if code := s.wait(t); code != 0 || token == nil {
			t.Fatalf("got exit code %d and\n%s", code, &s.out)
		}
		tokens[token[1]] = true
	}
	if len(tokens) != 2 {
		t.Error("the same signature twice: the secret is no secret")
	}
}

func TestServeTakenPort(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for flag, variable := range map[string]string{"websocket-port": "WEBSOCKET_PORT", "health-port": "HEALTH_PORT"} {
		code, _, err := runToEnd(t, "", "serve", "--dev", "--websocket-port=0", "--health-port=0", "--embedded-redis-port=0", "--"+flag, port)
		if code != 1 || !strings.Contains(err, flag) || !strings.Contains(err, variable) || !strings.Contains(err, port) {
			t.Errorf("%s taken: got %d, %q, want 1 and an error with %s and the port", flag, code, err, variable)
		}
	}
	// The embedded Redis gives way: another of us may be there.
	s := startService(t, "--embedded-redis-port", port)
	if s.redis == taken.Addr().String() {
		t.Errorf("the embedded Redis is at %s, which is taken", s.redis)
	}
}

func TestServeHelpListsEveryFlag(t *testing.T) {
	t.Parallel()
	_, out, _ := runToEnd(t, "", "serve", "--help")
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	new(config).flags(fs)
	n := 0
	fs.VisitAll(func(f *flag.Flag) {
		n++
		if !regexp.MustCompile(`(?m)^  -` + f.Name + `( |$)`).MatchString(out) {
			t.Errorf("--help does not list -%s", f.Name)
		}
		if f.Usage == "" {
			t.Errorf("-%s has no description", f.Name)
		}
	})
	if n == 0 {
		t.Error("no flags")
	}
}

func TestServeSettings(t *testing.T) {
	parse := func(args ...string) (cfg config) {
		t.Helper()
		fs := newFlags("serve", "", stdio{nil, io.Discard, io.Discard})
		cfg.flags(fs)
		if err := parseFlags(fs, args, nil); err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	if got := parse().websocketPort; got != 3003 {
		t.Errorf("without anything: got port %d, want 3003", got)
	}
	t.Setenv("WEBSOCKET_PORT", "4003")
	t.Setenv("JWT_ALGORITHMS", "HS256, HS512")
	t.Setenv("HEALTH_PORT", "") // as good as not set
	cfg := parse()
	if cfg.websocketPort != 4003 || cfg.healthPort != 3004 || strings.Join(cfg.jwt.Algorithms, "+") != "HS256+HS512" {
		t.Errorf("with an environment: got %d, %d, %q, want 4003, 3004, HS256 and HS512", cfg.websocketPort, cfg.healthPort, cfg.jwt.Algorithms)
	}
	cfg = parse("--websocket-port", "5003", "--jwt-algorithms=HS384")
	if cfg.websocketPort != 5003 || strings.Join(cfg.jwt.Algorithms, "+") != "HS384" {
		t.Errorf("with flags too: got %d, %q, want 5003, HS384", cfg.websocketPort, cfg.jwt.Algorithms)
	}
	t.Setenv("WEBSOCKET_PORT", "high")
	t.Setenv("DRAIN_TIMEOUT", "long")
	code, _, err := runToEnd(t, "", "serve", "--ping-interval=often")
	for _, want := range []string{"WEBSOCKET_PORT", "DRAIN_TIMEOUT", "ping-interval"} {
		if code != 2 || !strings.Contains(err, want) {
			t.Errorf("wrong values: got %d, %q, want 2 and an error about %s", code, err, want)
		}
	}
}
