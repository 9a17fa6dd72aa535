package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
)

// Events takes events, and knows how many there were.
type Events interface {
	// Publish hands somebody's events to the bus in their order and returns one result for each. The error is for all: none was
	// taken, or it is not known which were; the caller may hand them in again, since the bus delivers an id once.
	Publish(ctx context.Context, who auth.Identity, batch []Publication) ([]PublishResult, error)

	// Channel is the default channel of an event type, and whether the type is known.
	Channel(eventType string) (channel string, known bool)

	// Metrics counts the events of a time range, which lies within the last 24 hours.
	Metrics(ctx context.Context, from, to time.Time) (EventMetrics, error)
}

// Publication is an event and where it goes.
type Publication struct {
	Channel string
	Event   events.Event
	Plain   bool // by PUBLISH, gone if no replica hears it; else durable
}

// PublishResult is what became of one event. Its zero value says that the bus has it.
type PublishResult struct {
	Filter string // id of the outbound filter that dropped it
	Err    error  // why it was not taken; an *Error for the caller to read
}

// EventMetrics counts the events of a time range, over all replicas.
type EventMetrics struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	EventCounts
	ByChannel map[string]EventCounts `json:"byChannel"`
	ByType    map[string]EventCounts `json:"byType"` // types outside the registry are "other"
}

// EventCounts counts events.
type EventCounts struct {
	Published int64 `json:"published"` // handed in through the service's own API
	Received  int64 `json:"received"`  // read from Redis and let pass by the filters, doubles included
	Routed    int64 `json:"routed"`    // written to the log
	Dropped   int64 `json:"dropped"`   // by filters and throttles, on the way in or out
	Errors    int64 `json:"errors"`    // read from Redis, but malformed, invalid or over a limit
}

const (
	maxBatchEvents = 1000
	maxMetricsSpan = 24 * time.Hour
)

func (a *api) eventOperations() []operation {
	there := a.cfg.Events != nil
	return []operation{
		{id: "publishEvent", method: http.MethodPost, path: apiPrefix + "/events", access: publishers, there: there,
			maxBody: a.cfg.MaxEvent, timeout: callTimeout, serve: a.publishEvent},
		{id: "publishEvents", method: http.MethodPost, path: apiPrefix + "/events/batch", access: publishers, there: there,
			maxBody: a.cfg.MaxBatch, timeout: callTimeout, serve: a.publishEvents},
		{id: "getEventMetrics", method: http.MethodGet, path: apiPrefix + "/metrics/events", there: there,
			timeout: callTimeout, serve: a.eventMetrics},
	}
}

// eventAnswer is what is said of one event.
type eventAnswer struct {
	ID      string `json:"id,omitempty"` // of the event; absent if it could not be read
	Channel string `json:"channel,omitempty"`
	// Status is accepted, dropped (by a filter), or for one of a batch refused: Error says why.
	Status string   `json:"status"`
	Filter string   `json:"filter,omitempty"`
	Error  *problem `json:"error,omitempty"`
}

func (a *api) publishEvent(c *call) error {
	q := newQuery(c.r)
	channel, durable := q.text("channel"), q.flag("durable", true)
	if err := q.done(); err != nil {
		return err
	}
	if err := c.needBody(); err != nil {
		return err
	}
	once, err := c.idempotent()
	if err != nil {
		return err
	}
	p, err := a.publication(c, channel, c.body, once.eventID(0))
	if err != nil {
		return err
	}
	p.Plain = !durable
	return c.once(once, func(ctx context.Context) (Answer, error) {
		results, err := a.publish(ctx, c.who, []Publication{p})
		if err != nil {
			return Answer{}, err
		}
		if err := results[0].Err; err != nil {
			return Answer{}, err
		}
		return newAnswer(http.StatusAccepted, accepted(p, results[0]))
	})
}

// batchRequest is the body of POST /events/batch.
type batchRequest struct {
	Events []struct {
		Channel *string         `json:"channel"`
		Event   json.RawMessage `json:"event" api:"required"`
	} `json:"events" api:"required"`
}

