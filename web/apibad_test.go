package web

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// bad are requests that get one clear answer and change nothing. Field is the first that is named.
var bad = []struct {
	name, method, path, body string
	status                   int
	field, detail            string // detail contains this
}{
	// publish
	{"no body", "POST", "/events", "", 400, "", "A body is needed"},
	{"event is no JSON", "POST", "/events", "{", 400, "", "want valid JSON"},
	{"event is an array", "POST", "/events", "[]", 400, "", "want a JSON object"},
	{"event is null", "POST", "/events", "null", 400, "", "want a JSON object"},
	{"event of no type", "POST", "/events", `{"data":{}}`, 400, "type", "want "},
	{"event type is a number", "POST", "/events", `{"type":1,"data":{}}`, 400, "type", "want "},
	{"event id is empty", "POST", "/events", `{"id":"","type":"photo.uploaded","data":{}}`, 400, "id", "want "},
	{"event data is a string", "POST", "/events", `{"type":"photo.uploaded","data":"x"}`, 400, "data", "want "},
	{"event and more", "POST", "/events", goodEvent + goodEvent, 400, "", "want valid JSON"},
	{"event is not UTF-8", "POST", "/events", "{\"type\":\"photo.uploaded\",\"data\":{\"a\":\"\xff\"}}", 400, "", "UTF-8"},
	{"event nested deeply", "POST", "/events", `{"type":"photo.uploaded","data":` + strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 201), 400, "", "levels of nesting"},
	{"event of a type without channel", "POST", "/events", `{"type":"other","data":{}}`, 400, "channel", "is needed"},
	{"event too large", "POST", "/events", `{"type":"photo.uploaded","data":{"a":"` + strings.Repeat("x", 1<<20) + `"}}`, 413, "", "1048576 bytes"},
	{"channel is empty", "POST", "/events?channel=", goodEvent, 400, "channel", "must not be empty"},
	{"channel twice", "POST", "/events?channel=a&channel=b", goodEvent, 400, "channel", "more than once"},
	{"channel too long", "POST", "/events?channel=" + strings.Repeat("c", 513), goodEvent, 400, "channel", "512 bytes"},
	{"channel with control characters", "POST", "/events?channel=a%00", goodEvent, 400, "channel", "control characters"},
	{"durable is no flag", "POST", "/events?durable=1", goodEvent, 400, "durable", "true or false"},
	{"unknown parameter", "POST", "/events?chanel=x", goodEvent, 400, "chanel", "no parameter"},
	{"broken query", "POST", "/events?a=%zz", goodEvent, 400, "query", "URL-encoded"},

	// batch
	{"batch without events", "POST", "/events/batch", `{}`, 400, "events", "is missing"},
	{"batch is empty", "POST", "/events/batch", `{"events":[]}`, 400, "events", "1 to 1000"},
	{"batch is too long", "POST", "/events/batch", `{"events":[` + strings.Repeat(`{"event":{}},`, 1000) + `{"event":{}}]}`, 400, "events", "1 to 1000"},
	{"batch is an object", "POST", "/events/batch", `{"events":{}}`, 400, "events", "must be an array"},
	{"batch of strings", "POST", "/events/batch", `{"events":["a"]}`, 400, "events[0]", "must be an object"},
	{"batch element without event", "POST", "/events/batch", `{"events":[{"event":{}},{"channel":"c"}]}`, 400, "events[1].event", "is missing"},
	{"batch channel is a number", "POST", "/events/batch", `{"events":[{"event":{},"channel":1}]}`, 400, "events[0].channel", "must be a string"},
	{"batch element with more", "POST", "/events/batch", `{"events":[{"event":{},"durable":true}]}`, 400, "events[0].durable", "is unknown. Known here: channel, event."},
	{"batch with more", "POST", "/events/batch", `{"events":[],"x":1}`, 400, "x", "is unknown"},
	{"batch in capitals", "POST", "/events/batch", `{"Events":[]}`, 400, "Events", "2 members"},
	{"batch twice", "POST", "/events/batch", `{"events":[],"events":[]}`, 400, "events", "more than once"},
	{"batch and more", "POST", "/events/batch", `{"events":[]} x`, 400, "", "broken at byte"},
	{"batch is not UTF-8", "POST", "/events/batch", "{\"events\":[{\"event\":\"\xff\"}]}", 400, "", "UTF-8"},
	{"batch too large", "POST", "/events/batch", `{"events":["` + strings.Repeat("x", 4<<20) + `"]}`, 413, "", "4194304 bytes"},

	// pages and ranges
	{"limit is 0", "GET", "/connections?limit=0", "", 400, "limit", "1 to 1000"},
	{"limit is too much", "GET", "/rooms?limit=1001", "", 400, "limit", "1 to 1000"},
	{"limit is a word", "GET", "/dead-letters?limit=all", "", 400, "limit", "whole number"},
	{"limit is empty", "GET", "/rooms/r?limit=", "", 400, "limit", "whole number"},
	{"cursor is empty", "GET", "/connections?cursor=", "", 400, "cursor", "must not be empty"},
	{"cursor of nothing", "GET", "/connections?cursor=x", "", 422, "cursor", "not one of this list"},
	{"two mistakes", "GET", "/connections?limit=x&room=", "", 400, "limit", "2 members"},
	{"from is no time", "GET", "/metrics/events?from=yesterday", "", 400, "from", "RFC 3339"},
	{"to is no time", "GET", "/metrics/events?to=1767366245", "", 400, "to", "RFC 3339"},
	{"from after to", "GET", "/metrics/events?from=2100-01-01T00:00:00Z", "", 400, "from", "before to"},
	{"from long ago", "GET", "/metrics/events?from=2020-01-01T00:00:00Z", "", 400, "from", "24 hours"},
	{"parameter where there are none", "GET", "/stats?pretty=true", "", 400, "pretty", "no parameter"},

	// names in the path
	{"room is not UTF-8", "GET", "/rooms/%ff", "", 400, "room", "UTF-8"},
	{"room with control characters", "PUT", "/rooms/a%0ab/members/s1", "", 400, "room", "control characters"},
	{"socket id too long", "DELETE", "/connections/" + strings.Repeat("s", 513), "", 400, "socketId", "512 bytes"},
	{"filter id with a space", "PUT", "/filters/a%20b", goodFilter, 400, "id", "letters, digits"},
	{"filter id begins with a dot", "GET", "/filters/.hidden", "", 400, "id", "letters, digits"},
	{"subscription id too long", "PUT", "/subscriptions/" + strings.Repeat("s", 129), goodSub, 400, "id", "1 to 128"},
	{"dead letter id with a slash", "GET", "/dead-letters/a%2Fb", "", 400, "id", "letters, digits"},

	// emit
	{"emit without event", "POST", "/rooms/r/emit", `{"data":1}`, 400, "event", "is missing"},
	{"emit without data", "POST", "/rooms/r/emit", `{"event":"x"}`, 400, "data", "is missing"},
	{"emit of null", "POST", "/rooms/r/emit", `{"event":null,"data":1}`, 400, "event", "must be a string, not null"},
	{"emit of no name", "POST", "/rooms/r/emit", `{"event":"","data":1}`, 400, "event", "must not be empty"},
	{"emit of a long name", "POST", "/rooms/r/emit", `{"event":"` + strings.Repeat("x", 129) + `","data":1}`, 400, "event", "128 bytes"},
	{"emit of Socket.IO's", "POST", "/rooms/r/emit", `{"event":"disconnect","data":1}`, 400, "event", "keeps for itself"},
	{"emit too large", "POST", "/rooms/r/emit", `{"event":"x","data":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "", "65536 bytes"},

	// filters and rules
	{"filter is a string", "PUT", "/filters/f", `"drop"`, 400, "body", "must be an object"},
	{"filter is null", "PUT", "/filters/f", `null`, 400, "body", "must be an object"},
	{"filter of another id", "PUT", "/filters/f", `{"id":"g"}`, 400, "id", "must be that of the address"},
	{"filter id is a number", "PUT", "/filters/f", `{"id":1}`, 400, "id", "must be a string"},
	{"filter of unknown type", "PUT", "/filters/f", `{"type":"maybe"}`, 422, "type", "2 members"},
	{"filter too large", "PUT", "/filters/f", `{"expr":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "", "65536 bytes"},
	{"filters are missing", "PUT", "/filters", `{}`, 400, "filters", "is missing"},
	{"filters are an object", "PUT", "/filters", `{"filters":{}}`, 400, "filters", "must be an array"},
	{"one of the filters is bad", "PUT", "/filters", `{"filters":[{"id":"a","type":"x"}]}`, 422, "type", "2 members"},
	{"rules are an array", "PUT", "/rules", `{"rules":[]}`, 400, "rules", "must be an object"},
	{"rules without rules", "PUT", "/rules", `{"photo:upload":[]}`, 400, "photo:upload", "2 members"},

	// subscriptions
	{"subscription without a webhook", "POST", "/subscriptions", `{"channel":"c"}`, 422, "webhook", "missing"},
	{"subscription is an array", "POST", "/subscriptions", `[]`, 400, "body", "must be an object"},
	{"subscription of a bad id", "POST", "/subscriptions", `{"id":"a b"}`, 400, "id", "letters, digits"},
	{"no subscription", "POST", "/subscriptions", "", 400, "", "A body is needed"},

	// dead letters
	{"purge of nothing named", "DELETE", "/dead-letters", "", 400, "all", "must be true if"},
	{"purge of all and some", "DELETE", "/dead-letters?all=true&channel=c", "", 400, "all", "cannot go with"},
	{"purge, all is no flag", "DELETE", "/dead-letters?all=yes", "", 400, "all", "true or false"},
	{"purge takes no page", "DELETE", "/dead-letters?all=true&limit=5", "", 400, "limit", "no parameter"},
	{"replay of nothing named", "POST", "/dead-letters/replay", `{}`, 400, "all", "must be true if"},
	{"replay of an empty name", "POST", "/dead-letters/replay", `{"channel":""}`, 400, "channel", "must not be empty"},
	{"replay, browsers is a word", "POST", "/dead-letters/replay", `{"all":true,"browsers":"yes"}`, 400, "browsers", "true or false"},
	{"replay too large", "POST", "/dead-letters/replay", `{"channel":"` + strings.Repeat("x", 4<<10) + `"}`, 413, "", "4096 bytes"},
	{"replay of one with more", "POST", "/dead-letters/1-0/replay", `{"all":true}`, 400, "all", "is unknown"},
	{"replay of one that is not there", "POST", "/dead-letters/2-0/replay", ``, 404, "", "no dead letter"},

	// revocations
	{"revocation of nobody", "POST", "/revocations", `{}`, 422, "body", "exactly one"},
	{"revocation of both", "POST", "/revocations", `{"userId":"u","tokenId":"t"}`, 422, "body", "2 members"},
	{"revocation of a number", "POST", "/revocations", `{"userId":7}`, 400, "userId", "want a string"},
	{"revocation with more", "POST", "/revocations", `{"userId":"u","role":"x"}`, 400, "body", "is unknown"},
	{"revocation that is over", "POST", "/revocations", `{"userId":"u","expires":"2020-01-01T00:00:00Z"}`, 422, "expires", ""},
	{"revocation until a word", "POST", "/revocations", `{"userId":"u","expires":"soon"}`, 400, "expires", "want a time"},
	{"revocation is no JSON", "POST", "/revocations", `userId=u`, 400, "", "broken at byte 1"},
	{"revocation of two users", "POST", "/revocations", `{"userId":"u","userId":"v"}`, 400, "userId", "comes more than once"},

	// log level
	{"level unknown", "PUT", "/log-level", `{"level":"trace"}`, 400, "level", "debug, info, warn, error"},
	{"level missing", "PUT", "/log-level", `{}`, 400, "level", "is missing"},
	{"level a number", "PUT", "/log-level", `{"level":0}`, 400, "level", "must be a string"},
}

