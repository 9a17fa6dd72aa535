package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// journal is a Redis stream.
type journal struct {
	mu      sync.Mutex
	err     error
	hangs   bool
	records []string
	batches int
}

func (j *journal) Append(ctx context.Context, records [][]byte) error {
	j.mu.Lock()
	hangs := j.hangs
	j.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	j.batches++
	for _, r := range records {
		j.records = append(j.records, string(r))
	}
	return nil
}

func (j *journal) set(err error, hangs bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err, j.hangs = err, hangs
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.records...)
}

func newTestAudit(t testing.TB, cfg AuditConfig, s stream, log *zap.Logger) *Audit {
	t.Helper()
	a, err := NewAudit(cfg, "a1", s, log, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// runAudit runs it until stop, which waits for its end.
func runAudit(t testing.TB, a *Audit) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := a.Run(ctx); err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
	return func() { cancel(); running.Wait() }
}

func TestAuditToRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		core, logs := observer.New(zapcore.InfoLevel)
		a := newTestAudit(t, AuditConfig{Sink: AuditRedis}, j, zap.New(core))
		for i := range 1000 {
			a.Log(Record{Event: ClientAuthenticated, UserID: fmt.Sprint(i)})
		}
		stop := runAudit(t, a)
		synctest.Wait()
		if got := j.all(); len(got) != 1000 || j.batches != 4 {
			t.Fatalf("got %d records in %d batches, want 1000 in 4", len(got), j.batches)
		}
		j.set(errQuota, false)
		a.Log(Record{Event: AdminAction, UserID: "away"})
		time.Sleep(10 * time.Second)
		a.Log(Record{Event: AdminAction, UserID: "later"})
		j.set(nil, false)
		time.Sleep(auditRetry)
		synctest.Wait()
		j.set(nil, true) // a write that is under way when it ends
		a.Log(Record{Event: AdminAction, UserID: "last"})
		synctest.Wait()
		time.AfterFunc(time.Second, func() { j.set(nil, false) })
		stop()
		got := j.all()
		for i, r := range got {
			want := []string{"away", "later", "last"}
			name := fmt.Sprint(i)
			if i >= 1000 {
				name = want[i-1000]
			}
			if !strings.Contains(r, `"userId":"`+name+`"`) || !strings.Contains(r, `"replica":"a1"`) || strings.Contains(r, "\n") {
				t.Fatalf("record %d is %s, want %s's", i, r, name)
			}
		}
		if len(got) != 1003 || count(t, a.metrics.dropped) != 0 {
			t.Errorf("got %d records, %d dropped, want 1003 and none", len(got), count(t, a.metrics.dropped))
		}
		if n, m := count(t, a.metrics.byEvent[ClientAuthenticated]), count(t, a.metrics.byEvent[AdminAction]); n != 1000 || m != 3 {
			t.Errorf("counted %d and %d", n, m)
		}
		var levels []string
		for _, e := range logs.All() {
			levels = append(levels, e.Level.String())
		}
		if got := strings.Join(levels, " "); got != "warn info warn" { // away, back, and the write that was cut off
			t.Errorf("got log levels %s", got)
		}
	})
}

