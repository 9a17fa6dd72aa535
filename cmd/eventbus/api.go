package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
	"github.com/photo-management/event-bus/server"
	"github.com/photo-management/event-bus/web"
)

// api is the service as the HTTP API knows it: each of its parts translates.
type api struct {
	srv      *server.Server
	store    *adapter.Store
	letters  *adapter.DeadLetters // nil: dropped
	replay   delivery.Replayer
	replicas func() []adapter.Replica
	subs     *delivery.Subscribers
}

// answer is an error of the service as the API tells it. What is not for the caller stays as it is.
func answer(err error) error {
	partial, isPartial := errors.AsType[*adapter.PartialError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, server.ErrInvalidDeclaration):
		return web.InvalidErrors(errors.New(strings.TrimPrefix(err.Error(), server.ErrInvalidDeclaration.Error()+": ")))
	case errors.Is(err, server.ErrConfigured):
		return web.Conflict("It is declared in the configuration, and is changed there.")
	case errors.Is(err, server.ErrUnknown):
		return web.NotFound("There is no such id.")
	case errors.Is(err, server.ErrNoStore):
		return &web.Error{Status: 501, Detail: "This is not available in this mode."}
	case errors.Is(err, adapter.ErrTableFull):
		return web.Conflict("There are as many as there may be: remove one first.")
	case errors.Is(err, delivery.ErrNotReplayable):
		return web.Conflict(sentence(err))
	case errors.Is(err, adapter.ErrDeadLetterID):
		return web.NotFound("There is no such dead letter.")
	case errors.Is(err, server.ErrLimited):
		return &web.Error{Status: 429, Detail: sentence(err)}
	case errors.Is(err, auth.ErrDenied):
		return &web.Error{Status: 403, Detail: sentence(err)}
	case errors.Is(err, events.ErrInvalid), errors.Is(err, events.ErrMalformed):
		text := err.Error()
		if _, fields, ok := strings.Cut(text, events.ErrInvalid.Error()+": "); ok {
			text = fields
		}
		return web.InvalidErrors(errors.New(strings.ReplaceAll(text, "; ", "\n"))) // a line for each field
	case isPartial:
		return web.Unavailable("Not all replicas have answered: "+strings.Join(partial.Missing, ", ")+".", time.Second)
	}
	return err
}

func sentence(err error) string { return err.Error() + "." }

// source is where something is declared that is the i-th of all.
func source(i, configured int) string {
	if i < configured {
		return web.SourceConfiguration
	}
	return web.SourceAPI
}

func raw(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(`null`) // of what has come from JSON, it cannot be
	}
	return text
}

// apiEvents publishes.
type apiEvents struct{ api }

func (a apiEvents) Publish(ctx context.Context, who auth.Identity, batch []web.Publication) ([]web.PublishResult, error) {
	publications := make([]server.Publication, len(batch))
	for i, p := range batch {
		publications[i] = server.Publication{Channel: p.Channel, Event: p.Event, Plain: p.Plain}
	}
	results := make([]web.PublishResult, len(batch))
	for i, r := range a.srv.PublishBatch(ctx, who, publications) {
		results[i] = web.PublishResult{Filter: r.Dropped, Err: answer(r.Err)}
		if _, told := errors.AsType[*web.Error](results[i].Err); r.Err != nil && !told {
			results[i].Err = web.Unavailable("The event could not be handed to Redis in time. Sending it again is safe.", time.Second)
		}
	}
	return results, nil
}

func (a apiEvents) Channel(eventType string) (string, bool) { return a.srv.ChannelOf(eventType) }

func (a apiEvents) Metrics(ctx context.Context, from, to time.Time) (web.EventMetrics, error) {
	m, err := a.srv.EventMetrics(ctx, from, to)
	if err != nil {
		return web.EventMetrics{}, answer(err)
	}
	counts := func(c server.EventCounts) web.EventCounts {
		return web.EventCounts{
			Published: c.Published, Received: c.Received + c.Duplicates, Routed: c.Received, Dropped: c.Filtered, Errors: c.Errors,
		}
	}
	all := func(m map[string]server.EventCounts) map[string]web.EventCounts {
		out := make(map[string]web.EventCounts, len(m))
		for name, c := range m {
			out[name] = counts(c)
		}
		return out
	}
	return web.EventMetrics{From: from, To: to, EventCounts: counts(m.EventCounts), ByChannel: all(m.ByChannel), ByType: all(m.ByType)}, nil
}

