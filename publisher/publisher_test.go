package publisher

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/photo-management/event-bus/events"
	"github.com/redis/go-redis/v9"
)

// deleted, started and batch are valid events, one for each default channel.
func deleted(t *testing.T, photo string) events.Event {
	return newEvent(t, events.PhotoDeleted, map[string]any{"photoId": photo})
}

func started(t *testing.T, photo string) events.Event {
	return newEvent(t, events.PhotoProcessingStarted, map[string]any{"photoId": photo, "jobId": "j", "stages": []string{"resize"}})
}

func batch(t *testing.T) events.Event {
	return newEvent(t, events.BatchProcessingCompleted, map[string]any{"batchId": "b"})
}

func newEvent(t *testing.T, eventType string, data any) events.Event {
	t.Helper()
	e, err := events.New(eventType, data, events.Metadata{Source: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var channels = []string{"photo:upload", "photo:processing", "photo:completion", "elsewhere"}

func TestPublish(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	l := listen(t, client, channels...)
	p := New(client, Config{})
	for channel, ev := range map[string]events.Event{
		"photo:upload": deleted(t, "p"), "photo:processing": started(t, "p"), "photo:completion": batch(t),
	} {
		if err := p.Publish(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
		l.want(channel, string(ev.Raw()))
	}
	ev := deleted(t, "p")
	if err := p.PublishTo(t.Context(), "elsewhere", ev); err != nil {
		t.Fatal(err)
	}
	l.want("elsewhere", string(ev.Raw()))
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	l := listen(t, client, channels...)
	p := New(client, Config{MaxBytes: 1000})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		err  error
		want error
		text string
	}{
		{"against the schema", p.Publish(t.Context(), newEvent(t, events.PhotoUploaded, struct{}{})), events.ErrInvalid, "data.photoId: missing"},
		{"unknown type", p.Publish(t.Context(), newEvent(t, "photo.printed", struct{}{})), events.ErrUnknownType, "photo.printed"},
		{"too large", p.Publish(t.Context(), deleted(t, strings.Repeat("x", 1000))), events.ErrTooLarge, "want at most 1000"},
		{"made by hand", p.Publish(t.Context(), events.Event{ID: "e", Type: events.PhotoDeleted}), events.ErrInvalid, "New or Decode"},
		{"no channel", p.PublishTo(t.Context(), "", deleted(t, "p")), nil, "want the name of a channel"},
		{"canceled", p.Publish(canceled, deleted(t, "p")), context.Canceled, "photo:upload"},
		{"canceled batch", errors.Join(p.PublishBatch(canceled, []events.Event{deleted(t, "p")})...), context.Canceled, "photo:upload"},
	}
	for _, tt := range tests {
		if tt.err == nil || tt.want != nil && !errors.Is(tt.err, tt.want) || !strings.Contains(tt.err.Error(), tt.text) {
			t.Errorf("%s: error %v, want %v with %q", tt.name, tt.err, tt.want, tt.text)
		}
	}
	ev := deleted(t, "p")
	if err := p.Publish(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	l.want("photo:upload", string(ev.Raw())) // the first: nothing that was refused had been sent
}

func TestPublishBatch(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	processing, l := listen(t, client, "photo:processing"), listen(t, client, "photo:upload")
	p := New(client, Config{MaxBytes: 1000, MaxBatch: 5})
	evs := []events.Event{
		started(t, "1"),
		newEvent(t, events.PhotoUploaded, struct{}{}),
		started(t, "2"),
		deleted(t, strings.Repeat("x", 1000)),
		deleted(t, "3"),
	}
	errs := p.PublishBatch(t.Context(), evs)
	for i, want := range []error{nil, events.ErrInvalid, nil, events.ErrTooLarge, nil} {
		if !errors.Is(errs[i], want) {
			t.Errorf("event %d: error %v, want %v", i, errs[i], want)
		}
	}
	processing.want("photo:processing", string(evs[0].Raw()))
	processing.want("photo:processing", string(evs[2].Raw()))
	l.want("photo:upload", string(evs[4].Raw()))

	errs = p.PublishBatch(t.Context(), append(evs, deleted(t, "4")))
	for i, err := range errs {
		if err == nil || !strings.Contains(err.Error(), "want at most 5") {
			t.Errorf("event %d of a batch too large: error %v, want the limit", i, err)
		}
	}
	if len(errs) != 6 || len(p.PublishBatch(t.Context(), nil)) != 0 {
		t.Error("want one result for each event")
	}
	if errs := p.PublishBatch(t.Context(), evs[1:2]); !errors.Is(errs[0], events.ErrInvalid) {
		t.Errorf("batch of nothing valid: %v, want ErrInvalid", errs)
	}
	if err := p.Publish(t.Context(), evs[4]); err != nil {
		t.Fatal(err)
	}
	l.want("photo:upload", string(evs[4].Raw())) // nothing of the larger batch
}

// Redis may refuse one channel and take another.
func TestPublishBatchHasEachAnswer(t *testing.T) {
	t.Parallel()
	admin := startRedis(t)
	if err := admin.Do(t.Context(), "acl", "setuser", "up", "on", ">secret", "+@all", "resetchannels", "&photo:upload").Err(); err != nil {
		t.Fatal(err)
	}
	opts := *admin.Options()
	opts.Username, opts.Password = "up", "secret"
	client := redis.NewClient(&opts)
	t.Cleanup(func() { client.Close() })
	l := listen(t, admin, channels...)
	a, b := deleted(t, "a"), deleted(t, "b")
	errs := New(client, Config{}).PublishBatch(t.Context(), []events.Event{started(t, "x"), a, started(t, "y"), b})
	for i, refused := range []bool{true, false, true, false} {
		if got := errs[i] != nil && strings.Contains(errs[i].Error(), "NOPERM"); got != refused {
			t.Errorf("event %d: error %v, want refused %v", i, errs[i], refused)
		}
	}
	l.want("photo:upload", string(a.Raw()))
	l.want("photo:upload", string(b.Raw()))
}

// A ring subscribes on the shard of the channel's name, and there the message must go.
func TestPublishReachesTheRightShard(t *testing.T) {
	t.Parallel()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{
		"a": miniredis.RunT(t).Addr(), "b": miniredis.RunT(t).Addr(), "c": miniredis.RunT(t).Addr(),
	}})
	t.Cleanup(func() { ring.Close() })
	p := New(ring, Config{})
	for channel, ev := range map[string]events.Event{
		"photo:upload": deleted(t, "p"), "photo:processing": started(t, "p"), "photo:completion": batch(t),
	} {
		l := listen(t, ring, channel)
		if err := errors.Join(append(p.PublishBatch(t.Context(), []events.Event{ev}), p.Publish(t.Context(), ev))...); err != nil {
			t.Fatal(err)
		}
		l.want(channel, string(ev.Raw()))
		l.want(channel, string(ev.Raw()))
	}
	p = New(ring, Config{Durable: true})
	evs := []events.Event{deleted(t, "p"), deleted(t, "q"), started(t, "p"), batch(t)}
	if err := errors.Join(append(p.PublishBatch(t.Context(), evs), p.Publish(t.Context(), evs[3]))...); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, ring, "eventbus:in:photo:upload", evs[0], evs[1])
	wantEntries(t, ring, "eventbus:in:photo:processing", evs[2])
	wantEntries(t, ring, "eventbus:in:photo:completion", evs[3], evs[3])
}

func TestPublishWithoutRedis(t *testing.T) {
	t.Parallel()
	p := New(nowhere(t), Config{Timeout: 100 * time.Millisecond})
	errs := p.PublishBatch(t.Context(), []events.Event{deleted(t, "p"), started(t, "p")})
	for i, err := range append(errs, p.Publish(t.Context(), deleted(t, "p"))) {
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, syscall.ENOENT) {
			t.Errorf("call %d: %v, want that time ran out, and why", i, err)
		}
	}
}

