package delivery

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/photo-management/event-bus/events"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// compileTypes is a filter language for tests: {"eventTypes":[…]}.
func compileTypes(raw json.RawMessage) (func(events.Event) bool, error) {
	var f struct{ EventTypes []string }
	if err := json.Unmarshal(raw, &f); err != nil || f.EventTypes == nil {
		return nil, errors.New("eventTypes: missing")
	}
	return func(ev events.Event) bool { return strings.Contains(fmt.Sprint(f.EventTypes), ev.Type) }, nil
}

func TestParseSpec(t *testing.T) {
	t.Parallel()
	s, err := ParseSpec([]byte(`{"id":"thumbs","channel":"photo:upload","filter":{"eventTypes":["photo.deleted"]},
		"webhook":{"url":"https://example.com/x?token=abc","secret":"` + secret + `","headers":{"Authorization":"Bearer t"},"timeout":500},
		"maxErrors":3,"autoRetry":false,"retryDelay":250,"concurrency":2,"queue":10,"ordered":"photo"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate([]string{"photo:upload"}, WebhookConfig{}, compileTypes); err != nil {
		t.Error(err)
	}
	public, err := json.Marshal(s.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"whsec", "Bearer", "abc"} {
		if strings.Contains(string(public), secret) {
			t.Errorf("the public form has %q: %s", secret, public)
		}
	}
	if s.Webhook.Secret != secret || s.Webhook.Headers["Authorization"] != "Bearer t" {
		t.Error("making the public form has changed the Spec")
	}
	back, err := ParseSpec(public)
	if err != nil {
		t.Fatal(err)
	}
	wantProblems(t, back.Validate([]string{"photo:upload"}, WebhookConfig{}, compileTypes),
		"webhook.url has the mask", "webhook.secret is the mask", `webhook.headers."Authorization": the mask`)

	again, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if s2, err := ParseSpec(again); err != nil || s2.Ordered != PerPhoto || *s2.AutoRetry || s2.Webhook.Timeout != 500 {
		t.Errorf("%+v, %v after a round trip", s2, err)
	}
}

func TestParseSpecRefuses(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		``:                                       "EOF",
		`[]`:                                     "want an object, got array",
		`{"id":1}`:                               "id: want a string, got number",
		`{"id":"a","webhok":{}}`:                 `unknown field "webhok"`,
		`{"webhook":{"url":"x","method":"GET"}}`: `unknown field "method"`,
		`{"webhook":{"secret":{"a":"hush"}}}`:    "webhook.secret: want a string, got object",
		`{"webhook":{"headers":["Authorization"]}}`:          "webhook.headers: want an object of strings, got array",
		`{"concurrency":1.5}`:                                "concurrency: want a whole number, got number",
		`{"autoRetry":"no"}`:                                 "autoRetry: want true or false, got string",
		`{"ordered":true}`:                                   `want false or "photo"`,
		`{"ordered":"user"}`:                                 `want false or "photo"`,
		`{"id":"a"} {"id":"b"}`:                              "nothing after it",
		`{"id":"` + strings.Repeat("a", maxSpecBytes) + `"}`: "want at most 65536",
	} {
		_, err := ParseSpec([]byte(raw))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.60s: %v, want %q", raw, err, want)
		}
	}
}

func TestValidateSpec(t *testing.T) {
	t.Parallel()
	channels := []string{"photo:upload", "photo:processing"}
	ok := Spec{ID: "a", Channel: "photo:upload", Webhook: &Webhook{URL: "https://example.com"}}
	if err := ok.Validate(channels, WebhookConfig{}, nil); err != nil {
		t.Error(err)
	}
	err := Spec{
		ID: "a.b", Channel: "photo:none", Filter: json.RawMessage(`{}`), MaxErrors: -1, RetryDelay: -1, Concurrency: 65, Queue: -1, Ordered: "user",
	}.Validate(channels, WebhookConfig{}, compileTypes)
	wantProblems(t, err, `id is "a.b"`, `channel is "photo:none": want one of photo:upload, photo:processing`, "webhook: missing", "filter: eventTypes",
		"maxErrors is -1", "concurrency is 65", "queue is -1", `ordered is "user"`, "retryDelay is -1")

	many := map[string]string{}
	for i := range 21 {
		many[fmt.Sprintf("X-%d", i)] = "v"
	}
	for name, c := range map[string]struct {
		hook Webhook
		want []string
	}{
		"http":         {Webhook{URL: "http://example.com"}, []string{`webhook.url has the scheme "http": want https`}},
		"ftp":          {Webhook{URL: "ftp://example.com"}, []string{`webhook.url has the scheme "ftp"`}},
		"none":         {Webhook{}, []string{"webhook.url is missing"}},
		"relative":     {Webhook{URL: "/x"}, []string{`webhook.url has the scheme ""`}},
		"no host":      {Webhook{URL: "https:///x"}, []string{"webhook.url has no host"}},
		"port alone":   {Webhook{URL: "https://:443/x"}, []string{"webhook.url has no host"}},
		"user":         {Webhook{URL: "https://u:hush@example.com"}, []string{"webhook.url has a user"}},
		"fragment":     {Webhook{URL: "https://example.com/#x"}, []string{"webhook.url has a fragment"}},
		"port":         {Webhook{URL: "https://example.com:99999"}, []string{`webhook.url has the port "99999"`}},
		"no port":      {Webhook{URL: "https://example.com:"}, []string{"webhook.url has an empty port"}},
		"control":      {Webhook{URL: "https://example.com/\n?hush"}, []string{"webhook.url is none"}},
		"long":         {Webhook{URL: "https://example.com/" + strings.Repeat("a", 2048)}, []string{"webhook.url has 2068 bytes"}},
		"private":      {Webhook{URL: "https://10.0.0.1"}, []string{"webhook.url leads to the address 10.0.0.1, which is not allowed"}},
		"private v6":   {Webhook{URL: "https://[::1]:8080"}, []string{"webhook.url leads to the address ::1"}},
		"short secret": {Webhook{URL: ok.Webhook.URL, Secret: "hush"}, []string{"webhook.secret has 4 bytes: want 16 to 256"}},
		"bad secret":   {Webhook{URL: ok.Webhook.URL, Secret: "whsec_hush!"}, []string{"webhook.secret is no base64"}},
		"headers":      {Webhook{URL: ok.Webhook.URL, Headers: many}, []string{"webhook.headers are 21: want at most 20"}},
		"header": {Webhook{URL: ok.Webhook.URL, Headers: map[string]string{
			"Host": "x", "content-length": "1", "Webhook-Id": "x", "Proxy-Authorization": "hush", "A B": "x", "Ok": "x\r\nEvil: hush", "Big": strings.Repeat("hush", 300),
		}}, []string{`headers."A B": no name`, `headers."Big": 1203 bytes`, `headers."Host": this one is not yours`, `headers."Ok": its value has a character`,
			`headers."Proxy-Authorization": this one is not yours`, `headers."Webhook-Id": this one`, `headers."content-length": this one`}},
		"timeout": {Webhook{URL: ok.Webhook.URL, Timeout: 60_001}, []string{"webhook.timeout is 60001"}},
	} {
		spec := ok
		spec.Webhook = &c.hook
		err := spec.Validate(channels, WebhookConfig{}, nil)
		wantProblems(t, err, c.want...)
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
	spec := ok
	spec.Webhook = &Webhook{URL: "http://10.0.0.1:8080/x"}
	if err := spec.Validate(channels, WebhookConfig{AllowHTTP: true, AllowPrivate: prefixes("10.0.0.0/8")}, nil); err != nil {
		t.Error(err)
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	wantProblems(t, Config{
		Backoff: Backoff{MaxRetries: map[Category]int{"x": 1}}, Breaker: BreakerConfig{WhenOpen: "x"}, Webhooks: WebhookConfig{Timeout: -1},
		MaxEvent: -1, Drain: -1, FeedMaxAge: -1, FeedMaxLen: -1, MaxSubscriptions: -1,
	}.Validate(), "resilience.maxRetries.x", "resilience.circuitBreaker.whenOpen", "delivery.webhooks.timeout", "delivery.maxEvent", "delivery.drain",
		"delivery.feed.retention", "delivery.feed.maxLength", "delivery.maxSubscriptions")
}