// apiFilters declares filters.
type apiFilters struct{ api }

func (a apiFilters) List(ctx context.Context) ([]web.Filter, error) {
	all, configured, err := a.srv.Filters(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]web.Filter, len(all))
	for i, f := range all {
		list[i] = web.Filter{ID: f.ID, Source: source(i, configured), Spec: raw(f)}
	}
	return list, nil
}

func (a apiFilters) Put(ctx context.Context, id string, spec json.RawMessage) (created bool, err error) {
	f, err := routing.ParseFilter(spec)
	if err != nil {
		return false, ofOne(web.InvalidErrors(err))
	}
	if f.ID != "" && f.ID != id {
		return false, web.Invalid("id", "must be the one in the address, or left out.")
	}
	f.ID = id
	all, _, err := a.srv.Filters(ctx)
	if err != nil {
		return false, err
	}
	created = !slices.ContainsFunc(all, func(x routing.Filter) bool { return x.ID == id })
	return created, ofOne(answer(a.srv.AddFilter(ctx, f)))
}

// ofOne names the members of the one filter of a request, not of the first of many.
func ofOne(err error) error {
	e, ok := errors.AsType[*web.Error](err)
	if !ok {
		return err
	}
	one := *e
	one.Fields = slices.Clone(e.Fields)
	for i := range one.Fields {
		for _, of := range []string{"filters[0].", "filter."} {
			one.Fields[i].Field = strings.TrimPrefix(one.Fields[i].Field, of)
			one.Detail = strings.TrimPrefix(one.Detail, of)
		}
	}
	return &one
}

func (a apiFilters) Replace(ctx context.Context, specs json.RawMessage) error {
	filters, err := routing.ParseFilters(specs)
	if err != nil {
		return web.InvalidErrors(err)
	}
	return answer(a.srv.ReplaceFilters(ctx, filters))
}

func (a apiFilters) Delete(ctx context.Context, id string) error {
	return answer(a.srv.RemoveFilter(ctx, id))
}

// apiRules declares rules.
type apiRules struct{ api }

func (a apiRules) Current(ctx context.Context) (web.RuleSet, error) {
	rules, configured, err := a.srv.Rules(ctx)
	if err != nil {
		return web.RuleSet{}, err
	}
	set := web.RuleSet{Source: web.SourceAPI, Rules: raw(rules)}
	if configured {
		set.Source = web.SourceConfiguration
	}
	return set, nil
}

func (a apiRules) Replace(ctx context.Context, text json.RawMessage) error {
	rules, err := routing.ParseRules(text)
	if err != nil {
		return web.InvalidErrors(err)
	}
	return answer(a.srv.SetRules(ctx, rules))
}

func (a apiRules) Reset(ctx context.Context) error { return answer(a.srv.ResetRules(ctx)) }

// apiRevocations takes tokens back.
type apiRevocations struct{ api }

func (a apiRevocations) List(ctx context.Context) ([]auth.Revocation, error) {
	return a.srv.Revocations(ctx)
}

func (a apiRevocations) Add(ctx context.Context, r auth.Revocation) error {
	_, err := a.srv.Revoke(ctx, r)
	return answer(err)
}

func (a apiRevocations) Remove(ctx context.Context, key string) error {
	return answer(a.srv.Unrevoke(ctx, key))
}

// apiDeadLetters shows dead letters and has them delivered again.
type apiDeadLetters struct{ api }

func letterQuery(which web.DeadLetterQuery) adapter.DeadLetterQuery {
	return adapter.DeadLetterQuery{Channel: which.Channel, Subscription: which.Subscription, Reason: which.Reason}
}

