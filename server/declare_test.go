package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/routing"
)

// pair is two nodes on one Redis.
func pair(t *testing.T, with setup) (a, b *node) {
	t.Helper()
	url := embeddedRedis(t)
	with.id = "00000000000000a1"
	a = startNode(t, url, with)
	with.id = "00000000000000a2"
	return a, startNode(t, url, with)
}

// drops is a filter that drops events with a field.
func drops(t testing.TB, id, field string) routing.Filter {
	return filter(t, fmt.Sprintf(`{"id":%q,"type":"exclude","conditions":[{"field":"data.%s","operator":"eq","value":true}],"action":{"type":"drop"}}`, id, field))
}

// filterIDs are the ids of the filters in force.
func filterIDs(s *Server) string {
	var ids []string
	for _, f := range s.FilterStats() {
		ids = append(ids, f.ID)
	}
	return strings.Join(ids, " ")
}

// listed is what a method lists, which must work.
func listed[T any](t *testing.T, list func(context.Context) ([]T, int, error)) (all []T, configured int) {
	t.Helper()
	all, configured, err := list(t.Context())
	must(t, err)
	return all, configured
}

// inForce waits until a text is in the rows of a table that are in force.
func (n *node) inForce(table, text string) {
	n.t.Helper()
	d := n.declared
	eventually(n.t, text+" to be in force", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, row := range d.rows[map[string]*adapter.Table{"filters": d.filters, "subscriptions": d.subscriptions}[table]] {
			if strings.Contains(string(row.Value), text) {
				return true
			}
		}
		return false
	})
}

func (n *node) wantFilters(want string) {
	n.t.Helper()
	eventually(n.t, "the filters to be "+want+", not "+filterIDs(n.Server), func() bool { return filterIDs(n.Server) == want })
}

func wantErr(t *testing.T, what string, got, want error, texts ...string) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
		return
	}
	for _, text := range texts {
		if !strings.Contains(got.Error(), text) {
			t.Errorf("%s: got %v, want it to say %q", what, got, text)
		}
	}
}

// What is declared on one replica is in force on all; what cannot be is refused, and changes nothing.
func TestDeclareFilters(t *testing.T) {
	t.Parallel()
	a, b := pair(t, setup{rules: everybody(), declared: Declarations{Filters: []routing.Filter{drops(t, "configured", "x")}}})
	ctx := t.Context()
	must(t, a.AddFilter(ctx, drops(t, "one", "one")))
	if got := filterIDs(a.Server); got != "configured one" {
		t.Errorf("where it was declared: %s", got)
	}
	b.wantFilters("configured one")
	must(t, b.AddFilter(ctx, drops(t, "two", "two")))
	a.wantFilters("configured one two")
	must(t, b.AddFilter(ctx, drops(t, "one", "uno"))) // in the place of the old one

	c := a.connect(t, token(t, "alice"))
	c.quiet()
	for _, n := range []*node{a, b} {
		if all, _ := listed(t, n.Filters); len(all) != 3 || all[1].Conditions[0].Field != "data.uno" {
			t.Errorf("declared are %+v", all)
		}
		n.inForce("filters", "data.uno")
	}
	for i, field := range []string{"x", "one", "uno", "two", "three"} {
		a.add("photo:upload", event(fmt.Sprint(i), "photo.uploaded", `"`+field+`":true`, ""))
	}
	for _, want := range []string{"one", "three"} {
		if e := c.event(); !strings.Contains(e.arg, want) {
			t.Errorf("heard %s, want %s", e.arg, want)
		}
	}

	bad := drops(t, "bad", "x")
	bad.Conditions[0].Operator = "like"
	elsewhere := drops(t, "elsewhere", "x")
	elsewhere.Channels = []string{"photo:nowhere"}
	large := drops(t, "large", "x")
	large.Conditions[0].Value = strings.Repeat("x", 70<<10)
	wantErr(t, "bad operator", a.AddFilter(ctx, bad), ErrInvalidDeclaration, "conditions[0].operator")
	wantErr(t, "unknown channel", a.AddFilter(ctx, elsewhere), ErrInvalidDeclaration, "photo:nowhere")
	wantErr(t, "too large", a.AddFilter(ctx, large), ErrInvalidDeclaration)
	wantErr(t, "configured", a.AddFilter(ctx, drops(t, "configured", "y")), ErrConfigured)
	wantErr(t, "remove a configured one", a.RemoveFilter(ctx, "configured"), ErrConfigured)
	wantErr(t, "remove nothing", a.RemoveFilter(ctx, "nothing"), ErrUnknown)
	wantErr(t, "replace by twice the same", a.ReplaceFilters(ctx, []routing.Filter{drops(t, "x", "x"), drops(t, "x", "x")}), ErrInvalidDeclaration, "filters[1].id")
	wantErr(t, "replace a configured one", a.ReplaceFilters(ctx, []routing.Filter{drops(t, "configured", "x")}), ErrConfigured)
	a.wantFilters("configured one two")

	must(t, a.ReplaceFilters(ctx, []routing.Filter{drops(t, "z", "z"), drops(t, "y", "y")}))
	b.wantFilters("configured z y")
	must(t, b.RemoveFilter(ctx, "z"))
	a.wantFilters("configured y")
}

