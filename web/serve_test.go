package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// serving runs Serve on a free port. Stop ends its context; done has what it returned.
func serving(t *testing.T, h http.Handler, cfg ServeConfig) (url string, stop func(), done <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- Serve(ctx, ln, h, cfg) }()
	t.Cleanup(cancel)
	return "http://" + ln.Addr().String(), cancel, result
}

// get asks in the background, on a connection of its own, and sends the body or the error.
func get(url string) <-chan any {
	answer := make(chan any, 1)
	go func() {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		res, err := client.Get(url)
		if err != nil {
			answer <- err
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	return answer
}

func TestServeLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}), make(chan struct{})
	url, stop, done := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		if err := r.Context().Err(); err != nil {
			t.Errorf("the request's context ended within the grace: %v", err)
		}
		_, _ = io.WriteString(w, "finished")
	}), ServeConfig{})

	answer := get(url)
	<-arrived
	stop()
	for { // until the port is closed
		conn, err := net.Dial("tcp", url[len("http://"):])
		if err != nil {
			break
		}
		conn.Close()
	}
	select {
	case err := <-done:
		t.Fatalf("Serve returned %v before the request was done", err)
	default:
	}
	close(release)
	if got := <-answer; got != "finished" {
		t.Errorf("got answer %v", got)
	}
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestServeCutsOffAfterGrace(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	ended := false // written by the handler, read after Serve has waited for it
	url, stop, done := serving(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		ended = true
	}), ServeConfig{Grace: time.Millisecond})

	answer := get(url)
	<-arrived
	stop()
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if !ended {
		t.Error("Serve returned while a handler was running")
	}
	if got, isErr := (<-answer).(error); !isErr {
		t.Errorf("got answer %v, want a closed connection", got)
	}
}

func TestServeLeavesHijackedConnections(t *testing.T) {
	t.Parallel()
	hijacked := make(chan net.Conn, 1)
	url, stop, done := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
		}
		hijacked <- conn
	}), ServeConfig{})

	answer := get(url)
	conn := <-hijacked
	stop()
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstill"); err != nil {
		t.Errorf("write to the hijacked connection: %v", err)
	}
	conn.Close()
	if got := <-answer; got != "still" {
		t.Errorf("got answer %v", got)
	}
}

func TestServeReportsABrokenListener(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Serve(t.Context(), ln, http.NotFoundHandler(), ServeConfig{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}
