package engineio

import (
	"context"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; only what is broken takes that long.
const patience = 10 * time.Second

// harness is a Server that runs behind a real listener, and the handlers of its connections.
type harness struct {
	*Server
	t   testing.TB
	web *httptest.Server
	end func() // ends Run and waits for it

	mu        sync.Mutex
	recorders map[string]*recorder
}

// serveFunc starts a server; accept, which may be nil, is called with each new connection's recorder.
type serveFunc func(t testing.TB, opts Options, accept func(*recorder)) *harness

func serve(t testing.TB, opts Options, accept func(*recorder)) *harness {
	return newHarness(t, opts, accept, (*httptest.Server).Start)
}

func serveTLS(t testing.TB, opts Options, accept func(*recorder)) *harness {
	return newHarness(t, opts, accept, (*httptest.Server).StartTLS)
}

// eachLink runs test over plain TCP and over TLS, which are two kinds of link.
func eachLink(t *testing.T, test func(t *testing.T, serve serveFunc)) {
	t.Run("tcp", func(t *testing.T) { t.Parallel(); test(t, serve) })
	t.Run("tls", func(t *testing.T) { t.Parallel(); test(t, serveTLS) })
}

func newHarness(t testing.TB, opts Options, accept func(*recorder), listen func(*httptest.Server)) *harness {
	t.Helper()
	h := &harness{t: t, recorders: map[string]*recorder{}}
	srv, err := New(opts, func(c *Conn) Handler {
		r := newRecorder(t, c)
		h.mu.Lock()
		h.recorders[c.ID()] = r
		h.mu.Unlock()
		if accept != nil {
			accept(r)
		}
		return r
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Server, h.web = srv, httptest.NewUnstartedServer(srv)
	listen(h.web)
	t.Cleanup(h.web.Close)

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	h.end = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run has not ended")
		}
	})
	t.Cleanup(h.end)
	<-srv.Accepting()
	return h
}

// eventually polls a condition until it holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so within %v: %s", patience, what)
		}
	}
}

func (h *harness) recorder(sid string) *recorder {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.recorders[sid]
	if r == nil {
		h.t.Fatalf("no connection has the sid %q", sid)
	}
	return r
}
