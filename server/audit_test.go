package server

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
)

// Whatever is refused is in the audit once, with who and what it was about, and never what it said.
func TestAudit(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit")
	var audit *auth.Audit
	limits := auth.Limits{Connections: auth.LimitConfig{Enabled: true, Max: 2, Window: time.Hour}}
	limits.Events.PerConnection = auth.Bucket{Rate: 0.001, Burst: 4}
	n := newNode(t, embeddedRedis(t), setup{
		rules: everybody(), declared: strict(t), limit: limits.Connections, config: Config{Limits: limits},
		parts: func(p *Parts) {
			var err error
			audit, err = auth.NewAudit(auth.AuditConfig{Sink: auth.AuditFile, File: file}, "me", nil, zap.NewNop(), p.Metrics)
			must(t, err)
			p.Audit = audit
		},
	})
	writing, stop := context.WithCancel(context.Background())
	written := make(chan struct{})
	go func() { defer close(written); _ = audit.Run(writing) }()
	t.Cleanup(func() { stop(); <-written })
	n.run()
	eventually(t, "the server to be ready", func() bool { return n.Ready() == nil })

	alice := token(t, "alice")
	c := n.connect(t, alice)
	wantDenied(t, c, "subscribe:photo", `{"photoId":"p"}`)
	wantDenied(t, c, "subscribe:user", `{"userId":"bob"}`)
	c.call("heartbeat") // one too many
	for _, auth := range []string{`{"token":"x.secret.y"}`, `{"token":"` + alice + `"}`, `{"token":"` + alice + `"}`} {
		again := n.dial(t, nil)
		again.send("0" + auth)
		again.next()
	}
	for range 2 { // the second time they are dead letters already
		for _, tt := range ingestion {
			n.add("photo:upload", tt.payload)
		}
	}
	n.add("photo:upload", event("last", "photo.uploaded", "", ""))
	eventually(t, "all to be taken in", func() bool {
		logged := n.logged()
		return len(logged) > 0 && strings.Contains(logged[len(logged)-1], "last")
	})
	n.Publish(t.Context(), auth.Identity{UserID: "mallory"}, Publication{Event: decoded(t, event("m", "photo.uploaded", `"x":"secret"`, ""))})
	n.Publish(t.Context(), auth.Identity{UserID: "root", Roles: []string{AdminRole}},
		Publication{Event: decoded(t, event("s", "photo.printed", `"copies":"secret"`, ""))})
	_, err := n.Revoke(t.Context(), auth.Revocation{UserID: "alice"})
	must(t, err)
	wait(t, "the connection to be closed", c.gone)
	n.stop()
	must(t, n.ended())
	stop()
	<-written

	text, err := os.ReadFile(file)
	must(t, err)
	if strings.Contains(string(text), "secret") || strings.Contains(string(text), alice) {
		t.Errorf("the audit quotes what it must not:\n%s", text)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		var r auth.Record
		must(t, json.Unmarshal([]byte(line), &r))
		got = append(got, strings.Join([]string{string(r.Event), r.UserID, r.Channel + r.Target, r.Action, r.EventID}, " "))
	}
	want := []string{
		"client_authenticated alice   ", "photo_access_denied alice photo:p subscribe ", "user_access_denied alice user:bob subscribe ",
		"rate_limit_exceeded alice  heartbeat ", "authentication_failed    ", "client_authenticated alice   ", "rate_limit_exceeded alice  connect ",
		"event_validation_failed  photo:upload  ", "event_validation_failed  photo:upload  6", "event_validation_failed  photo:upload  7",
		"event_validation_failed  photo:upload  9", "rate_limit_exceeded  photo:upload publish 11",
		"channel_access_denied mallory photo:upload publish ", "event_validation_failed root photo:upload  s",
		"token_revoked alice   ", "token_revoked alice   ",
	}
	if !slices.Equal(sorted(got), sorted(want)) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(sorted(got), "\n"), strings.Join(sorted(want), "\n"))
	}
}

// Without a store, what counts for all replicas is refused, as everything would wait for it.
func TestNothingToCountIn(t *testing.T) {
	t.Parallel()
	b := newBus(t, setup{})
	throttle := Declarations{Filters: strict(t).Filters}
	limit := Declarations{Validation: map[string][]events.ValidatorSpec{"photo.deleted": strict(t).Validation["photo.deleted"]}}
	wantErr(t, "a throttle", b.Reload(throttle), ErrNoStore, "filters[3].action.type")
	wantErr(t, "a limit", b.Reload(limit), ErrNoStore, "security.eventValidation.photo.deleted[0].type")
	for _, d := range []Declarations{throttle, limit} {
		if _, err := New(Config{}, Parts{Declared: d, Log: newFakeLog(), Verifier: b.Verifier, Policy: b.Policy}); err == nil {
			t.Error("no error")
		}
	}
	must(t, b.Reload(Declarations{Filters: strict(t).Filters[:3]}))
}
