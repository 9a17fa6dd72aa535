package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gobwas/ws/wsutil"
)

// request is an event to the service that subscribes to something.
type request struct {
	event string
	arg   any
	what  string // that is done when it is granted, for people
}

// follower prints events over one connection after the other, and recovers what it missed between them.
type follower struct {
	url      string
	token    func(context.Context) (string, error)
	requests []request
	events   []string // to print; none means all
	count    int      // of events to print before the end; 0 is no end
	out      io.Writer
	news     io.Writer

	connections int
	printed     int
	pid, offset string // what the service recovers us by
}

var (
	errEnough       = errors.New("that was the last event asked for")
	errDisconnected = errors.New("disconnected by the service")
)

// fatalError is an error that another connection would not mend.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// run follows until ctx ends, the events asked for are printed, or the service refuses us.
func (f *follower) run(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		before := f.connections
		err := f.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, errEnough) {
			return nil
		}
		if final(err) {
			return err
		}
		if f.connections > before {
			attempt = 0
		}
		delay := backoff(attempt, rand.Float64())
		if refused := (*refusedError)(nil); errors.As(err, &refused) {
			delay = max(delay, refused.retryAfter)
		}
		fmt.Fprintf(f.news, "%v; trying again in %s\n", err, delay.Round(100*time.Millisecond))
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil
		}
	}
}

// backoff is half a second to five, of which the jitter, from 0 to 1, chooses. The range grows with the attempts.
func backoff(attempt int, jitter float64) time.Duration {
	const least, most = 500 * time.Millisecond, 5 * time.Second
	top := min(2*least<<min(attempt, 10), most)
	return least + time.Duration(jitter*float64(top-least))
}

// final reports whether trying again would not help.
func final(err error) bool {
	var refused *refusedError
	var status *statusError
	switch {
	case errors.As(err, &refused):
		return refused.retryAfter == 0
	case errors.As(err, &status):
		return status.status < 500 && status.status != 408 && status.status != 429
	}
	for _, sentinel := range []error{errDisconnected, errPacket, wsutil.ErrMessageTooLarge} {
		if errors.Is(err, sentinel) {
			return true
		}
	}
	return errors.As(err, new(fatalError))
}

// follow is one connection, from dialing to its end.
func (f *follower) follow(ctx context.Context) error {
	c, err := dialClient(ctx, f.url)
	if err != nil {
		return err
	}
	defer c.close()
	if err := f.connect(ctx, c); err != nil {
		return err
	}
	for {
		p, err := c.next(ctx)
		if err == nil {
			err = f.packet(p)
		}
		if ctx.Err() != nil || errors.Is(err, errEnough) {
			c.goodbye()
		}
		if err != nil {
			return err
		}
	}
}

// connect presents us, tells how it went, and subscribes, which does no harm if the service remembers it all.
func (f *follower) connect(ctx context.Context, c *client) error {
	token, err := f.token(ctx)
	if err != nil {
		return fatalError{err}
	}
	auth := map[string]string{"token": token}
	if f.pid != "" && f.offset != "" {
		auth["pid"], auth["offset"] = f.pid, f.offset
	}
	var welcome struct{ SID, PID string }
	if err := c.connect(ctx, auth, &welcome); err != nil {
		return err
	}
	f.connections++
	switch {
	case f.connections == 1:
		fmt.Fprintf(f.news, "connected to %s\n", c.conn.RemoteAddr())
	case welcome.PID != "" && welcome.PID == f.pid:
		fmt.Fprintln(f.news, "reconnected, no events were missed")
	default:
		fmt.Fprintln(f.news, "reconnected, events may have been missed")
	}
	if welcome.PID != f.pid {
		f.pid, f.offset = welcome.PID, ""
	}
	for id, r := range f.requests {
		if err := c.emit(id, r.event, r.arg); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) packet(p clientPacket) error {
	switch p.kind {
	case '1':
		return errDisconnected
	case '2':
		return f.event(p.data)
	case '3':
		f.ack(p)
	}
	return nil
}

// event prints an event: the service's answers to us for people, the others on standard output.
func (f *follower) event(data []byte) error {
	var args []json.RawMessage
	var name string
	if json.Unmarshal(data, &args) != nil || len(args) == 0 || json.Unmarshal(args[0], &name) != nil {
		return errPacket
	}
	args = args[1:]
	// As official clients do: with recovery on, the last argument, if it is a string, is the offset.
	var offset string
	if last := len(args) - 1; last >= 0 && f.pid != "" && args[last][0] == '"' {
		_ = json.Unmarshal(args[last], &offset) // a part of valid JSON
		args = args[:last]
	}
	var first json.RawMessage
	if len(args) > 0 {
		first = args[0]
	}
	if err := f.print(name, first, offset); err != nil {
		return err
	}
	if offset != "" {
		f.offset = offset // only now: what was not printed is missed
	}
	return nil
}

func (f *follower) print(name string, data json.RawMessage, offset string) error {
	switch {
	case name == "error":
		fmt.Fprintf(f.news, "error %s\n", plain(string(data)))
		return nil
	case name == "identified", name == "subscribed": // as their acks say
		return nil
	case len(f.events) > 0 && !slices.Contains(f.events, name):
		return nil
	}
	enc := json.NewEncoder(f.out) // which also makes one line of it
	enc.SetEscapeHTML(false)
	if err := enc.Encode(struct {
		Event  string          `json:"event"`
		Data   json.RawMessage `json:"data,omitempty"`
		Offset string          `json:"offset,omitempty"`
	}{name, data, offset}); err != nil {
		return fatalError{err}
	}
	if f.printed++; f.printed == f.count {
		return errEnough
	}
	return nil
}

// ack tells what the service says to a request.
func (f *follower) ack(p clientPacket) {
	var answers []struct {
		OK    bool
		Error string
	}
	if p.id < 0 || p.id >= len(f.requests) || json.Unmarshal(p.data, &answers) != nil || len(answers) == 0 {
		return
	}
	what := f.requests[p.id].what
	if answers[0].OK {
		fmt.Fprintln(f.news, what)
	} else {
		fmt.Fprintf(f.news, "not %s: %s\n", what, plain(answers[0].Error))
	}
}
