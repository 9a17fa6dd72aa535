package server

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/routing"
)

func TestReady(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	wantUnready := func(when, want string) {
		t.Helper()
		if err := b.Ready(); err == nil || err.Error() != want {
			t.Errorf("Ready %s = %v, want %s", when, err, want)
		}
	}
	wantUnready("before Run", "starting")
	b.run()
	want := []string{"voice", "photo:completion", "photo:processing", "photo:upload"}
	if got := <-b.source.channels; !slices.Equal(got, want) {
		t.Errorf("channels %q are received, want %q", got, want)
	}
	wantUnready("before the subscription", "starting")
	close(b.source.subscribed)
	eventually(t, "the server to be ready", func() bool { return b.Ready() == nil })
	c := b.connect(t, token(t, "alice"))
	c.quiet()
	if err := b.Ready(); err != nil {
		t.Errorf("Ready with a client = %v", err)
	}
	b.stop()
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	wantUnready("after Run", "draining")
	c.wantClosed()
}

// Whoever is sent here because of Ready is let in.
func TestReadyTakesConnections(t *testing.T) {
	t.Parallel()
	for range 8 {
		b := newBus(t, setup{})
		close(b.source.subscribed) // a fast Redis
		b.run()
		for b.Ready() != nil {
			runtime.Gosched()
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=polling", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("status of a ready server = %d, want 200", w.Code)
		}
	}
}

// One that is told to stop before it heard Redis ends as well.
func TestStopBeforeReady(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	b.run()
	<-b.source.channels
	b.stop()
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if err := b.Ready(); err == nil || err.Error() != "draining" {
		t.Errorf("Ready = %v, want draining", err)
	}
}

// Before and after Run nobody is let in, and told so.
func TestServeOutsideRun(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	status := func() int {
		t.Helper()
		resp, err := http.Get(b.http.URL + "/socket.io/?EIO=4&transport=polling")
		must(t, err)
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("status before Run = %d, want 503", got)
	}
	b.run()
	close(b.source.subscribed)
	eventually(t, "polls to be answered", func() bool { return status() == http.StatusOK })
	b.stop()
	b.ended()
	if got := status(); got != http.StatusServiceUnavailable {
		t.Errorf("status after Run = %d, want 503", got)
	}
	http.DefaultClient.CloseIdleConnections()
}

// When a part fails, all end, and the error names the part.
func TestRunFails(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	tests := []struct {
		name, want string
		ready      bool
	}{
		{"redis", "redis: boom", true},
		{"redis before it is ready", "redis: boom", false},
		{"log", "log: boom", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log, fail := newFakeLog(), make(chan error, 1)
			log.tail = func(ctx context.Context, apply func([]adapter.Entry)) error {
				select {
				case err := <-fail:
					return err
				case <-ctx.Done():
					return nil
				}
			}
			b := newBus(t, setup{log: log})
			b.run()
			if tt.ready {
				close(b.source.subscribed)
				b.connect(t, token(t, "alice")).quiet()
			}
			if strings.HasPrefix(tt.name, "redis") {
				b.source.fail <- boom
			} else {
				fail <- boom
			}
			if err := b.ended(); !errors.Is(err, boom) || err.Error() != tt.want {
				t.Errorf("Run = %v, want %s", err, tt.want)
			}
			if err := b.Ready(); err == nil || err.Error() != "draining" {
				t.Errorf("Ready = %v, want draining", err)
			}
			if n := b.Connections(); n != 0 {
				t.Errorf("%d connections are open", n)
			}
		})
	}
}

// A handler that waits for a store ends with the server.
func TestStopWhileAHandlerWaits(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.hold = make(chan struct{}) })
	c := b.connect(t, token(t, "alice"))
	c.send(`2["subscribe:photo",{"photoId":"p"}]`)
	<-b.owners.asked
	b.stop()
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// What cannot be taken to the log waits, and does not hold up the end.
func TestStopWhileTheLogFails(t *testing.T) {
	t.Parallel()
	log := newFakeLog()
	appending := make(chan struct{}, 100)
	log.before = func() {
		appending <- struct{}{}
		log.appendFault <- errors.New("away")
	}
	b := start(t, setup{log: log, rules: map[string][]routing.Rule{"news": {{Type: "broadcast"}}}})
	b.source.in <- incoming{"news", []byte(event("1", "photo.uploaded", "", "")), make(chan struct{})}
	<-appending
	<-appending
	b.stop()
	if err := b.ended(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if n := b.logs.FilterMessage("message dropped").Len(); n > 0 {
		t.Errorf("%d messages are logged as dropped", n)
	}
}
