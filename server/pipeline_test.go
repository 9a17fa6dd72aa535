package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// everybody has all events of photo:upload go to all clients.
func everybody() map[string][]routing.Rule {
	return map[string][]routing.Rule{"photo:upload": {{Type: "broadcast", EventName: "e"}}}
}

// filter is one, from JSON.
func filter(t testing.TB, text string) routing.Filter {
	t.Helper()
	f, err := routing.ParseFilter([]byte(text))
	must(t, err)
	return f
}

// strict are declarations with something of everything.
func strict(t testing.TB) Declarations {
	return Declarations{
		Rules: everybody(),
		Events: events.Config{Types: []events.TypeSpec{{
			Name: "photo.printed", Channel: "photo:upload",
			Schema: json.RawMessage(`{"properties":{"data":{"required":["copies"],"properties":{"copies":{"type":"integer"}}}}}`),
		}}},
		Filters: []routing.Filter{
			filter(t, `{"id":"no-tests","type":"exclude","conditions":[{"field":"data.test","operator":"eq","value":true}],"action":{"type":"drop"}}`),
			filter(t, `{"id":"mark","type":"include","conditions":[{"field":"data.mark","operator":"eq","value":1}],
				"action":{"type":"transform","params":{"addFields":{"marked":"yes"}}}}`),
			filter(t, `{"id":"vips","type":"include","conditions":[{"field":"data.vip","operator":"eq","value":"vip"}],
				"action":{"type":"route","params":{"rules":[{"type":"room","selector":"data.vip","targetPrefix":"user:","eventName":"vip"}]}}}`),
			filter(t, `{"id":"one-of-a-kind","type":"include","conditions":[{"field":"data.kind","operator":"regex","value":"."}],
				"action":{"type":"throttle","params":{"key":"kind","groupBy":"data.kind","limit":1,"window":3600}}}`),
		},
		Validation: map[string][]events.ValidatorSpec{
			"photo.deleted": {{Name: "few", Type: events.RateLimitValidator, Config: events.RateSpec{Key: "all", Window: 3600, Limit: 2}},
				{Name: "fewer", Type: events.RateLimitValidator, Config: events.RateSpec{Key: "all", Window: 1800, Limit: 1}}},
			"photo.uploaded": {{Name: "short", Type: events.ContentValidator, Rules: []events.ContentRule{{Type: "max_size", Value: json.RawMessage("400")}}},
				{Name: "no script", Type: events.ContentValidator, Rules: []events.ContentRule{{Type: "no_script"}}}},
		},
	}
}

// ingestion is what may come of messages.
var ingestion = []struct {
	name, payload string
	want          string // how clients hear it; empty: not at all
	vip           bool   // and as vip
	dead          string // what its dead letter says, if there is one
}{
	{"plain", event("1", "photo.uploaded", `"photoId":"p","userId":"u"`, ""), event("1", "photo.uploaded", `"photoId":"p","userId":"u"`, ""), false, ""},
	{"twice", event("1", "photo.uploaded", `"photoId":"p","userId":"u"`, ""), "", false, ""},
	{"dropped", event("2", "photo.uploaded", `"test":true`, ""), "", false, ""},
	{"dropped ids are spent", event("2", "photo.uploaded", `"test":false`, ""), "", false, ""},
	{"changed", event("3", "photo.uploaded", `"mark":1`, ""), event("3", "photo.uploaded", `"mark":1,"marked":"yes"`, ""), false, ""},
	{"routed", event("4", "photo.uploaded", `"vip":"vip"`, ""), event("4", "photo.uploaded", `"vip":"vip"`, ""), true, ""},
	{"no event", `{"id":"5",`, "", false, "valid JSON"},
	{"no event, again", `{"id":"5",`, "", false, ""},
	{"too large a field", event("6", "photo.uploaded", `"x":"`+strings.Repeat("x", 500)+`"`, ""), "", false, "short"},
	{"script", event("7", "photo.uploaded", `"x":"<script>secret()</script>"`, ""), "", false, "no script"},
	{"mended", event("7", "photo.uploaded", `"x":"fine"`, ""), event("7", "photo.uploaded", `"x":"fine"`, ""), false, ""},
	{"declared type", event("8", "photo.printed", `"copies":1`, ""), event("8", "photo.printed", `"copies":1`, ""), false, ""},
	{"against its schema", event("9", "photo.printed", `"copies":"secret"`, ""), "", false, "data.copies"},
	{"within the limit", event("10", "photo.deleted", `"n":1`, ""), event("10", "photo.deleted", `"n":1`, ""), false, ""},
	{"beyond one of two limits", event("11", "photo.deleted", `"n":2`, ""), "", false, "at most 1 in 30m"},
	{"first of its kind", event("12", "photo.uploaded", `"kind":"a"`, ""), event("12", "photo.uploaded", `"kind":"a"`, ""), false, ""},
	{"throttled", event("13", "photo.uploaded", `"kind":"a"`, ""), "", false, ""},
	{"another kind", event("14", "photo.uploaded", `"kind":"b"`, ""), event("14", "photo.uploaded", `"kind":"b"`, ""), false, ""},
	{"nobody's type", event("15", "x.y", ``, ""), event("15", "x.y", ``, ""), false, ""},
}

