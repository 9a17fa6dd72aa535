package delivery

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxURLBytes     = 2048
	maxHeaders      = 20
	maxHeaderBytes  = 1024
	minSecretBytes  = 16
	maxSecretBytes  = 256
	maxWebhookTime  = time.Minute
	secretPrefix    = "whsec_" // of Standard Webhooks: base64 follows
	mask            = "********"
	defaultHookTime = 10 * time.Second
)

// Webhook is where and how events are posted.
type Webhook struct {
	URL string `json:"url"`
	// Secret signs requests. "whsec_" and base64 is the form of Standard Webhooks; of any other text, the bytes are the
	// key. It goes in and never comes out. None means no signature.
	Secret string `json:"secret,omitempty"`
	// Headers are sent beside ours, such as Authorization.
	Headers map[string]string `json:"headers,omitempty"`
	// Timeout is how long a request may take, the answer included, in ms. Zero means WebhookConfig.Timeout.
	Timeout int `json:"timeout,omitempty"`
}

// Validate reports all problems at once, by member. It quotes neither the secret nor values of headers nor the URL's query.
func (w Webhook) Validate(cfg WebhookConfig) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("webhook."+format, args...)) }
	if err := checkURL(w.URL, cfg); err != nil {
		wrong("url %w", err)
	}
	if w.Secret == mask {
		wrong("secret is the mask that is shown in its place: want the secret itself")
	} else if _, err := signingKey(w.Secret); err != nil {
		wrong("secret %w", err)
	}
	if len(w.Headers) > maxHeaders {
		wrong("headers are %d: want at most %d", len(w.Headers), maxHeaders)
	} else {
		for _, name := range sorted(w.Headers) {
			if err := checkHeader(name, w.Headers[name]); err != nil {
				wrong("headers.%.80s: %w", strconv.QuoteToASCII(name), err)
			}
		}
	}
	if w.Timeout < 0 || w.Timeout > int(maxWebhookTime/time.Millisecond) {
		wrong("timeout is %d: want 1 to %d ms, or 0 for the default", w.Timeout, maxWebhookTime/time.Millisecond)
	}
	return errors.Join(errs...)
}

// checkURL says what is wrong with a URL, without quoting more of it than scheme and host.
func checkURL(text string, cfg WebhookConfig) error {
	schemes := "https"
	if cfg.AllowHTTP {
		schemes = "https or http"
	}
	if text == "" {
		return fmt.Errorf("is missing: want an %s URL", schemes)
	}
	if len(text) > maxURLBytes {
		return fmt.Errorf("has %d bytes: want at most %d", len(text), maxURLBytes)
	}
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("is none: want an %s URL such as https://example.com/events", schemes)
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !cfg.AllowHTTP):
		return fmt.Errorf("has the scheme %.20q: want %s", u.Scheme, schemes)
	case u.Host == "" || u.Hostname() == "":
		return errors.New("has no host: want one, as in https://example.com/events")
	case u.User != nil:
		return errors.New("has a user: want none; send credentials by webhook.headers")
	case u.Fragment != "":
		return errors.New("has a fragment: want none, as it is not sent")
	case strings.Contains(u.RawQuery, mask):
		return errors.New("has the mask that is shown in place of its query: want the query itself")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("has the port %.10q: want 1 to 65535", port)
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return errors.New("has an empty port: want 1 to 65535, or no colon")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil { // names are looked up when it is used
		return checkAddress(ip, cfg.AllowPrivate)
	}
	return nil
}

// ownHeaders are set by us or by HTTP itself.
var ownHeaders = []string{
	"connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "te", "traceparent", "tracestate",
	"trailer", "transfer-encoding", "upgrade", "user-agent",
}

func checkHeader(name, value string) error {
	lower := strings.ToLower(name)
	switch {
	case !isToken(name):
		return errors.New("no name of a header: want letters, digits and -")
	case slices.Contains(ownHeaders, lower) || strings.HasPrefix(lower, "webhook-") || strings.HasPrefix(lower, "proxy-"):
		return errors.New("this one is not yours to set: leave it out")
	case len(name)+len(value) > maxHeaderBytes:
		return fmt.Errorf("%d bytes: want at most %d, name and value together", len(name)+len(value), maxHeaderBytes)
	case value == mask:
		return errors.New("the mask that is shown in place of its value: want the value itself")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f || r > 0x7e }):
		return errors.New("its value has a character that no header may have: want printable ASCII")
	}
	return nil
}

// isToken is RFC 9110, section 5.6.2.
func isToken(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	})
}

// signingKey is the key that a secret stands for, nil for none.
func signingKey(secret string) ([]byte, error) {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, secretPrefix); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, fmt.Errorf("is no base64 after %s: want that, or a text without the prefix", secretPrefix)
		}
	} else if secret == "" {
		return nil, nil
	}
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return nil, fmt.Errorf("has %d bytes: want %d to %d", len(key), minSecretBytes, maxSecretBytes)
	}
	return key, nil
}

func (w Webhook) public() Webhook {
	if w.Secret != "" {
		w.Secret = mask
	}
	if w.Headers != nil {
		headers := make(map[string]string, len(w.Headers))
		for name := range w.Headers {
			headers[name] = mask
		}
		w.Headers = headers
	}
	if path, _, ok := strings.Cut(w.URL, "?"); ok {
		w.URL = path + "?" + mask
	}
	return w
}
