package server

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/socketio"
)

const (
	// maxHistory is how many events a subscription may ask for.
	maxHistory = 100
	// historyBytes bounds the events in an answer. The oldest are left out.
	historyBytes = 256 << 10
	// historyTimeout bounds the wait for Redis. The client waits, and can go on without.
	historyTimeout = 2 * time.Second
	// historyReads is how many ask Redis at a time: each holds up to maxHistory events, before it is known which fit.
	historyReads = 16
	// historyTries is how often Redis is asked anew because what came since is no longer kept here.
	historyTries = 3
	// historyWindow is how long broadcasts are kept at least, so that nothing is missed between the answer of Redis and
	// the join: more than both, and the storing of the session, may take.
	historyWindow = 10 * time.Second
)

// noHistory tells a client that it has to do without.
const noHistory = "history is not kept here"

// history is what rooms have heard before.
type history struct {
	last    func(ctx context.Context, room string, n int) ([]adapter.Entry, error)
	turns   chan struct{}
	bytes   int
	timeout time.Duration
	log     rate.Sometimes
}

// newHistory makes a history that is read by last. An answer is no reason to think that a client is slow: it fills no
// more than half its queue.
func newHistory(last func(ctx context.Context, room string, n int) ([]adapter.Entry, error), queue int) *history {
	return &history{
		last: last, turns: make(chan struct{}, historyReads), bytes: min(historyBytes, queue/2), timeout: historyTimeout,
		log: rate.Sometimes{First: 1, Interval: 10 * time.Second},
	}
}

// readHistory is how many events a subscription asks for. bad says what is wrong with the number.
func readHistory(raw json.RawMessage) (n int, bad string) {
	var f *float64
	switch err := json.Unmarshal(raw, &f); {
	case raw == nil || err == nil && f == nil:
		return 0, ""
	case err != nil || *f < 0 || *f > maxHistory || *f != math.Trunc(*f):
		return 0, "history: want a whole number from 0 to " + strconv.Itoa(maxHistory)
	}
	return int(*f), ""
}

// subscribeSince joins a room and answers with the last n events it got. What Redis says comes first: it has all up to
// some place in the log. Then, in one step with the join, comes what this replica has broadcast since; and what it has
// still to broadcast is left out, as it follows.
func (s *Server) subscribeSince(ctx context.Context, sock *socketio.Socket, e *socketio.Event, room string, n int) {
	ctx, cancel := context.WithTimeout(ctx, s.history.timeout)
	defer cancel()
	for try := 1; ; try++ {
		since := sock.Namespace().Position() // before Redis is asked: what it has not, comes later
		read, err := s.history.read(ctx, sock, room, n)
		if err == nil {
			err = e.JoinSince(room, since, "subscribed", func(at adapter.Position, fresh []adapter.Entry) (told, ack json.RawMessage) {
				events := read.until(at, fresh)
				if !e.WantsAck() {
					return s.history.answer(`{"room":`, room, events, n), nil
				}
				told, _ = json.Marshal(roomAnswer{Room: room})
				return told, s.history.answer(`{"ok":true,"room":`, room, events, n)
			})
		}
		switch {
		case err == nil, errors.Is(err, socketio.ErrDisconnected):
			return
		case errors.Is(err, adapter.ErrNoHistory):
			s.refuse(sock, e, noHistory)
			return
		case errors.Is(err, socketio.ErrPast) && try < historyTries:
			continue
		}
		s.history.log.Do(func() { s.Logger.Warn("history not read", zap.Error(err)) })
		fail(sock, e, "History unavailable")
		return
	}
}

// read asks Redis for what the room got last.
func (h *history) read(ctx context.Context, sock *socketio.Socket, room string, n int) (past, error) {
	select {
	case h.turns <- struct{}{}:
		defer func() { <-h.turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	entries, err := h.last(ctx, room, n)
	if err != nil {
		return nil, err
	}
	here := append(sock.Rooms(), sock.ID(), room)
	excepted := func(e adapter.Entry) bool {
		return slices.ContainsFunc(e.Except, func(x string) bool { return slices.Contains(here, x) })
	}
	return appendPast(nil, slices.DeleteFunc(entries, excepted), adapter.Position{}), nil
}

// past are events that a room got, oldest first.
type past []pastEvent

type pastEvent struct {
	adapter.Position
	json []byte // {"event":"processing.event","args":[…],"offset":"1700000000000-0"}
}

// appendPast encodes entries that are after a position. Those with attachments, which JSON cannot hold, are left out, and
// volatile ones, which nobody gets later.
func appendPast(p past, entries []adapter.Entry, after adapter.Position) past {
	for _, e := range entries {
		if e.Kind != adapter.Event || e.Binary || e.Volatile || e.Position.Compare(after) <= 0 {
			continue
		}
		name, args := socketio.SplitArgs(e.Args)
		out := append(make([]byte, 0, len(e.Args)+80), `{"event":`...)
		out = append(append(out, name...), `,"args":[`...)
		out = append(append(out, args...), `],"offset":"`...)
		out = append(e.Position.Append(out), `"}`...)
		p = append(p, pastEvent{e.Position, out})
	}
	return p
}

// until is what there was when a socket joined at a place in the log: p but for what this replica has not broadcast yet,
// and behind it what the room got here since p was read.
func (p past) until(at adapter.Position, fresh []adapter.Entry) past {
	var end adapter.Position
	if len(p) > 0 {
		end = p[len(p)-1].Position
	}
	p = slices.DeleteFunc(slices.Clone(p), func(e pastEvent) bool { return e.Position.Compare(at) > 0 })
	return appendPast(p, fresh, end)
}

// answer encodes the last n events that fit, as {"room":…,"history":[…]} and, if that left some out, "truncated":true.
// It begins with what the room follows on.
func (h *history) answer(begin, room string, p past, n int) json.RawMessage {
	p = p[max(len(p)-n, 0):]
	from, size := len(p), 0
	for from > 0 && size+len(p[from-1].json) < h.bytes {
		from--
		size += len(p[from].json) + 1
	}
	name, _ := json.Marshal(room) // a string always encodes
	out := append(make([]byte, 0, size+len(name)+64), begin...)
	out = append(append(out, name...), `,"history":[`...)
	for i, e := range p[from:] {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, e.json...)
	}
	out = append(out, ']')
	if from > 0 {
		out = append(out, `,"truncated":true`...)
	}
	return append(out, '}')
}