// beyondSchemas are those that are bad in a way that the schema of their body does not say.
var beyondSchemas = []string{"event is not UTF-8", "event nested deeply", "event of a type without channel", "batch is not UTF-8",
	"filter id with a space", "subscription id too long", "revocation of two users"}

func TestAPIRefusesBadInput(t *testing.T) {
	t.Parallel()
	for _, c := range bad {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			res, body := exchange(t, w.handler(), c.method, "/api/v1"+c.path, c.body)
			res.Body = io.NopCloser(strings.NewReader(body)) // once more
			if detail := wantProblem(t, res, c.status, c.field); !strings.Contains(detail+body, c.detail) {
				t.Errorf("got detail %q, want %q", detail, c.detail)
			}
			if done := w.done(); len(done) != 0 {
				t.Errorf("it did %v", done)
			}
			if c.status == http.StatusBadRequest && c.body != "" && !strings.Contains(c.path, "?") && !slices.Contains(beyondSchemas, c.name) {
				d := theDocument()
				op, _ := d.find(c.method, "/api/v1"+c.path)
				_, request := d.at(op.pointer + "/requestBody")
				if d.check(request+"/content/application~1json/schema", []byte(c.body)) == nil {
					t.Error("it is as documented")
				}
			}
			if len(w.failures) != 0 {
				t.Errorf("it is blamed on us: %v", w.failures)
			}
		})
	}
}

