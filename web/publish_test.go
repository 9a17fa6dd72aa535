package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/events"
)

const (
	eventsPath = "/api/v1/events"
	batchPath  = "/api/v1/events/batch"
)

// What a caller need not give is filled in; what it gave stays as it was.
func TestPublishCompletesEvents(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, body string
		want       string // pattern of the event as it is published
	}{
		{"complete", " " + goodEvent + "\n", regexp.QuoteMeta(goodEvent)},
		{"complete, oddly written", `{"timestamp":"2026-01-02T15:04:05Z","metadata":{"version":"1","source":"<s>"},"extra":[1.50],"data":{"b":1,"a":1e3},"type":"photo.uploaded","id":"e"}`,
			`^\{"timestamp":.*"<s>"\},"extra":\[1\.50\],"data":\{"b":1,"a":1e3\},"type":"photo.uploaded","id":"e"\}$`},
		{"bare", `{"type":"photo.uploaded","data":{"b":"<&>","a":1.50}}`,
			`^\{"data":\{"b":"<&>","a":1\.50\},"id":"[A-Z2-7]{26}","metadata":\{"source":"root","version":"1.0"\},"timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","type":"photo.uploaded"\}$`},
		{"nulls", `{"id":null,"timestamp":null,"type":"photo.uploaded","data":{},"metadata":{"source":"s","version":null}}`,
			`^\{"data":\{\},"id":"[A-Z2-7]{26}","metadata":\{"source":"s","version":"1.0"\},"timestamp":"[^"]+","type":"photo.uploaded"\}$`},
		{"CloudEvent", `{"specversion":"1.0","id":"c1","source":"/uploader","type":"photo.uploaded","time":"2026-01-02T15:04:05Z","data":{"photoId":"p"}}`,
			`"id":"c1"`},
		{"bare CloudEvent", `{"specversion":"1.0","source":"/uploader","type":"photo.uploaded","data":{"photoId":"p"}}`,
			`^\{"id":"[A-Z2-7]{26}","type":"photo.uploaded","data":\{"photoId":"p"\},"metadata":\{"source":"/uploader","version":"1.0"\},"timestamp":"[^"]+"\}$`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			res, body := exchange(t, w.handler(), "POST", eventsPath, c.body)
			if res.StatusCode != http.StatusAccepted || len(w.published) != 1 {
				t.Fatalf("got status %d: %s", res.StatusCode, body)
			}
			p := w.published[0]
			if got := string(p.Event.Raw()); !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			if p.Channel != events.ChannelUpload || p.Plain {
				t.Errorf("got channel %q, plain %t", p.Channel, p.Plain)
			}
			if !strings.Contains(body, `"id":"`+p.Event.ID+`"`) {
				t.Errorf("got %s, want the id %s", body, p.Event.ID)
			}
		})
	}
}

func TestPublishPlain(t *testing.T) {
	t.Parallel()
	w := newWorld()
	exchange(t, w.handler(), "POST", eventsPath+"?durable=false", goodEvent)
	exchange(t, w.handler(), "POST", batchPath+"?durable=false", `{"events":[{"event":`+goodEvent+`}]}`)
	if len(w.published) != 2 || !w.published[0].Plain || !w.published[1].Plain {
		t.Errorf("got %+v", w.published)
	}
}

func TestPublishAsksForThePermission(t *testing.T) {
	t.Parallel()
	processing := strings.Replace(goodEvent, "photo.uploaded", "photo.processing.started", 1)
	for _, c := range []struct {
		token, path, body string
		status            int
	}{
		{"publisher", eventsPath, goodEvent, 202},
		{"publisher", eventsPath + "?channel=photo:upload", processing, 202},
		{"publisher", eventsPath, processing, 403},
		{"publisher", eventsPath + "?channel=photo:processing", goodEvent, 403},
		{"admin", eventsPath + "?channel=anything", goodEvent, 202},
		{"publisher", batchPath, `{"events":[{"event":` + processing + `}]}`, 207},
	} {
		w := newWorld()
		res, body := exchange(t, w.handler(), "POST", c.path, c.body, "Authorization", "Bearer "+c.token)
		if res.StatusCode != c.status {
			t.Errorf("%s %s: got status %d, want %d: %s", c.token, c.path, res.StatusCode, c.status, body)
		}
		if (len(w.published) == 1) != (c.status == 202) {
			t.Errorf("%s %s: published %d", c.token, c.path, len(w.published))
		}
	}
	cfg := newWorld().config()
	cfg.Policy = nil
	if res, _ := exchange(t, admin(cfg), "POST", eventsPath, goodEvent, "Authorization", "Bearer publisher"); res.StatusCode != http.StatusForbidden {
		t.Errorf("without a policy: got status %d", res.StatusCode)
	}
}

func TestPublishTellsWhatBecameOfIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		result   PublishResult
		status   int
		contains string
	}{
		{PublishResult{Filter: "f1"}, 202, `"status":"dropped","filter":"f1"`},
		{PublishResult{Err: InvalidErrors(errors.New("data.photoId: missing"))}, 422, `"errors":[{"field":"data.photoId","detail":"missing"}]`},
		{PublishResult{Err: Unavailable("Redis is away.", time.Second)}, 503, "Redis is away."},
		{PublishResult{Err: errors.New("secret")}, 500, "on our side"},
	} {
		w := newWorld()
		w.publish = func(Publication) PublishResult { return c.result }
		res, body := exchange(t, w.handler(), "POST", eventsPath, goodEvent)
		if res.StatusCode != c.status || !strings.Contains(body, c.contains) {
			t.Errorf("%+v: got status %d: %s", c.result, res.StatusCode, body)
		}
	}
}

