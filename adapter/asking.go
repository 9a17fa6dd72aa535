package adapter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// recountTime is how often the servers are counted again while one has not answered: it may have died.
	recountTime = 500 * time.Millisecond
	// maxOutgoing bounds the answers that wait to be sent.
	maxOutgoing = 1 << 14
)

// published is a message and where it goes.
type published struct {
	channel string
	payload []byte
}

// dialect is how servers of one kind put their questions and answers.
type dialect interface {
	request(Request) (published, error)
	response(to Request, r Response) (published, error)
	// audience is the channel that every server listens to, once.
	audience(namespace string) string
}

// hearing tells whether answers are heard now, and how often that has begun anew.
type hearing func() (reconnects uint64, yes bool)

// errDeaf is for questions at a time when their answers would not be heard.
var errDeaf = errors.New("not subscribed to Redis at the moment")

// asking puts questions to all other servers over Pub/Sub, and sends answers to theirs.
type asking struct {
	dialect
	id      string
	redis   *Redis
	sharded bool
	hears   hearing
	named   func() []Replica // the servers whose names are known; Node's are not among them

	mu       sync.Mutex
	asked    map[string]*question // by request id
	outgoing chan published

	invalid, dropped atomic.Uint64
}

func newAsking(d dialect, cfg PeersConfig, r *Redis, hears hearing, named func() []Replica) *asking {
	return &asking{
		dialect: d, id: cfg.ID, redis: r, sharded: cfg.Sharded, hears: hears, named: named,
		asked: map[string]*question{}, outgoing: make(chan published, maxOutgoing),
	}
}

// Invalid counts the messages of others that could not be read.
func (a *asking) Invalid() uint64 { return a.invalid.Load() }

// Dropped counts the answers that were not sent, as too many were waiting.
func (a *asking) Dropped() uint64 { return a.dropped.Load() }

// respond queues an answer. It may be called from under locks, and does not wait.
func (a *asking) respond(to Request, r Response) {
	r.ID, r.Kind, r.From, r.Namespace = to.ID, to.Kind, a.id, to.Namespace
	out, err := a.response(to, r)
	if err != nil {
		a.invalid.Add(1)
		return
	}
	select {
	case a.outgoing <- out:
	default:
		a.dropped.Add(1)
	}
}

// responded takes an answer to a question of ours, or of somebody else.
func (a *asking) responded(r Response) {
	a.mu.Lock()
	q := a.asked[r.ID]
	a.mu.Unlock()
	if q != nil && !q.add(r) {
		a.invalid.Add(1)
	}
}

// mine reports whether we have asked that.
func (a *asking) mine(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked[id] != nil
}

// send sends the answers that are queued, as many as there are at a time, until ctx ends.
func (a *asking) send(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case out := <-a.outgoing:
			pipe := a.redis.client.Pipeline()
			_ = a.publish(ctx, pipe, out)
			for range min(len(a.outgoing), readLen) {
				_ = a.publish(ctx, pipe, <-a.outgoing)
			}
			if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil {
				a.redis.log.Debug("answers to other servers not sent", zap.Error(a.redis.explain(err)))
			}
		}
	}
}

func (a *asking) publish(ctx context.Context, to redis.Cmdable, p published) error {
	if a.sharded {
		return to.SPublish(ctx, p.channel, p.payload).Err()
	}
	return to.Publish(ctx, p.channel, p.payload).Err()
}

// Request asks all other servers, and calls each, one at a time, for every answer. It returns when all have answered
// completely, or with a *PartialError when ctx ends first. Servers that end meanwhile are not waited for. One without an
// ID is not answered.
func (a *asking) Request(ctx context.Context, r Request, each func(Response)) error {
	r.From = a.id
	out, err := a.request(r)
	if err != nil {
		return fmt.Errorf("ask the other servers: %w", err)
	}
	if r.ID == "" {
		if err := a.publish(ctx, a.redis.client, out); err != nil {
			return fmt.Errorf("tell the other servers: %w", a.redis.explain(err))
		}
		return nil
	}
	q := &question{kind: r.Kind, more: make(chan struct{}, 1), servers: map[string]*answered{}}
	a.mu.Lock()
	a.asked[r.ID] = q
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.asked, r.ID)
		a.mu.Unlock()
	}()
	since, _ := a.hears()
	others, err := a.count(ctx, r.Namespace)
	if err == nil {
		err = a.publish(ctx, a.redis.client, out)
	}
	if err != nil {
		return fmt.Errorf("ask the other servers: %w", a.redis.explain(err))
	}
	recount := time.NewTicker(recountTime)
	defer recount.Stop()
	for {
		for _, answer := range q.take() {
			each(answer)
		}
		if q.complete() >= others {
			return nil
		}
		select {
		case <-q.more:
		case <-recount.C:
			// After a break of the connection others may not be back yet, and answers may be lost.
			n, err := a.count(ctx, r.Namespace)
			if now, _ := a.hears(); err == nil && now == since {
				others = min(others, n)
			}
		case <-ctx.Done():
			for _, answer := range q.take() {
				each(answer)
			}
			return a.partial(q, others)
		}
	}
}

