package deploy

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// binary is the service as the Dockerfile builds it: its build command, run over what .dockerignore lets into the context.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "eventbus-deploy-")
	if err != nil {
		return "", err
	}
	built = dir
	if err := copyContext(filepath.Join(dir, "src")); err != nil {
		return "", err
	}
	stages, _, err := parseDockerfile(nil)
	if err != nil {
		return "", err
	}
	for _, c := range stages[0].Commands {
		run, ok := c.(*instructions.RunCommand)
		if !ok || !strings.Contains(run.CmdLine[0], "go build") {
			continue
		}
		cmd := exec.Command("sh", "-ec", strings.ReplaceAll(run.CmdLine[0], "/out/", dir+"/out/"))
		cmd.Dir = filepath.Join(dir, "src")
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH=")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", run.CmdLine[0], err, out)
		}
		return filepath.Join(dir, "out", "eventbus"), nil
	}
	return "", errors.New("the Dockerfile has no go build in its first stage")
})

var built string // directory of binary's

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // Helm tells each time that it follows the chart's symbolic links
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// copyContext copies what docker build would send.
func copyContext(to string) error {
	f, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		return err
	}
	defer f.Close()
	patterns, err := ignorefile.ReadAll(f)
	if err != nil {
		return err
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		switch skip, err := ignored.MatchesOrParentMatches(rel); {
		case err != nil:
			return err
		case skip && d.IsDir() && (rel == ".git" || d.Name() == "node_modules" || !strings.ContainsRune(rel, filepath.Separator)):
			return fs.SkipDir // nothing below is let in again
		case skip || !d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, rel)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
}

func mustBuild(t *testing.T) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the service's binary to its end.
func run(t *testing.T, env []string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), mustBuild(t), args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

// settings are the variables that the service knows, with their defaults as its help shows them.
func settings(t *testing.T) map[string]string {
	t.Helper()
	help, code := run(t, nil, "serve", "--help")
	if code != 0 {
		t.Fatalf("serve --help ends with %d:\n%s", code, help)
	}
	known := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z0-9-]+).*\n\s+(.*)$`).FindAllStringSubmatch(help, -1) {
		name := strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))
		_, value, _ := strings.Cut(m[2], "(default ")
		known[name] = strings.Trim(strings.TrimSuffix(value, ")"), `"`)
	}
	if len(known) < 20 {
		t.Fatalf("the help names only %d settings:\n%s", len(known), help)
	}
	return known
}

// knownVariables complains about variables that the service does not know. others are not the service's.
func knownVariables(t *testing.T, where string, names []string, others ...string) {
	t.Helper()
	known := settings(t)
	for _, name := range others {
		known[name] = ""
	}
	for _, name := range names {
		if _, ok := known[name]; !ok {
			t.Errorf("%s sets %s, which the service does not know", where, name)
		}
	}
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBinaryIsStatic(t *testing.T) {
	t.Parallel()
	f, err := elf.Open(mustBuild(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a segment %v, and the image has no loader", p.Type)
		}
	}
	if libraries, _ := f.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("it needs %v", libraries)
	}
}

// probePaths are what manifests may probe or scrape. TestProbes asks for each.
var probePaths = []string{"/health/startup", "/health/live", "/health/ready", "/metrics"}

// What manifests probe is there, and the image's health check tells a service that serves from one that does not.
func TestProbes(t *testing.T) {
	t.Parallel()
	health, stop := start(t)
	for _, path := range probePaths {
		resp, err := http.Get("http://" + health + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("GET %s: status %d", path, resp.StatusCode)
		}
	}
	_, port, _ := strings.Cut(health, ":")
	command := healthcheck(t)
	if out, code := run(t, []string{"HEALTH_PORT=" + port}, command...); code != 0 {
		t.Errorf("eventbus %v ends with %d while the service serves:\n%s", command, code, out)
	}
	stop()
	if out, code := run(t, []string{"HEALTH_PORT=" + port}, command...); code != 1 {
		t.Errorf("eventbus %v ends with %d when the service has stopped, want 1:\n%s", command, code, out)
	}
}

// start runs the service on its embedded Redis until stop, and returns the address of its health port once it is ready.
func start(t *testing.T) (health string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, mustBuild(t), "serve", "--dev")
	cmd.Env = []string{"WEBSOCKET_PORT=0", "HEALTH_PORT=0", "EMBEDDED_REDIS_PORT=0", "DRAIN_TIMEOUT=100ms"}
	var stderr logBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		defer cancel()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the service's end: %v\n%s", err, stderr.text())
		}
	})
	t.Cleanup(stop)
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(stderr.text()) {
			var entry struct{ Msg, Health string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
				health = entry.Health
			}
		}
		if health == "" {
			continue
		}
		resp, err := http.Get("http://" + health + "/health/ready")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return health, stop
		}
	}
	t.Fatalf("the service did not become ready:\n%s", stderr.text())
	return "", nil
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
