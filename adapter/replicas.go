package adapter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// findPause is the least time between two looks for a replica that is not on the list: the ids come from clients.
const findPause = 100 * time.Millisecond

// ReplicasConfig configures Replicas.
type ReplicasConfig struct {
	// ID is this replica's, a new one with each start: 16 hex digits.
	ID string
	// Name is for people: the host's, for example.
	Name string
	// Addr is host:port of the internal port, where the others reach it; empty if they cannot.
	Addr string
	// Channels are what is led: each has a lease.
	Channels []string
	// TTL is how long a replica counts as alive, and holds its leases, without a sign of life. Zero means 2 s.
	TTL time.Duration
	// Beat is the time between those. Zero means an eighth of TTL.
	Beat time.Duration
	// Key names our keys, so that they share a slot with the log. All of it is needed.
	Key func(rest string) string
}

func (c ReplicasConfig) withDefaults() ReplicasConfig {
	c.TTL = cmp.Or(c.TTL, 2*time.Second)
	c.Beat = cmp.Or(c.Beat, c.TTL/8)
	return c
}

// Replica is one of those that serve together.
type Replica struct {
	ID   string
	Name string
	Addr string
	// Since is from when on it has heard its channels without a break, by Redis's clock; zero while it does not.
	Since time.Time
}

// Lease is the right to lead a channel. What writes for the channel checks in the same step that Key has the value Token.
type Lease struct{ Channel, Key, Token string }

// Replicas is the list of the replicas that are alive, kept in Redis, and the leases by which each channel has one
// leader among them. Every replica beats: it says that it is alive, renews its leases and hears about the others.
type Replicas struct {
	cfg    ReplicasConfig
	client redis.UniversalClient
	log    *zap.Logger
	beaten chan struct{}
	nudge  chan struct{} // beat at once

	mu      sync.Mutex
	hears   bool
	deaf    bool      // it should hear, and does not
	up      time.Time // when it began to hear
	heard   time.Time // when it heard itself last, or began to listen
	changes int       // of what it hears
	others  []string  // who was there when it heard last, before now
	since   int64     // ms of Redis's clock from when on it hears, zero if it does not, or not for certain
	list    []Replica
	held    map[string]*term
	lookAt  time.Time // of the last look for one that is not on the list
	beating time.Time // see Beating
	looking sync.Mutex
}

// term is the time that this replica leads a channel.
type term struct {
	Lease
	end   context.CancelFunc
	ended func() error // not nil once it has ended, though lead may not have returned
	until *time.Timer  // ends it when no beat renews it
}

// NewReplicas makes Replicas that Run is to keep alive.
func NewReplicas(client redis.UniversalClient, cfg ReplicasConfig, log *zap.Logger) *Replicas {
	cfg = cfg.withDefaults()
	cfg.Channels = slices.Sorted(slices.Values(cfg.Channels))
	return &Replicas{
		cfg: cfg, client: client, log: log,
		beaten: make(chan struct{}), nudge: make(chan struct{}, 1), held: map[string]*term{},
	}
}

// Beaten is closed once the others know of this replica.
func (r *Replicas) Beaten() <-chan struct{} { return r.beaten }

// List is who was alive at the last beat, in the order of their ids.
func (r *Replicas) List() []Replica {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// Leading lists the channels that this replica leads.
func (r *Replicas) Leading() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for c := range r.held {
		out = append(out, c)
	}
	slices.Sort(out)
	return out
}

// Hears says whether this replica hears its channels. When it does not, it has led before this returns: what was
// published meanwhile it has missed, and another one has not.
func (r *Replicas) Hears(yes bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hears, r.deaf, r.up, r.heard = yes, false, time.Now(), time.Now()
	r.changedLocked()
}

// Voice is the channel on which this replica speaks with each beat. It is to be heard together with the others; who hears
// itself no more is deaf, though its connection seems to live: to a server of Redis that has been replaced, for example.
func (r *Replicas) Voice() string { return r.cfg.Key("voice:" + r.cfg.ID) }

// Heard says that it has heard itself.
func (r *Replicas) Heard() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = time.Now()
	if r.deaf {
		r.deaf, r.up = false, r.heard
		r.changedLocked()
	}
}

// listenLocked finds out, after a beat, whether this replica is deaf.
func (r *Replicas) listenLocked() {
	if r.hears && !r.deaf && time.Since(r.heard) > r.cfg.TTL {
		r.deaf = true
		r.changedLocked()
		r.log.Warn("published messages are not heard, though the connection lives")
	}
}