func webLetter(l adapter.DeadLetter) web.DeadLetter {
	w := web.DeadLetter{
		ID: l.ID, Channel: l.Channel, Subscription: l.Subscription, Reason: l.Reason, Category: l.Category, Error: l.Error,
		Attempts: l.Attempts, EventID: l.EventID, EventType: l.EventType, At: l.At, Event: l.Event,
	}
	if !json.Valid(l.Event) {
		w.Event = raw(string(l.Event))
	}
	return w
}

func (a apiDeadLetters) List(ctx context.Context, which web.DeadLetterQuery, page web.Page) (web.DeadLetterPage, error) {
	q := letterQuery(which)
	q.After, q.Limit = page.Cursor, page.Limit
	letters, next, err := a.letters.List(ctx, q)
	if errors.Is(err, adapter.ErrDeadLetterID) {
		return web.DeadLetterPage{}, web.Invalid("cursor", "must be what the page before gave as its next.")
	}
	out := web.DeadLetterPage{DeadLetters: make([]web.DeadLetter, len(letters)), Next: next}
	for i, l := range letters {
		out.DeadLetters[i] = webLetter(l)
		out.DeadLetters[i].Event = nil
	}
	return out, err
}

func (a apiDeadLetters) get(ctx context.Context, id string) (adapter.DeadLetter, error) {
	l, there, err := a.letters.Get(ctx, id)
	if err == nil && !there {
		err = adapter.ErrDeadLetterID
	}
	return l, answer(err)
}

func (a apiDeadLetters) Get(ctx context.Context, id string) (web.DeadLetter, error) {
	l, err := a.get(ctx, id)
	return webLetter(l), err
}

func (a apiDeadLetters) Replay(ctx context.Context, id string, browsers bool) error {
	l, err := a.get(ctx, id)
	if err != nil {
		return err
	}
	return answer(a.replay.Replay(ctx, l, browsers))
}

func (a apiDeadLetters) Remove(ctx context.Context, id string) error {
	n, err := a.letters.Remove(ctx, id)
	if err == nil && n == 0 {
		err = adapter.ErrDeadLetterID
	}
	return answer(err)
}

func (a apiDeadLetters) Purge(ctx context.Context, which web.DeadLetterQuery) (int, error) {
	return a.letters.Purge(ctx, letterQuery(which))
}

func (a apiDeadLetters) ReplayAll(ctx context.Context, which web.DeadLetterQuery, browsers bool) (web.Replayed, error) {
	replayed, failed, err := a.replay.ReplayAll(ctx, letterQuery(which), browsers)
	if errors.Is(err, delivery.ErrNotReplayable) {
		err = nil // counted
	}
	return web.Replayed{Replayed: replayed, Failed: failed}, err
}

// apiLogLevel is the level of the log.
type apiLogLevel struct{ level zap.AtomicLevel }

func (l apiLogLevel) Level() string { return l.level.String() }

func (l apiLogLevel) SetLevel(text string) error { return l.level.UnmarshalText([]byte(text)) }

// idempotency keeps answers in Redis.
type idempotency struct{ store *adapter.Store }

const (
	claimTime = time.Minute
	keptTime  = 24 * time.Hour
)

func (i idempotency) Begin(ctx context.Context, key, digest string) (*web.Answer, error) {
	kept, found, err := i.store.Claim(ctx, key, digest, claimTime)
	if err != nil || !found {
		return nil, err
	}
	was, text, done := strings.Cut(kept, " ")
	switch {
	case was != digest:
		return nil, web.ErrKeyReused
	case !done:
		return nil, web.ErrKeyBusy
	}
	var answer web.Answer
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, fmt.Errorf("kept answer: %w", err)
	}
	return &answer, nil
}

func (i idempotency) Finish(ctx context.Context, key, digest string, answer web.Answer) error {
	return i.store.Keep(ctx, key, digest, digest+" "+string(raw(answer)), keptTime)
}

func (i idempotency) Abandon(ctx context.Context, key, digest string) error {
	return i.store.Keep(ctx, key, digest, "", 0)
}
