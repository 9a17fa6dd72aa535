package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
)

// testRedis is a Redis of the test's own, and how to tell publish of it.
type testRedis struct {
	url  string
	stop func()
}

// eachRedis runs a test on a real server and on the embedded one.
func eachRedis(t *testing.T, test func(t *testing.T, r testRedis)) {
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, realRedis(t))
	})
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedRedis(t))
	})
}

func embeddedRedis(t *testing.T) testRedis {
	t.Helper()
	e, err := adapter.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return testRedis{"redis://" + e.Addr(), e.Close}
}

// realRedis listens on a Unix socket, so that no two tests can want the same port.
func realRedis(t *testing.T) testRedis {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := testRedis{url: "unix://" + filepath.Join(dir, "s")}
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", filepath.Join(dir, "s"), "--dir", dir, "--save", "", "--appendonly", "no")
	if err := server.Start(); err != nil {
		t.Fatalf("these tests need redis-server: %v", err)
	}
	r.stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait() // an error says that it was killed, or stopped before
	}
	t.Cleanup(r.stop)
	client := r.client(t)
	for deadline := time.Now().Add(patience); client.Ping(t.Context()).Err() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	return r
}

func (r testRedis) client(t *testing.T) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(r.url)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opts)
	t.Cleanup(func() { client.Close() })
	return client
}

// listener hears what is published from the moment it is made.
type listener struct {
	t      *testing.T
	pubsub *redis.PubSub
}

func (r testRedis) listen(t *testing.T, channels ...string) listener {
	t.Helper()
	l := listener{t, r.client(t).Subscribe(t.Context(), channels...)}
	t.Cleanup(func() { l.pubsub.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range channels { // each is confirmed
		if _, err := l.pubsub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// next is the next message's channel and the event in it.
func (l listener) next() (string, events.Event) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	m, err := l.pubsub.ReceiveMessage(ctx)
	if err != nil {
		l.t.Fatal(err)
	}
	ev, err := events.Decode([]byte(m.Payload), 0)
	if err == nil {
		err = events.Validate(ev)
	}
	if err != nil {
		l.t.Errorf("on %s: %v: %s", m.Channel, err, m.Payload)
	}
	return m.Channel, ev
}

func TestPublishOne(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, r testRedis) {
		l := r.listen(t, events.ChannelUpload, "elsewhere")
		for _, tt := range []struct {
			args    []string
			channel string
			want    events.Event // empty where it is made up
		}{
			{nil, events.ChannelUpload, events.Event{Metadata: events.Metadata{Source: "eventbus-cli", Version: "1.0"}}},
			{
				[]string{"--id", "e<1>", "--source", "me", "--client-id", "c", "--session-id", "s", "--trace-id", "t", "--channel", "elsewhere"}, "elsewhere",
				events.Event{ID: "e<1>", Metadata: events.Metadata{Source: "me", Version: "1.0", ClientID: "c", SessionID: "s", TraceID: "t"}},
			},
		} {
			args := append([]string{"publish", "--redis-url", r.url, "--type", "photo.deleted", "--data", `{"photoId": "p&1"}`}, tt.args...)
			code, out, err := runToEnd(t, "", args...)
			if code != 0 || out != "" || err != "published 1, failed 0\n" {
				t.Errorf("%q: got %d, %q, %q", tt.args, code, out, err)
			}
			channel, ev := l.next()
			if channel != tt.channel || ev.Type != events.PhotoDeleted || string(ev.Data) != `{"photoId":"p&1"}` || ev.Metadata != tt.want.Metadata {
				t.Errorf("%q: got on %s %s", tt.args, channel, ev.Raw())
			}
			if tt.want.ID != "" && ev.ID != tt.want.ID {
				t.Errorf("got id %q, want %q", ev.ID, tt.want.ID)
			}
			if at, err := time.Parse(time.RFC3339, ev.Timestamp); err != nil || time.Since(at) > time.Minute {
				t.Errorf("got timestamp %q, want now", ev.Timestamp)
			}
		}
	})
}

func TestPublishOneRefused(t *testing.T) {
	t.Parallel()
	r := embeddedRedis(t)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--type", "photo.deleted"}, 2, "want -type and -data"},
		{[]string{"--data", "{}"}, 2, "want -type and -data"},
		{[]string{"--type", "photo.deleted", "--data", "{photoId: 1}"}, 2, "data: not JSON"},
		{[]string{"--type", "photo.deleted", "--data", `{"photoId":"p"}`, "--source", ""}, 2, "source: want a name"},
		{[]string{"--file", "-", "--type", "photo.deleted"}, 2, "only -source goes with it"},
		{[]string{"--file", "-", "--redis-db", "-1"}, 2, "redis.db -1"},
		{[]string{"--type", "photo.deleted", "--data", `[]`}, 1, `field "data": want an object`},
		{[]string{"--type", "photo.deleted", "--data", `{}`}, 1, "published 0, failed 1: publish photo.deleted"},
		{[]string{"--type", "photo.deletd", "--data", `{}`}, 1, "unknown event type"},
		{[]string{"--type", "photo.deleted", "--data", `{"photoId":"` + strings.Repeat("p", 1<<20) + `"}`}, 1, "event too large"},
		{[]string{"--file", filepath.Join(t.TempDir(), "none.jsonl")}, 1, "none.jsonl"},
	} {
		args := append([]string{"publish", "--redis-url", r.url}, tt.args...)
		if code, out, err := runToEnd(t, "", args...); code != tt.code || out != "" || !strings.Contains(err, tt.want) {
			t.Errorf("%.80q: got %d, %q, %.300q, want %d, %q", tt.args, code, out, err, tt.code, tt.want)
		}
	}
}

