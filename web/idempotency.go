package web

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Idempotency keeps, for 24 hours, what requests with an Idempotency-Key were answered, for all replicas. Keys and digests
// are 64 hexadecimal digits, made from the caller, the operation and the request. An answer has at most 1 MiB or so: a
// thousand refusals of a batch.
type Idempotency interface {
	// Begin claims a key for a request, for a minute: a claim whose holder died must not last. It returns the kept
	// answer of the same request, nil if the request is new and to be worked on, ErrKeyReused if the key was used
	// with another digest, and ErrKeyBusy while the same request is being worked on.
	Begin(ctx context.Context, key, digest string) (*Answer, error)
	// Finish keeps the answer, if the claim still holds.
	Finish(ctx context.Context, key, digest string, answer Answer) error
	// Abandon gives the claim up, as the request may be tried again.
	Abandon(ctx context.Context, key, digest string) error
}

var (
	// ErrKeyReused says that an Idempotency-Key came with another request before.
	ErrKeyReused = errors.New("idempotency key used for another request")
	// ErrKeyBusy says that the first request with an Idempotency-Key has no answer yet.
	ErrKeyBusy = errors.New("idempotency key in use")
)

// Answer is what a request was answered.
type Answer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`

	again bool // something in it may turn out otherwise: it is not kept
}

func newAnswer(status int, v any) (Answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return Answer{}, fmt.Errorf("encode the answer: %w", err)
	}
	return Answer{Status: status, Body: body}, nil
}

// onceKey is the Idempotency-Key of a request; its zero value is of one without.
type onceKey struct{ key, digest string }

// idempotent reads the Idempotency-Key. The key belongs to the caller and the operation; the digest covers all that a
// request says.
func (c *call) idempotent() (onceKey, error) {
	given := c.r.Header.Values("Idempotency-Key")
	if len(given) == 0 {
		return onceKey{}, nil
	}
	if len(given) > 1 || len(given[0]) == 0 || len(given[0]) > 255 || !printable(given[0]) {
		return onceKey{}, malformedField("Idempotency-Key", "must be one header of 1 to 255 printable ASCII characters.")
	}
	if c.api.cfg.Idempotency == nil {
		return onceKey{}, &Error{Status: http.StatusNotImplemented,
			Detail: "Idempotency-Key is not available in the mode the service runs in. The event's id does the same: the bus delivers one once."}
	}
	return onceKey{digest(c.op.id, c.who.UserID, given[0]), digest(c.r.URL.RawQuery, string(c.body))}, nil
}

func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return true
}

// digest is one of texts, each with its length before it, so that no two lists of texts run into each other.
func digest(texts ...string) string {
	h := sha256.New()
	for _, t := range texts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(t)))
		_, _ = io.WriteString(h, t)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// eventID is the id of the i-th event of a request, if that has none: the same whenever the request comes, so that the bus
// would know the event again even if the kept answer got lost. It is "" without a key.
func (k onceKey) eventID(i int) string {
	if k.key == "" {
		return ""
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", k.key, k.digest, i))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}

// once does the work unless it has been done, and answers.
func (c *call) once(k onceKey, work func(context.Context) (Answer, error)) error {
	if k.key == "" {
		answer, err := work(c.ctx)
		if err != nil {
			return err
		}
		c.write(answer.Status, "application/json", answer.Body)
		return nil
	}
	kept, err := c.api.cfg.Idempotency.Begin(c.ctx, k.key, k.digest)
	switch {
	case errors.Is(err, ErrKeyReused):
		return Invalid("Idempotency-Key", "was used for another request.")
	case errors.Is(err, ErrKeyBusy):
		return &Error{Status: http.StatusConflict, RetryAfter: time.Second,
			Detail: "The first request with this Idempotency-Key is still being worked on."}
	case err != nil:
		return err
	case kept != nil:
		c.w.Header().Set("Idempotency-Replayed", "true")
		c.write(kept.Status, kept.contentType(), kept.Body)
		return nil
	}
	answer, err := work(c.ctx)
	if err != nil {
		refusal := c.problem(err)
		body, _ := json.Marshal(refusal.problem()) // texts and a number: nothing can go wrong
		c.keep(k, Answer{Status: refusal.Status, Body: body, again: !final(refusal.Status)})
		return refusal
	}
	c.keep(k, answer)
	c.write(answer.Status, answer.contentType(), answer.Body)
	return nil
}

// keep keeps an answer, or gives the key up. The caller may have gone, but the next one asks. When it fails, the events'
// ids still keep them from being delivered twice, so the answer stands.
func (c *call) keep(k onceKey, answer Answer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), 5*time.Second)
	defer cancel()
	var err error
	if answer.again {
		err = c.api.cfg.Idempotency.Abandon(ctx, k.key, k.digest)
	} else {
		err = c.api.cfg.Idempotency.Finish(ctx, k.key, k.digest, answer)
	}
	if err != nil {
		c.failed(fmt.Errorf("keep the answer for an idempotency key: %w", err))
	}
}

// final says of a status that the same request would get it again.
func final(status int) bool { return status < 500 && status != http.StatusTooManyRequests }

func (a Answer) contentType() string {
	if a.Status >= 400 {
		return "application/problem+json"
	}
	return "application/json"
}
