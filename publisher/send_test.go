package publisher

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

// counted is a client that counts what it is asked to do.
func counted(t *testing.T, addr string) (*redis.Client, *counter) {
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { client.Close() })
	tries := &counter{}
	client.AddHook(tries)
	return client, tries
}

type counter struct{ atomic.Int64 }

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmds)
	}
}

// What says that it will pass is tried again.
func TestPublishTriesAgain(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"LOADING Redis is loading the dataset in memory",
		"READONLY You can't write against a read only replica.",
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
		"CLUSTERDOWN The cluster is down",
		"TRYAGAIN Multiple keys request during rehashing of slot",
		"NOREPLICAS Not enough good replicas to write.",
		"MOVED 1 127.0.0.1:1",
		"UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
		"ERR max number of clients reached",
	} {
		for _, cfg := range []Config{{Timeout: patience}, {Timeout: patience, Durable: true}} {
			server := miniredis.RunT(t)
			client, tries := counted(t, server.Addr())
			p := New(client, cfg)
			for name, publish := range map[string]func() error{
				"Publish": func() error { return p.Publish(t.Context(), deleted(t, "p")) },
				"PublishBatch": func() error {
					return errors.Join(p.PublishBatch(t.Context(), []events.Event{deleted(t, "p"), deleted(t, "q")})...)
				},
			} {
				server.SetError(answer)
				var call sync.WaitGroup
				call.Go(func() {
					if err := publish(); err != nil {
						t.Errorf("%s: %s: %v", answer, name, err)
					}
				})
				before := tries.Load()
				eventually(t, "more tries", func() bool { return tries.Load() > before+2 })
				server.SetError("")
				call.Wait()
			}
		}
	}
}

