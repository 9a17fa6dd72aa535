package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
)

// world is all that the API is built on, in memory. What was done is in changes.
type world struct {
	mu        sync.Mutex
	changes   []string
	published []Publication
	publish   func(Publication) PublishResult // nil takes everything
	fail      error                           // of everything
	level     string
	filters   []Filter
	rules     RuleSet
	subs      []Subscription
	dead      []DeadLetter
	revoked   []auth.Revocation
	audit     []auth.Record
	failures  []error
	kept      map[string]keptAnswer
	keepFails error
}

type keptAnswer struct {
	digest string
	answer *Answer
}

func newWorld() *world {
	return &world{
		level:   "info",
		filters: []Filter{{"built-in", SourceConfiguration, json.RawMessage(`{"id":"built-in","type":"exclude","action":{"type":"drop"}}`)}},
		rules:   RuleSet{SourceConfiguration, json.RawMessage(`{"photo:upload":[{"type":"broadcast"}]}`)},
		dead: []DeadLetter{{ID: "1-0", Channel: "photo:upload", Reason: "validation", At: time.Unix(1, 0).UTC(),
			Event: json.RawMessage(`"{broken"`)}},
		kept: map[string]keptAnswer{},
	}
}

func (w *world) did(format string, args ...any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return w.fail
	}
	if format != "" {
		w.changes = append(w.changes, fmt.Sprintf(format, args...))
	}
	return nil
}

func (w *world) done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.changes)
}

func (w *world) Channel(eventType string) (string, bool) { return events.Channel(eventType) }

func (w *world) Publish(_ context.Context, who auth.Identity, batch []Publication) ([]PublishResult, error) {
	if who.UserID == "" {
		return nil, errors.New("nobody publishes")
	}
	var results []PublishResult
	for _, p := range batch {
		if err := w.did("publish %s %s", p.Channel, p.Event.ID); err != nil {
			return nil, err
		}
		w.mu.Lock()
		w.published = append(w.published, p)
		w.mu.Unlock()
		result := PublishResult{}
		if w.publish != nil {
			result = w.publish(p)
		}
		results = append(results, result)
	}
	return results, nil
}

func (w *world) Metrics(_ context.Context, from, to time.Time) (EventMetrics, error) {
	return EventMetrics{From: from, To: to, EventCounts: EventCounts{Published: 3}}, w.did("")
}

func (w *world) Begin(_ context.Context, key, digest string) (*Answer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, known := w.kept[key]
	switch {
	case w.keepFails != nil:
		return nil, w.keepFails
	case !known:
		w.kept[key] = keptAnswer{digest: digest}
		return nil, nil
	case k.digest != digest:
		return nil, ErrKeyReused
	case k.answer == nil:
		return nil, ErrKeyBusy
	}
	return k.answer, nil
}

func (w *world) Finish(_ context.Context, key, digest string, answer Answer) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept[key] = keptAnswer{digest, &answer}
	return nil
}

func (w *world) Abandon(_ context.Context, key, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.kept, key)
	return nil
}

func (w *world) Connections(_ context.Context, which ConnectionQuery) (ConnectionPage, error) {
	if which.Cursor != "" && which.Cursor != "next" {
		return ConnectionPage{}, Invalid("cursor", "is not one of this list.")
	}
	return ConnectionPage{Connections: []Connection{{SocketID: "s1", UserID: which.UserID}, {SocketID: "s2", Rooms: []string{"r"}, ConnectedAt: time.Unix(1, 0)}}, Next: "next"}, w.did("")
}

func (w *world) socket(id string) error {
	if id != "s1" {
		return NotFound("There is no socket of this id.")
	}
	return nil
}

func (w *world) Disconnect(_ context.Context, id string) error {
	if err := w.socket(id); err != nil {
		return err
	}
	return w.did("disconnect %s", id)
}

func (w *world) Rooms(_ context.Context, page Page) (RoomPage, error) {
	if page.Cursor == "end" {
		return RoomPage{}, w.did("")
	}
	return RoomPage{Rooms: []RoomSize{{"photo:1", 2}}, Next: "end"}, w.did("")
}

func (w *world) Room(_ context.Context, room string, page Page) (Room, error) {
	if room == "photo:1" {
		return Room{RoomSize: RoomSize{room, 1}, Members: []string{"s1"}[:min(1, page.Limit)]}, w.did("")
	}
	return Room{RoomSize: RoomSize{Room: room}}, w.did("")
}

func (w *world) Broadcast(_ context.Context, room, event string, data json.RawMessage) error {
	return w.did("broadcast %s %s %s", room, event, data)
}

