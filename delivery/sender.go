package delivery

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/photo-management/event-bus/events"
)

// maxAnswerBytes is how much of an answer is read, so that its connection can be used again. Nothing in it matters.
const maxAnswerBytes = 64 << 10

// WebhookConfig bounds what webhooks may do.
type WebhookConfig struct {
	// Timeout of a request, the answer included, for webhooks that do not say. Zero means 10 s.
	Timeout time.Duration
	// AllowHTTP takes http URLs besides https.
	AllowHTTP bool
	// AllowPrivate are networks that are not of the public Internet, and may be called nevertheless. An address where a
	// cloud gives out credentials needs a prefix of its own, such as 169.254.169.254/32.
	AllowPrivate []netip.Prefix
	// RootCAs are trusted to sign for receivers. Nil means those of the system.
	RootCAs *x509.CertPool
}

func (c WebhookConfig) withDefaults() WebhookConfig {
	c.Timeout = cmp.Or(c.Timeout, defaultHookTime)
	return c
}

// Validate reports all problems at once, by key.
func (c WebhookConfig) Validate() error {
	var errs []error
	if c = c.withDefaults(); c.Timeout < time.Millisecond || c.Timeout > maxWebhookTime {
		errs = append(errs, fmt.Errorf("delivery.webhooks.timeout is %s: want 1ms to %s, or 0 for %s", c.Timeout, maxWebhookTime, defaultHookTime))
	}
	for i, p := range c.AllowPrivate {
		if !p.IsValid() {
			errs = append(errs, fmt.Errorf("delivery.webhooks.allowPrivate[%d]: want a network such as 10.0.0.0/8", i))
		}
	}
	return errors.Join(errs...)
}

// sender posts events. Its connections are shared by all webhooks.
type sender struct {
	cfg       WebhookConfig
	transport *http.Transport
}

func newSender(cfg WebhookConfig) *sender {
	cfg = cfg.withDefaults()
	dialer := &net.Dialer{Timeout: maxWebhookTime, KeepAlive: 30 * time.Second, Control: controlDial(cfg.AllowPrivate)}
	t := &http.Transport{ // without Proxy: what HTTPS_PROXY names would be asked instead, and look nothing up with us
		DialContext:            dialer.DialContext,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        256,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		MaxResponseHeaderBytes: maxAnswerBytes,
	}
	if cfg.RootCAs != nil {
		t.TLSClientConfig = &tls.Config{RootCAs: cfg.RootCAs}
	}
	return &sender{cfg, t}
}

// close closes idle connections. No request is under way then.
func (s *sender) close() { s.transport.CloseIdleConnections() }

// post sends one event, once, and follows no redirect: that would lead past the checks of the URL, and a POST becomes a
// GET on the way. The body is the event's JSON. Headers and signature are those of the Standard Webhooks specification
// (standardwebhooks.com, version 1): the id is the same for each attempt, so that a receiver can tell what it has had.
func (s *sender) post(ctx context.Context, w *Webhook, subscription string, ev events.Event) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(time.Duration(w.Timeout)*time.Millisecond, s.cfg.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(ev.Raw()))
	if err != nil {
		return Permanent(errors.New("webhook.url is no URL")) // Validate would have said so
	}
	for name, value := range w.Headers {
		req.Header.Set(name, value)
	}
	id, now := messageID(subscription, ev.ID), time.Now()
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "eventbus-webhooks/1")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	setTrace(ctx, req, ev)
	key, err := signingKey(w.Secret)
	if err != nil {
		return Permanent(fmt.Errorf("webhook.secret %w", err))
	}
	if key != nil {
		req.Header.Set("Webhook-Signature", sign(key, id, now, ev.Raw()))
	}
	// Not http.Client.Do, whose errors quote the URL.
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return exchangeError(ctx, err)
	}
	defer resp.Body.Close()
	traceStatus(ctx, resp.StatusCode)
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswerBytes) // the status is there already, whatever becomes of the rest
	return statusError(resp.StatusCode, resp.Header.Get("Retry-After"), now)
}

// messageID is the Webhook-Id of an event for a subscription. Publishers choose ids: those that do not fit a header, or
// have the "." that the signature puts between its parts, are replaced by a hash.
func messageID(subscription, eventID string) string {
	if len(eventID) > 128 || strings.ContainsFunc(eventID, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`.:~"`, r) }) {
		sum := sha256.Sum256([]byte(eventID))
		eventID = "~" + hex.EncodeToString(sum[:16])
	}
	return subscription + ":" + eventID
}

// sign makes the Webhook-Signature: HMAC-SHA256 of id, time in seconds and body, with a "." between them.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// isTraceparent reports whether a text is one of W3C Trace Context, version 00.
func isTraceparent(s string) bool {
	if len(s) != 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'f') }) &&
		strings.Count(s, "-") == 3
}
