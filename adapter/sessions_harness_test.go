package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// sessionServer is a server with its sessions: what its clients are in, and what was taken from it.
type sessionServer struct {
	*Sessions
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	state map[string]StoredSession
	taken []string
	asked []string // the pids that state was asked for
}

func newSessionServer(t testing.TB, addr string, cfg SessionsConfig, log *zap.Logger) *sessionServer {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	opts, err := RedisConfig{URL: "redis://" + addr}.options()
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	s := NewSessions(client, cfg, log)
	s.encode = func(v StoredSession) (string, error) {
		if v.ID == "unspeakable" {
			return "", errors.New("no such notation")
		}
		b, err := json.Marshal(v)
		return string(b), err
	}
	s.decode = func(text string) (v StoredSession, err error) { return v, json.Unmarshal([]byte(text), &v) }
	return &sessionServer{Sessions: s, state: map[string]StoredSession{}}
}

func (s *sessionServer) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan error, 1)
	go func() {
		s.done <- s.Run(ctx, func(pid string) (StoredSession, bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.asked = append(s.asked, pid)
			v, ok := s.state[pid]
			return v, ok
		}, func(pid string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.state, pid)
			s.taken = append(s.taken, pid)
		})
	}()
	t.Cleanup(func() { s.end(t) })
}

// end ends Run and checks that it does so promptly. It may be called twice.
func (s *sessionServer) end(t testing.TB) {
	t.Helper()
	s.cancel()
	select {
	case err := <-s.done:
		s.done <- err
		if err != nil {
			t.Errorf("Run = %v, want nil after its context ended", err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not return after its context ended")
	}
}

// startSessions is a server that runs until the test ends, and hears of takeovers.
func startSessions(t testing.TB, addr string, cfg SessionsConfig) *sessionServer {
	t.Helper()
	s := newSessionServer(t, addr, cfg, zap.NewNop())
	s.start(t)
	c := plainClient(t, addr)
	channel := s.takenChannel() + s.cfg.ID
	eventually(t, "the subscription", func() bool {
		return c.PubSubNumSub(context.Background(), channel).Val()[channel] == 1
	})
	return s
}

// put is a client's new state. It is not stored by that.
func (s *sessionServer) put(pid string, rooms ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state[pid] = StoredSession{PID: pid, ID: "socket of " + pid, Rooms: rooms, Data: json.RawMessage(`{"user":"ann"}`)}
}

func (s *sessionServer) remove(pid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.state, pid)
}

func (s *sessionServer) lost() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// save is put, and Save within the time for what should come soon.
func (s *sessionServer) save(t testing.TB, pid string, rooms ...string) {
	t.Helper()
	s.put(pid, rooms...)
	if err := s.Save(soon(t), pid); err != nil {
		t.Fatalf("Save(%s) at %s = %v", pid, s.cfg.ID, err)
	}
}

func (s *sessionServer) wantTake(t testing.TB, pid, from string, rooms ...string) {
	t.Helper()
	got, was, ok, err := s.Take(soon(t), pid)
	if err != nil || !ok || was != from || got.PID != pid || got.ID != "socket of "+pid || !slices.Equal(got.Rooms, rooms) ||
		string(got.Data) != `{"user":"ann"}` {
		t.Fatalf("%s takes %s: %+v from %q, %v, %v; want rooms %q from %q", s.cfg.ID, pid, got, was, ok, err, rooms, from)
	}
}

func (s *sessionServer) wantNone(t testing.TB, pid string) {
	t.Helper()
	if got, ok, err := s.Look(soon(t), pid); ok || err != nil {
		t.Fatalf("%s looks for %.80q: %+v, %v, %v; want none", s.cfg.ID, pid, got, ok, err)
	}
	if got, from, ok, err := s.Take(soon(t), pid); ok || err != nil {
		t.Fatalf("%s takes %.80q: %+v from %q, %v, %v; want none", s.cfg.ID, pid, got, from, ok, err)
	}
}

func (s *sessionServer) wantLook(t testing.TB, pid string, rooms ...string) {
	t.Helper()
	got, ok, err := s.Look(soon(t), pid)
	if err != nil || !ok || got.PID != pid || !slices.Equal(got.Rooms, rooms) {
		t.Fatalf("%s looks at %s: %+v, %v, %v; want rooms %q", s.cfg.ID, pid, got, ok, err, rooms)
	}
}

// wantLost waits until exactly these were taken from s.
func (s *sessionServer) wantLost(t testing.TB, pids ...string) {
	t.Helper()
	eventually(t, "takeovers to be heard of", func() bool { return len(s.lost()) >= len(pids) })
	if got := s.lost(); !slices.Equal(got, pids) {
		t.Fatalf("taken from %s: %q, want %q", s.cfg.ID, got, pids)
	}
}

// settle waits until s has stored all that changed and renewed all that was doubted.
func (s *sessionServer) settle(t testing.TB) {
	t.Helper()
	eventually(t, "nothing to wait", func() bool { return !s.more() })
	if _, _, err := s.Look(soon(t), "behind-all-else"); err != nil { // so the turn before it is over
		t.Fatal(err)
	}
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// wantLives checks how long both keys of a session live, give or take what has passed since.
func wantLives(t testing.TB, c *redis.Client, s *sessionServer, pid string, want time.Duration) {
	t.Helper()
	for _, key := range s.keys(pid) {
		if got := c.PTTL(context.Background(), key).Val(); got > want || got < want-patience {
			t.Errorf("%s lives for %s, want %s", key, got, want)
		}
	}
}

// nodeTakes is what restoreSession of Node's adapter does, nodeLeaves its persistSession.
func nodeTakes(t testing.TB, c *redis.Client, s *sessionServer, pid string) string {
	t.Helper()
	var got *redis.StringCmd
	_, err := c.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
		got = p.Get(context.Background(), s.keys(pid)[0])
		p.Del(context.Background(), s.keys(pid)[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got.Val()
}

func nodeLeaves(t testing.TB, c *redis.Client, s *sessionServer, pid string, rooms ...string) {
	t.Helper()
	b, err := s.encode(StoredSession{PID: pid, ID: "socket of " + pid, Rooms: rooms, Data: json.RawMessage(`{"user":"ann"}`)})
	if err == nil {
		err = c.Set(context.Background(), s.keys(pid)[0], b, s.cfg.Window).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
}