// partial says who has not answered.
func (a *asking) partial(q *question, others int) error {
	missing := others - q.complete()
	if missing <= 0 {
		return nil
	}
	e := &PartialError{}
	for _, r := range a.named() {
		if r.ID != a.id && len(e.Missing) < missing && !q.done(r.ID) && !q.anonymous() {
			e.Missing = append(e.Missing, cmp.Or(r.Name, r.ID))
		}
	}
	slices.Sort(e.Missing)
	if n := missing - len(e.Missing); n > 0 {
		e.Missing = append(e.Missing, fmt.Sprintf("%d of unknown name", n))
	}
	return e
}

// count is how many other servers listen, Node's among them.
func (a *asking) count(ctx context.Context, namespace string) (int, error) {
	if _, yes := a.hears(); !yes { // we would count one too few
		return 0, errDeaf
	}
	n, err := a.redis.numSub(ctx, a.audience(namespace), a.sharded)
	return max(n-1, 0), err
}

// numSub is how many clients listen to a channel, on all nodes of a Cluster together.
func (r *Redis) numSub(ctx context.Context, channel string, sharded bool) (int, error) {
	ask := func(ctx context.Context, c redis.Cmdable) (int, error) {
		var answer map[string]int64
		var err error
		if sharded {
			answer, err = c.PubSubShardNumSub(ctx, channel).Result()
		} else {
			answer, err = c.PubSubNumSub(ctx, channel).Result()
		}
		return int(answer[channel]), err
	}
	cluster, ok := r.client.(*redis.ClusterClient)
	if !ok {
		return ask(ctx, r.client)
	}
	var sum atomic.Int64
	err := cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		n, err := ask(ctx, node)
		sum.Add(int64(n))
		return err
	})
	return int(sum.Load()), err
}

// question is a request under way.
type question struct {
	kind RequestKind
	more chan struct{} // something came

	mu      sync.Mutex
	new     []Response
	servers map[string]*answered // by id; in some dialects they give none, and all are one
}

// answered is what a server has answered.
type answered struct {
	got, want int
	counts    int // how many have said what there is to come: one, or all that give no id
}

// add takes an answer. It reports false for one that does not answer this, or that its server has given before.
func (q *question) add(r Response) bool {
	// A list of no sockets may be of either kind, see decodeClassicResponse.
	if r.Kind != q.kind && (q.kind != ListSockets || r.Kind != FetchSockets || len(r.Sockets) > 0) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[r.From]
	if s == nil {
		s = &answered{}
		q.servers[r.From] = s
	}
	switch ack := q.kind == EmitWithAck && r.Count < 0; {
	case ack:
		s.got++
	case s.counts > 0 && r.From != "":
		return false
	default:
		s.counts++
		s.want += r.Count
	}
	q.new = append(q.new, r)
	signal(q.more)
	return true
}

func (q *question) take() []Response {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.new
	q.new = nil
	return taken
}

// complete is how many servers have answered all there is to answer.
func (q *question) complete() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.servers {
		n += s.complete()
	}
	return n
}

// complete does not say too much: of servers without an id one may be behind.
func (s *answered) complete() int {
	if s.got < s.want {
		return max(s.counts-1, 0)
	}
	return s.counts
}

func (q *question) done(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[id]
	return s != nil && s.complete() > 0
}

// anonymous reports whether those who have answered gave no ids.
func (q *question) anonymous() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.servers[""] != nil
}
