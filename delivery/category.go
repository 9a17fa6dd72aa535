package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/photo-management/event-bus/events"
)

// Category says what kind of error stopped an event. It decides how often and how soon the event is tried again.
type Category string

// The categories of the seed (8.1), and the key for those that the configuration does not name.
const (
	CategoryTimeout    Category = "timeout"
	CategoryNetwork    Category = "network"
	CategoryValidation Category = "validation" // the event itself is wrong: never tried again
	CategoryRateLimit  Category = "rate_limit"
	CategoryUnknown    Category = "unknown"
	CategoryDefault    Category = "default" // a key of the configuration only: no error has it
)

// Categories lists those that errors have.
func Categories() []Category {
	return []Category{CategoryTimeout, CategoryNetwork, CategoryValidation, CategoryRateLimit, CategoryUnknown}
}

// RateLimited says that the receiver takes no more for now, as HTTP does with 429, and with 503 and Retry-After.
type RateLimited struct {
	RetryAfter time.Duration // when it will take more; zero if it did not say
	Err        error         // what happened; may be nil
}

func (e RateLimited) Error() string {
	text := "rate limited"
	if e.Err != nil {
		text = e.Err.Error()
	}
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(", to be tried again after %s", e.RetryAfter)
	}
	return text
}

func (e RateLimited) Unwrap() error { return e.Err }

// permanent marks what no further attempt mends.
type permanent struct{ err error }

func (e permanent) Error() string { return e.err.Error() }
func (e permanent) Unwrap() error { return e.err }

// Permanent marks an error that no further attempt mends: the event goes to the dead letters at once. Of nil it is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// HTTPError is an answer of a webhook that is no success.
type HTTPError struct{ Status int }

func (e HTTPError) Error() string {
	if text := http.StatusText(e.Status); text != "" {
		return fmt.Sprintf("answer %d %s", e.Status, text)
	}
	return fmt.Sprintf("answer %d", e.Status)
}

// CategoryOf tells the category of an error by its type. Of nil it is unknown.
func CategoryOf(err error) Category {
	if _, ok := errors.AsType[RateLimited](err); ok {
		return CategoryRateLimit
	}
	if e, ok := errors.AsType[HTTPError](err); ok {
		return statusCategory(e.Status)
	}
	switch {
	case isAny(err, events.ErrInvalid, events.ErrMalformed, events.ErrTooLarge, events.ErrUnknownType):
		return CategoryValidation
	case isAny(err, context.DeadlineExceeded, os.ErrDeadlineExceeded):
		return CategoryTimeout
	}
	if e, ok := errors.AsType[*url.Error](err); ok && e.Op == "parse" { // it counts as a net.Error, too
		return CategoryUnknown
	}
	if e, ok := errors.AsType[net.Error](err); ok {
		if e.Timeout() {
			return CategoryTimeout
		}
		return CategoryNetwork
	}
	if isAny(err, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNREFUSED, syscall.ECONNRESET,
		syscall.ECONNABORTED, syscall.EPIPE, syscall.EHOSTUNREACH, syscall.ENETUNREACH) || isTLS(err) {
		return CategoryNetwork
	}
	return CategoryUnknown
}

func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

// isTLS reports whether no trusted connection came about.
func isTLS(err error) bool {
	_, record := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return record || alert || untrusted || authority || host || invalid
}

func statusCategory(status int) Category {
	switch status {
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return CategoryTimeout
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		return CategoryNetwork
	case http.StatusTooManyRequests:
		return CategoryRateLimit
	}
	return CategoryUnknown
}

// isPermanent reports whether an error says so itself.
func isPermanent(err error) bool {
	_, ok := errors.AsType[permanent](err)
	return ok
}

// aboutEvent reports whether an error speaks about the event, or about when to send, and not about the receiver's
// health: the breaker takes no notice of it. A receiver that refuses whatever it is sent (401, 404, a redirect) is not well.
func aboutEvent(err error) bool {
	switch CategoryOf(err) {
	case CategoryValidation, CategoryRateLimit:
		return true
	}
	if e, ok := errors.AsType[HTTPError](err); ok {
		switch e.Status {
		case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
			http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
			return true
		}
		return false
	}
	return isPermanent(err) && !errors.Is(err, errAddress)
}

func asRateLimited(err error) (RateLimited, bool) { return errors.AsType[RateLimited](err) }