// What is an answer is not.
func TestPublishGivesUpAtOnce(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	p := New(client, Config{Timeout: time.Hour})
	publish := func(want string) {
		t.Helper()
		errs := p.PublishBatch(t.Context(), []events.Event{deleted(t, "p"), deleted(t, "q")})
		for _, err := range append(errs, p.Publish(t.Context(), deleted(t, "p"))) {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
	for _, answer := range []string{
		"NOPERM this user has no permissions", "WRONGPASS invalid username-password pair", "NOAUTH Authentication required.",
		"OOM command not allowed", "ERR LOADING is only somewhere in it",
	} {
		server.SetError(answer)
		publish(answer)
	}
	client.Close()
	publish(redis.ErrClosed.Error())
}

// A call ends with its context too, and says why it took so long.
func TestPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	server := miniredis.RunT(t)
	client, tries := counted(t, server.Addr())
	server.SetError("LOADING Redis is loading the dataset in memory")
	p := New(client, Config{Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := p.Publish(ctx, deleted(t, "p")); !errors.Is(err, context.Canceled) || !redis.IsLoadingError(err) {
			t.Errorf("Publish: %v, want that it was canceled, and LOADING", err)
		}
	})
	calls.Go(func() {
		err := p.PublishBatch(ctx, []events.Event{deleted(t, "p")})[0]
		if !errors.Is(err, context.Canceled) || !redis.IsLoadingError(err) {
			t.Errorf("PublishBatch: %v, want that it was canceled, and LOADING", err)
		}
	})
	eventually(t, "some tries", func() bool { return tries.Load() > 4 })
	cancel()
	calls.Wait()
}

func TestBusy(t *testing.T) {
	t.Parallel()
	p := New(nowhere(t), Config{Timeout: time.Hour, MaxBatch: 3, MaxWaiting: 4})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls sync.WaitGroup
	calls.Go(func() {
		if err := p.Publish(ctx, deleted(t, "p")); !errors.Is(err, context.Canceled) {
			t.Errorf("Publish: %v, want that it was canceled", err)
		}
	})
	calls.Go(func() {
		bad := newEvent(t, events.PhotoUploaded, struct{}{}) // takes no place
		for i, err := range p.PublishBatch(ctx, []events.Event{deleted(t, "p"), bad, started(t, "p")}) {
			if want := []error{context.Canceled, events.ErrInvalid, context.Canceled}[i]; !errors.Is(err, want) {
				t.Errorf("event %d of a batch: %v, want %v", i, err, want)
			}
		}
	})
	eventually(t, "both calls", func() bool { return p.waiting.Load() == 3 })
	for i, err := range p.PublishBatch(ctx, []events.Event{deleted(t, "p"), started(t, "p")}) {
		if !errors.Is(err, ErrBusy) {
			t.Errorf("event %d of another batch: %v, want ErrBusy", i, err)
		}
	}
	calls.Go(func() { // there is room for one more
		if err := p.Publish(ctx, deleted(t, "p")); !errors.Is(err, context.Canceled) {
			t.Errorf("Publish: %v, want that it was canceled", err)
		}
	})
	eventually(t, "one more call", func() bool { return p.waiting.Load() == 4 })
	if err := p.Publish(ctx, deleted(t, "p")); !errors.Is(err, ErrBusy) {
		t.Errorf("Publish: %v, want ErrBusy", err)
	}
	cancel()
	calls.Wait()
	if n := p.waiting.Load(); n != 0 {
		t.Errorf("%d events wait after the last call", n)
	}
}

// cut is a connection that breaks after so many bytes in a direction. What is written before that arrives.
type cut struct {
	net.Conn
	read, write int
}

func (c *cut) Read(b []byte) (int, error) {
	if c.read <= 0 {
		c.Close()
		return 0, io.EOF
	}
	n, err := c.Conn.Read(b[:min(len(b), c.read)])
	c.read -= n
	return n, err
}

func (c *cut) Write(b []byte) (int, error) {
	if len(b) < c.write {
		c.write -= len(b)
		return c.Conn.Write(b)
	}
	_, _ = c.Conn.Write(b[:c.write])
	c.Close()
	return c.write, io.ErrClosedPipe
}

// Wherever in a call the connection breaks, everything arrives, first in order.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	admin := startRedis(t)
	l := listen(t, admin, "photo:upload")
	const many = 1 << 20
	var cuts []cut
	for at := 0; at < 2500; at += 97 {
		cuts = append(cuts, cut{write: at, read: many}, cut{write: many, read: at / 5})
	}
	for i, durable := range []bool{false, true} {
		for j, first := range cuts {
			breaks := 1
			opts := *admin.Options()
			opts.MaxRetries = []int{-1, 3}[j%2]
			opts.Dialer = func(context.Context, string, string) (net.Conn, error) {
				conn, err := net.Dial(opts.Network, opts.Addr)
				if breaks--; breaks >= 0 && err == nil {
					conn = &cut{conn, first.read, first.write}
				}
				return conn, err
			}
			opts.PoolSize = 1 // so that dials come one after the other
			client := redis.NewClient(&opts)
			p := New(client, Config{Durable: durable, Timeout: patience})
			const n = 6
			evs := numbered(t, events.PhotoDeleted, "e", 0, n)
			if err := errors.Join(p.PublishBatch(t.Context(), evs[:n-1])...); err != nil {
				t.Errorf("cut %d.%d: %v", i, j, err)
			}
			if err := p.Publish(t.Context(), evs[n-1]); err != nil {
				t.Errorf("cut %d.%d: %v", i, j, err)
			}
			client.Close()
			var got []string
			if durable {
				got = entries(t, admin, "eventbus:in:photo:upload")
				admin.Del(t.Context(), "eventbus:in:photo:upload")
			} else {
				end := deleted(t, "end")
				if err := New(admin, Config{}).Publish(t.Context(), end); err != nil {
					t.Fatal(err)
				}
				for m := l.next(); m.Payload != string(end.Raw()); m = l.next() {
					got = append(got, m.Payload)
				}
			}
			wantFirst(t, got, "e", n)
		}
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attempt int
		dice    float64
		want    time.Duration
	}{
		{0, 1, 20 * time.Millisecond},
		{0, 0.5, 10 * time.Millisecond},
		{3, 1, 160 * time.Millisecond},
		{6, 1, time.Second},
		{9, 0.25, time.Second / 4},
		{1 << 40, 1, time.Second},
		{5, 0, 0},
	} {
		if got := delay(tt.attempt, tt.dice); got != tt.want {
			t.Errorf("delay(%d, %v) = %s, want %s", tt.attempt, tt.dice, got, tt.want)
		}
	}
}