func TestPublishWithoutNamedRedis(t *testing.T) {
	t.Parallel()
	code, _, err := runToEnd(t, "", "publish", "--type", "photo.deleted", "--data", `{"photoId":"p"}`, "--redis-port", "1")
	for _, want := range []string{"REDIS_URL", "REDIS_HOST", "so redis://127.0.0.1:1 was tried", "refused"} {
		if code != 1 || !strings.Contains(err, want) {
			t.Errorf("got %d, %q, want 1, %q", code, err, want)
		}
	}
}

const whole = `{"id": "whole",  "type":"photo.deleted","data":{"photoId":"<a>"},"metadata":{"source":"s","version":"2.0"},"timestamp":"2026-01-31T12:00:00.000Z","more":1e2}`

func TestPublishFile(t *testing.T) {
	t.Parallel()
	long := `{"type":"photo.deleted","data":{"photoId":"` + strings.Repeat("p", 1<<20) + `"}}`
	input := strings.Join([]string{
		whole,
		`{"type":"photo.deleted","data":{"photoId":"bare&"}}`,
		``,
		`{"type":"photo.deleted","data":`,
		`{"type":"photo.deleted","data":{"photoId":"some"},"metadata":{"clientId":"c"},"id":null}` + "\r",
		long,
		`  ` + "\t",
		`{"type":"photo.deleted","data":{}}`,
		`{"type":"photo.exploded","data":{}}`,
		`["photo.deleted"]`,
		`{"type":"photo.deleted","data":{"photoId":"p"},"metadata":7}`,
		`{"specversion":"1.0","id":"cloud","source":"/cam","type":"photo.deleted","time":"2026-01-31T12:00:00Z","data":{"photoId":"p"},"dataversion":"1"}`,
		`{"type":"photo.deleted","data":{"photoId":"last"}}`,
	}, "\n")
	eachRedis(t, func(t *testing.T, r testRedis) {
		path := filepath.Join(t.TempDir(), "events.jsonl")
		if err := os.WriteFile(path, []byte(input), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ file, in string }{{path, ""}, {"-", input}} {
			l := r.listen(t, events.ChannelUpload)
			code, out, err := runToEnd(t, tt.in, "publish", "--redis-url", r.url, "--file", tt.file, "--source", "importer")
			if code != 1 || out != "" || !strings.HasSuffix(err, "\neventbus publish: published 5, failed 6\n") {
				t.Errorf("got %d, %q, %s", code, out, err)
			}
			lines := strings.Split(err, "\n")
			for i, want := range []struct{ line, reason string }{
				{"line 4: ", "not JSON: unexpected end of JSON input, at byte "},
				{"line 6: ", "event too large: "},
				{"line 8: ", "data.photoId: missing"},
				{"line 9: ", `unknown event type: "photo.exploded"`},
				{"line 10: ", "want a JSON object"},
				{"line 11: ", `field "metadata": want an object`},
			} {
				if !strings.HasPrefix(lines[i], want.line) || !strings.Contains(lines[i], want.reason) {
					t.Errorf("got %q, want %q and %q", lines[i], want.line, want.reason)
				}
			}

			_, ev := l.next()
			if string(ev.Raw()) != whole {
				t.Errorf("got  %s\nwant %s, unchanged", ev.Raw(), whole)
			}
			_, ev = l.next()
			if ev.ID == "" || ev.Timestamp == "" || string(ev.Data) != `{"photoId":"bare&"}` || ev.Metadata != (events.Metadata{Source: "importer", Version: "1.0"}) {
				t.Errorf("completed: got %s", ev.Raw())
			}
			_, ev = l.next()
			if ev.ID == "" || ev.Metadata != (events.Metadata{Source: "importer", Version: "1.0", ClientID: "c"}) {
				t.Errorf("completed in part: got %s", ev.Raw())
			}
			_, ev = l.next()
			if ev.ID != "cloud" || ev.Metadata.Source != "/cam" {
				t.Errorf("CloudEvent: got %s", ev.Raw())
			}
			_, ev = l.next()
			if string(ev.Data) != `{"photoId":"last"}` {
				t.Errorf("got %s, want the last line", ev.Raw())
			}
		}
	})
}

