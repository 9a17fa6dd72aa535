package adapter

import (
	"cmp"
	"context"
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

// PeersConfig configures Peers.
type PeersConfig struct {
	// ID is this server's among all of the cluster: 16 hex digits.
	ID string
	// Prefix starts the names of the channels. Zero means "socket.io", as in Node.
	Prefix string
	// Namespaces are those that are served. Zero means "/" alone.
	Namespaces []string
	// Sharded uses sharded Pub/Sub, as the option useShardedPubSub of Node's adapter does.
	Sharded bool
}

// Peers is the way to ask all other servers of the cluster, and to answer them: what is over when it is answered, and so
// has no place in the log. It speaks as @socket.io/redis-streams-adapter does: requests go out on one channel for each
// namespace, answers come back on another of the asking server's own.
type Peers struct {
	cfg      PeersConfig
	redis    *Redis
	listener *Listener
	named    func() []Replica // the servers whose names are known; Node's are not among them

	mu       sync.Mutex
	asked    map[string]*question // by request id
	outgoing chan outgoing

	invalid, dropped atomic.Uint64
}

type outgoing struct {
	channel string
	payload []byte
}

// NewPeers makes Peers. named lists the servers of the cluster as far as they have names.
func NewPeers(r *Redis, cfg PeersConfig, named func() []Replica) *Peers {
	cfg.Prefix = cmp.Or(cfg.Prefix, "socket.io")
	if cfg.Namespaces == nil {
		cfg.Namespaces = []string{"/"}
	}
	return &Peers{
		cfg: cfg, redis: r, listener: r.Listener(), named: named,
		asked: map[string]*question{}, outgoing: make(chan outgoing, maxOutgoing),
	}
}

// Invalid counts the messages of others that could not be read.
func (p *Peers) Invalid() uint64 { return p.invalid.Load() }

// Dropped counts the answers that were not sent, as too many were waiting.
func (p *Peers) Dropped() uint64 { return p.dropped.Load() }

func (p *Peers) public(namespace string) string {
	return p.cfg.Prefix + "#" + cmp.Or(namespace, "/") + "#"
}

func (p *Peers) private(namespace, id string) string { return p.public(namespace) + id + "#" }

// Run listens and answers until ctx ends. serve is given the questions of others; it returns at once, and answers when
// and as often as it likes.
func (p *Peers) Run(ctx context.Context, serve func(r Request, respond func(Response))) error {
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() { p.send(ctx) })
	var channels []string
	for _, n := range p.cfg.Namespaces {
		channels = append(channels, p.public(n), p.private(n, p.cfg.ID))
	}
	hear := func(_ string, payload []byte) { p.hear(payload, serve) }
	if !p.cfg.Sharded {
		return p.listener.Receive(ctx, Subscription{Channels: channels, Handle: hear})
	}
	shards := p.redis.Shards(hear)
	if err := shards.Add(channels...); err != nil {
		return err
	}
	return shards.Run(ctx)
}

// hear takes a message of another server, or one of our own, which is not for us.
func (p *Peers) hear(payload []byte, serve func(Request, func(Response))) {
	if isEmitted(payload) {
		return // which has its own way, see Emitters
	}
	m, err := decodeCluster(payload)
	switch {
	case err != nil:
		p.invalid.Add(1)
	case m.Request != nil && m.Request.From != p.cfg.ID:
		serve(*m.Request, func(r Response) { p.respond(*m.Request, r) })
	case m.Response != nil:
		p.mu.Lock()
		q := p.asked[m.Response.ID]
		p.mu.Unlock()
		if q != nil {
			q.add(*m.Response)
		}
	}
}

// respond queues an answer. It may be called from under locks, and does not wait.
func (p *Peers) respond(to Request, r Response) {
	r.ID, r.Kind, r.From, r.Namespace = to.ID, to.Kind, p.cfg.ID, to.Namespace
	payload, err := encodeResponse(r, msgpackForm)
	if err != nil {
		p.invalid.Add(1)
		return
	}
	select {
	case p.outgoing <- outgoing{p.private(to.Namespace, to.From), payload}:
	default:
		p.dropped.Add(1)
	}
}