// Wherever a body is taken, it must say that it is JSON, once, and be within its limit.
func TestAPIBodies(t *testing.T) {
	t.Parallel()
	for _, op := range newAPI(newWorld().config()).operations() {
		if op.maxBody == 0 {
			continue
		}
		t.Run(op.id, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			h := w.handler()
			path := strings.NewReplacer("{id}", "x", "{room}", "r", "{socketId}", "s").Replace(op.path)
			for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "application/jsonx", "multipart/form-data; boundary=x", ";"} {
				res, body := exchange(t, h, op.method, path, `{}`, "Content-Type", contentType)
				if res.StatusCode != http.StatusUnsupportedMediaType {
					t.Errorf("%q: got status %d: %s", contentType, res.StatusCode, body)
				}
			}
			res, _ := exchange(t, h, op.method, path, `{}`, "Content-Encoding", "gzip")
			if res.StatusCode != http.StatusUnsupportedMediaType {
				t.Errorf("gzip: got status %d", res.StatusCode)
			}
			res, _ = exchange(t, h, op.method, path, `{"a":"`+strings.Repeat("x", op.maxBody)+`"}`)
			if res.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("large: got status %d", res.StatusCode)
			}
			for _, broken := range []string{`{"a"`, "\x00", strings.Repeat("[", 4000)} {
				res, body := exchange(t, h, op.method, path, broken)
				if res.StatusCode != http.StatusBadRequest {
					t.Errorf("%.10q: got status %d: %s", broken, res.StatusCode, body)
				}
			}
			if done := w.done(); len(done) != 0 {
				t.Errorf("it did %v", done)
			}
		})
	}
}