// Each event of a batch has its own answer, in order, and the good ones are published together.
func TestPublishBatch(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.publish = func(p Publication) PublishResult {
		switch p.Event.ID {
		case "dropped":
			return PublishResult{Filter: "f"}
		case "invalid":
			return PublishResult{Err: Invalid("data", "is not as its schema says.")}
		}
		return PublishResult{}
	}
	event := func(id string) string { return strings.Replace(goodEvent, `"e1"`, `"`+id+`"`, 1) }
	res, body := exchange(t, w.handler(), "POST", batchPath, `{"events":[
		{"event":`+event("a")+`},
		{"event":7},
		{"event":null},
		{"event":`+event("dropped")+`},
		{"event":`+event("b")+`,"channel":"other"},
		{"event":`+event("c")+`,"channel":""},
		{"event":`+event("invalid")+`},
		{"event":{"type":"unheard-of","data":{}}}
	]}`)
	if res.StatusCode != http.StatusMultiStatus {
		t.Errorf("got status %d", res.StatusCode)
	}
	var answer struct{ Results []eventAnswer }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range answer.Results {
		line := fmt.Sprintf("%s %s %s", r.ID, r.Channel, r.Status)
		if r.Error != nil {
			line += fmt.Sprint(" ", r.Error.Status)
		}
		got = append(got, strings.TrimSpace(line))
	}
	want := []string{"a photo:upload accepted", "refused 400", "refused 400", "dropped photo:upload dropped", "b other accepted",
		"refused 400", "invalid photo:upload refused 422"}
	if len(got) != 8 || !slices.Equal(got[:7], want) || !strings.HasSuffix(got[7], "refused 400") {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := strings.Join(w.done(), "; "), "publish photo:upload a; publish photo:upload dropped; publish other b; publish photo:upload invalid"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPublishBatchOfNothingGood(t *testing.T) {
	t.Parallel()
	w := newWorld()
	res, _ := exchange(t, w.handler(), "POST", batchPath, `{"events":[{"event":{}}]}`)
	if res.StatusCode != http.StatusMultiStatus || len(w.done()) != 0 {
		t.Errorf("got status %d, did %v", res.StatusCode, w.done())
	}
}

func TestPublishLimitsOneEventOfABatch(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := w.config()
	cfg.MaxEvent = 200
	_, body := exchange(t, admin(cfg), "POST", batchPath, `{"events":[{"event":`+goodEvent+`},{"event":{"type":"photo.uploaded","data":{"a":"`+strings.Repeat("x", 200)+`"}}}]}`)
	if !strings.Contains(body, `"status":413`) || len(w.published) != 1 {
		t.Errorf("got %s", body)
	}
}

type shortEvents struct{ *world }

func (shortEvents) Publish(context.Context, auth.Identity, []Publication) ([]PublishResult, error) {
	return []PublishResult{}, nil
}

func TestPublishNeedsAResultForEach(t *testing.T) {
	t.Parallel()
	w := newWorld()
	cfg := w.config()
	cfg.Events = shortEvents{w}
	if res, _ := exchange(t, admin(cfg), "POST", eventsPath, goodEvent); res.StatusCode != http.StatusInternalServerError {
		t.Errorf("got status %d", res.StatusCode)
	}
}

func FuzzPublish(f *testing.F) {
	for _, c := range bad {
		if strings.HasPrefix(c.path, "/events") && len(c.body) < 2000 {
			f.Add(strings.HasPrefix(c.path, "/events/batch"), c.body)
		}
	}
	f.Add(false, goodEvent)
	f.Add(false, `{"specversion":"1.0","id":"c1","source":"/u","type":"photo.uploaded","data":{}}`)
	f.Add(true, `{"events":[{"event":`+goodEvent+`,"channel":"c"},{"event":1}]}`)
	f.Fuzz(func(t *testing.T, batch bool, body string) {
		w := newWorld()
		path := eventsPath
		if batch {
			path = batchPath
		}
		// The document is held against what is answered, whatever is sent.
		res, answer := exchange(t, w.handler(), "POST", path, body)
		if res.StatusCode >= 500 {
			t.Fatalf("status %d: %s", res.StatusCode, answer)
		}
		for _, p := range w.published {
			again, err := events.Decode(p.Event.Raw(), 0)
			if err != nil || again.ID != p.Event.ID || p.Event.ID == "" || p.Channel == "" {
				t.Fatalf("published on %q: %s: %v", p.Channel, p.Event.Raw(), err)
			}
		}
		if taken := strings.Count(answer, `"status":"accepted"`); taken != len(w.published) {
			t.Fatalf("%d accepted, %d published: %s", taken, len(w.published), answer)
		}
		if again := ask(w.handler(), "POST", path, body, "Authorization", "Bearer admin", "Content-Type", "application/json"); again.StatusCode != res.StatusCode {
			t.Fatalf("status %d, then %d", res.StatusCode, again.StatusCode)
		}
	})
}