// changedLocked begins anew with what is heard, and ends all terms: something may have been missed.
func (r *Replicas) changedLocked() {
	if r.since != 0 {
		r.others = nil
		for _, x := range r.list {
			if x.ID != r.cfg.ID {
				r.others = append(r.others, x.ID)
			}
		}
	}
	r.since = 0
	r.changes++
	for _, t := range r.held {
		t.end()
	}
	signal(r.nudge)
}

// Beating is since when each beat has reached Redis, and was written; zero if the last one was not, or there is none yet.
// Where that is long ago, whoever leads has been able to write all along, too, or somebody else leads.
func (r *Replicas) Beating() (since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.beating
}

func (r *Replicas) noteBeat(ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !ok:
		r.beating = time.Time{}
	case r.beating.IsZero():
		r.beating = time.Now()
	}
}

// Find is the replica of that id, if it is alive.
func (r *Replicas) Find(ctx context.Context, id string) (Replica, bool) {
	if found, ok := r.listed(id); ok {
		return found, true
	}
	r.looking.Lock() // one look answers all who wait for it
	defer r.looking.Unlock()
	r.mu.Lock()
	again := time.Since(r.lookAt) >= findPause
	r.mu.Unlock()
	if again {
		answer, err := look.Run(ctx, r.client, r.keys()[:2]).Slice()
		r.mu.Lock()
		r.lookAt = time.Now()
		if err == nil {
			r.list = readReplicas(answer)
		}
		r.mu.Unlock()
	}
	return r.listed(id)
}

func (r *Replicas) listed(id string) (Replica, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.list, func(x Replica) bool { return x.ID == id })
	if i < 0 {
		return Replica{}, false
	}
	return r.list[i], true
}

// Run beats until ctx ends. It calls lead on a goroutine of its own while this replica leads a channel, with a context
// that ends with that, and gives the lease up when lead has returned. At the end it is gone from the list.
func (r *Replicas) Run(ctx context.Context, lead func(context.Context, Lease)) error {
	var terms sync.WaitGroup
	var lost time.Time // zero while nothing is wrong
	begin := func(l Lease, sent time.Time) {
		leading, end := context.WithCancel(ctx)
		t := &term{Lease: l, end: end, ended: leading.Err, until: time.AfterFunc(r.cfg.TTL-time.Since(sent), end)}
		r.mu.Lock()
		r.held[l.Channel] = t
		if !r.hears || r.deaf {
			end()
		}
		r.mu.Unlock()
		r.log.Info("leading", zap.String("channel", l.Channel))
		terms.Go(func() {
			defer end()
			lead(leading, l)
			r.giveUp(ctx, t)
		})
	}
	for {
		sent := time.Now()
		seen, err := r.beat(ctx)
		if ctx.Err() != nil {
			break
		}
		r.noteBeat(err == nil)
		switch {
		case err != nil && lost.IsZero():
			lost = time.Now()
			r.log.Warn("no sign of life to redis, trying again", zap.Error(err))
		case err == nil && !lost.IsZero():
			r.log.Info("signs of life reach redis again", zap.Duration("away", time.Since(lost)))
			lost = time.Time{}
		}
		if err == nil {
			r.renewed(seen, sent)
			for _, channel := range r.wanted(seen) {
				if l, ok := r.acquire(ctx, channel); ok {
					begin(l, sent)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-r.nudge:
		case <-time.After(r.cfg.Beat*3/4 + rand.N(r.cfg.Beat/2)):
		}
	}
	terms.Wait()
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.TTL)
	defer cancel()
	pipe := r.client.Pipeline()
	pipe.ZRem(leaving, r.keys()[0], r.cfg.ID)
	pipe.HDel(leaving, r.keys()[1], r.cfg.ID)
	_, _ = pipe.Exec(leaving) // else it goes by itself
	return nil
}

// giveUp ends a term: from now on another replica may lead.
func (r *Replicas) giveUp(ctx context.Context, t *term) {
	t.until.Stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.cfg.TTL)
	defer cancel()
	_ = release.Run(ctx, r.client, []string{t.Key}, t.Token).Err() // else it ends by itself
	r.mu.Lock()
	delete(r.held, t.Channel)
	r.mu.Unlock()
	r.log.Info("leading no more", zap.String("channel", t.Channel))
	signal(r.nudge)
}

// seen is what a beat shows.
type seen struct {
	now     int64 // ms of Redis's clock
	alive   []Replica
	tokens  []string // of the leases, in the order of the channels; empty where there is none
	renewed []string // the tokens that the beat was to renew
}

