package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	requestTimeout = 10 * time.Second
	maxAnswer      = 4 << 20 // bytes of an answer of the API
	maxHeader      = 64 << 10
	maxFile        = 1 << 20 // bytes of a token, a namespace, or certificates
)

// kubernetes is as much of a client of the API as this takes: JSON over HTTPS with the token of a service account.
type kubernetes struct {
	cfg    kubernetesConfig
	client *http.Client
}

// newKubernetes reads the certificates of the API. Kubernetes changes them rarely, and a new pod gets the new ones. Close
// lets its connections go.
func newKubernetes(cfg kubernetesConfig) (*kubernetes, error) {
	cfg.url = strings.TrimSuffix(cfg.url, "/")
	roots, err := readRoots(cfg.caFile)
	if err != nil {
		return nil, fmt.Errorf("kubernetes-ca-file: %w", err)
	}
	return &kubernetes{cfg, &http.Client{
		Transport: &http.Transport{ // and no proxy: the API is in the cluster
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			MaxIdleConns:           2,
			IdleConnTimeout:        90 * time.Second,
			ResponseHeaderTimeout:  requestTimeout,
			MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token stays here
	}}, nil
}

func (k *kubernetes) Close() { k.client.CloseIdleConnections() }

// do asks the API, with body as JSON if it is not nil, and decodes the answer. A refusal is an *apiError.
func (k *kubernetes) do(ctx context.Context, method, path string, body, into any) error {
	ctx, done := context.WithTimeout(ctx, requestTimeout)
	defer done()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, k.cfg.url+path, payload)
	if err != nil {
		return err
	}
	token, err := readSmall(k.cfg.tokenFile) // anew, as Kubernetes replaces it within the hour
	if err != nil {
		return fmt.Errorf("kubernetes-token-file: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+string(token))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "eventbus-autoscaler")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := k.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := readBounded(res.Body, maxAnswer)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return newAPIError(method, path, res.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s %s: the answer is not what the API of Kubernetes gives: %w", method, path, err)
	}
	return nil
}

// apiError is a refusal of the API.
type apiError struct {
	what            string // method and path
	status          int    // of HTTP
	reason, message string // of the Status that the API answered with, if it did
}

func newAPIError(method, path string, status int, answer []byte) *apiError {
	e := &apiError{what: method + " " + path, status: status}
	var s struct{ Kind, Reason, Message string }
	if json.Unmarshal(answer, &s) == nil && s.Kind == "Status" {
		e.reason, e.message = shorten(s.Reason), shorten(s.Message)
	}
	return e
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("%s: %d %s", e.what, e.status, http.StatusText(e.status))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// refused tells whether the API answered with one of the statuses.
func refused(err error, statuses ...int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && slices.Contains(statuses, e.status)
}

// shorten bounds what others say in our log.
func shorten(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func readBounded(r io.Reader, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("the answer is larger than %d bytes", most)
	}
	return b, nil
}

// readSmall is what a small file says, without space around it.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readBounded(f, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if b = bytes.TrimSpace(b); len(b) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return b, nil
}

// readRoots reads certificates of authorities.
func readRoots(path string) (*x509.CertPool, error) {
	pem, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", path)
	}
	return roots, nil
}
