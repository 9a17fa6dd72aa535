package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/photo-management/event-bus/adapter"
)

// A bad message is counted by what was wrong, and gone: the next one is handled.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	const malformed, tooLarge = "malformed", "too_large"
	tests := []struct{ name, payload, kind string }{
		{"nothing", ``, malformed},
		{"no JSON", `nonsense`, malformed},
		{"cut off", `{"id":"1","type":"t","data":{}`, malformed},
		{"not UTF-8", "{\"id\":\"\xff\",\"type\":\"t\",\"data\":{}}", malformed},
		{"array", `[]`, malformed},
		{"null", `null`, malformed},
		{"no id", `{"type":"t","data":{}}`, malformed},
		{"empty id", `{"id":"","type":"t","data":{}}`, malformed},
		{"number for an id", `{"id":1,"type":"t","data":{}}`, malformed},
		{"no type", `{"id":"1","data":{}}`, malformed},
		{"no data", `{"id":"1","type":"t"}`, malformed},
		{"string for data", `{"id":"1","type":"t","data":"d"}`, malformed},
		{"array for metadata", `{"id":"1","type":"t","data":{},"metadata":[]}`, malformed},
		{"number for a client", `{"id":"1","type":"t","data":{},"metadata":{"clientId":1}}`, malformed},
		{"deep", `{"id":"1","type":"t","data":` + strings.Repeat(`{"a":`, 200) + `1` + strings.Repeat(`}`, 201), malformed},
		{"too large", event("1", "photo.uploaded", `"a":"`+strings.Repeat("x", 2000)+`"`, ""), tooLarge},
		{"one byte too large and no JSON", strings.Repeat("x", 2001), tooLarge},
		{"as large as may be and no JSON", strings.Repeat("x", 2000), malformed},
	}
	b := start(t, setup{config: Config{MaxEvent: 2000}})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	for _, channel := range []string{"photo:upload", "photo:completion"} {
		want := map[string]float64{}
		for _, tt := range tests {
			b.publish(channel, tt.payload)
			want[tt.kind]++
			if got := b.metric("event_errors_total", "category", "validation", "channel", channel, "error_type", tt.kind); got != want[tt.kind] {
				t.Fatalf("%s: %v counted on %s as %s, want %v", tt.name, got, channel, tt.kind, want[tt.kind])
			}
		}
		good := event("good", "photo.processing.completed", ``, `,"clientId":"c"`)
		b.publish(channel, good)
		if e := c.event(); e.arg != good {
			t.Errorf("got %s %.100s, want the good event", e.name, e.arg)
		}
	}
	b.wantMetric(2, "log_entries_total")
}

// The log hears of a burst once, and of nothing that a message said.
func TestBadMessagesInTheLog(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	for i := range 100 {
		b.publish("photo:upload", fmt.Sprintf(`{"id":"confidential-%03d","type":7}`, i))
	}
	lines := b.logs.All()
	if len(lines) != 1 {
		t.Fatalf("%d lines in the log, want one: %v", len(lines), lines)
	}
	l := lines[0]
	fields := l.ContextMap()
	if l.Message != "message dropped" || l.Level != zap.WarnLevel || fields["channel"] != "photo:upload" || fields["bytes"] != int64(34) {
		t.Errorf("the log says %s %v", l.Message, fields)
	}
	if text := fmt.Sprint(fields); !strings.Contains(text, `"type"`) || strings.Contains(text, "confidential") {
		t.Errorf("the log says %s, want what was wrong and no payload", text)
	}
	b.wantMetric(100, "event_errors_total", "category", "validation", "channel", "photo:upload", "error_type", "malformed")
}

// After a while it hears of the next burst.
func TestBurstsInTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		s, err := New(Config{}, Parts{
			Log: newFakeLog(), Logger: zap.New(core), Metrics: prometheus.NewRegistry(),
		})
		must(t, err)
		for burst := range 3 {
			for range 100 {
				must(t, s.ingest(t.Context(), adapter.Lease{Channel: "photo:upload"}, []message{{payload: []byte("nonsense")}}))
			}
			if got := logs.Len(); got != burst+1 {
				t.Errorf("%d lines in the log after %d bursts", got, burst+1)
			}
			time.Sleep(11 * time.Second)
		}
	})
}

// What does not get into the log waits until it does.
func TestAppendFails(t *testing.T) {
	t.Parallel()
	log := newFakeLog()
	b := start(t, setup{log: log})
	c := b.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	payload := event("1", "photo.uploaded", ``, `,"clientId":"c"`)
	for range 3 {
		log.appendFault <- errors.New("disk on fire")
	}
	b.publish("photo:upload", payload)
	c.want("upload.event", payload)
	b.wantMetric(3, "log_retries_total")
	b.wantMetric(1, "events_received_total", "channel", "photo:upload", "event_type", "photo.uploaded")
	b.wantMetric(0, "events_duplicate_total", "channel", "photo:upload")
	for _, message := range []string{"events wait for the log, trying again", "the log takes events again"} {
		if got := b.logs.FilterMessage(message).Len(); got != 1 {
			t.Errorf("%q is %d times in the log, want once", message, got)
		}
	}
}

func TestLogsDoNotHideEachOther(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.publish("photo:upload", "nonsense")
	b.owners.put(func(o *fakeOwners) { o.fault = errors.New("redis is away") })
	b.publish("photo:upload", event("1", "photo.uploaded", `"photoId":"p","userId":"alice"`, ""))
	wantDenied(t, b.connect(t, token(t, "alice")), "subscribe:photo", `{"photoId":"p"}`)
	for _, message := range []string{"message dropped", "owner of photo not kept", "access not decided"} {
		if b.logs.FilterMessage(message).Len() != 1 {
			t.Errorf("the log does not say %q, only %v", message, b.logs.All())
		}
	}
}
