package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

var testChannels = []string{"a", "b", "c"}

// alive are replicas by name, with how many seconds ago they began to hear; -1 for one that does not.
func alive(now time.Time, ages map[string]int) []Replica {
	var out []Replica
	for id, age := range ages {
		r := Replica{ID: id}
		if age >= 0 {
			r.Since = now.Add(-time.Duration(age) * time.Second)
		}
		out = append(out, r)
	}
	return out
}

func TestAssign(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	for name, tt := range map[string]struct {
		ages    map[string]int
		holders string // of a, b and c
		want    string
	}{
		"nobody":                         {map[string]int{}, "---", "---"},
		"nobody hears":                   {map[string]int{"x": -1}, "xxx", "---"},
		"one":                            {map[string]int{"x": 9}, "---", "xxx"},
		"one that is young":              {map[string]int{"x": 0}, "---", "xxx"},
		"two":                            {map[string]int{"x": 9, "y": 8}, "---", "xyx"},
		"three":                          {map[string]int{"x": 9, "y": 8, "z": 7}, "---", "xyz"},
		"more than channels":             {map[string]int{"w": 10, "x": 9, "y": 8, "z": 7}, "---", "wxy"},
		"who leads goes on":              {map[string]int{"x": 9, "y": 8, "z": 7}, "zxy", "zxy"},
		"one that comes takes its share": {map[string]int{"x": 9, "y": 8}, "xxx", "xxy"},
		"not before it has settled":      {map[string]int{"x": 9, "y": 4}, "xxx", "xxx"},
		"the dead one's go to others":    {map[string]int{"x": 9, "y": 8}, "xyz", "xyx"},
		"one that has missed something":  {map[string]int{"x": 9, "y": 0}, "x-x", "xxx"},
		"one that does not hear":         {map[string]int{"x": -1, "y": 9}, "xxx", "yyy"},
		"all have missed something":      {map[string]int{"x": 1, "y": 2}, "---", "yyy"},
		"some more than others":          {map[string]int{"x": 1, "y": 2}, "xy-", "yyy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holders := map[string]string{}
			for i, c := range testChannels {
				holders[c] = strings.Trim(tt.holders[i:i+1], "-")
			}
			right := assign(testChannels, alive(now, tt.ages), holders, now)
			got := ""
			for _, c := range testChannels {
				got += (right[c] + "-")[:1]
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Whatever the state, following assign leads to one leader for each channel, evenly, and then to no further change.
func TestAssignSettles(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	dice := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var channels []string
		for i := range 1 + dice.IntN(8) {
			channels = append(channels, fmt.Sprint("c", i))
		}
		ages, holders := map[string]int{}, map[string]string{}
		for i := range 1 + dice.IntN(6) {
			ages[string(rune('a'+i))] = 6 + dice.IntN(100)
		}
		for _, c := range channels {
			holders[c] = []string{"", "a", "b", "gone"}[dice.IntN(4)]
		}
		right := assign(channels, alive(now, ages), holders, now)
		count := map[string]int{}
		for _, c := range channels {
			count[right[c]]++
		}
		most, least := 0, len(channels)
		for id := range ages {
			most, least = max(most, count[id]), min(least, count[id])
		}
		if count[""] > 0 || most > (len(channels)+len(ages)-1)/len(ages) {
			t.Fatalf("%v of %v: %v", holders, ages, right)
		}
		if again := assign(channels, alive(now, ages), right, now); fmt.Sprint(again) != fmt.Sprint(right) {
			t.Fatalf("%v, and then %v", right, again)
		}
	}
}

func TestGathering(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1e12)
	for name, tt := range map[string]struct {
		heard  time.Duration
		others []string
		ages   map[string]int
		want   bool
	}{
		"alone":                        {0, nil, map[string]int{"x": 0}, false},
		"alone, and not yet counted":   {0, nil, map[string]int{"x": -1}, false},
		"all are back":                 {time.Second, []string{"y"}, map[string]int{"x": 1, "y": 0}, false},
		"one is not back":              {time.Second, []string{"y", "z"}, map[string]int{"x": 1, "y": 0}, true},
		"one is back, and not heard":   {time.Second, []string{"y"}, map[string]int{"x": 1, "y": -1}, true},
		"one that is new hears not":    {time.Second, nil, map[string]int{"x": 1, "y": -1}, true},
		"one does not come":            {gathered + 1, []string{"y"}, map[string]int{"x": 9}, false},
		"one comes, and does not hear": {gathered + 1, []string{"y"}, map[string]int{"x": 9, "y": -1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := gathering("x", tt.heard, tt.others, alive(now, tt.ages)); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// office is where replicas of a test write who leads: each write is checked as Log.Append checks it.
type office struct {
	t     *testing.T
	redis *Redis
	mu    sync.Mutex
	leads map[string][]string // by channel, the tokens of those who lead now
	deaf  atomic.Bool         // nobody hears anything
}

func (o *office) lead(ctx context.Context, l Lease) {
	o.mu.Lock()
	o.leads[l.Channel] = append(o.leads[l.Channel], l.Token)
	o.mu.Unlock()
	<-ctx.Done()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leads[l.Channel] = slices.DeleteFunc(o.leads[l.Channel], func(s string) bool { return s == l.Token })
}

// leaders are the ids of who leads each channel, if there is exactly one for each.
func (o *office) leaders() (out []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range testChannels {
		if len(o.leads[c]) != 1 {
			return nil
		}
		id, _, _ := strings.Cut(o.leads[c][0], ":")
		out = append(out, id)
	}
	return out
}

func newOffice(t *testing.T, r *Redis) *office {
	return &office{t: t, redis: r, leads: map[string][]string{}}
}

// join runs a replica until the test ends, or stop is called.
func (o *office) join(id string) (r *Replicas, stop func()) {
	o.t.Helper()
	r = NewReplicas(o.redis.client, ReplicasConfig{
		ID: id, Name: "host-" + id, Addr: "127.0.0.1:1", Channels: testChannels, TTL: 400 * time.Millisecond,
		Key: func(rest string) string { return "test:{x}:" + rest },
	}, zap.NewNop())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	ears := o.redis.Listener()
	go func() { done <- r.Run(ctx, o.lead) }()
	go func() {
		done <- ears.Receive(ctx, Subscription{Channels: []string{r.Voice()}, Handle: func(string, []byte) {
			if !o.deaf.Load() {
				r.Heard()
			}
		}})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			o.t.Error(err)
		}
	})
	o.t.Cleanup(stop)
	<-r.Beaten()
	return r, stop
}

func TestReplicasLead(t *testing.T) {
	t.Parallel()
	logs(t, func(t *testing.T, redis *Redis) {
		o := newOffice(t, redis)
		x, stopX := o.join("x")
		if len(x.Leading()) > 0 || o.leaders() != nil {
			t.Error("it leads before it hears")
		}
		x.Hears(true)
		eventually(t, "x to lead all", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
		if got := x.Leading(); !slices.Equal(got, testChannels) {
			t.Errorf("x leads %v", got)
		}
		y, _ := o.join("y")
		y.Hears(true)
		eventually(t, "x to hear of y", func() bool { return len(x.List()) == 2 })
		if r, ok := x.Find(t.Context(), "y"); !ok || r.Name != "host-y" || r.Addr != "127.0.0.1:1" {
			t.Errorf("y is %+v, %v", r, ok)
		}
		if _, ok := x.Find(t.Context(), "z"); ok {
			t.Error("z is found")
		}
		stopX()
		eventually(t, "y to lead all", func() bool { return slices.Equal(o.leaders(), []string{"y", "y", "y"}) })
		eventually(t, "y to be alone", func() bool { return len(y.List()) == 1 })
	})
}

func TestReplicasThatMissSomethingDoNotLead(t *testing.T) {
	t.Parallel()
	o := newOffice(t, dialTest(t, "redis://"+startRedis(t).addr))
	x, _ := o.join("x")
	x.Hears(true)
	eventually(t, "x to lead all", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
	y, _ := o.join("y")
	y.Hears(true)
	eventually(t, "x to know that y hears", func() bool { r, _ := x.Find(t.Context(), "y"); return !r.Since.IsZero() })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		x.Hears(false)
		x.Hears(true) // at once, but something may have passed
	}()
	<-ended
	eventually(t, "y to lead all", func() bool { return slices.Equal(o.leaders(), []string{"y", "y", "y"}) })
	y.Hears(false)
	eventually(t, "x to lead again", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
}

// A connection that lives is not enough: what counts is that it carries what is published.
func TestReplicasThatAreDeafDoNotLead(t *testing.T) {
	t.Parallel()
	o := newOffice(t, dialTest(t, "redis://"+startRedis(t).addr))
	x, _ := o.join("x")
	x.Hears(true)
	eventually(t, "x to lead all", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
	o.deaf.Store(true)
	eventually(t, "x to lead nothing", func() bool { return len(x.Leading()) == 0 })
	if r, _ := x.Find(t.Context(), "x"); !r.Since.IsZero() {
		eventually(t, "the others to know", func() bool { r, _ := x.Find(t.Context(), "x"); return r.Since.IsZero() })
	}
	o.deaf.Store(false)
	eventually(t, "x to lead again", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
}

func TestReplicasTakeOverFromTheDead(t *testing.T) {
	t.Parallel()
	url := "redis://" + startRedis(t).addr
	redis, own := dialTest(t, url), dialTest(t, url)
	o := newOffice(t, own)
	// One that was killed: its record and its leases are there until they expire.
	dead, _ := o.join("dead")
	dead.Hears(true)
	eventually(t, "it to lead all", func() bool { return o.leaders() != nil })
	_ = own.Close()
	o.redis = redis
	y, _ := o.join("y")
	y.Hears(true)
	eventually(t, "y to lead all", func() bool { return slices.Equal(o.leaders(), []string{"y", "y", "y"}) })
	if terms, err := redis.client.Get(t.Context(), "test:{x}:terms").Int(); err != nil || terms < 6 {
		t.Errorf("%d terms, %v, want 6 at least: each has a token of its own", terms, err)
	}
}

func TestReplicasWithoutRedis(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	o := newOffice(t, dialTest(t, "redis://"+server.addr))
	x, _ := o.join("x")
	x.Hears(true)
	eventually(t, "x to lead all", func() bool { return o.leaders() != nil })
	server.stop(t)
	eventually(t, "x to lead nothing", func() bool { return len(x.Leading()) == 0 })
	server.start(t) // empty
	eventually(t, "x to lead all again", func() bool { return slices.Equal(o.leaders(), []string{"x", "x", "x"}) })
}

func TestReplicasSkipForeignRecords(t *testing.T) {
	t.Parallel()
	got := readReplicas([]any{"x", `{"name":"n","since":5}`, "y", "nonsense", "", "{}", 7, "{}", "z", "{}", "odd"})
	if len(got) != 2 || got[0].Name != "n" || !got[0].Since.Equal(time.UnixMilli(5)) || got[1].Name != "z" || !got[1].Since.IsZero() {
		t.Errorf("read %+v", got)
	}
}
