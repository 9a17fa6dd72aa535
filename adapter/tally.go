package adapter

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	tallyFlush = 2 * time.Second
	tallyNames = 512            // of one replica
	tallyOther = "other"        // what the names beyond count as
	tallyKept  = 25 * time.Hour // so that 24 h can always be told
	tallyRange = 24 * 60        // minutes that are summed at most
	tallyBack  = 60             // minutes that wait for Redis at most
	tallyMark  = "~"            // begins what is in the hashes besides counts
)

// Tally counts things by name, minute by minute, for all replicas together: in memory first, from where Run takes it
// to Redis. What is counted while Redis is away is added later, each count once.
type Tally struct {
	store *Store
	id    string // of this one among all that add to the same hashes

	mu      sync.Mutex
	names   map[string]bool
	minutes map[int64]map[string]int64 // not on their way yet, by minutes since the epoch

	// Those of Run alone.
	sending []tallyBatch // oldest first; each is sent as it is until Redis says that it has it
	sent    int64        // batches so far
}

// tallyBatch is what is added to a minute in one step.
type tallyBatch struct {
	minute, number int64
	counts         map[string]int64
}

// Tally makes one. Of each server, there is one that runs.
func (s *Store) Tally() *Tally {
	return &Tally{store: s, id: rand.Text(), names: map[string]bool{}, minutes: map[int64]map[string]int64{}}
}

// Add counts n of a name. It does not wait. Of one Tally 512 names are told apart: what comes under others, and under
// names of no or over 128 bytes or that begin with "~", counts as "other".
func (t *Tally) Add(name string, n int64) { t.add(name, n, time.Now()) }

func (t *Tally) add(name string, n int64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.names[name] {
		if name == "" || len(name) > 128 || strings.HasPrefix(name, tallyMark) || len(t.names) >= tallyNames {
			name = tallyOther
		} else {
			t.names[name] = true
		}
	}
	minute := now.Unix() / 60
	counts := t.minutes[minute]
	if counts == nil {
		counts = map[string]int64{}
		t.minutes[minute] = counts
	}
	counts[name] += n
}

// Run takes the counts to Redis every two seconds, and at the end, when ctx has ended. It returns nil.
func (t *Tally) Run(ctx context.Context) error {
	tick := time.NewTicker(tallyFlush)
	defer tick.Stop()
	var lost time.Time
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), tallyFlush)
			defer cancel()
			if err := t.flush(last); err != nil {
				t.store.db.log.Warn("the last counts are lost", zap.Error(err))
			}
			return nil
		case <-tick.C:
		}
		err := t.flush(ctx)
		switch {
		case err == nil && !lost.IsZero():
			t.store.db.log.Info("counts are taken to redis again", zap.Duration("after", time.Since(lost)))
			lost = time.Time{}
		case err != nil && ctx.Err() == nil && lost.IsZero():
			t.store.db.log.Warn("counts cannot be taken to redis, they wait", zap.Error(err))
			lost = time.Now()
		}
	}
}

// addTally adds a batch to a minute, unless it is there. KEYS: the minute's hash. ARGV: the field that has the number of
// the sender's last batch, this one's, ms to keep the hash, names and counts.
var addTally = redis.NewScript(`
if tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') >= tonumber(ARGV[2]) then
	return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for i = 4, #ARGV, 2 do
	redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`)

// flush sends what there is. After an error the rest stays for the next time.
func (t *Tally) flush(ctx context.Context) error {
	t.collect()
	for len(t.sending) > 0 {
		b := t.sending[0]
		args := []any{tallyMark + t.id, b.number, tallyKept.Milliseconds()}
		for name, n := range b.counts {
			args = append(args, name, n)
		}
		if err := addTally.Run(ctx, t.store.db.client, []string{t.key(b.minute)}, args...).Err(); err != nil {
			return fmt.Errorf("add counts: %w", t.store.db.explain(err))
		}
		t.sending = t.sending[1:]
	}
	return nil
}

// collect makes batches of what was counted. As long as Redis is away, it keeps the number of them within bounds: the
// first one may be on its way, but those that were not sent yet are put together, into the later minute.
func (t *Tally) collect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, minute := range slices.Sorted(maps.Keys(t.minutes)) {
		counts := t.minutes[minute]
		delete(t.minutes, minute)
		if last := len(t.sending) - 1; last >= 1 && t.sending[last].minute == minute {
			for name, n := range counts {
				t.sending[last].counts[name] += n
			}
			continue
		}
		t.sent++
		t.sending = append(t.sending, tallyBatch{minute, t.sent, counts})
	}
	for len(t.sending) > tallyBack {
		from, to := t.sending[1], t.sending[2]
		for name, n := range from.counts {
			to.counts[name] += n
		}
		t.sending = slices.Delete(t.sending, 1, 2)
	}
}

func (t *Tally) key(minute int64) string {
	return t.store.Key("tally:" + strconv.FormatInt(minute, 10))
}

// Sum is what all replicas have counted from a time on and before another, by name, in whole minutes: all of those that
// the two are in, the newest 1,440 if they are more. What was counted in the last seconds may be missing.
func (t *Tally) Sum(ctx context.Context, from, to time.Time) (map[string]int64, error) {
	sum := map[string]int64{}
	end := to.Add(time.Minute-1).Unix() / 60 // the first minute after
	for minute := max(from.Unix()/60, end-tallyRange); minute < end; {
		pipe := t.store.db.client.Pipeline()
		var asked []*redis.MapStringStringCmd
		for ; minute < end && len(asked) < 240; minute++ {
			asked = append(asked, pipe.HGetAll(ctx, t.key(minute)))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return nil, fmt.Errorf("sum counts: %w", t.store.db.explain(err))
		}
		for _, one := range asked {
			for name, text := range one.Val() {
				if n, err := strconv.ParseInt(text, 10, 64); err == nil && !strings.HasPrefix(name, tallyMark) {
					sum[name] += n
				}
			}
		}
	}
	return sum, nil
}