// There is room for so many, with those of the configuration.
func TestDeclareTooManyFilters(t *testing.T) {
	t.Parallel()
	var base []routing.Filter
	for i := range routing.MaxFilters - 1 {
		base = append(base, drops(t, fmt.Sprint(i), "x"))
	}
	n := startNode(t, embeddedRedis(t), setup{rules: everybody(), declared: Declarations{Filters: base}})
	must(t, n.AddFilter(t.Context(), drops(t, "last", "x")))
	wantErr(t, "one too many", n.AddFilter(t.Context(), drops(t, "more", "x")), adapter.ErrTableFull)
	if all, configured := listed(t, n.Filters); len(all) != routing.MaxFilters || configured != len(base) || len(n.FilterStats()) != len(all) {
		t.Errorf("%d filters, %d of the configuration, %d in force", len(all), configured, len(n.FilterStats()))
	}
}

func TestDeclareRules(t *testing.T) {
	t.Parallel()
	a, b := pair(t, setup{rules: everybody()})
	ctx := t.Context()
	rules := func(name string) map[string][]routing.Rule {
		return map[string][]routing.Rule{"photo:upload": {{Type: "broadcast", EventName: name}}}
	}
	inForce := func(n *node) string { return n.decisions.Load().rules.Spec()["photo:upload"][0].EventName }
	wantRules := func(n *node, want string, wantConfigured bool) {
		t.Helper()
		rules, configured, err := n.Rules(ctx)
		if err != nil || rules["photo:upload"][0].EventName != want || configured != wantConfigured {
			t.Errorf("declared are %v (of the configuration: %v), %v", rules, configured, err)
		}
		eventually(t, "rules to be in force", func() bool { return inForce(n) == want })
	}
	must(t, a.SetRules(ctx, rules("f")))
	if got := inForce(a); got != "f" {
		t.Errorf("where they were declared: %s", got)
	}
	wantRules(b, "f", false)
	wantErr(t, "no such type", a.SetRules(ctx, map[string][]routing.Rule{"photo:upload": {{Type: "shout"}}}), ErrInvalidDeclaration, "type")
	wantErr(t, "another channel", a.SetRules(ctx, map[string][]routing.Rule{"photo:x": {{Type: "broadcast"}}}), ErrInvalidDeclaration, "photo:upload")
	wantErr(t, "no channel", a.SetRules(ctx, nil), ErrInvalidDeclaration)
	must(t, b.ResetRules(ctx))
	must(t, b.ResetRules(ctx))
	wantRules(a, "e", true)
}

// What is in the tables and does not fit is left out, and the rest is in force: when the configuration has changed since,
// or another replica is newer.
func TestDeclaredThatDoesNotFit(t *testing.T) {
	t.Parallel()
	url := embeddedRedis(t)
	r := dialRedis(t, url)
	store, ctx := r.Store("socket.io"), t.Context()
	put := func(table, id, value string) {
		must(t, store.Table(adapter.TableConfig{Name: table}).Put(ctx, id, []byte(value), time.Time{}))
	}
	valid := `{"id":%q,"type":"include",%s"action":{"type":"drop"}}`
	put("filters", "newer", `{"id":"newer","type":"include","action":{"type":"enchant"}}`)
	put("filters", "good", fmt.Sprintf(valid, "good", ""))
	put("filters", "configured", fmt.Sprintf(valid, "configured", ""))
	put("filters", "gone", fmt.Sprintf(valid, "gone", `"channels":["photo:gone"],`))
	put("filters", "better", fmt.Sprintf(valid, "better", ""))
	put("rules", "rules", `{"photo:gone":[{"type":"broadcast"}]}`)
	put("subscriptions", "newer", `{"id":"newer","spell":1}`)
	put("revocations", "newer", `{"curse":1}`)
	put("revocations", "user:eve", fmt.Sprintf(`{"userId":"eve","before":%q,"expires":%q}`,
		time.Now().Add(time.Hour).Format(time.RFC3339), time.Now().Add(2*time.Hour).Format(time.RFC3339)))

	n := startNode(t, url, setup{rules: everybody(), declared: Declarations{Filters: []routing.Filter{drops(t, "configured", "x")}}})
	if got := filterIDs(n.Server); got != "configured good better" {
		t.Errorf("the filters are %s, want configured good better", got)
	}
	if rules := n.decisions.Load().rules.Spec(); len(rules["photo:upload"]) != 1 {
		t.Errorf("the rules are %v, want those of the configuration", rules)
	}
	if n.metric("declarations_refused_total") < 4 {
		t.Errorf("%v refusals were counted", n.metric("declarations_refused_total"))
	}
	eve := n.dial(t, nil)
	eve.send(`0{"token":"` + token(t, "eve") + `"}`)
	if got := eve.next(); got != `4{"message":"Invalid token"}` {
		t.Errorf("who is revoked is answered with %s", got)
	}
}