func TestPublishManyInOrder(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, r testRedis) {
		l := r.listen(t, events.ChannelUpload)
		const n = 3 * chunkLines
		var in strings.Builder
		for i := range n {
			fmt.Fprintf(&in, `{"id":"e-%d","type":"photo.deleted","data":{"photoId":"p"}}`+"\n", i)
		}
		if code, _, err := runToEnd(t, in.String(), "publish", "--redis-url", r.url, "--file=-"); code != 0 || err != fmt.Sprintf("published %d, failed 0\n", n) {
			t.Errorf("got %d, %q", code, err)
		}
		for i := range n {
			if _, ev := l.next(); ev.ID != fmt.Sprintf("e-%d", i) {
				t.Fatalf("got %s as number %d", ev.ID, i)
			}
		}
	})
}

// Who writes events one by one must not have to wait until there are many.
func TestPublishSlowInputAndInterrupt(t *testing.T) {
	t.Parallel()
	r := embeddedRedis(t)
	l := r.listen(t, events.ChannelUpload)
	in, pipe := io.Pipe()
	defer pipe.Close()
	c := start(t, in, "publish", "--redis-url", r.url, "--file", "-")
	for _, part := range []string{
		`{"id":"1","type":"photo.deleted","data":{"photoId":"p"}}` + "\n" + `{"id":"2","type":`,
		`"photo.deleted","data":{"photoId":"p"}}` + "\n",
	} {
		if _, err := io.WriteString(pipe, part); err != nil {
			t.Fatal(err)
		}
		l.next()
	}
	c.stop()
	if code := c.wait(t); code != 1 || c.err.String() != "eventbus publish: published 2, failed 0: interrupted after line 2\n" {
		t.Errorf("got %d, %q", code, &c.err)
	}
}

func TestPublishWhenRedisGoes(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, r testRedis) {
		l := r.listen(t, events.ChannelUpload)
		in, pipe := io.Pipe()
		defer pipe.Close()
		c := start(t, in, "publish", "--redis-url", r.url, "--file", "-")
		const event = `{"id":"1","type":"photo.deleted","data":{"photoId":"p"}}` + "\n"
		if _, err := io.WriteString(pipe, event); err != nil {
			t.Fatal(err)
		}
		l.next()
		r.stop()
		if _, err := io.WriteString(pipe, "bad\n"+event+event); err != nil {
			t.Fatal(err)
		}
		code := c.wait(t)
		err := c.err.String()
		if code != 1 || !strings.HasPrefix(err, "line 2: not JSON") ||
			!strings.Contains(err, "\neventbus publish: published 1, failed 3: line 3 and those after it: publish photo.deleted") {
			t.Errorf("got %d, %s", code, err)
		}
	})
}

// An answer of Redis to one event says nothing of the next one.
func TestPublishRefusedByRedis(t *testing.T) {
	t.Parallel()
	r := realRedis(t)
	if err := r.client(t).Do(t.Context(), "ACL", "SETUSER", "half", "on", ">pw", "+@all", "~*", "&"+events.ChannelUpload).Err(); err != nil {
		t.Fatal(err)
	}
	l := r.listen(t, events.ChannelUpload)
	code, _, err := runToEnd(t, `{"type":"photo.processing.started","data":{"photoId":"p","jobId":"j","stages":[]}}`+"\n"+
		`{"type":"photo.deleted","data":{"photoId":"p"}}`,
		"publish", "--redis-url", r.url, "--redis-username", "half", "--redis-password", "pw", "--file", "-")
	if code != 1 || !strings.Contains(err, "line 1: publish photo.processing.started") || !strings.Contains(err, "NOPERM") ||
		!strings.HasSuffix(err, "published 1, failed 1\n") {
		t.Errorf("got %d, %s", code, err)
	}
	l.next()
}

