package web

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	w := newWorld()
	h := w.handler()
	bare := `{"type":"photo.uploaded","data":{}}`
	post := func(path, body string, header ...string) (*http.Response, string) {
		return exchange(t, h, "POST", path, body, header...)
	}

	first, answer := post(eventsPath, bare, "Idempotency-Key", "k1")
	if first.StatusCode != 202 || first.Header.Get("Idempotency-Replayed") != "" {
		t.Fatalf("got status %d", first.StatusCode)
	}
	again, same := post(eventsPath, bare, "Idempotency-Key", "k1")
	if again.StatusCode != 202 || same != answer || again.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got status %d, %s, want %s", again.StatusCode, same, answer)
	}
	if len(w.published) != 1 {
		t.Errorf("published %d times", len(w.published))
	}
	for _, c := range []struct {
		name, path, body string
		header           []string
		status, total    int
	}{
		{"another body", eventsPath, goodEvent, []string{"Idempotency-Key", "k1"}, 422, 1},
		{"another query", eventsPath + "?durable=false", bare, []string{"Idempotency-Key", "k1"}, 422, 1},
		{"another operation", batchPath, `{"events":[{"event":` + bare + `}]}`, []string{"Idempotency-Key", "k1"}, 202, 2},
		{"that again", batchPath, `{"events":[{"event":` + bare + `}]}`, []string{"Idempotency-Key", "k1"}, 202, 2},
		{"another caller", eventsPath, bare, []string{"Idempotency-Key", "k1", "Authorization", "Bearer publisher"}, 202, 3},
		{"another key", eventsPath, bare, []string{"Idempotency-Key", "k2"}, 202, 4},
		{"no key", eventsPath, bare, nil, 202, 5},
		{"a long key", eventsPath, bare, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, 5},
		{"an odd key", eventsPath, bare, []string{"Idempotency-Key", "k\u00e9"}, 400, 5},
		{"an empty key", eventsPath, bare, []string{"Idempotency-Key", ""}, 400, 5},
	} {
		res, body := post(c.path, c.body, c.header...)
		if res.StatusCode != c.status || len(w.published) != c.total {
			t.Errorf("%s: got status %d, %d published, want %d, %d: %s", c.name, res.StatusCode, len(w.published), c.status, c.total, body)
		}
	}
	ids := map[string]bool{}
	for _, p := range w.published {
		ids[p.Event.ID] = true
	}
	if len(ids) != len(w.published) {
		t.Errorf("an id was made twice: %v", ids)
	}
}

// The id that is made for an event is the same each time, so that the bus knows it even where the kept answer got lost.
func TestIdempotencyKeyMakesTheSameIDs(t *testing.T) {
	t.Parallel()
	body := `{"events":[{"event":{"type":"photo.uploaded","data":{}}},{"event":{"type":"photo.uploaded","data":{}}}]}`
	var ids [2][]string
	for i := range ids {
		w := newWorld()
		exchange(t, w.handler(), "POST", batchPath, body, "Idempotency-Key", "k")
		for _, p := range w.published {
			ids[i] = append(ids[i], p.Event.ID)
		}
	}
	if len(ids[0]) != 2 || ids[0][0] == ids[0][1] || ids[0][0] != ids[1][0] || ids[0][1] != ids[1][1] {
		t.Errorf("got %v", ids)
	}
}

// What may turn out otherwise is tried again; what will not, is not.
func TestIdempotencyKeyAfterAFailure(t *testing.T) {
	t.Parallel()
	batch := `{"events":[{"event":` + goodEvent + `}]}`
	for _, c := range []struct {
		name, path, body string
		err              error
		status, then     int
	}{
		{"unavailable", eventsPath, goodEvent, Unavailable("Redis is away.", time.Second), 503, 202},
		{"unknown", eventsPath, goodEvent, errors.New("secret"), 500, 202},
		{"too many", eventsPath, goodEvent, TooMany(time.Second), 429, 202},
		{"invalid", eventsPath, goodEvent, Invalid("data", "is wrong."), 422, 422},
		{"unavailable, of a batch", batchPath, batch, Unavailable("Redis is away.", time.Second), 207, 202},
		{"invalid, of a batch", batchPath, batch, Invalid("data", "is wrong."), 207, 207},
	} {
		w := newWorld()
		h := w.handler()
		w.publish = func(Publication) PublishResult { return PublishResult{Err: c.err} }
		if res, body := exchange(t, h, "POST", c.path, c.body, "Idempotency-Key", "k"); res.StatusCode != c.status {
			t.Errorf("%s: got status %d, want %d: %s", c.name, res.StatusCode, c.status, body)
		}
		w.publish = nil
		if res, body := exchange(t, h, "POST", c.path, c.body, "Idempotency-Key", "k"); res.StatusCode != c.then {
			t.Errorf("%s: then got status %d, want %d: %s", c.name, res.StatusCode, c.then, body)
		}
	}
}

func TestIdempotencyKeyInUse(t *testing.T) {
	t.Parallel()
	w := newWorld()
	begun, release := make(chan struct{}), make(chan struct{})
	w.publish = func(Publication) PublishResult {
		close(begun)
		<-release
		return PublishResult{}
	}
	h := w.handler()
	first := make(chan int)
	go func() {
		res := ask(h, "POST", eventsPath, goodEvent, "Authorization", "Bearer admin", "Content-Type", "application/json", "Idempotency-Key", "k")
		first <- res.StatusCode
	}()
	<-begun
	res, _ := exchange(t, h, "POST", eventsPath, goodEvent, "Idempotency-Key", "k")
	if res.StatusCode != http.StatusConflict || res.Header.Get("Retry-After") != "1" {
		t.Errorf("got status %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
	close(release)
	if got := <-first; got != 202 {
		t.Errorf("the first got status %d", got)
	}
}

func TestIdempotencyNeedsAStore(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := w.config()
	cfg.Idempotency = nil
	if res, _ := exchange(t, admin(cfg), "POST", eventsPath, goodEvent, "Idempotency-Key", "k"); res.StatusCode != http.StatusNotImplemented {
		t.Errorf("without: got status %d", res.StatusCode)
	}
	w.keepFails = errors.New("redis: secret")
	if res, _ := exchange(t, w.handler(), "POST", eventsPath, goodEvent, "Idempotency-Key", "k"); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("broken: got status %d", res.StatusCode)
	}
	if len(w.published) != 0 {
		t.Errorf("published %d", len(w.published))
	}
}
