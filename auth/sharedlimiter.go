package auth

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// quota counts for all replicas, in Redis.
type quota interface {
	// Take counts n attempts of a key, or none of them if that is more than is left of limit per window. Then retryAfter
	// is the time until they would pass. n is at most limit.
	Take(ctx context.Context, key string, limit int, window time.Duration, n int) (ok bool, retryAfter time.Duration, err error)
}

const (
	sharedShare   = 10                     // what one replica lets pass before it tells the others: a tenth of the limit
	sharedWait    = 50 * time.Millisecond  // for an answer; afterwards this replica decides alone
	sharedTimeout = 500 * time.Millisecond // of one question
	sharedPause   = time.Second            // in which nothing is asked, after a question that failed
	sharedAsks    = 1024                   // that may wait
	sharedAskers  = 16
)

// SharedLimiter limits a key over all replicas. It asks Redis about a key once in a tenth of the limit, not each time:
// what passes meanwhile is owed, and counted there afterwards.
//
//   - In the long run no more than Max per Window pass, since what is owed is counted before more may pass.
//   - At once, as many may pass beyond Max as the replicas owe: a tenth of Max on each, and what comes within one round trip.
//   - What has been owed for long counts as of now, so up to a tenth of Max may be refused too early.
//   - On one replica alone never more than a Limiter would let pass. That is also what holds while Redis does not answer.
//   - With a Max below ten, and with AllowN, each attempt is a question, and only failures are not counted.
//
// It is safe for concurrent use.
type SharedLimiter struct {
	name    string
	local   *Limiter
	quota   quota
	metrics *sharedMetrics
	asks    chan *ask

	mu      sync.Mutex
	running bool
	away    time.Duration // nothing is asked before then, since the start of local
	keys    halves[account]
}

// account is what is known of a key.
type account struct {
	owed    int           // have passed here, and are not counted there
	until   time.Duration // refused before then, since the start of local
	refused bool          // the last answer was no: what is owed is counted before more may pass
}

// ask is one question to Redis.
type ask struct {
	key    string
	hash   uint64
	cfg    *LimitConfig
	passed int // attempts that have passed already
	wanted int // attempts that pass if the answer is yes; zero if nobody waits for it

	answered chan struct{} // closed when these are known; nil if nobody waits
	ok       bool
	retry    time.Duration
	err      error
	left     bool // nobody waits any more: what was wanted has passed
}

type sharedMetrics struct{ asked, alone prometheus.Counter }

func newSharedMetrics(name string, reg prometheus.Registerer) *sharedMetrics {
	label := prometheus.Labels{"limit": name}
	m := &sharedMetrics{
		asked: prometheus.NewCounter(prometheus.CounterOpts{Name: "eventbus_rate_limit_asks_total", ConstLabels: label,
			Help: "Questions put to Redis about limits that hold over all replicas."}),
		alone: prometheus.NewCounter(prometheus.CounterOpts{Name: "eventbus_rate_limit_alone_total", ConstLabels: label,
			Help: "Attempts that passed by this replica's own count alone, as Redis did not answer."}),
	}
	reg.MustRegister(m.asked, m.alone)
	return m
}

// NewSharedLimiter checks the configuration. The name, such as "events", goes before the keys in Redis and onto the
// metrics. Without a quota it is a Limiter.
func NewSharedLimiter(name string, cfg LimitConfig, quota quota, reg prometheus.Registerer) (*SharedLimiter, error) {
	local, err := NewLimiter(cfg)
	if err != nil {
		return nil, err
	}
	return &SharedLimiter{
		name:    name,
		local:   local,
		quota:   quota,
		metrics: newSharedMetrics(name, reg),
		asks:    make(chan *ask, sharedAsks),
		keys:    newHalves[account](),
	}, nil
}

// Reload changes the configuration, as Limiter.Reload does.
func (s *SharedLimiter) Reload(cfg LimitConfig) error { return s.local.Reload(cfg) }

// Run asks until ctx ends, then returns nil. Before and after, this replica decides alone.
func (s *SharedLimiter) Run(ctx context.Context) error {
	if s.quota == nil {
		<-ctx.Done()
		return nil
	}
	s.setRunning(true)
	var askers sync.WaitGroup
	for range sharedAskers {
		askers.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case q := <-s.asks:
					s.take(ctx, q)
				}
			}
		})
	}
	askers.Wait()
	s.setRunning(false)
	for len(s.asks) > 0 { // nobody adds to them now
		s.settle(<-s.asks, false, 0, context.Cause(ctx))
	}
	return nil
}

func (s *SharedLimiter) setRunning(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = yes
}