// publishEvents takes what is good of a batch and says of the rest what is wrong with it.
func (a *api) publishEvents(c *call) error {
	q := newQuery(c.r)
	durable := q.flag("durable", true)
	if err := q.done(); err != nil {
		return err
	}
	var req batchRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if n := len(req.Events); n == 0 || n > maxBatchEvents {
		return malformedField("events", fmt.Sprintf("must have 1 to %d elements.", maxBatchEvents))
	}
	if err := c.allow(LimitEvents, c.who.UserID, len(req.Events)-1); err != nil { // one was counted before
		return err
	}
	once, err := c.idempotent()
	if err != nil {
		return err
	}
	answers := make([]eventAnswer, len(req.Events))
	var good []Publication
	var places []int
	for i, e := range req.Events {
		channel := ""
		if e.Channel != nil {
			channel = *e.Channel
			if why := checkName(channel); why != "" {
				answers[i] = c.rejected(Publication{}, malformedField("channel", why))
				continue
			}
		}
		p, err := a.publication(c, channel, e.Event, once.eventID(i))
		if err != nil {
			answers[i] = c.rejected(p, err)
			continue
		}
		p.Plain = !durable
		good, places = append(good, p), append(places, i)
	}
	return c.once(once, func(ctx context.Context) (Answer, error) {
		results, err := a.publish(ctx, c.who, good)
		if err != nil {
			return Answer{}, err
		}
		for i, result := range results {
			if answers[places[i]] = accepted(good[i], result); result.Err != nil {
				answers[places[i]] = c.rejected(good[i], result.Err)
			}
		}
		status, again := http.StatusAccepted, false
		for _, answer := range answers {
			if answer.Error != nil {
				status = http.StatusMultiStatus
				again = again || !final(answer.Error.Status)
			}
		}
		answer, err := newAnswer(status, map[string]any{"results": answers})
		answer.again = again
		return answer, err
	})
}

// publish has one result for each, or an error.
func (a *api) publish(ctx context.Context, who auth.Identity, batch []Publication) ([]PublishResult, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	results, err := a.cfg.Events.Publish(ctx, who, batch)
	if err == nil && len(results) != len(batch) {
		err = fmt.Errorf("%d results for %d events", len(results), len(batch))
	}
	return results, err
}

func accepted(p Publication, r PublishResult) eventAnswer {
	answer := eventAnswer{ID: p.Event.ID, Channel: p.Channel, Status: "accepted"}
	if r.Filter != "" {
		answer.Status, answer.Filter = "dropped", r.Filter
	}
	return answer
}

func (c *call) rejected(p Publication, err error) eventAnswer {
	why := c.problem(err).problem()
	return eventAnswer{ID: p.Event.ID, Channel: p.Channel, Status: "refused", Error: &why}
}

// publication reads an event, chooses its channel and sees whether the caller may publish there. With the error comes
// what is known of it.
func (a *api) publication(c *call, channel string, raw []byte, id string) (Publication, error) {
	if len(raw) > a.cfg.MaxEvent {
		return Publication{}, &Error{Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("An event may have %d bytes.", a.cfg.MaxEvent)}
	}
	event, err := readEvent(raw, a.cfg.MaxEvent, id, c.who.UserID)
	if err != nil {
		return Publication{}, err
	}
	p := Publication{Channel: channel, Event: event}
	if channel == "" {
		var known bool
		if p.Channel, known = a.cfg.Events.Channel(event.Type); !known {
			return p, malformedField("channel", "is needed: the event's type has no channel of its own.")
		}
	}
	if c.may(auth.Publish, p.Channel) {
		return p, nil
	}
	c.denied = p.Channel
	return p, &Error{Status: http.StatusForbidden,
		Detail: "You may not publish on this channel: it takes the role admin, the permission event_bus:publish:<channel>, or a role in security.channelAccess."}
}

func (a *api) eventMetrics(c *call) error {
	now := time.Now().UTC()
	q := newQuery(c.r)
	to := q.time("to", now)
	from := q.time("from", to.Add(-time.Hour))
	switch {
	case len(q.wrong) > 0:
	case !from.Before(to):
		q.report("from", "must be before to.")
	case from.Before(now.Add(-maxMetricsSpan - time.Minute)): // forgiving those who compute "24 hours ago"
		q.report("from", "must lie within the last 24 hours; older counts are in Prometheus.")
	}
	if err := q.done(); err != nil {
		return err
	}
	m, err := a.cfg.Events.Metrics(c.ctx, from, to)
	if err != nil {
		return err
	}
	m.ByChannel, m.ByType = orEmpty(m.ByChannel), orEmpty(m.ByType)
	return c.answer(http.StatusOK, m)
}

func orEmpty[M ~map[K]V, K comparable, V any](m M) M {
	if m == nil {
		return M{}
	}
	return m
}

// readError says of an event that it is none, in the words of events.
func readError(err error) error {
	switch {
	case errors.Is(err, events.ErrTooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Detail: "The event is too large: " + err.Error() + "."}
	case errors.Is(err, events.ErrMalformed):
		// Its text is `malformed event: field "data": want an object`, or names no field.
		if _, about, ok := strings.Cut(err.Error(), `field "`); ok {
			if name, want, ok := strings.Cut(about, `": `); ok {
				return malformedField(name, want+".")
			}
		}
		return malformed("The body is no event: " + err.Error() + ".")
	}
	return err
}
