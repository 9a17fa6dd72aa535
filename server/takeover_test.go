package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// cutLog is a log that takes so many batches. The next one fails for as long as it is cut, before or after it is in.
type cutLog struct {
	eventLog
	left  int
	after bool
	cut   chan struct{} // closed at the first failure

	mu   sync.Mutex
	mend bool
}

func (l *cutLog) Append(ctx context.Context, lease adapter.Lease, records []adapter.Record) ([]bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left--; l.left >= 0 || l.mend {
		return l.eventLog.Append(ctx, lease, records)
	}
	if l.left == -1 {
		defer close(l.cut)
		if l.after {
			_, _ = l.eventLog.Append(ctx, lease, records)
		}
	}
	return nil, errBroken
}

// A leader is cut off in the middle of a batch. Another one finishes what it has begun, and decides nothing twice.
func TestTakeover(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"plain", "durable"} {
		for _, after := range []bool{false, true} {
			for _, batches := range []int{0, 1, 3} {
				t.Run(fmt.Sprintf("%s input, after %d batches, the next one in: %v", input, batches, after), func(t *testing.T) {
					t.Parallel()
					testTakeover(t, input == "plain", batches, after)
				})
			}
		}
	}
}

func testTakeover(t *testing.T, plain bool, batches int, after bool) {
	const channel = "photo:upload"
	url := embeddedRedis(t)
	cut := &cutLog{left: batches, after: after, cut: make(chan struct{})}
	leaders := [2]*elected{{ready: make(chan struct{})}, {ready: make(chan struct{})}}
	first := startNode(t, url, setup{
		rules: everybody(), declared: strict(t), id: "00000000000000a1", leaders: leaders[0], config: Config{BatchSize: 7},
		parts: func(p *Parts) { cut.eventLog, p.Log = p.Log, cut },
	})
	second := startNode(t, url, setup{
		rules: everybody(), declared: strict(t), id: "00000000000000a2", leaders: leaders[1], config: Config{BatchSize: 5},
	})
	client := first.redis.Client()
	must(t, client.Set(t.Context(), "lease", "1", 0).Err())
	endFirst := leaders[0].term(t, channel, "1")

	send := func(payload string) {
		if plain {
			must(t, client.Publish(t.Context(), channel, payload).Err())
		} else {
			first.add(channel, payload)
		}
	}
	var want []string
	for i, tt := range ingestion {
		send(tt.payload)
		if tt.want != "" {
			want = append(want, tt.want)
		}
		more := event(fmt.Sprintf("more-%d", i), "photo.uploaded", "", "")
		send(more)
		want = append(want, more)
	}
	wait(t, "the first leader to be cut off", cut.cut)
	standby := second.channels[channel].waiting
	last := adapter.Key(channel, fmt.Sprintf("more-%d", len(ingestion)-1))
	eventually(t, "the second one to have heard all", func() bool {
		standby.mu.Lock()
		defer standby.mu.Unlock()
		return len(standby.index[last]) > 0 || !plain
	})
	must(t, client.Set(t.Context(), "lease", "2", 0).Err())
	leaders[1].term(t, channel, "2")
	eventually(t, "the second leader to have taken all", func() bool {
		keys := second.logged()
		return standby.count() == 0 && len(keys) > 0 && strings.HasPrefix(keys[len(keys)-1], last)
	})
	cut.mu.Lock()
	cut.mend = true
	cut.mu.Unlock()
	ended := make(chan struct{})
	go func() { endFirst(); close(ended) }()
	wait(t, "the first leader to notice", ended)

	var got []string
	for _, entry := range second.logged() {
		if !strings.Contains(entry, `"vip","vip"`) && !strings.Contains(entry, ".2 ") {
			got = append(got, entry)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d entries in the log, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
	for i := range min(len(got), len(want)) {
		if id := eventID([]byte(want[i])); !strings.HasPrefix(got[i], adapter.Key(channel, id)) {
			t.Errorf("entry %d is %s, want event %s", i, got[i], id)
		}
	}
	wantLetters(t, second)
	if refused := slices.Compact(sorted(second.dead())); len(refused) != len(second.dead()) {
		t.Errorf("a letter is there twice: %q", second.dead())
	}
	if n := first.channels[channel].waiting.toLead(); n != 0 {
		t.Errorf("%d messages wait for who leads no more", n)
	}
}

// What a filter drops never shows in the log. Those who do not lead keep it for a minute in which their leader could write.
func TestStandbyForgets(t *testing.T) {
	t.Parallel()
	b, e, _ := parliament(t, nil)
	b.hear(t, "photo:upload", event("1", "photo.uploaded", "", ""))
	w := b.channels["photo:upload"].waiting
	now := time.Now()
	beating := func(since time.Time) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.beats = since
	}
	for _, tt := range []struct {
		name           string
		heard, beating time.Duration // before now; 0: it is not
		want           int
	}{
		{"just heard", time.Second, time.Hour, 1},
		{"before Redis came back", time.Hour, keepUnseen - time.Second, 1},
		{"Redis is away", time.Hour, 0, 1},
		{"long ago", keepUnseen + time.Second, time.Hour, 0},
	} {
		w.mu.Lock()
		w.items[0].at = now.Add(-tt.heard)
		w.mu.Unlock()
		if beating(now.Add(-tt.beating)); tt.beating == 0 {
			beating(time.Time{})
		}
		b.forgetOld(now)
		if got := w.count(); got != tt.want {
			t.Errorf("%s: %d wait, want %d", tt.name, got, tt.want)
		}
	}
	if len(w.index) != 0 || w.forgotten() != 0 {
		t.Errorf("the index has %d keys, %d count as too many", len(w.index), w.forgotten())
	}
	w.lead(true)
	b.hear(t, "photo:upload", event("2", "photo.uploaded", "", ""))
	beating(now.Add(-time.Hour))
	if b.forgetOld(now.Add(2 * keepUnseen)); w.count() != 1 {
		t.Error("a leader has forgotten what it is to take to the log")
	}
	w.lead(false)
}