func (w *world) Join(_ context.Context, id, room string) error {
	if err := w.socket(id); err != nil {
		return err
	}
	return w.did("join %s %s", id, room)
}

func (w *world) Leave(_ context.Context, id, room string) error {
	if err := w.socket(id); err != nil {
		return err
	}
	return w.did("leave %s %s", id, room)
}

// filterWorld and those below are apart, as their methods have the same names.
type filterWorld struct{ *world }

func checkSpec(spec json.RawMessage) error {
	var s struct{ Type string }
	if err := json.Unmarshal(spec, &s); err != nil || s.Type != "include" && s.Type != "exclude" {
		return InvalidErrors(errors.Join(fmt.Errorf("type: %q: want include or exclude", s.Type), errors.New("action.type: missing")))
	}
	return nil
}

func (w filterWorld) List(context.Context) ([]Filter, error) { return w.filters, w.did("") }

func (w filterWorld) Put(_ context.Context, id string, spec json.RawMessage) (bool, error) {
	if id == "built-in" {
		return false, Conflict("This filter is from the configuration.")
	}
	if err := checkSpec(spec); err != nil {
		return false, err
	}
	i := slices.IndexFunc(w.filters, func(f Filter) bool { return f.ID == id })
	if i >= 0 {
		w.filters[i].Spec = spec
	} else {
		w.filters = append(w.filters, Filter{id, SourceAPI, spec})
	}
	return i < 0, w.did("put filter %s", id)
}

func (w filterWorld) Replace(_ context.Context, specs json.RawMessage) error {
	var list []json.RawMessage
	if err := json.Unmarshal(specs, &list); err != nil {
		return InvalidErrors(err)
	}
	for _, spec := range list {
		if err := checkSpec(spec); err != nil {
			return err
		}
	}
	return w.did("replace filters %d", len(list))
}

func (w filterWorld) Delete(_ context.Context, id string) error {
	i := slices.IndexFunc(w.filters, func(f Filter) bool { return f.ID == id })
	if i < 0 {
		return NotFound("There is no filter of this id.")
	}
	return w.did("delete filter %s", id)
}

type ruleWorld struct{ *world }

func (w ruleWorld) Current(context.Context) (RuleSet, error) { return w.rules, w.did("") }
func (w ruleWorld) Replace(_ context.Context, rules json.RawMessage) error {
	w.rules = RuleSet{SourceAPI, rules}
	return w.did("replace rules")
}
func (w ruleWorld) Reset(context.Context) error { return w.did("reset rules") }

type subscriptionWorld struct{ *world }

func (w subscriptionWorld) List(context.Context) ([]Subscription, error) { return w.subs, w.did("") }

func (w subscriptionWorld) Get(_ context.Context, id string) (Subscription, error) {
	for _, s := range w.subs {
		if s.ID == id {
			return s, w.did("")
		}
	}
	return Subscription{}, NotFound("There is no subscription of this id.")
}

func (w subscriptionWorld) Create(ctx context.Context, spec json.RawMessage) (Subscription, error) {
	var named struct{ ID string }
	_ = json.Unmarshal(spec, &named)
	if named.ID == "" {
		named.ID = "made-up"
	}
	if _, err := w.Get(ctx, named.ID); err == nil {
		return Subscription{}, Conflict("There is one of this id.")
	}
	s, _, err := w.Put(ctx, named.ID, spec)
	return s, err
}

func (w subscriptionWorld) Put(ctx context.Context, id string, spec json.RawMessage) (Subscription, bool, error) {
	var s struct {
		Channel string
		Webhook *struct{ URL string }
	}
	if err := json.Unmarshal(spec, &s); err != nil || s.Webhook == nil {
		return Subscription{}, false, InvalidErrors(errors.New("webhook: missing, want an object with url"))
	}
	_, err := w.Get(ctx, id)
	sub := Subscription{ID: id, Channel: s.Channel, Source: SourceAPI, Spec: json.RawMessage(`{"masked":true}`), State: StateActive}
	if err != nil {
		w.subs = append(w.subs, sub)
	}
	return sub, err != nil, w.did("put subscription %s", id)
}

func (w subscriptionWorld) Delete(ctx context.Context, id string) error {
	if _, err := w.Get(ctx, id); err != nil {
		return err
	}
	return w.did("delete subscription %s", id)
}

type deadWorld struct{ *world }

func (w deadWorld) List(_ context.Context, which DeadLetterQuery, page Page) (DeadLetterPage, error) {
	return DeadLetterPage{DeadLetters: w.dead, Next: which.Channel}, w.did("")
}

