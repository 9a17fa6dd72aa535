package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// Each event of a batch has a result of its own, and those that are published keep their order on their channel.
func TestPublishBatch(t *testing.T) {
	t.Parallel()
	onBoth(t, testPublishBatch)
}

func testPublishBatch(t *testing.T, url string) {
	outbound := func(text string) routing.Filter {
		return filter(t, strings.Replace(text, `"type"`, `"direction":"outbound","type"`, 1))
	}
	n := startNode(t, url, setup{
		rules: map[string][]routing.Rule{
			"photo:upload":     {{Type: "broadcast", EventName: "u"}},
			"photo:processing": {{Type: "broadcast", EventName: "p"}},
		},
		declared: Declarations{
			Filters: []routing.Filter{
				outbound(`{"id":"secret","type":"exclude","conditions":[{"field":"data.secret","operator":"eq","value":true}],"action":{"type":"drop"}}`),
				outbound(`{"id":"sign","type":"include","conditions":[{"field":"data.sign","operator":"eq","value":true}],
					"action":{"type":"transform","params":{"addFields":{"by":"us"}}}}`),
			},
			Validation: map[string][]events.ValidatorSpec{
				"photo.deleted": {{Name: "cleaners", Type: events.PermissionValidator, Permission: "photo:delete:*"}},
				"photo.processing.failed": {{Name: "few", Type: events.RateLimitValidator,
					Config: events.RateSpec{Key: "{userId}:{eventType}", Window: 3600, Limit: 1}}},
			},
		},
	})
	c := n.connect(t, token(t, "alice"))
	c.quiet()
	pub := func(id, kind, data string) Publication {
		return Publication{Event: decoded(t, event(id, kind, data, ""))}
	}
	to := func(p Publication, channel string, plain bool) Publication {
		p.Channel, p.Plain = channel, plain
		return p
	}
	user := auth.Identity{UserID: "u", Permissions: []string{"event_bus:publish:photo:upload", "event_bus:publish:photo:processing"}}
	const failed = `"photoId":"p","jobId":"j","stage":"s","retryable":true,"error":{"code":"c","message":"m"}`
	for _, tt := range []struct {
		name    string
		who     auth.Identity
		p       Publication
		channel string // want
		dropped string
		err     error
		says    string
		heard   string // "" means nothing
	}{
		{"no permission for the type, on its channel", user, pub("1", "photo.deleted", `"photoId":"p"`), "photo:upload", "", auth.ErrDenied, "photo:delete:*", ""},
		{"no permission for the channel", auth.Identity{UserID: "x"}, pub("2", "photo.uploaded", `"photoId":"p"`), "photo:upload", "", auth.ErrDenied, "", ""},
		{"an admin", auth.Identity{UserID: "x", Roles: []string{AdminRole}}, to(pub("3", "x.y", ""), "photo:upload", false), "photo:upload", "", nil, "", "3"},
		{"no channel", user, pub("4", "x.y", ""), "", "", events.ErrInvalid, "channel", ""},
		{"unknown channel", user, to(pub("5", "x.y", ""), "photo:nowhere", false), "photo:nowhere", "", events.ErrInvalid, "photo:processing, photo:upload", ""},
		{"emitters' channel", user, to(pub("6", "x.y", ""), EmitterChannel, false), EmitterChannel, "", events.ErrInvalid, "", ""},
		{"no event at all", user, Publication{Channel: "photo:upload"}, "photo:upload", "", events.ErrInvalid, "", ""},
		{"against its schema", user, pub("7", "photo.processing.started", `"photoId":7`), "photo:processing", "", events.ErrInvalid, "data.photoId", ""},
		{"dropped", user, to(pub("8", "x.y", `"secret":true`), "photo:upload", false), "photo:upload", "secret", nil, "", ""},
		{"changed", user, to(pub("9", "x.y", `"sign":true`), "photo:upload", false), "photo:upload", "", nil, "", `"by":"us"`},
		{"plain", user, to(pub("10", "x.y", ""), "photo:upload", true), "photo:upload", "", nil, "", "10"},
	} {
		got := n.Publish(t.Context(), tt.who, tt.p)
		if got.Channel != tt.channel || got.Dropped != tt.dropped || !errors.Is(got.Err, tt.err) ||
			tt.err != nil && !strings.Contains(got.Err.Error(), tt.says) {
			t.Errorf("%s: got %+v", tt.name, got)
		}
		if tt.heard != "" {
			if e := c.event(); !strings.Contains(e.arg, tt.heard) {
				t.Errorf("%s: heard %s", tt.name, e.arg)
			}
		}
	}
	c.quiet()

	var batch []Publication
	for i := range 6 {
		batch = append(batch, to(pub(fmt.Sprintf("u%d", i), "x.y", fmt.Sprintf(`"secret":%v`, i == 3)), "photo:upload", false))
		batch = append(batch, to(pub(fmt.Sprintf("p%d", i), "x.y", ""), "photo:processing", false))
	}
	for i := range 2 { // one may pass
		batch = append(batch, to(pub(fmt.Sprintf("f%d", i), "photo.processing.failed", failed), "photo:processing", false))
	}
	all := map[string]string{}
	for i, r := range n.PublishBatch(t.Context(), user, batch) {
		switch id := batch[i].Event.ID; {
		case id == "u3":
			if r.Dropped != "secret" || r.Err != nil {
				t.Errorf("%s: %+v, want it dropped", id, r)
			}
		case strings.HasPrefix(id, "f") && errors.Is(r.Err, ErrLimited):
			all["limited"] += id
		case r.Err != nil || r.Dropped != "":
			t.Errorf("%s: %+v", id, r)
		}
	}
	if all["limited"] != "f1" {
		t.Errorf("limited are %q, want f1", all["limited"])
	}
	for range 12 {
		e := c.event()
		all[e.name] += eventID([]byte(e.arg))
	}
	if all["u"] != "u0u1u2u4u5" || all["p"] != "p0p1p2p3p4p5f0" {
		t.Errorf("heard %v", all)
	}
	must(t, n.Tally.Run(canceled())) // takes to Redis what there is
	m, err := n.EventMetrics(t.Context(), time.Now().Add(-time.Minute), time.Now())
	must(t, err)
	if m.Published == 0 || m.Filtered != 2 || m.ByChannel["photo:upload"].Filtered != 2 || m.Errors != 0 || m.Published != n.EventTotals().Published {
		t.Errorf("metrics are %+v, totals %+v", m, n.EventTotals())
	}
	if m, err := n.EventMetrics(t.Context(), time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)); err != nil || m.EventCounts != (EventCounts{}) {
		t.Errorf("an hour ago there were %+v, %v", m, err)
	}
}