// TestAuditFloods: with nothing written, the queue stays bounded, nobody waits, and an admin's actions still have room.
func TestAuditFloods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{hangs: true}
		a := newTestAudit(t, AuditConfig{Sink: AuditRedis}, j, nil)
		stop := runAudit(t, a)
		began := time.Now()
		big := strings.Repeat("\x01", 300) // six times as long in JSON
		for range 3 * auditQueue {
			a.Log(Record{Event: AuthenticationFailed, Reason: big, UserID: big, EventID: big, Target: big})
		}
		a.Log(Record{Event: AdminAction, UserID: "root"})
		if !time.Now().Equal(began) {
			t.Errorf("took %v", time.Since(began))
		}
		if bytes := a.waiting.Load(); bytes > auditBytes || len(a.queue) > auditQueue {
			t.Errorf("%d records of %d bytes wait", len(a.queue), bytes)
		}
		taken, dropped := count(t, a.metrics.byEvent[AuthenticationFailed]), count(t, a.metrics.dropped)
		if taken+dropped != 3*auditQueue || taken == 0 || dropped == 0 {
			t.Errorf("got %d taken and %d dropped, want %d together", taken, dropped, 3*auditQueue)
		}
		if count(t, a.metrics.byEvent[AdminAction]) != 1 {
			t.Error("no room for an admin's action")
		}
		j.set(nil, false)
		time.Sleep(auditTimeout + auditRetry)
		synctest.Wait()
		if got := j.all(); len(got) != taken+1 || !strings.Contains(got[taken], `"root"`) {
			t.Errorf("got %d records, want %d", len(got), taken+1)
		}
		if got := a.waiting.Load(); got != 0 {
			t.Errorf("%d bytes wait in an empty queue", got)
		}
		stop()
		a.Log(Record{Event: AdminAction})
		if got := count(t, a.metrics.dropped); got != dropped+1 {
			t.Errorf("reported after the end: got %d dropped, want %d", got, dropped+1)
		}
	})
}

// TestAuditEndsInTime: what cannot be written at the end is counted, and does not keep the process from ending.
func TestAuditEndsInTime(t *testing.T) {
	t.Parallel()
	for _, j := range []*journal{{hangs: true}, {err: errQuota}} {
		synctest.Test(t, func(t *testing.T) {
			a := newTestAudit(t, AuditConfig{Sink: AuditRedis}, j, nil)
			stop := runAudit(t, a)
			for range 1000 {
				a.Log(Record{Event: TokenExpired})
			}
			synctest.Wait()
			began := time.Now()
			stop()
			if got := time.Since(began); got > 2*auditTimeout {
				t.Errorf("took %v to end", got)
			}
			if got := count(t, a.metrics.dropped); got != 1000 {
				t.Errorf("got %d dropped, want 1000", got)
			}
		})
	}
}

func TestAuditNone(t *testing.T) {
	t.Parallel()
	none := newTestAudit(t, AuditConfig{}, nil, nil)
	for _, a := range []*Audit{nil, none} {
		a.Log(Record{Event: AdminAction})
		a.Reopen()
		runAudit(t, a)()
	}
	if len(none.queue) != 0 || count(t, none.metrics.dropped) != 0 {
		t.Error("something was taken, or dropped")
	}
}

// lockedBuffer is standard error.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func TestAuditToStderr(t *testing.T) {
	t.Parallel()
	var out lockedBuffer
	a, err := newAudit(AuditConfig{Sink: AuditStderr}, "a1", nil, &out, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	stop := runAudit(t, a)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 100 {
				a.Log(Record{Event: PhotoAccessDenied, Target: "photo:p1"})
			}
		})
	}
	all.Wait()
	stop()
	lines := strings.SplitAfter(strings.TrimSuffix(out.b.String(), "\n"), "\n")
	if len(lines) != 400 {
		t.Fatalf("got %d lines, want 400", len(lines))
	}
	for _, line := range lines {
		if r := decodeRecord(t, []byte(strings.TrimSuffix(line, "\n")+"\n")); r["target"] != "photo:p1" {
			t.Fatalf("got %v", r)
		}
	}
}

// tearing writes a given number of bytes and fails.
type tearing struct {
	bytes.Buffer
	left int
}

var errDiskFull = errors.New("no space left on device")

func (w *tearing) Write(p []byte) (int, error) {
	n := min(w.left, len(p))
	w.Buffer.Write(p[:n])
	if w.left -= n; n < len(p) {
		return n, errDiskFull
	}
	return n, nil
}