// beat says that this replica is alive.
func (r *Replicas) beat(ctx context.Context) (seen, error) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TTL/2)
	defer cancel()
	r.mu.Lock()
	changes := r.changes
	record, _ := json.Marshal(record{r.cfg.Name, r.cfg.Addr, r.since}) // strings and a number
	sent := time.Now()
	args := []any{r.cfg.ID, record, r.cfg.TTL.Milliseconds(), r.Voice()}
	s := seen{}
	for _, c := range r.cfg.Channels {
		token := ""
		if t := r.held[c]; t != nil && t.ended() == nil { // one that hangs at its end must not hold up its successor
			token = t.Token
		}
		args = append(args, token)
		s.renewed = append(s.renewed, token)
	}
	r.mu.Unlock()
	answer, err := beat.Run(ctx, r.client, r.keys(), args...).Slice()
	if err != nil {
		return s, err
	}
	if len(answer) != 3 {
		return s, errors.New("redis gave another answer than the script's")
	}
	s.now, _ = answer[0].(int64)
	records, _ := answer[1].([]any)
	s.alive = readReplicas(records)
	tokens, _ := answer[2].([]any)
	for _, t := range tokens {
		token, _ := t.(string)
		s.tokens = append(s.tokens, token)
	}
	if len(s.tokens) != len(r.cfg.Channels) {
		return s, errors.New("redis gave another answer than the script's")
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = s.alive
	r.listenLocked()
	if r.hears && !r.deaf && r.since == 0 && changes == r.changes { // it has heard all since before the beat
		r.since = s.now - sent.Sub(r.up).Milliseconds()
		signal(r.nudge) // and the others should know
	}
	select {
	case <-r.beaten:
	default:
		close(r.beaten)
	}
	return s, nil
}

// renewed prolongs the terms that the beat has renewed, and ends those that are over.
func (r *Replicas) renewed(s seen, sent time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, c := range r.cfg.Channels {
		t := r.held[c]
		switch {
		case t == nil || t.Token != s.renewed[i]: // it has begun since
		case s.tokens[i] != t.Token:
			t.end()
		default:
			t.until.Reset(r.cfg.TTL - time.Since(sent))
		}
	}
}

// wanted ends the terms that another replica should have, and lists the channels to lead.
func (r *Replicas) wanted(s seen) []string {
	holders := map[string]string{}
	for i, c := range r.cfg.Channels {
		holders[c], _, _ = strings.Cut(s.tokens[i], ":")
	}
	right := assign(r.cfg.Channels, s.alive, holders, time.UnixMilli(s.now))
	r.mu.Lock()
	defer r.mu.Unlock()
	var wanted []string
	for _, c := range r.cfg.Channels {
		t := r.held[c]
		switch {
		case right[c] == r.cfg.ID && t == nil && holders[c] == "" && !gathering(r.cfg.ID, time.Since(r.up), r.others, s.alive):
			wanted = append(wanted, c)
		case right[c] != r.cfg.ID && right[c] != "" && t != nil:
			t.end()
		}
	}
	return wanted
}

// acquire tries to get the lease of a channel.
func (r *Replicas) acquire(ctx context.Context, channel string) (Lease, bool) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.TTL/2)
	defer cancel()
	l := Lease{Channel: channel, Key: r.leaseKey(channel)}
	var err error
	l.Token, err = acquire.Run(ctx, r.client, []string{l.Key, r.cfg.Key("terms")}, r.cfg.ID, r.cfg.TTL.Milliseconds()).Text()
	if err != nil && ctx.Err() == nil {
		r.log.Debug("lease not acquired", zap.String("channel", channel), zap.Error(err))
	}
	return l, err == nil && l.Token != ""
}

func (r *Replicas) leaseKey(channel string) string { return r.cfg.Key("lease:" + channel) }

func (r *Replicas) keys() []string {
	keys := []string{r.cfg.Key("replicas"), r.cfg.Key("replicas:records")}
	for _, c := range r.cfg.Channels {
		keys = append(keys, r.leaseKey(c))
	}
	return keys
}

// record is what a replica tells of itself.
type record struct {
	Name  string `json:"name"`
	Addr  string `json:"addr,omitempty"`
	Since int64  `json:"since,omitempty"`
}

// readReplicas reads ids and records in turn. What it cannot read is left out.
func readReplicas(answer []any) []Replica {
	var out []Replica
	for i := 0; i+1 < len(answer); i += 2 {
		id, _ := answer[i].(string)
		text, _ := answer[i+1].(string)
		var rec record
		if id == "" || json.Unmarshal([]byte(text), &rec) != nil {
			continue
		}
		r := Replica{ID: id, Name: cmp.Or(rec.Name, id), Addr: rec.Addr}
		if rec.Since > 0 {
			r.Since = time.UnixMilli(rec.Since)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Replica) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// signal wakes whoever waits on c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
