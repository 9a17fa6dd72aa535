package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/photo-management/event-bus/events"
)

func TestCategoryOf(t *testing.T) {
	t.Parallel()
	text := errors.New("rate limit, timeout, validation, network") // a text tells nothing
	for _, c := range []struct {
		err  error
		want Category
	}{
		{nil, CategoryUnknown},
		{text, CategoryUnknown},
		{context.Canceled, CategoryUnknown},
		{context.DeadlineExceeded, CategoryTimeout},
		{os.ErrDeadlineExceeded, CategoryTimeout},
		{&net.DNSError{IsTimeout: true}, CategoryTimeout},
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, CategoryTimeout},
		{HTTPError{408}, CategoryTimeout},
		{HTTPError{504}, CategoryTimeout},
		{&net.DNSError{IsNotFound: true}, CategoryNetwork},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, CategoryNetwork},
		{syscall.ECONNREFUSED, CategoryNetwork},
		{syscall.ECONNRESET, CategoryNetwork},
		{io.EOF, CategoryNetwork},
		{io.ErrUnexpectedEOF, CategoryNetwork},
		{net.ErrClosed, CategoryNetwork},
		{tls.RecordHeaderError{}, CategoryNetwork},
		{x509.UnknownAuthorityError{}, CategoryNetwork},
		{&tls.CertificateVerificationError{Err: text}, CategoryNetwork},
		{&url.Error{Op: "Post", Err: text}, CategoryNetwork},
		{&url.Error{Op: "parse", Err: text}, CategoryUnknown},
		{HTTPError{502}, CategoryNetwork},
		{HTTPError{503}, CategoryNetwork},
		{HTTPError{500}, CategoryUnknown},
		{Permanent(HTTPError{404}), CategoryUnknown},
		{events.ErrInvalid, CategoryValidation},
		{events.ErrMalformed, CategoryValidation},
		{Permanent(events.ErrInvalid), CategoryValidation},
		{RateLimited{}, CategoryRateLimit},
		{RateLimited{Err: context.DeadlineExceeded}, CategoryRateLimit},
	} {
		for _, err := range []error{c.err, fmt.Errorf("wrapped: %w", c.err)} {
			if c.err == nil {
				err = nil
			}
			if got := CategoryOf(err); got != c.want {
				t.Errorf("%T %v is %s, want %s", c.err, err, got, c.want)
			}
		}
	}
	if Permanent(nil) != nil {
		t.Error("Permanent of nil is an error")
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	b := Backoff{
		MaxRetries:     map[Category]int{CategoryDefault: 3, CategoryNetwork: 2, CategoryValidation: 9},
		BaseRetryDelay: map[Category]time.Duration{CategoryDefault: time.Second},
		MaxRetryDelay:  map[Category]time.Duration{CategoryDefault: time.Minute},
	}
	unknown := errors.New("x")
	for name, c := range map[string]struct {
		retry   Retry
		err     error
		attempt int
		want    verdict
	}{
		"first":            {Retry{Backoff: b}, unknown, 1, verdict{category: CategoryUnknown, again: true, delay: time.Second}},
		"second":           {Retry{Backoff: b}, unknown, 2, verdict{category: CategoryUnknown, again: true, delay: 2 * time.Second}},
		"as often as may":  {Retry{Backoff: b}, unknown, 3, verdict{category: CategoryUnknown, reason: ReasonRetries}},
		"by category":      {Retry{Backoff: b}, io.EOF, 2, verdict{category: CategoryNetwork, reason: ReasonRetries}},
		"validation":       {Retry{Backoff: b}, events.ErrInvalid, 1, verdict{category: CategoryValidation, reason: ReasonValidation}},
		"permanent":        {Retry{Backoff: b}, Permanent(io.EOF), 1, verdict{category: CategoryNetwork, reason: ReasonPermanent}},
		"no retry":         {Retry{Backoff: b, Never: true}, unknown, 1, verdict{category: CategoryUnknown, reason: ReasonRetries}},
		"own base":         {Retry{Backoff: b, Base: 10 * time.Second}, unknown, 2, verdict{category: CategoryUnknown, again: true, delay: 20 * time.Second}},
		"base beyond max":  {Retry{Backoff: b, Base: time.Hour}, unknown, 1, verdict{category: CategoryUnknown, again: true, delay: time.Hour}},
		"retry after":      {Retry{Backoff: b}, RateLimited{RetryAfter: 30 * time.Second}, 1, verdict{CategoryRateLimit, true, 30 * time.Second, 30 * time.Second, ""}},
		"retry after less": {Retry{Backoff: b}, RateLimited{RetryAfter: time.Millisecond}, 2, verdict{CategoryRateLimit, true, 2 * time.Second, time.Millisecond, ""}},
		"retry after days": {Retry{Backoff: b}, RateLimited{RetryAfter: 72 * time.Hour}, 1, verdict{CategoryRateLimit, true, time.Minute, time.Minute, ""}},
	} {
		if got := c.retry.decide(c.err, c.attempt, 0); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestErrorTextIsBounded(t *testing.T) {
	t.Parallel()
	for n := range 5 {
		text := errorText(errors.New(strings.Repeat("x", n) + strings.Repeat("€", 1000)))
		if len(text) > maxErrorBytes+len("…") || !utf8.ValidString(text) {
			t.Errorf("%d bytes, UTF-8 %v", len(text), utf8.ValidString(text))
		}
	}
}