func (w deadWorld) Get(_ context.Context, id string) (DeadLetter, error) {
	for _, d := range w.dead {
		if d.ID == id {
			return d, w.did("")
		}
	}
	return DeadLetter{}, NotFound("There is no dead letter of this id.")
}

func (w deadWorld) Replay(ctx context.Context, id string, browsers bool) error {
	if _, err := w.Get(ctx, id); err != nil {
		return err
	}
	return w.did("replay %s %t", id, browsers)
}

func (w deadWorld) ReplayAll(_ context.Context, which DeadLetterQuery, browsers bool) (Replayed, error) {
	return Replayed{2, 1}, w.did("replay all %v %t", which, browsers)
}

func (w deadWorld) Remove(ctx context.Context, id string) error {
	if _, err := w.Get(ctx, id); err != nil {
		return err
	}
	return w.did("remove %s", id)
}

func (w deadWorld) Purge(_ context.Context, which DeadLetterQuery) (int, error) {
	return 4, w.did("purge %v", which)
}

type revocationWorld struct{ *world }

func (w revocationWorld) List(context.Context) ([]auth.Revocation, error) {
	return w.revoked, w.did("")
}
func (w revocationWorld) Add(_ context.Context, r auth.Revocation) error {
	w.revoked = append(w.revoked, r)
	return w.did("revoke %s", r.Key())
}
func (w revocationWorld) Remove(_ context.Context, key string) error {
	if key != "user:mallory" {
		return NotFound("There is no revocation of this id.")
	}
	return w.did("unrevoke %s", key)
}

func (w *world) Level() string { return w.level }
func (w *world) SetLevel(level string) error {
	w.level = level
	return w.did("level %s", level)
}

var (
	theAdmin     = auth.Identity{UserID: "root", Roles: []string{"admin"}, TokenID: "t1"}
	thePublisher = auth.Identity{UserID: "pat", Permissions: []string{"event_bus:publish:photo:upload"}}
	theListener  = auth.Identity{UserID: "lee", Permissions: []string{"event_bus:subscribe:photo:upload"}}
)

func verify(_ context.Context, token string) (auth.Identity, error) {
	switch token {
	case "admin":
		return theAdmin, nil
	case "publisher":
		return thePublisher, nil
	case "listener":
		return theListener, nil
	case "expired":
		return auth.Identity{}, auth.ErrExpired
	case "":
		return auth.Identity{}, auth.ErrMissing
	case "jwks-down":
		return auth.Identity{}, fmt.Errorf("%w: no route to host", auth.ErrUnavailable)
	}
	return auth.Identity{}, auth.ErrInvalid
}

func (w *world) config() APIConfig {
	policy, err := auth.NewPolicy(auth.PolicyConfig{PhotoAccess: auth.PhotoAny}, nil)
	if err != nil {
		panic(err)
	}
	return APIConfig{
		Verify: verify,
		Policy: policy,
		Audit: func(r auth.Record) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.audit = append(w.audit, r)
		},
		Failed: func(_, _ string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.failures = append(w.failures, err)
		},
		Events:        w,
		Idempotency:   w,
		Clients:       w,
		Filters:       filterWorld{w},
		Rules:         ruleWorld{w},
		Subscriptions: subscriptionWorld{w},
		DeadLetters:   deadWorld{w},
		Revocations:   revocationWorld{w},
		LogLevel:      w,
		Stats:         func(context.Context) (Stats, error) { return Stats{Timestamp: time.Unix(1, 0), Replicas: 2}, w.did("") },
		Analysis: func(context.Context) (any, error) {
			return json.RawMessage(`{"eventThroughput":{"eventsPerSecond":1},"connectionPerformance":{},"subscriptionPerformance":{},"recommendations":[]}`), w.did("")
		},
	}
}

func (w *world) handler() http.Handler { return admin(w.config()) }

func admin(cfg APIConfig) http.Handler {
	return NewAdmin(AdminConfig{Ready: func() error { return nil }, Metrics: prometheus.NewRegistry(), API: &cfg})
}

// exchange asks as the admin, and holds what is sent and answered against openapi.json.
func exchange(t *testing.T, h http.Handler, method, target, body string, header ...string) (*http.Response, string) {
	t.Helper()
	all := []string{"Authorization", "Bearer admin"}
	if body != "" {
		all = append(all, "Content-Type", "application/json")
	}
	all = append(all, header...)
	res := ask(h, method, target, body, all...)
	got := bodyOf(t, res)
	theDocument().verify(t, method, target, "application/json", body, res, []byte(got))
	return res, got
}