func TestReload(t *testing.T) {
	t.Parallel()
	n := startNode(t, embeddedRedis(t), setup{rules: everybody(), declared: Declarations{Filters: []routing.Filter{drops(t, "old", "x")}}})
	must(t, n.AddFilter(t.Context(), drops(t, "mine", "y")))
	base := func(ids ...string) Declarations {
		d := Declarations{Rules: everybody()}
		for _, id := range ids {
			d.Filters = append(d.Filters, drops(t, id, "x"))
		}
		return d
	}
	must(t, n.Reload(base("new", "newer")))
	n.wantFilters("new newer mine")
	for name, d := range map[string]Declarations{
		"twice the same id": base("a", "a"),
		"other channels":    {Rules: map[string][]routing.Rule{"photo:x": {{Type: "broadcast"}}}},
		"the design's":      {},
		"bad webhook":       {Rules: everybody(), Subscriptions: []delivery.Spec{{ID: "x", Channel: "photo:upload"}}},
	} {
		if err := n.Reload(d); err == nil {
			t.Errorf("%s: no error", name)
		}
		n.wantFilters("new newer mine")
	}
	must(t, n.Reload(base("mine"))) // the configuration's own comes first
	n.wantFilters("mine")
	must(t, n.Reload(base()))
	n.wantFilters("mine")
	if all, configured := listed(t, n.Filters); configured != 0 || all[0].Conditions[0].Field != "data.y" {
		t.Errorf("got %+v, want what was declared at run time", all)
	}
}

func TestDeclareWebhooks(t *testing.T) {
	t.Parallel()
	rules := everybody()
	rules["photo:other"] = rules["photo:upload"]
	configured := delivery.Spec{ID: "configured", Channel: "photo:upload", Webhook: &delivery.Webhook{URL: "https://example.com/c"}}
	a, b := pair(t, setup{rules: rules, declared: Declarations{Subscriptions: []delivery.Spec{configured}}})
	ctx := t.Context()
	spec := delivery.Spec{ID: "w", Channel: "photo:upload", Webhook: &delivery.Webhook{URL: "https://example.com/hook", Secret: "a secret of some length, for a test"}}
	must(t, a.AddWebhook(ctx, spec))
	groups, err := a.Store.Feed("photo:upload").Groups(ctx)
	must(t, err)
	if len(groups) == 0 {
		t.Error("nothing is kept for it yet")
	}
	all, n := listed(t, b.Webhooks)
	if len(all) != 2 || n != 1 {
		t.Fatalf("%d webhooks, %d of the configuration", len(all), n)
	}
	b.inForce("subscriptions", "example.com/hook")
	if all[1].Webhook.Secret == spec.Webhook.Secret || all[1].CreatedAt.IsZero() {
		t.Errorf("got %+v, want no secret, and when it was made", all[1].Webhook)
	}
	moved := spec
	moved.Channel = "photo:other"
	wantErr(t, "moved", b.AddWebhook(ctx, moved), ErrInvalidDeclaration, "channel")
	nowhere := spec
	nowhere.Webhook = &delivery.Webhook{URL: "ftp://example.com"}
	wantErr(t, "no URL", b.AddWebhook(ctx, nowhere), ErrInvalidDeclaration, "webhook.url")
	wantErr(t, "configured", b.AddWebhook(ctx, configured), ErrConfigured)
	wantErr(t, "remove a configured one", b.RemoveWebhook(ctx, "configured"), ErrConfigured)
	wantErr(t, "remove nothing", b.RemoveWebhook(ctx, "nothing"), ErrUnknown)
	must(t, b.AddWebhook(ctx, spec)) // the same again
	must(t, b.RemoveWebhook(ctx, "w"))
	if all, _ := listed(t, a.Webhooks); len(all) != 1 {
		t.Errorf("%d webhooks are left", len(all))
	}
}