// What becomes of an event, on the whole way from its input to clients, feed and dead letters.
func TestPipeline(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"plain", "durable"} {
		t.Run(input, func(t *testing.T) {
			t.Parallel()
			onBoth(t, func(t *testing.T, url string) { testPipeline(t, url, input) })
		})
	}
}

func testPipeline(t *testing.T, url, input string) {
	n := startNode(t, url, setup{rules: everybody(), declared: strict(t)})
	must(t, n.Store.Feed("photo:upload").Create(t.Context(), delivery.ServiceGroup("mine")))
	c := n.connect(t, token(t, "vip"))
	c.joins("subscribe:user", `{"userId":"vip"}`)
	for _, tt := range ingestion {
		if input == "plain" {
			must(t, n.redis.Client().Publish(t.Context(), "photo:upload", tt.payload).Err())
		} else {
			n.add("photo:upload", tt.payload)
		}
	}
	last := event("last", "photo.uploaded", "", "")
	n.add("photo:upload", last) // the two inputs have no order between them
	var fed, heard []string
	for _, tt := range ingestion {
		if tt.want == "" {
			continue
		}
		fed = append(fed, tt.want)
		heard = append(heard, "e "+tt.want)
		if tt.vip {
			heard = append(heard, "vip "+tt.want)
		}
	}
	fed, heard = append(fed, last), append(heard, "e "+last)
	var got []string
	for range heard {
		e := c.event()
		got = append(got, e.name+" "+e.arg)
	}
	if input == "plain" { // in which the last may come anywhere
		fed, heard, got = sorted(fed), sorted(heard), sorted(got)
	}
	if !slices.Equal(got, heard) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(heard, "\n"))
	}
	c.quiet()
	eventually(t, "all to be dealt with", func() bool {
		return n.metric("events_filtered_total", "channel", "photo:upload", "direction", "inbound", "event_type", "photo.uploaded") == 2
	})
	n.wantMetric(2, "events_duplicate_total", "channel", "photo:upload")

	wantLetters(t, n)
	reader := n.Store.Feed("photo:upload").Reader(delivery.ServiceGroup("mine"), "me")
	defer reader.Close()
	entries, err := reader.Read(t.Context(), 100)
	must(t, err)
	var feed []string
	for _, e := range entries {
		feed = append(feed, string(e.Event))
	}
	if input == "plain" {
		feed = sorted(feed)
	}
	if !slices.Equal(feed, fed) {
		t.Errorf("the feed has\n%s\nwant\n%s", strings.Join(feed, "\n"), strings.Join(fed, "\n"))
	}
	for _, l := range n.logs.All() {
		if text, _ := json.Marshal(l.ContextMap()); strings.Contains(string(text), "secret") {
			t.Errorf("the log quotes an event: %s", text)
		}
	}
}

// wantLetters checks the dead letters of ingestion.
func wantLetters(t *testing.T, n *node) {
	t.Helper()
	letters, _, err := n.letters.List(t.Context(), adapter.DeadLetterQuery{Limit: 100})
	must(t, err)
	for _, tt := range ingestion {
		if tt.dead == "" {
			continue
		}
		i := slices.IndexFunc(letters, func(l adapter.DeadLetter) bool { return string(l.Event) == tt.payload })
		if i < 0 || !strings.Contains(letters[i].Error, tt.dead) || strings.Contains(letters[i].Error, "secret") {
			t.Errorf("%s: among the letters\n%+v\nnone is right", tt.name, letters)
			continue
		}
		reason := "validation"
		if strings.Contains(tt.dead, "at most") {
			reason = "rate_limit"
		}
		if l := letters[i]; l.Reason != reason || l.Category != reason || l.Channel != "photo:upload" || l.Attempts != 1 || l.At.IsZero() {
			t.Errorf("%s: the letter is %+v", tt.name, l)
		}
		letters = slices.Delete(letters, i, i+1)
	}
	if len(letters) > 0 {
		t.Errorf("there are %d letters more: %+v", len(letters), letters)
	}
}

