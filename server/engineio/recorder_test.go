package engineio

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// recorder is the Handler of every test connection. It checks what Handler promises of its calls.
type recorder struct {
	t      testing.TB
	conn   *Conn
	on     func(data []byte, binary bool) // set in accept; called with every message
	closed chan Reason

	inside, ended atomic.Bool
	mu            sync.Mutex
	messages      []message
	more          chan struct{}
}

type message struct {
	data   string
	binary bool
}

func newRecorder(t testing.TB, c *Conn) *recorder {
	return &recorder{t: t, conn: c, closed: make(chan Reason, 1), more: make(chan struct{}, 1)}
}

func (r *recorder) Message(data []byte, binary bool) {
	if r.inside.Swap(true) {
		r.t.Error("Message overlaps another call")
	}
	defer r.inside.Store(false)
	if r.ended.Load() {
		r.t.Error("Message after Closed")
	}
	r.mu.Lock()
	r.messages = append(r.messages, message{string(data), binary})
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	if r.on != nil {
		r.on(data, binary)
	}
}

func (r *recorder) Closed(why Reason) {
	if r.inside.Load() {
		r.t.Error("Closed overlaps another call")
	}
	if r.ended.Swap(true) {
		r.t.Error("Closed called twice")
		return
	}
	r.closed <- why
}

// echo makes the connection answer every message with itself: text alone, binary behind the text "bin".
func echo(r *recorder) {
	r.on = func(data []byte, binary bool) {
		if binary {
			r.conn.Send(NewBinaryMessage([]byte("bin"), data))
		} else {
			r.conn.Send(NewMessage(data))
		}
	}
}

func text(data string) *Message { return NewMessage([]byte(data)) }

// wantMessages waits for the next messages and compares them.
func (r *recorder) wantMessages(want ...message) {
	r.t.Helper()
	deadline := time.After(patience)
	for i, w := range want {
		for {
			r.mu.Lock()
			ready := len(r.messages) > 0
			var got message
			if ready {
				got, r.messages = r.messages[0], r.messages[1:]
			}
			r.mu.Unlock()
			if ready {
				if got != w {
					r.t.Fatalf("message %d: got %s, want %s", i, show(got), show(w))
				}
				break
			}
			select {
			case <-r.more:
			case <-deadline:
				r.t.Fatalf("message %d: got none, want %s", i, show(w))
			}
		}
	}
}

func (r *recorder) wantTexts(want ...string) {
	r.t.Helper()
	for _, w := range want {
		r.wantMessages(message{w, false})
	}
}

// wantNoMessage is for when no message can come any more.
func (r *recorder) wantNoMessage() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.messages) > 0 {
		r.t.Errorf("got %s, want no message", show(r.messages[0]))
	}
}

func (r *recorder) wantClosed(want Reason) {
	r.t.Helper()
	select {
	case got := <-r.closed:
		if got != want {
			r.t.Fatalf("closed with reason %q, want %q", got, want)
		}
	case <-time.After(patience):
		r.t.Fatalf("not closed, want reason %q", want)
	}
}

// polled waits until a poll of the client's waits at the server.
func (r *recorder) polled() {
	r.t.Helper()
	eventually(r.t, "a poll waits", func() bool {
		r.conn.mu.Lock()
		defer r.conn.mu.Unlock()
		return r.conn.poll != nil
	})
}

func show(m message) string {
	data := m.data
	if len(data) > 60 {
		data = fmt.Sprintf("%s… (%d bytes)", data[:60], len(data))
	}
	if m.binary {
		return fmt.Sprintf("binary %q", data)
	}
	return fmt.Sprintf("%q", data)
}
