package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/zap"
)

const (
	jwksGap     = 10 * time.Second // between fetches, whatever tokens ask for, and after one that failed
	jwksTimeout = 5 * time.Second  // of one fetch
	maxJWKS     = 1 << 20
)

// jwks is a remote key set (RFC 7517 5). keyfunc and jwkset read the keys and find them by id; the fetching is ours,
// because theirs starts a goroutine nobody can wait for, reads without a limit, gives up a set for one key it does not
// know, and makes handshakes queue for their turn to refresh.
//
// A fetch that fails leaves the keys as they are: an issuer's outage does not lock out its users.
type jwks struct {
	url        string
	client     *http.Client
	every, gap time.Duration
	log        *zap.Logger
	store      jwkset.Storage
	finder     keyfunc.Keyfunc
	wake       chan struct{} // asks run for a fetch; holds one request

	mu    sync.Mutex
	ended time.Time     // the last fetch
	err   error         // its outcome
	next  chan struct{} // closed when the next fetch ends
}

func newJWKS(address string, every time.Duration, log *zap.Logger) (*jwks, error) {
	if log == nil {
		log = zap.NewNop()
	}
	// One fetch in minutes: a connection kept open would only be a goroutine kept alive.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	j := &jwks{
		url:    address,
		client: &http.Client{Transport: transport, CheckRedirect: sameScheme},
		every:  every, gap: jwksGap, log: log,
		store: jwkset.NewMemoryStorage(),
		wake:  make(chan struct{}, 1),
		next:  make(chan struct{}),
	}
	var err error
	j.finder, err = keyfunc.New(keyfunc.Options{Storage: j.store})
	return j, err
}

// sameScheme keeps an https key set from being answered over http.
func sameScheme(req *http.Request, via []*http.Request) error {
	if len(via) > 5 || req.URL.Scheme != via[0].URL.Scheme {
		return errors.New("too many redirects, or one to another scheme")
	}
	return nil
}

// run fetches now, then every so often and when woken, until ctx ends.
func (j *jwks) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
			timer.Reset(j.fetch(ctx))
		case <-j.wake:
			if recent, _, _ := j.last(); !recent { // else it asked for the fetch that has just ended
				timer.Reset(j.fetch(ctx))
			}
		}
	}
}

// fetch replaces the keys, lets those who wait go on, and returns the time until the next fetch.
func (j *jwks) fetch(ctx context.Context) time.Duration {
	keys, err := j.download(ctx)
	if err == nil {
		err = j.store.KeyReplaceAll(ctx, keys)
	}
	j.mu.Lock()
	before, first := j.err, j.ended.IsZero()
	j.err, j.ended = err, time.Now()
	close(j.next)
	j.next = make(chan struct{})
	j.mu.Unlock()

	switch { // a change is news, the same again is not
	case err != nil && (first || before == nil) && ctx.Err() == nil:
		j.log.Warn("key set not fetched, retrying", zap.Error(err), zap.Duration("retry", j.gap))
	case err == nil && (first || before != nil):
		j.log.Info("key set fetched", zap.Int("keys", len(keys)))
	}
	if err != nil {
		return j.gap
	}
	return j.every
}

func (j *jwks) download(ctx context.Context) ([]jwkset.JWK, error) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url, nil)
	if err != nil {
		return nil, errors.New("malformed address")
	}
	resp, err := j.client.Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok {
			err = ue.Err // without the address, which may carry a credential
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKS+1))
	if err != nil {
		return nil, err
	}
	return parseJWKS(body)
}

// parseJWKS keeps the public keys made for signatures and passes over all others: sets also hold encryption keys and
// types yet unknown, and a shared secret (kty oct) in one must not become a key. No key at all is an error, so that
// an empty answer does not lock everybody out.
func parseJWKS(body []byte) ([]jwkset.JWK, error) {
	if len(body) > maxJWKS {
		return nil, fmt.Errorf("answer larger than %d bytes", maxJWKS)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decode key set: %w", err)
	}
	var keys []jwkset.JWK
	for _, raw := range set.Keys {
		key, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err == nil && usable(key.Key()) == nil && forSignatures(key.Marshal()) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 || len(keys) > maxKeys {
		return nil, fmt.Errorf("%d usable keys among %d; 1 to %d are expected", len(keys), len(set.Keys), maxKeys)
	}
	return keys, nil
}

// forSignatures follows RFC 7517 4.2 and 4.3: a key that does not say what it is for is for everything.
func forSignatures(m jwkset.JWKMarshal) bool {
	return m.USE != jwkset.UseEnc && (len(m.KEYOPS) == 0 || slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify))
}

// key returns the keys for a token, or ErrUnavailable. For a key id we have not seen it asks for a fetch and waits,
// since the issuer may have begun to use a new key; tokens nobody signed can thus cause a fetch per gap, no more.
func (j *jwks) key(ctx context.Context, t *jwt.Token) (any, error) {
	keys, err := j.find(t)
	if !errors.Is(err, jwkset.ErrKeyNotFound) {
		return keys, err
	}
	if err := j.renew(ctx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return j.find(t)
}

// find looks up the token's kid, or takes all keys when it has none, and keeps those that fit the algorithm.
func (j *jwks) find(t *jwt.Token) (any, error) {
	found, err := j.finder.Keyfunc(t)
	if err != nil {
		return nil, err
	}
	set, ok := found.(jwt.VerificationKeySet)
	if !ok {
		set.Keys = []jwt.VerificationKey{found}
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(key jwt.VerificationKey) bool { return !fits(t.Method.Alg(), key) })
	if len(set.Keys) == 0 {
		return nil, jwkset.ErrKeyNotFound
	}
	return set, nil
}

// renew waits for a fetch to end and returns its outcome, or that of the last one if that is recent.
func (j *jwks) renew(ctx context.Context) error {
	recent, next, err := j.last()
	if recent {
		return err
	}
	select {
	case j.wake <- struct{}{}:
	default: // asked already
	}
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	select {
	case <-next:
		_, _, err = j.last()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// last returns whether the last fetch ended less than a gap ago, what closes when the next one ends, and the outcome
// of the last.
func (j *jwks) last() (recent bool, next <-chan struct{}, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.ended.IsZero() && time.Since(j.ended) < j.gap, j.next, j.err
}
