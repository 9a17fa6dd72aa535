package delivery

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/photo-management/event-bus/events"
)

const (
	maxSpecBytes   = 64 << 10
	maxIDBytes     = 64
	maxConcurrency = 64
	maxQueue       = 100_000
	defaultWorkers = 4
	defaultQueue   = 256
)

// Order says which events of a subscription wait for one another.
type Order string

const (
	Unordered Order = ""
	// PerPhoto keeps the order of the events of one photo (data.photoId), also while one of them is tried again: those
	// behind it wait. Events without a photo have no order.
	PerPhoto Order = "photo"
)

// UnmarshalJSON takes false and "photo".
func (o *Order) UnmarshalJSON(raw []byte) error {
	switch string(raw) {
	case `false`, `null`, `""`:
		*o = Unordered
	case `"photo"`:
		*o = PerPhoto
	default:
		return fmt.Errorf(`ordered is %.40s: want false or "photo"`, raw)
	}
	return nil
}

// Spec declares a subscription: where events of a channel are posted to.
type Spec struct {
	ID      string `json:"id"` // 1 to 64 letters, digits, "-" and "_"
	Channel string `json:"channel"`
	// Filter says which events; Compile knows the form. None means all.
	Filter  json.RawMessage `json:"filter,omitempty"`
	Webhook *Webhook        `json:"webhook"`
	// MaxErrors is after how many failed attempts the subscription is removed: what it is owed then goes to the dead
	// letters. Zero means never. Each replica counts those of its own, and anew when the subscription is changed.
	MaxErrors int `json:"maxErrors,omitempty"`
	// AutoRetry false sends each event to the dead letters when it has failed once. None means true.
	AutoRetry *bool `json:"autoRetry,omitempty"`
	// RetryDelay is the base delay before the second attempt, in ms, for errors of any category. Zero means Backoff's.
	RetryDelay int `json:"retryDelay,omitempty"`
	// Concurrency is how many events are posted at once, 1 to 64. Zero means 4.
	Concurrency int `json:"concurrency,omitempty"`
	// Queue is how many events are held at once, those under way and those that wait to be tried again included. While
	// it is full, or they have 16 MiB, no more are read. Zero means 256.
	Queue   int   `json:"queue,omitempty"`
	Ordered Order `json:"ordered,omitempty"`
	// CreatedAt is for whoever stores the subscription to set.
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

// Compile makes a filter's function. It is handed in, as routing owns the language: routing.CompileMatch.
type Compile func(filter json.RawMessage) (func(events.Event) bool, error)

// ParseSpec reads the JSON of a Spec, of at most 64 KiB, in which an unknown member is an error. Whether what it says
// can be, Validate knows.
func ParseSpec(raw []byte) (Spec, error) {
	if len(raw) > maxSpecBytes {
		return Spec{}, fmt.Errorf("subscription of %d bytes: want at most %d", len(raw), maxSpecBytes)
	}
	var s Spec
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("subscription: %w", explainJSON(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Spec{}, errors.New("subscription: want one JSON object and nothing after it")
	}
	return s, nil
}

// explainJSON names the member and quotes no value, as that may be a secret.
func explainJSON(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: want %s, got %s", cmp.Or(e.Field, "the whole"), jsonType(e.Type.String()), kindOf(e.Value))
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// kindOf is the kind of a JSON value as encoding/json tells it, without the value: "number 3.5" is "number".
func kindOf(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

func jsonType(goType string) string {
	switch goType {
	case "int":
		return "a whole number"
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "map[string]string":
		return "an object of strings"
	case "time.Time":
		return "a date and time as in RFC 3339"
	}
	return "an object"
}

// Validate reports all problems at once, by member. channels are those there are, and compile may be nil if there is no filter.
func (s Spec) Validate(channels []string, web WebhookConfig, compile Compile) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !isID(s.ID) {
		wrong(`id is %.80q: want 1 to %d letters, digits, "-" and "_"`, s.ID, maxIDBytes)
	}
	if !slices.Contains(channels, s.Channel) {
		wrong("channel is %.80q: want one of %s", s.Channel, strings.Join(channels, ", "))
	}
	if s.Webhook == nil {
		wrong("webhook: missing, want an object with url")
	} else if err := s.Webhook.Validate(web); err != nil {
		errs = append(errs, err)
	}
	if _, err := s.match(compile); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, checkBounds("", s.MaxErrors, s.Concurrency, s.Queue, s.Ordered)...)
	if s.RetryDelay < 0 || s.RetryDelay > int(maxDelay/time.Millisecond) {
		wrong("retryDelay is %d: want 1 to %d ms, or 0 for the default of each category", s.RetryDelay, maxDelay/time.Millisecond)
	}
	return errors.Join(errs...)
}

// checkBounds is what webhooks and handlers have in common.
func checkBounds(prefix string, maxErrors, concurrency, queue int, order Order) (errs []error) {
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(prefix+format, args...)) }
	if maxErrors < 0 {
		wrong("maxErrors is %d: want 1 or more, or 0 for no limit", maxErrors)
	}
	if concurrency < 0 || concurrency > maxConcurrency {
		wrong("concurrency is %d: want 1 to %d, or 0 for %d", concurrency, maxConcurrency, defaultWorkers)
	}
	if queue < 0 || queue > maxQueue {
		wrong("queue is %d: want 1 to %d events, or 0 for %d", queue, maxQueue, defaultQueue)
	}
	if order != Unordered && order != PerPhoto {
		wrong(`ordered is %.40q: want false or "photo"`, string(order))
	}
	return errs
}

// match compiles the filter; nil means all events.
func (s Spec) match(compile Compile) (func(events.Event) bool, error) {
	if len(s.Filter) == 0 || string(s.Filter) == "null" {
		return nil, nil
	}
	if compile == nil {
		return nil, errors.New("filter: none can be compiled here")
	}
	match, err := compile(s.Filter)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return match, nil
}

// isID reports whether a text can be part of a group's name and of a header.
func isID(s string) bool {
	return s != "" && len(s) <= maxIDBytes && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	})
}

// Public is the Spec without what only its receiver may know: the secret, and the values of headers and of the URL's
// query. A Spec in this form is no valid one.
func (s Spec) Public() Spec {
	if s.Webhook != nil {
		w := s.Webhook.public()
		s.Webhook = &w
	}
	return s
}
