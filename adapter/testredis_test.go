package adapter

import (
	"bytes"
	"context"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// patience is how long a test waits for what should come soon; the machine may be busy.
const patience = 20 * time.Second

// Of clients that tests have besides a Redis of ours, nothing is to be told.
func init() { QuietRedis(zap.NewNop()) }

// testRedis is a real redis-server on a free port of 127.0.0.1, with its files in the test's folder.
type testRedis struct {
	addr string
	port string
	dir  string
	bus  string // the port on which a node of a Cluster talks to the others; empty if it is none
	tls  string // port, if args say that there is one
	args []string
	conf string // of a Sentinel, instead of args
	cmd  *exec.Cmd
	gone chan struct{} // closed when cmd has ended
	out  bytes.Buffer  // to be read after that
}

// startRedis starts a server without persistence and stops it when the test ends. args are those of redis-server.
func startRedis(t testing.TB, args ...string) *testRedis {
	t.Helper()
	return startServer(t, func(s *testRedis) { s.args = args })
}

// startServer starts a server that configure knows more about than its port, which it has when that is called.
func startServer(t testing.TB, configure func(*testRedis)) *testRedis {
	t.Helper()
	s := &testRedis{dir: t.TempDir()}
	t.Cleanup(func() { s.stop(t) })
	for range 5 { // somebody else may take the free port first
		s.port = freePort(t)
		s.addr = net.JoinHostPort("127.0.0.1", s.port)
		configure(s)
		if s.tryStart(t) {
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", &s.out)
	return nil
}

// start starts a stopped server again, on the same port; its data is gone unless args say otherwise.
func (s *testRedis) start(t testing.TB) {
	t.Helper()
	if !s.tryStart(t) {
		t.Fatalf("redis-server does not start again:\n%s", &s.out)
	}
}

// stop kills the server, as a crash would, and waits until it is gone.
func (s *testRedis) stop(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // an error says that it ended by itself
	<-s.gone
	s.cmd = nil
}

func (s *testRedis) tryStart(t testing.TB) bool {
	t.Helper()
	s.out.Reset()
	cmd := exec.Command("redis-server", s.commandLine()...)
	cmd.Stdout, cmd.Stderr = &s.out, &s.out
	dieWithUs(cmd)
	started, gone := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // whose end is what the server dies of: so it stays for as long
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // "signal: killed"
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("these tests need redis-server: %v", err)
	}
	s.cmd, s.gone = cmd, gone
	for deadline := time.After(patience); ; {
		if s.answers() {
			return true
		}
		select {
		case <-gone: // the port is taken, or an argument wrong
		case <-deadline:
		case <-time.After(5 * time.Millisecond):
			continue
		}
		s.stop(t)
		return false
	}
}

func (s *testRedis) commandLine() []string {
	if s.conf != "" {
		return []string{s.conf, "--sentinel"}
	}
	args := []string{"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--appendonly", "no"}
	if s.bus != "" {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", s.bus, "--cluster-node-timeout", "2000")
	}
	return append(args, s.args...)
}

// answers says whether it is our process that is there, and ready. With a password it may only say that it wants one.
func (s *testRedis) answers() bool {
	conn, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("INFO server\r\n")); err != nil {
		return false
	}
	b := make([]byte, 4096)
	n, _ := conn.Read(b)
	answer := string(b[:n])
	return strings.HasPrefix(answer, "-NOAUTH") || strings.Contains(answer, "process_id:"+strconv.Itoa(s.cmd.Process.Pid)+"\r\n")
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// dialTest connects to url, and closes when the test ends.
func dialTest(t testing.TB, url string) *Redis {
	t.Helper()
	r, err := DialRedis(context.Background(), RedisConfig{URL: url}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// plainClient is an ordinary Redis client, as a publisher has one.
func plainClient(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually polls until ok, or fails the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for: %s", patience, what)
		}
	}
}
