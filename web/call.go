package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// call is one request to an operation.
type call struct {
	op        operation
	api       *api
	w         http.ResponseWriter
	r         *http.Request
	ctx       context.Context
	requestID string
	who       auth.Identity
	body      []byte
	status    int    // answered with; 0: not yet
	detail    string // of the refusal
	denied    string // a channel the caller may not publish on
}

// handler puts around an operation what all have in common: a request id, headers, a token, limits, the role, a bounded
// body, a deadline, and the audit at the end.
func (a *api) handler(op operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{op: op, api: a, w: w, r: r, ctx: r.Context(), requestID: requestID(r)}
		h := w.Header()
		h.Set("X-Request-Id", c.requestID)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")

		if op.timeout > 0 {
			var cancel context.CancelFunc
			c.ctx, cancel = context.WithTimeout(c.ctx, op.timeout)
			defer cancel()
		}
		if err := c.run(); err != nil {
			c.refuse(err)
		}
		c.audit()
	})
}

func (c *call) run() error {
	if err := c.authenticate(); err != nil {
		return err
	}
	if err := c.admit(); err != nil {
		return err
	}
	select {
	case c.api.slots <- struct{}{}:
		defer func() { <-c.api.slots }()
	default:
		return Unavailable("Too many requests are under way.", time.Second)
	}
	if c.op.maxBody > 0 {
		if err := c.read(); err != nil {
			return err
		}
	}
	return c.op.serve(c)
}

// authenticate finds out who is asking.
func (c *call) authenticate() error {
	const need = "A valid token is needed, as Authorization: Bearer <token>."
	given := c.r.Header.Values("Authorization")
	err := auth.ErrMissing
	if len(given) == 1 {
		scheme, token, _ := strings.Cut(given[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			c.who, err = c.api.cfg.Verify(c.ctx, token)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrMissing), errors.Is(err, auth.ErrInvalid):
	default:
		c.failed(err)
		return Unavailable("The token could not be checked at the moment.", time.Second)
	}
	if err := c.allow(LimitRefused, c.remote(), 1); err != nil {
		return err
	}
	detail := need
	if errors.Is(err, auth.ErrExpired) {
		detail = "The token has expired. " + need
	}
	challenge := "Bearer"
	if !errors.Is(err, auth.ErrMissing) {
		challenge = `Bearer error="invalid_token"`
	}
	c.w.Header().Set("WWW-Authenticate", challenge)
	return &Error{Status: http.StatusUnauthorized, Detail: detail}
}

// admit settles whether the caller may do this, now, and whether it can be done here at all.
func (c *call) admit() error {
	what := LimitRequests
	if c.op.access == publishers {
		what = LimitEvents
	}
	if err := c.allow(what, c.who.UserID, 1); err != nil {
		return err
	}
	if c.op.access == admins && !c.who.HasRole(roleAdmin) {
		return &Error{Status: http.StatusForbidden, Detail: "The role admin is needed."}
	}
	if !c.op.there {
		return &Error{Status: http.StatusNotImplemented, Detail: "This is not available in the mode the service runs in."}
	}
	return nil
}

const roleAdmin = "admin"

// may says whether the caller may do something with a channel.
func (c *call) may(do auth.Action, channel string) bool {
	return c.who.HasRole(roleAdmin) || c.api.cfg.Policy != nil && c.api.cfg.Policy.Channel(c.who, do, channel) == nil
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}

func (c *call) allow(what Limit, caller string, n int) error {
	if c.api.cfg.Allow == nil || n == 0 {
		return nil
	}
	if ok, wait := c.api.cfg.Allow(c.ctx, what, caller, n); !ok {
		return TooMany(wait)
	}
	return nil
}

// read takes the body, which must be JSON and say so.
func (c *call) read() error {
	switch types := c.r.Header.Values("Content-Type"); {
	case len(types) == 0 && c.r.ContentLength == 0:
		return nil // whoever needs a body, misses it in decode
	case len(types) != 1 || !isJSON(types[0]) || len(c.r.Header.Values("Content-Encoding")) > 0:
		return &Error{Status: http.StatusUnsupportedMediaType, Detail: "The body must be application/json in UTF-8, not encoded."}
	}
	// The server has no read timeout. The deadline goes before the work, which it would cancel.
	conn := http.NewResponseController(c.w)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // not every ResponseWriter can; all of net/http's can
	var err error
	c.body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, int64(c.op.maxBody)))
	_ = conn.SetReadDeadline(time.Time{})
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(c.op.maxBody)
	}
	if err != nil {
		return malformed("The body did not arrive.")
	}
	return nil
}

