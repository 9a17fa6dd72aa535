package auth

import (
	"context"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const (
	auditQueue   = 8192            // records that may wait
	auditBytes   = 8 << 20         // of all of these
	auditBatch   = 256             // records written at once
	auditRetry   = time.Second     // between attempts to write
	auditTimeout = 5 * time.Second // of one attempt, and of all that is written at the end
)

// auditSink takes records that end in a newline. What it reports as written does not come again after an error.
type auditSink interface {
	write(ctx context.Context, records [][]byte) (written int, err error)
	reopen()
	close() error
}

// Audit writes records of security events, apart from the log. Whoever reports one never waits: records queue up for Run,
// and when the queue is full they are dropped and counted. A nil Audit takes nothing. It is safe for concurrent use.
type Audit struct {
	replica  string
	sink     auditSink // nil: nothing is written
	log      *zap.Logger
	metrics  *auditMetrics
	queue    chan []byte
	waiting  atomic.Int64 // bytes in the queue
	reopened chan struct{}

	mu     sync.RWMutex
	closed bool // Run has ended
}

// NewAudit checks the configuration, and opens the file if that is the sink; Run closes it. The replica is named in each
// record. The stream is needed for the sink redis alone. The log, which hears when nothing can be written, may be nil.
func NewAudit(cfg AuditConfig, replica string, stream stream, log *zap.Logger, reg prometheus.Registerer) (*Audit, error) {
	return newAudit(cfg, replica, stream, os.Stderr, log, reg)
}

func newAudit(cfg AuditConfig, replica string, stream stream, stderr io.Writer, log *zap.Logger, reg prometheus.Registerer) (*Audit, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	sink, err := cfg.withDefaults().open(stream, stderr)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = zap.NewNop()
	}
	return &Audit{
		replica:  clean(replica),
		sink:     sink,
		log:      log,
		metrics:  newAuditMetrics(reg),
		queue:    make(chan []byte, auditQueue),
		reopened: make(chan struct{}, 1),
	}, nil
}

// Log takes a record. It is bounded and cleaned here and now: the caller's strings are not kept.
func (a *Audit) Log(r Record) {
	if a == nil || a.sink == nil {
		return
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed || !a.room(r) {
		a.metrics.dropped.Inc()
		return
	}
	r.Replica = a.replica
	line := r.encode()
	a.waiting.Add(int64(len(line)))
	select {
	case a.queue <- line:
		a.metrics.taken(r.Event)
	default:
		a.waiting.Add(-int64(len(line)))
		a.metrics.dropped.Inc()
	}
}

// room reports whether the queue takes one more. What strangers can flood it with leaves an eighth to what they cannot.
func (a *Audit) room(r Record) bool {
	records, bytes := len(a.queue), a.waiting.Load()
	if r.rare() {
		return records < auditQueue && bytes < auditBytes
	}
	return records < auditQueue/8*7 && bytes < auditBytes/8*7
}

// Reopen has the file opened anew, for whoever has moved it away, as logrotate does. (That it is gone is noticed without.)
func (a *Audit) Reopen() {
	if a == nil {
		return
	}
	select {
	case a.reopened <- struct{}{}:
	default:
	}
}

// Run writes records until ctx ends, and then for a few seconds at most what is left. It returns nil; what could not be
// written is counted as dropped. End it after everything that may report.
func (a *Audit) Run(ctx context.Context) error {
	if a == nil || a.sink == nil {
		<-ctx.Done()
		return nil
	}
	work := context.WithoutCancel(ctx) // a write that is under way may end
	var left [][]byte
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-a.reopened:
			a.sink.reopen()
		case first := <-a.queue:
			left = a.write(work, ctx.Done(), a.batch(first))
		}
	}
	a.mu.Lock()
	a.closed = true // nothing is added now
	a.mu.Unlock()
	a.finish(work, left)
	if err := a.sink.close(); err != nil {
		a.log.Warn("audit not closed", zap.Error(err))
	}
	return nil
}

// finish writes what is left, for as long as there is time.
func (a *Audit) finish(ctx context.Context, left [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, auditTimeout)
	defer cancel()
	for len(left) > 0 || len(a.queue) > 0 {
		if len(left) == 0 {
			left = a.batch(<-a.queue)
		}
		if left = a.write(ctx, ctx.Done(), left); len(left) > 0 {
			a.metrics.dropped.Add(float64(len(left) + len(a.queue)))
			return
		}
	}
}

// batch adds to a record what waits behind it.
func (a *Audit) batch(first []byte) [][]byte {
	batch, size := [][]byte{first}, len(first)
	for len(batch) < auditBatch && len(a.queue) > 0 {
		next := <-a.queue
		batch, size = append(batch, next), size+len(next)
	}
	a.waiting.Add(-int64(size))
	return batch
}

// write tries until it has succeeded, or until stop; meanwhile the queue fills up. It returns what is not written.
func (a *Audit) write(ctx context.Context, stop <-chan struct{}, batch [][]byte) [][]byte {
	for failed := false; ; failed = true {
		attempt, cancel := context.WithTimeout(ctx, auditTimeout)
		n, err := a.sink.write(attempt, batch)
		cancel()
		batch = batch[n:]
		switch {
		case err == nil:
			if failed {
				a.log.Info("audit written again")
			}
			return nil
		case !failed:
			a.log.Warn("audit not written, retrying", zap.Error(err), zap.Duration("retry", auditRetry))
		}
		select {
		case <-time.After(auditRetry):
		case <-stop:
			return batch
		}
	}
}

type auditMetrics struct {
	records *prometheus.CounterVec
	byEvent map[AuditEvent]prometheus.Counter
	dropped prometheus.Counter
}

func newAuditMetrics(reg prometheus.Registerer) *auditMetrics {
	m := &auditMetrics{
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eventbus_audit_records_total", Help: "Records taken for the audit.",
		}, []string{"event"}),
		byEvent: map[AuditEvent]prometheus.Counter{},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eventbus_audit_dropped_total", Help: "Records that were not taken for the audit or could not be written, as there were too many.",
		}),
	}
	reg.MustRegister(m.records, m.dropped)
	for _, e := range auditEvents {
		m.byEvent[e] = m.records.WithLabelValues(string(e))
	}
	return m
}

func (m *auditMetrics) taken(e AuditEvent) {
	if c, ok := m.byEvent[e]; ok {
		c.Inc()
	}
}