// send sends what is queued, as much as there is at a time.
func (p *Peers) send(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-p.outgoing:
			pipe := p.redis.client.Pipeline()
			p.publish(ctx, pipe, o.channel, o.payload)
			for range min(len(p.outgoing), readLen) {
				o := <-p.outgoing
				p.publish(ctx, pipe, o.channel, o.payload)
			}
			if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil {
				p.redis.log.Debug("answers to other servers not sent", zap.Error(p.redis.explain(err)))
			}
		}
	}
}

func (p *Peers) publish(ctx context.Context, to redis.Cmdable, channel string, payload []byte) error {
	if p.cfg.Sharded {
		return to.SPublish(ctx, channel, payload).Err()
	}
	return to.Publish(ctx, channel, payload).Err()
}

// Request asks all other servers, and calls each, one at a time, for every answer. It returns when all have answered
// completely, or with a *PartialError when ctx ends first. One without an ID is not answered.
func (p *Peers) Request(ctx context.Context, r Request, each func(Response)) error {
	r.From = p.cfg.ID
	wanted := r.ID != ""
	payload, err := encodeRequest(r, msgpackForm)
	if err != nil {
		return fmt.Errorf("ask the other servers: %w", err)
	}
	q := &question{kind: r.Kind, more: make(chan struct{}, 1), servers: map[string]*answered{}}
	if wanted {
		p.mu.Lock()
		p.asked[r.ID] = q
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			delete(p.asked, r.ID)
			p.mu.Unlock()
		}()
	}
	others, err := p.count(ctx, r.Namespace)
	if err == nil {
		err = p.publish(ctx, p.redis.client, p.public(r.Namespace), payload)
	}
	if err != nil {
		return fmt.Errorf("ask the other servers: %w", p.redis.explain(err))
	}
	if !wanted {
		return nil
	}
	recount := time.NewTicker(recountTime)
	defer recount.Stop()
	for {
		for _, a := range q.take() {
			each(a)
		}
		if q.complete() >= others {
			return nil
		}
		select {
		case <-q.more:
		case <-recount.C:
			if n, err := p.count(ctx, r.Namespace); err == nil {
				others = min(others, n)
			}
		case <-ctx.Done():
			for _, a := range q.take() {
				each(a)
			}
			return p.partial(q, others)
		}
	}
}

// partial says who has not answered.
func (p *Peers) partial(q *question, others int) error {
	if q.complete() >= others {
		return nil
	}
	e := &PartialError{}
	for _, r := range p.named() {
		if r.ID != p.cfg.ID && !q.done(r.ID) {
			e.Missing = append(e.Missing, cmp.Or(r.Name, r.ID))
		}
	}
	slices.Sort(e.Missing)
	if n := others - q.complete() - len(e.Missing); n > 0 {
		e.Missing = append(e.Missing, fmt.Sprintf("%d of unknown name", n))
	}
	return e
}

// count is how many other servers listen, Node's among them.
func (p *Peers) count(ctx context.Context, namespace string) (int, error) {
	n, err := p.redis.numSub(ctx, p.public(namespace), p.cfg.Sharded)
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
	servers map[string]*answered
}

// answered is what one server has answered.
type answered struct{ got, want int } // want is -1 until it is known

func (q *question) add(r Response) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[r.From]
	if s == nil {
		s = &answered{want: -1}
		q.servers[r.From] = s
	}
	if q.kind == EmitWithAck && r.Count >= 0 {
		s.want = r.Count
	} else {
		s.got++
		if q.kind != EmitWithAck {
			s.want = 1
		}
	}
	q.new = append(q.new, r)
	select {
	case q.more <- struct{}{}:
	default:
	}
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
		if s.want >= 0 && s.got >= s.want {
			n++
		}
	}
	return n
}

func (q *question) done(id string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.servers[id]
	return s != nil && s.want >= 0 && s.got >= s.want
}