// canceled is a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// collector is a handler that keeps what it gets.
type collector struct {
	mu  sync.Mutex
	ids []string
}

func (c *collector) handle(_ context.Context, ev events.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids = append(c.ids, ev.ID)
	return nil
}

func (c *collector) got() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return sorted(c.ids)
}

// A durable handler is run by one of the replicas that declare it, a temporary one by its own. Both get each event that was
// accepted once, and none that was not.
func TestSubscribeHandlers(t *testing.T) {
	t.Parallel()
	a, b := pair(t, setup{rules: everybody(), declared: strict(t)})
	var durable, temporary, none collector
	for _, n := range []*node{a, b} {
		_, err := n.Subscribe(delivery.HandlerSpec{ID: "mine", Channel: "photo:upload", Handler: durable.handle, Filter: json.RawMessage(`{"eventTypes":["photo.uploaded"]}`)})
		must(t, err)
	}
	if _, err := a.Subscribe(delivery.HandlerSpec{Channel: "photo:nowhere", Handler: none.handle}); err == nil {
		t.Error("a channel that there is not: no error")
	}
	h, err := b.Subscribe(delivery.HandlerSpec{Channel: "photo:upload", Handler: temporary.handle})
	must(t, err)
	wait(t, "the temporary one to be served", h.Ready())
	eventually(t, "the durable one to be served", func() bool {
		groups, err := a.Store.Feed("photo:upload").Groups(t.Context())
		must(t, err)
		return len(groups) == 2
	})
	var want, wantTemporary []string
	for _, tt := range ingestion {
		a.add("photo:upload", tt.payload)
		if id := eventID([]byte(tt.payload)); tt.want != "" {
			wantTemporary = append(wantTemporary, id)
			if strings.Contains(tt.want, "photo.uploaded") {
				want = append(want, id)
			}
		}
	}
	eventually(t, "all to be handled", func() bool { return len(durable.got()) >= len(want) && len(temporary.got()) >= len(wantTemporary) })
	if got := durable.got(); !slices.Equal(got, sorted(want)) {
		t.Errorf("the durable one got %q, want %q", got, sorted(want))
	}
	if got := temporary.got(); !slices.Equal(got, sorted(wantTemporary)) {
		t.Errorf("the temporary one got %q, want %q", got, sorted(wantTemporary))
	}
	h.Unsubscribe()
	eventually(t, "what it left to be gone", func() bool {
		groups, err := a.Store.Feed("photo:upload").Groups(t.Context())
		return err == nil && len(groups) == 1
	})
}

