package web

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// DeadLetters are the events that could not be taken or delivered. A replayed event keeps its id, goes to those that did
// not get it, and leaves the dead letters; browsers hear it only if asked.
type DeadLetters interface {
	List(ctx context.Context, which DeadLetterQuery, page Page) (DeadLetterPage, error)
	Get(ctx context.Context, id string) (DeadLetter, error)        // may be NotFound
	Replay(ctx context.Context, id string, browsers bool) error    // may be NotFound, Conflict if its subscription is gone
	Remove(ctx context.Context, id string) error                   // may be NotFound
	Purge(ctx context.Context, which DeadLetterQuery) (int, error) // how many there were
	ReplayAll(ctx context.Context, which DeadLetterQuery, browsers bool) (Replayed, error)
}

// DeadLetterQuery selects dead letters; empty fields select all.
type DeadLetterQuery struct {
	Channel      string
	Subscription string
	Reason       string
}

// DeadLetterPage is a part of the dead letters, oldest first, without their events.
type DeadLetterPage struct {
	DeadLetters []DeadLetter `json:"deadLetters"`
	Next        string       `json:"next,omitempty"` // empty: that was the last
}

// DeadLetter is one event that was given up, and why.
type DeadLetter struct {
	ID           string    `json:"id"`
	Channel      string    `json:"channel"`
	Subscription string    `json:"subscription,omitempty"` // whose handler gave it up; empty: it was never taken
	Reason       string    `json:"reason"`
	Category     string    `json:"category,omitempty"`
	Error        string    `json:"error,omitempty"` // the last one
	Attempts     int       `json:"attempts"`
	EventID      string    `json:"eventId,omitempty"`
	EventType    string    `json:"eventType,omitempty"`
	At           time.Time `json:"at"`
	// Event is the event as it came: its JSON, or a JSON string of what is none. Lists leave it out.
	Event json.RawMessage `json:"event,omitempty"`
}

// Replayed says what became of many.
type Replayed struct {
	Replayed int `json:"replayed"`
	Failed   int `json:"failed"` // stayed where they are
}

func (a *api) deadLetterOperations() []operation {
	const all, one = apiPrefix + "/dead-letters", apiPrefix + "/dead-letters/{id}"
	return inMode([]operation{
		{id: "listDeadLetters", method: http.MethodGet, path: all, serve: a.listDeadLetters},
		{id: "purgeDeadLetters", method: http.MethodDelete, path: all, timeout: bulkTimeout, serve: a.purgeDeadLetters},
		{id: "replayDeadLetters", method: http.MethodPost, path: all + "/replay", audited: auth.DeadLetterReplayed, maxBody: maxSmall, timeout: bulkTimeout, serve: a.replayDeadLetters},
		{id: "getDeadLetter", method: http.MethodGet, path: one, serve: a.getDeadLetter},
		{id: "deleteDeadLetter", method: http.MethodDelete, path: one, serve: a.deleteDeadLetter},
		{id: "replayDeadLetter", method: http.MethodPost, path: one + "/replay", audited: auth.DeadLetterReplayed, maxBody: maxSmall, serve: a.replayDeadLetter},
	}, a.cfg.DeadLetters != nil)
}

func deadLetterQuery(q *query) DeadLetterQuery {
	return DeadLetterQuery{Channel: q.text("channel"), Subscription: q.text("subscription"), Reason: q.text("reason")}
}

func (a *api) listDeadLetters(c *call) error {
	q := newQuery(c.r)
	which, page := deadLetterQuery(q), q.page()
	if err := q.done(); err != nil {
		return err
	}
	letters, err := a.cfg.DeadLetters.List(c.ctx, which, page)
	if err != nil {
		return err
	}
	list := make([]DeadLetter, len(letters.DeadLetters))
	for i, d := range letters.DeadLetters {
		d.Event = nil // a thousand of a mebibyte each are too much for one answer
		list[i] = d
	}
	letters.DeadLetters = list
	return c.answer(http.StatusOK, letters)
}

// needChoice keeps a forgotten filter from meaning everything.
func needChoice(which DeadLetterQuery, all bool) error {
	switch none := which == (DeadLetterQuery{}); {
	case none && !all:
		return malformedField("all", "must be true if neither channel, subscription nor reason selects some.")
	case !none && all:
		return malformedField("all", "cannot go with channel, subscription or reason.")
	}
	return nil
}

func (a *api) purgeDeadLetters(c *call) error {
	q := newQuery(c.r)
	which, all := deadLetterQuery(q), q.flag("all", false)
	if err := q.done(); err != nil {
		return err
	}
	if err := needChoice(which, all); err != nil {
		return err
	}
	n, err := a.cfg.DeadLetters.Purge(c.ctx, which)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, map[string]int{"removed": n})
}

// replayRequest is the body of POST /dead-letters/replay.
type replayRequest struct {
	Channel      *string `json:"channel"`
	Subscription *string `json:"subscription"`
	Reason       *string `json:"reason"`
	All          bool    `json:"all"`
	Browsers     bool    `json:"browsers"`
}

func (r replayRequest) which() (DeadLetterQuery, error) {
	var which DeadLetterQuery
	for _, f := range []struct {
		name        string
		given, into *string
	}{{"channel", r.Channel, &which.Channel}, {"subscription", r.Subscription, &which.Subscription}, {"reason", r.Reason, &which.Reason}} {
		if f.given == nil {
			continue
		}
		if why := checkName(*f.given); why != "" {
			return which, malformedField(f.name, why)
		}
		*f.into = *f.given
	}
	return which, needChoice(which, r.All)
}

func (a *api) replayDeadLetters(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	var req replayRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	which, err := req.which()
	if err != nil {
		return err
	}
	replayed, err := a.cfg.DeadLetters.ReplayAll(c.ctx, which, req.Browsers)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, replayed)
}

func (a *api) getDeadLetter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	d, err := a.cfg.DeadLetters.Get(c.ctx, id)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, d)
}

func (a *api) deleteDeadLetter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.DeadLetters.Remove(c.ctx, id); err != nil {
		return err
	}
	return c.done()
}

func (a *api) replayDeadLetter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	var req struct {
		Browsers bool `json:"browsers"`
	}
	if len(c.body) > 0 { // it may be left out
		if err := c.decode(&req); err != nil {
			return err
		}
	}
	if err := a.cfg.DeadLetters.Replay(c.ctx, id, req.Browsers); err != nil {
		return err
	}
	return c.answer(http.StatusOK, Replayed{Replayed: 1})
}