// breaking makes one command, or pipeline, of a client fail: before Redis has it, or after it has done it.
type breaking struct {
	left  atomic.Int64 // commands until then
	after bool
	count atomic.Int64
}

var errBroken = errors.New("the connection broke, says a test")

func (b *breaking) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (b *breaking) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return b.breaks(func() error { return next(ctx, cmd) }, cmd)
	}
}

func (b *breaking) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return b.breaks(func() error { return next(ctx, cmds) }, cmds...)
	}
}

func (b *breaking) breaks(do func() error, cmds ...redis.Cmder) error {
	b.count.Add(1)
	if b.left.Add(-1) != 0 {
		return do()
	}
	if b.after {
		_ = do()
	}
	for _, c := range cmds {
		c.SetErr(errBroken)
	}
	return errBroken
}

// Wherever a step breaks, before or after Redis has done it, the outcome is as if it had not.
func TestIngestRetries(t *testing.T) {
	t.Parallel()
	url := embeddedRedis(t)
	clean, steps := ingestBroken(t, url, nil)
	if steps < 5 || len(clean["socket.io"]) < 5 || len(clean["feed"]) < 5 || len(clean["dead"]) < 5 {
		t.Fatalf("%d steps, outcome %v", steps, clean)
	}
	for step := range steps {
		for _, after := range []bool{false, true} {
			b := &breaking{after: after}
			b.left.Store(step + 1)
			got, _ := ingestBroken(t, url, b)
			if b.left.Load() > 0 {
				t.Fatalf("step %d was not reached", step)
			}
			for _, what := range slices.Sorted(maps.Keys(clean)) {
				if !slices.Equal(got[what], clean[what]) {
					t.Errorf("step %d of %d breaks (after: %v): %s has\n%s\nwant\n%s", step, steps, after, what,
						strings.Join(got[what], "\n"), strings.Join(clean[what], "\n"))
				}
			}
		}
	}
}

// ingestBroken ingests a batch in an empty Redis, and returns what is there then, and in how many steps.
func ingestBroken(t *testing.T, url string, b *breaking) (outcome map[string][]string, steps int64) {
	t.Helper()
	n := newNode(t, url, setup{rules: everybody(), declared: strict(t)})
	client, ctx := n.redis.Client(), t.Context()
	must(t, client.FlushAll(ctx).Err())
	must(t, n.Log.(*adapter.Log).Open(ctx))
	must(t, n.Store.Feed("photo:upload").Create(ctx, delivery.ServiceGroup("mine")))
	must(t, client.Set(ctx, "lease", "mine", 0).Err())
	var batch []message
	for i, tt := range ingestion {
		batch = append(batch, message{payload: []byte(tt.payload), cursor: place(t, i+1)})
	}
	if b == nil {
		b = &breaking{}
	}
	client.AddHook(b)
	must(t, n.ingest(ctx, adapter.Lease{Channel: "photo:upload", Key: "lease", Token: "mine"}, batch))
	steps = b.count.Load()
	b.left.Store(0)

	outcome = map[string][]string{}
	for _, key := range client.Keys(ctx, "*").Val() {
		switch kind := client.Type(ctx, key).Val(); kind {
		case "stream":
			for _, m := range client.XRange(ctx, key, "-", "+").Val() {
				delete(m.Values, "at")
				outcome[streamName(key)] = append(outcome[streamName(key)], fmt.Sprint(m.Values))
			}
		case "string":
			outcome["strings"] = append(outcome["strings"], key+"="+client.Get(ctx, key).Val())
		case "zset":
			outcome["sets"] = append(outcome["sets"], key+"="+fmt.Sprint(client.ZRange(ctx, key, 0, -1).Val()))
		}
	}
	for _, what := range []string{"strings", "sets"} {
		slices.Sort(outcome[what])
	}
	return outcome, steps
}

// streamName is what a stream is, by its key.
func streamName(key string) string {
	for _, what := range []string{"feed", "dead"} {
		if strings.Contains(key, what) {
			return what
		}
	}
	return key
}

// place is the n-th in an input.
func place(t *testing.T, n int) adapter.Position {
	t.Helper()
	p, err := adapter.ParsePosition(fmt.Sprintf("1-%d", n))
	must(t, err)
	return p
}