// Allow counts one attempt of the key. If it is one too many, it is not counted, and retryAfter is the time until the
// next might pass. It asks Redis for nothing that it would have to wait for, unless the key is at its limit: then it waits
// for at most 50 ms, or until ctx ends.
func (s *SharedLimiter) Allow(ctx context.Context, key string) (ok bool, retryAfter time.Duration) {
	cfg := s.local.cfg.Load()
	share := cfg.Max / sharedShare
	if !cfg.Enabled {
		return true, 0
	}
	k := s.local.hash(key)
	s.mu.Lock()
	now := s.local.now()
	a := s.keys.take(k, now, cfg.Window, cfg.Keys)
	if wait := a.until - now; wait > 0 {
		s.keys.young[k] = a
		s.mu.Unlock()
		return false, wait
	}
	if share == 0 || a.refused {
		s.mu.Unlock()
		return s.AllowN(ctx, key, 1)
	}
	defer s.mu.Unlock()
	if ok, retryAfter = s.local.allow(cfg, k, 1); ok {
		if a.owed++; a.owed >= share {
			s.askLocked(&ask{key: key, hash: k, cfg: cfg, passed: min(a.owed, cfg.Max)}, now)
			a.owed = 0 // asked, or forgiven: nothing is made up for when Redis comes back
		}
	}
	s.keys.young[k] = a
	return ok, retryAfter
}

// AllowN counts n attempts of the key, or none of them, as Allow does. It waits for an answer each time. More than
// LimitConfig.Max never pass.
func (s *SharedLimiter) AllowN(ctx context.Context, key string, n int) (ok bool, retryAfter time.Duration) {
	cfg := s.local.cfg.Load()
	if !cfg.Enabled || n <= 0 {
		return true, 0
	}
	q, retryAfter := s.want(cfg, key, n)
	if q == nil {
		return retryAfter == 0, retryAfter
	}
	timer := time.NewTimer(sharedWait)
	defer timer.Stop()
	select {
	case <-q.answered:
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-q.answered:
		if q.err == nil {
			return q.ok, q.retry
		}
	default:
		q.left = true
	}
	s.metrics.alone.Add(float64(n))
	return true, 0
}

// want asks for n attempts, and for what is owed. Without a question it is settled: they pass if retryAfter is zero.
func (s *SharedLimiter) want(cfg *LimitConfig, key string, n int) (q *ask, retryAfter time.Duration) {
	k := s.local.hash(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.local.now()
	a := s.keys.take(k, now, cfg.Window, cfg.Keys)
	defer func() { s.keys.young[k] = a }()
	if wait := a.until - now; wait > 0 {
		return nil, wait
	}
	if ok, wait := s.local.allow(cfg, k, n); !ok {
		return nil, wait
	}
	a.owed = min(a.owed, cfg.Max) // which may have been more
	q = &ask{key: key, hash: k, cfg: cfg, passed: min(a.owed, cfg.Max-n), wanted: n, answered: make(chan struct{})}
	if !s.askLocked(q, now) {
		a.owed = 0 // forgiven
		return nil, 0
	}
	a.owed -= q.passed
	return q, 0
}

// askLocked puts a question, if there is any point in it.
func (s *SharedLimiter) askLocked(q *ask, now time.Duration) bool {
	if s.running && now >= s.away {
		select {
		case s.asks <- q:
			return true
		default:
		}
	}
	if s.quota != nil { // else none is missed
		s.metrics.alone.Add(float64(q.passed + q.wanted))
	}
	return false
}

// take asks Redis.
func (s *SharedLimiter) take(ctx context.Context, q *ask) {
	ctx, cancel := context.WithTimeout(ctx, sharedTimeout)
	defer cancel()
	s.metrics.asked.Inc()
	ok, retry, err := s.quota.Take(ctx, s.name+":"+q.key, q.cfg.Max, q.cfg.Window, q.passed+q.wanted)
	s.settle(q, ok, retry, err)
}

// settle notes an answer.
func (s *SharedLimiter) settle(q *ask, ok bool, retry time.Duration, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.local.now()
	retry = min(max(retry, time.Millisecond), q.cfg.Window)
	if ok {
		retry = 0
	}
	q.ok, q.retry, q.err = ok, retry, err
	if q.answered != nil {
		close(q.answered)
	}
	if err != nil {
		s.away = now + sharedPause
		s.metrics.alone.Add(float64(q.passed))
		return
	}
	a := s.keys.take(q.hash, now, q.cfg.Window, q.cfg.Keys)
	a.refused = !ok
	if !ok {
		owed := q.passed
		if q.left {
			owed += q.wanted
		} else if q.wanted > 0 {
			s.local.giveBack(q.cfg, q.hash, q.wanted)
		}
		a.owed = min(a.owed+owed, q.cfg.Max)
		if q.wanted <= 1 { // fewer than many might pass earlier
			a.until = now + retry
		}
	}
	s.keys.young[q.hash] = a
}