func TestAPIRefusesTwoContentTypes(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := httptest.NewRequest("POST", eventsPath, strings.NewReader(goodEvent))
	r.Header = http.Header{"Authorization": {"Bearer admin"}, "Content-Type": {"application/json", "application/json"}}
	answer := httptest.NewRecorder()
	w.handler().ServeHTTP(answer, r)
	wantProblem(t, answer.Result(), http.StatusUnsupportedMediaType, "")
	if len(w.published) != 0 {
		t.Error("it was published")
	}
}

// A body that breaks off is not taken for a whole one.
func TestAPIRefusesHalfABody(t *testing.T) {
	t.Parallel()
	w := newWorld()
	url, stop, done := serving(t, w.handler(), ServeConfig{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		eventsPath, len(goodEvent)+1, goodEvent)
	_ = conn.(*net.TCPConn).CloseWrite()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if detail := wantProblem(t, res, http.StatusBadRequest, ""); detail != "The body did not arrive." {
		t.Errorf("got %q", detail)
	}
	stop()
	if err := <-done; err != nil || len(w.published) != 0 {
		t.Errorf("got %v, published %d", err, len(w.published))
	}
}

// A parameter that an address does not have is refused everywhere, and nothing is done.
func TestAPIRefusesUnknownParameters(t *testing.T) {
	t.Parallel()
	for _, c := range good {
		w := newWorld()
		path := c.path + "?nope=1"
		if strings.Contains(c.path, "?") {
			path = c.path + "&nope=1"
		}
		res, body := exchange(t, w.handler(), c.method, "/api/v1"+path, c.body)
		if res.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"field":"nope"`) {
			t.Errorf("%s %s: got status %d: %s", c.method, path, res.StatusCode, body)
		}
		if done := w.done(); len(done) != 0 {
			t.Errorf("%s %s: it did %v", c.method, path, done)
		}
	}
}

// So is a name in the path that cannot be one.
func TestAPIRefusesBadPaths(t *testing.T) {
	t.Parallel()
	for _, op := range newAPI(newWorld().config()).operations() {
		if !strings.Contains(op.path, "{") || op.profile {
			continue
		}
		w := newWorld()
		path := strings.NewReplacer("{id}", "%00", "{room}", "%00", "{socketId}", "%00").Replace(op.path)
		body := ""
		if op.maxBody > 0 {
			body = `{}`
		}
		res, answer := exchange(t, w.handler(), op.method, path, body)
		if res.StatusCode != http.StatusBadRequest || len(w.done()) != 0 {
			t.Errorf("%s: got status %d, did %v: %s", op.id, res.StatusCode, w.done(), answer)
		}
	}
}