// wantStream checks that a stream has these events, and empties it.
func (r testRedis) wantStream(t *testing.T, stream string, ids ...string) {
	t.Helper()
	client := r.client(t)
	entries, err := client.XRange(t.Context(), stream, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		raw, _ := entry.Values["event"].(string)
		ev, err := events.Decode([]byte(raw), 0)
		if err != nil || len(entry.Values) != 1 {
			t.Errorf("%s has %v, want an event: %v", stream, entry.Values, err)
		}
		got = append(got, ev.ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("%s has %q, want %q", stream, got, ids)
	}
	if err := client.Del(t.Context(), stream).Err(); err != nil {
		t.Fatal(err)
	}
}

// Nobody listens, and nothing is lost.
func TestPublishDurable(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, r testRedis) {
		publish := func(in string, args ...string) {
			t.Helper()
			args = append([]string{"publish", "--redis-url", r.url, "--durable"}, args...)
			if code, out, err := runToEnd(t, in, args...); code != 0 || out != "" || !strings.HasSuffix(err, ", failed 0\n") {
				t.Errorf("%q: got %d, %q, %q", args, code, out, err)
			}
		}
		one := []string{"--type", "photo.deleted", "--data", `{"photoId":"p"}`, "--id", "a"}
		publish("", one...)
		r.wantStream(t, "eventbus:in:photo:upload", "a")
		publish("", append(one, "--channel", "elsewhere")...)
		r.wantStream(t, "eventbus:in:elsewhere", "a")
		publish("", append(one, "--redis-key-prefix", "own:")...)
		r.wantStream(t, "own:in:photo:upload", "a")

		var in strings.Builder
		var ids []string
		for i := range chunkLines + 10 {
			ids = append(ids, fmt.Sprint("e-", i))
			fmt.Fprintf(&in, `{"id":%q,"type":"photo.deleted","data":{"photoId":"p"}}`+"\n", ids[i])
		}
		in.WriteString(`{"id":"job","type":"photo.processing.started","data":{"photoId":"p","jobId":"j","stages":[]}}`)
		publish(in.String(), "--file", "-")
		r.wantStream(t, "eventbus:in:photo:upload", ids...)
		r.wantStream(t, "eventbus:in:photo:processing", "job")
	})
}

func TestPublishDurableInTheEnvironment(t *testing.T) {
	if _, out, _ := runToEnd(t, "", "publish", "--help"); !strings.Contains(out, "\n  -durable\n") {
		t.Errorf("publish --help does not list -durable: %s", out)
	}
	r := embeddedRedis(t)
	t.Setenv("DURABLE", "true")
	args := []string{"publish", "--redis-url", r.url, "--type", "photo.deleted", "--data", `{"photoId":"p"}`, "--id", "a"}
	if code, _, err := runToEnd(t, "", args...); code != 0 {
		t.Errorf("got %d, %s", code, err)
	}
	r.wantStream(t, "eventbus:in:photo:upload", "a")
	l := r.listen(t, events.ChannelUpload)
	if code, _, err := runToEnd(t, "", append(args, "--durable=false")...); code != 0 {
		t.Errorf("got %d, %s", code, err)
	}
	l.next()
	r.wantStream(t, "eventbus:in:photo:upload")
}

// A Redis that cannot take it for as long as the publisher tries is as good as none.
func TestPublishDurableToReplica(t *testing.T) {
	t.Parallel()
	r := realRedis(t)
	if err := r.client(t).ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	const event = `{"type":"photo.deleted","data":{"photoId":"p"}}` + "\n"
	code, _, err := runToEnd(t, event+event, "publish", "--redis-url", r.url, "--durable", "--file", "-")
	if code != 1 || !strings.Contains(err, "published 0, failed 2: line 1 and those after it") || !strings.Contains(err, "READONLY") {
		t.Errorf("got %d, %s", code, err)
	}
}

func TestCompleteKeepsUnknownMembers(t *testing.T) {
	t.Parallel()
	ev, err := decodeLine(line{text: []byte(`{"type":"t","data":{"n":12345678901234567890.10},"x":{"<":1},"metadata":{"y":null}}`)}, "s")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(ev.Raw(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"data": `{"n":12345678901234567890.10}`, "x": `{"<":1}`, "metadata": `{"source":"s","version":"1.0","y":null}`} {
		if string(got[name]) != want {
			t.Errorf("%s: got %s, want %s", name, got[name], want)
		}
	}
}