// Rooms and sockets are those of all replicas, whichever is asked.
func TestRoomsOfAllReplicas(t *testing.T) {
	t.Parallel()
	a, b := pair(t, setup{})
	ctx := t.Context()
	one, two := a.connect(t, token(t, "one")), b.connect(t, token(t, "two"))
	one.joins("identify", `{"clientId":"c1","sessionId":"s1"}`)
	two.joins("identify", `{"clientId":"c2"}`)
	wantCount := func(n *node, room string, want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%d to be in %s", want, room), func() bool {
			got, err := n.Count(ctx, room)
			return err == nil && got == want
		})
	}
	must(t, a.Join(two.sid, "team"))
	must(t, b.Join(one.sid, "team"))
	wantCount(a, "team", 2)
	wantCount(b, "team", 2)
	members, err := b.Members(ctx, "client:c1")
	must(t, err)
	if len(members) != 1 || members[0].ID != one.sid || ReadClient(members[0]) != (Client{"one", "c1", "s1"}) {
		t.Errorf("members are %+v", members)
	}
	if all, err := a.Clients(ctx); err != nil || len(all) != 2 {
		t.Errorf("clients are %+v, %v", all, err)
	}
	must(t, a.Broadcast("team", "hello", map[string]int{"n": 1}))
	one.want("hello", `{"n":1}`)
	two.want("hello", `{"n":1}`)
	must(t, b.Leave(one.sid, "team"))
	wantCount(a, "team", 1)
	if a.Broadcast("", "hello", 1) == nil {
		t.Error("broadcast to no room: no error")
	}
	if got := a.ConnectionMetrics(); got.ActiveConnections != 1 || got.TotalConnections != 1 || got.Disconnections != 0 || got.ActiveRooms == 0 {
		t.Errorf("the connections of one are %+v", got)
	}
	must(t, b.Disconnect(one.sid))
	if got := one.next(); got != "1" {
		t.Errorf("got %s, want a DISCONNECT", got)
	}
	eventually(t, "it to be counted", func() bool { return a.ConnectionMetrics().Disconnections == 1 })
	wantCount(b, "client:c1", 0)
}

// Who sends too much is told so, and stays; others are not concerned.
func TestPace(t *testing.T) {
	t.Parallel()
	limits := auth.Limits{Connections: auth.LimitConfig{Enabled: true}, Events: auth.EventLimits{PerConnection: auth.Bucket{Rate: 0.001, Burst: 3}}}
	users, err := auth.NewSharedLimiter("events", auth.LimitConfig{Enabled: true, Max: 4, Window: time.Hour}, nil, prometheus.NewRegistry())
	must(t, err)
	b := newBus(t, setup{limit: limits.Connections, config: Config{Limits: limits}, parts: func(p *Parts) { p.UserEvents = users }})
	b.run()
	close(b.source.subscribed)
	const tooMany = `{"event":"heartbeat","message":"Rate limit exceeded"}`
	beat := func(c *browser) bool {
		e, ack := c.call("heartbeat")
		if e.name == "error" && (e.arg != tooMany || ack != `{"ok":false,"error":"Rate limit exceeded"}`) {
			t.Errorf("got %s %s and %s", e.name, e.arg, ack)
		}
		return e.name == "heartbeat"
	}
	first := b.connect(t, token(t, "alice"))
	for i := range 5 {
		if got := beat(first); got != (i < 3) {
			t.Errorf("event %d of the connection passes: %v", i+1, got)
		}
	}
	second := b.connect(t, token(t, "alice"))
	if !beat(second) || beat(second) { // her fourth, and fifth
		t.Error("a user's fifth event passes, or the fourth does not")
	}
	if !beat(b.connect(t, token(t, "bob"))) {
		t.Error("somebody else is refused")
	}
	b.wantMetric(3, "client_events_refused_total")

	limits.Events.PerConnection = auth.Bucket{}
	limits.Events.PerUser = auth.Allowance{Max: 1000}
	must(t, b.ReloadLimits(limits))
	third := b.connect(t, token(t, "carol")) // what alice has had counts on
	for i := range 10 {
		if !beat(third) {
			t.Errorf("event %d is refused after the limits were lifted", i+1)
		}
	}
	if b.ReloadLimits(auth.Limits{PerIP: auth.Allowance{Max: -1}}) == nil {
		t.Error("limits that are wrong: no error")
	}
}

// A connection may outlive its token; a new one may not begin with it.
func TestKeepOnExpiry(t *testing.T) {
	t.Parallel()
	b := start(t, setup{config: Config{OnExpiry: auth.KeepOnExpiry}, jwt: auth.Config{Leeway: time.Minute}})
	expired := tokenUntil(t, time.Now().Add(-time.Second)) // which clocks that differ excuse
	c := b.connect(t, expired)
	c.quiet()
	if b.only().timer() != nil {
		t.Error("the end of the connection is set")
	}
	late := b.dial(t, nil)
	late.send(`0{"token":"` + tokenUntil(t, time.Now().Add(-time.Hour)) + `"}`)
	if got := late.next(); got != `4{"message":"Invalid token"}` {
		t.Errorf("who is late is answered with %s", got)
	}
	c.quiet()
}
