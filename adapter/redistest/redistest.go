// Package redistest starts redis-servers for tests, as httptest starts HTTP servers.
package redistest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// patience is how long a server has to answer; the machine may be busy.
const patience = 20 * time.Second

// Server is a redis-server of a test's own, on a Unix socket, so that no two tests can want the same port.
type Server struct {
	t    testing.TB
	dir  string
	args []string
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
}

// New starts a server, without persistence unless args say otherwise, and stops it when the test ends.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir, args: args}
	t.Cleanup(func() {
		s.Stop()
		os.RemoveAll(dir)
	})
	s.Start()
	return s
}

// Socket is the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "s") }

// URL is the server's, as redis.url takes it.
func (s *Server) URL() string { return "unix://" + s.Socket() }

// Start starts the server, again after Stop, and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("redis-server", append([]string{
		"--port", "0", "--unixsocket", s.Socket(), "--dir", s.dir, "--save", "", "--appendonly", "no",
	}, s.args...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("these tests need redis-server: %v", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_ = cmd.Wait() // "signal: killed"
	}()
	s.cmd, s.gone = cmd, gone
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.Socket(), MaxRetries: -1})
	defer client.Close()
	for deadline := time.After(patience); client.Ping(context.Background()).Err() != nil; {
		select {
		case <-gone:
			s.t.Fatalf("redis-server does not start:\n%s", &out)
		case <-deadline:
			s.t.Fatal("redis-server does not answer")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Signal sends the server a signal, such as SIGSTOP.
func (s *Server) Signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("signal redis-server: %v", err)
	}
}

// Stop kills the server, as a crash would, and waits until it is gone.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill() // an error says that it ended by itself
		<-s.gone
		s.cmd = nil
	}
}

// Client is an ordinary client, as a service has one, closed when the test ends.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: s.Socket()})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}