// A token is taken back: on all replicas its connections are closed, and it opens no other, until it is given back.
func TestRevocation(t *testing.T) {
	t.Parallel()
	a, b := pair(t, setup{})
	ctx := t.Context()
	alice, bob := token(t, "alice"), token(t, "bob")
	var closed []*browser
	for _, n := range []*node{a, b} {
		n.connect(t, bob).quiet()
		closed = append(closed, n.connect(t, alice))
	}
	stays := b.connect(t, bob)
	offset := closed[0].joins("subscribe:user", `{"userId":"alice"}`)
	id, err := a.Revoke(ctx, auth.Revocation{UserID: "alice"})
	must(t, err)
	for _, c := range closed {
		c.wantClosed()
	}
	refused := func(n *node, auth string) bool {
		c := n.dial(t, nil)
		c.send("0" + auth)
		got := c.next()
		return got == `4{"message":"Invalid token"}`
	}
	for _, n := range []*node{a, b} {
		if !refused(n, `{"token":"`+alice+`"}`) || !refused(n, fmt.Sprintf(`{"token":%q,"pid":%q,"offset":%q}`, alice, closed[0].pid, offset)) {
			t.Error("let in again")
		}
		if _, err := n.Verify(ctx, alice); !errors.Is(err, auth.ErrRevoked) {
			t.Errorf("Verify says %v", err)
		}
	}
	stays.quiet()
	if got, err := b.Server.Revocations(ctx); err != nil || len(got) != 1 || got[0].UserID != "alice" {
		t.Errorf("the revocations are %+v, %v", got, err)
	}
	_, err = a.Revoke(ctx, auth.Revocation{})
	wantErr(t, "of nobody", err, ErrInvalidDeclaration, "userId")
	wantErr(t, "unknown", a.Unrevoke(ctx, "user:nobody"), ErrUnknown)
	must(t, b.Unrevoke(ctx, id))
	eventually(t, "the first to follow", func() bool { _, err := a.Verify(ctx, alice); return err == nil })
	a.connect(t, alice).quiet()
}

// A connection that comes back while its token is taken back is closed as well.
func TestRevokedWhileConnecting(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["p"] = "alice" })
	alice := token(t, "alice")
	c := b.connect(t, alice)
	offset := c.joins("subscribe:photo", `{"photoId":"p"}`)
	<-b.owners.asked
	c.leave()
	hold := make(chan struct{})
	b.owners.put(func(o *fakeOwners) { o.hold = hold })
	again := b.dial(t, nil)
	again.send(fmt.Sprintf(`0{"token":%q,"pid":%q,"offset":%q}`, alice, c.pid, offset))
	select {
	case <-b.owners.asked: // its token is verified
	case <-time.After(deadline):
		t.Fatal("nobody asks whose the photo is")
	}
	b.revocations.Set([]auth.Revocation{auth.Revocation{UserID: "alice", Before: time.Now().Add(time.Hour)}.Complete(time.Now(), time.Time{})})
	b.closeRevoked()
	close(hold)
	wait(t, "the connection to be closed", again.gone)
}

// What is declared must be known before anything is let through, and anybody in.
func TestStartWithoutTables(t *testing.T) {
	t.Parallel()
	url := embeddedRedis(t)
	client := dialRedis(t, url).Client()
	key := dialRedis(t, url).Store("socket.io").Key("table:revocations")
	must(t, client.Set(t.Context(), key, "not a table", 0).Err())
	n := newNode(t, url, setup{rules: everybody()})
	n.run()
	n.add("photo:upload", event("1", "photo.uploaded", "", ""))
	eventually(t, "the other tables to be read", func() bool {
		n.declared.mu.Lock()
		defer n.declared.mu.Unlock()
		return len(n.declared.rows) == 3
	})
	if err := n.Ready(); !errors.Is(err, errStarting) {
		t.Errorf("Ready says %v", err)
	}
	if got := n.metric("leases_held", "channel", "photo:upload"); got != 0 || len(n.logged()) > 0 {
		t.Errorf("it leads (%v), and has taken %q to the log", got, n.logged())
	}
	must(t, client.Del(t.Context(), key).Err())
	eventually(t, "the server to be ready", func() bool { return n.Ready() == nil })
	eventually(t, "the event to be taken to the log", func() bool { return len(n.logged()) == 1 })
}
