package delivery

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// statusError is what a status means: nil for success.
func statusError(status int, retryAfter string, now time.Time) error {
	err := HTTPError{status}
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable && retryAfter != "":
		return RateLimited{parseRetryAfter(retryAfter, now), err}
	case status == http.StatusRequestTimeout || status == http.StatusTooEarly || status >= 500:
		return err
	}
	return Permanent(err) // a redirect, and what we do wrong
}

// parseRetryAfter reads a Retry-After: seconds or a date. Zero means that it says nothing of use.
func parseRetryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxDelay)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxDelay)
	}
	return 0
}

// exchangeError makes of what went wrong with a request an error whose text has nothing that the receiver could have
// sent us back: errors of net/http quote answers that they do not understand. The type remains.
func exchangeError(ctx context.Context, err error) error {
	if isPermanent(err) { // the address
		inner, _ := errors.AsType[permanent](err)
		return inner
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ctx.Err()
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return dns
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return quiet{err, "the exchange took too long"}
	}
	switch {
	case isTLS(err):
		return quiet{err, "no trusted TLS connection"}
	case isAny(err, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed):
		return quiet{err, "the connection broke"}
	}
	return quiet{err, "no proper HTTP answer"}
}

// quiet is an error with a text of ours.
type quiet struct {
	error
	text string
}

func (q quiet) Error() string { return q.text }
func (q quiet) Unwrap() error { return q.error }