// TestWriterSinkTorn tears the text at every place: no record is lost, and what is whole is there once.
func TestWriterSinkTorn(t *testing.T) {
	t.Parallel()
	records := [][]byte{[]byte("{1}\n"), []byte("{22}\n"), []byte("{333}\n")}
	for first := range 15 {
		for second := range 15 {
			w := &tearing{left: first}
			s := &writerSink{w: w}
			left := records
			for try := 0; len(left) > 0; try++ {
				n, err := s.write(t.Context(), left)
				if (err == nil) != (n == len(left)) {
					t.Fatalf("%d, %d: got %d of %d, %v", first, second, n, len(left), err)
				}
				left = left[n:]
				w.left = 1000
				if try == 0 {
					w.left = second
				}
			}
			var whole []string
			for _, line := range strings.Split(w.String(), "\n") {
				if strings.HasSuffix(line, "}") {
					whole = append(whole, line)
				}
			}
			// A record torn right before its newline is whole, and comes again: once each time.
			if got := strings.Join(slices.Compact(slices.Clone(whole)), ""); got != "{1}{22}{333}" || len(whole) > 3+2 {
				t.Fatalf("torn after %d and %d: got %q", first, second, w.String())
			}
			if strings.Contains(w.String(), "\n\n") {
				t.Fatalf("torn after %d and %d: got an empty line in %q", first, second, w.String())
			}
		}
	}
}

func TestAuditConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  AuditConfig
		want []string // in the error; none means valid
	}{
		{AuditConfig{}, nil},
		{AuditConfig{Sink: "none"}, nil},
		{AuditConfig{Sink: "file", File: t.TempDir() + "/audit.log", MaxSizeMB: -1, MaxFiles: 1000}, nil},
		{AuditConfig{Sink: "syslog", MaxSizeMB: -2, MaxFiles: -1}, []string{`sink: "syslog" is unknown`, "maxSizeMB: -2; give", "maxFiles: -1; give"}},
		{AuditConfig{Sink: "file"}, []string{"security.audit.file: missing"}},
		{AuditConfig{File: "x"}, []string{"security.audit.file: needs the sink file"}},
		{AuditConfig{Sink: "redis"}, []string{"security.audit.sink: redis needs a stream"}},
		{AuditConfig{Sink: "file", File: t.TempDir()}, []string{"security.audit.file: open", "not a regular file"}},
		{AuditConfig{Sink: "file", File: t.TempDir() + "/no/such"}, []string{"security.audit.file: open"}},
	} {
		a, err := NewAudit(tt.cfg, "", nil, nil, prometheus.NewRegistry())
		if len(tt.want) == 0 {
			if err != nil {
				t.Errorf("%+v: got %v", tt.cfg, err)
				continue
			}
			runAudit(t, a)()
		}
		for _, want := range tt.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: got %v, want it to say %q", tt.cfg, err, want)
			}
		}
	}
	if got, want := (AuditConfig{}).withDefaults(), (AuditConfig{Sink: AuditNone, MaxSizeMB: 100, MaxFiles: 5}); got != want {
		t.Errorf("got defaults %+v, want %+v", got, want)
	}
}

func BenchmarkAuditLog(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprintf("full=%v", full), func(b *testing.B) {
			j := &journal{hangs: full}
			a := newTestAudit(b, AuditConfig{Sink: AuditRedis}, discard{j}, nil)
			stop := runAudit(b, a)
			r := Record{Event: ClientAuthenticated, UserID: "user-7", TokenID: "t-1", SocketID: "abcdefghijklmnop", IP: "203.0.113.7"}
			for full && count(b, a.metrics.dropped) == 0 {
				a.Log(r)
			}
			b.ReportAllocs()
			for b.Loop() {
				a.Log(r)
			}
			j.set(nil, false)
			b.StopTimer()
			stop()
		})
	}
}

// discard keeps nothing of what a journal takes.
type discard struct{ *journal }

func (d discard) Append(ctx context.Context, _ [][]byte) error { return d.journal.Append(ctx, nil) }