func tooLarge(limit int) *Error {
	return &Error{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("The body may have %d bytes.", limit)}
}

func isJSON(contentType string) bool {
	kind, params, err := mime.ParseMediaType(contentType)
	charset, given := params["charset"]
	return err == nil && (kind == "application/json" || kind == "application/cloudevents+json") &&
		(!given || strings.EqualFold(charset, "utf-8"))
}

// decode reads the body into a struct.
func (c *call) decode(into any) error {
	if err := c.needBody(); err != nil {
		return err
	}
	return decode(c.body, into)
}

func (c *call) needBody() error {
	if len(c.body) == 0 {
		return malformed("A body is needed, as application/json.")
	}
	return nil
}

// id is a part of the path that names something the caller may have made up.
func (c *call) id(name string) (string, error) {
	id := c.r.PathValue(name)
	if why := checkNewID(id); why != "" {
		return "", malformedField(name, why)
	}
	return id, nil
}

// name is a part of the path that names something of anybody's making.
func (c *call) name(name string) (string, error) {
	value := c.r.PathValue(name)
	if why := checkName(value); why != "" {
		return "", malformedField(name, why)
	}
	return value, nil
}

// noQuery refuses parameters where there are none.
func (c *call) noQuery() error { return newQuery(c.r).done() }

func (c *call) answer(status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.write(status, "application/json", body)
	return nil
}

func (c *call) done() error {
	c.status = http.StatusNoContent
	c.w.WriteHeader(c.status)
	return nil
}

func (c *call) write(status int, contentType string, body []byte) {
	c.status = status
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // fails only when the client has gone
	_, _ = c.w.Write([]byte{'\n'})
}

// refuse answers with the problem an error stands for.
func (c *call) refuse(err error) {
	e := c.problem(err)
	if wait := e.RetryAfter; wait > 0 || e.Status == http.StatusTooManyRequests {
		c.w.Header().Set("Retry-After", strconv.Itoa(max(1, int((wait+time.Second-1)/time.Second))))
	}
	c.detail = e.Detail
	body, _ := json.Marshal(e.problem()) // texts and a number: nothing can go wrong
	c.write(e.Status, "application/problem+json", body)
}

// problem returns what the caller may know of an error.
func (c *call) problem(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	switch {
	case errors.Is(err, auth.ErrDenied):
		return &Error{Status: http.StatusForbidden, Detail: "You may not do that."}
	case errors.Is(err, context.DeadlineExceeded):
		c.failed(err)
		return Unavailable("That took too long.", time.Second)
	case errors.Is(err, context.Canceled):
		return Unavailable("The request was broken off.", time.Second)
	}
	c.failed(err)
	return &Error{Status: http.StatusInternalServerError,
		Detail: "Something is wrong on our side. The log tells more of the request that X-Request-Id names."}
}

func (c *call) failed(err error) {
	if c.api.cfg.Failed != nil {
		c.api.cfg.Failed(c.requestID, c.op.id, err)
	}
}

func (c *call) remote() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

// requestID is the caller's, if it is fit for a log, else a new one.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); checkNewID(id) == "" {
		return id
	}
	return rand.Text()
}