// nowhere is a client for a Redis that is not there.
func nowhere(t *testing.T) *redis.Client {
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: t.TempDir() + "/none", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestPublishToSilentRedis(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client := redis.NewClient(&redis.Options{Addr: server.Addr().String(), ContextTimeoutEnabled: true, ReadTimeout: time.Minute})
	t.Cleanup(func() { client.Close() })
	p := New(client, Config{Timeout: 20 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // half of what the client would wait
	defer cancel()
	if err := p.Publish(ctx, deleted(t, "p")); err == nil {
		t.Error("Publish: no error")
	}
	if err := p.PublishBatch(ctx, []events.Event{deleted(t, "p")})[0]; err == nil {
		t.Error("PublishBatch: no error")
	}
	if ctx.Err() != nil {
		t.Error("Timeout did not end the calls")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("Validate of the zero Config: %v", err)
	}
	want := Config{MaxBytes: 1 << 20, MaxBatch: 1000, Timeout: 5 * time.Second, MaxWaiting: 10_000, Prefix: "eventbus:in:", MaxLen: 100_000}
	if got := (Config{}).withDefaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("withDefaults = %+v, want %+v", got, want)
	}
	if err := (Config{MaxBatch: 20_000}).Validate(); err != nil {
		t.Errorf("Validate of a larger batch: %v", err)
	}
	err := Config{MaxBytes: -1, MaxBatch: -1, Timeout: -1, MaxWaiting: -1, MaxLen: -1, Replicas: -1}.Validate()
	for _, key := range []string{"MaxBytes", "MaxBatch", "Timeout", "MaxWaiting", "MaxLen", "Replicas"} {
		if err == nil || !strings.Contains(err.Error(), "publisher.Config."+key) {
			t.Errorf("Validate: %v, want a word about %s", err, key)
		}
	}
	for _, c := range []Config{{MaxWaiting: 999}, {Replicas: 1}} {
		if c.Validate() == nil {
			t.Errorf("Validate of %+v: no error", c)
		}
	}
}

// Those who have types of their own say which events are good, and where each goes.
func TestPublishAllWithAValidationOfItsOwn(t *testing.T) {
	t.Parallel()
	client := startRedis(t)
	elsewhere, upload := listen(t, client, "elsewhere"), listen(t, client, "photo:upload") // there is no order between channels
	p := New(client, Config{Check: func(ev events.Event) error {
		if ev.Type == "album.shared" {
			return nil
		}
		return events.Validate(ev)
	}})
	shared := newEvent(t, "album.shared", map[string]any{"albumId": "a"})
	other := newEvent(t, "album.closed", map[string]any{})
	gone := deleted(t, "p")
	errs := p.PublishAll(t.Context(), []ChannelEvent{{"elsewhere", shared}, {"elsewhere", other}, {"", gone}, {"", shared}})
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("got %v and %v for what is good", errs[0], errs[2])
	}
	if !errors.Is(errs[1], events.ErrUnknownType) {
		t.Errorf("got %v for a type nobody knows, want ErrUnknownType", errs[1])
	}
	if errs[3] == nil || !strings.Contains(errs[3].Error(), "want the name of a channel") {
		t.Errorf("got %v for a type without a channel, want the field named", errs[3])
	}
	elsewhere.want("elsewhere", string(shared.Raw()))
	upload.want("photo:upload", string(gone.Raw()))
}
