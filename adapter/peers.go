package adapter

import (
	"cmp"
	"context"
	"sync"
)

// PeersConfig configures Peers and PubSub.
type PeersConfig struct {
	// ID is this server's among all of the cluster: 16 hex digits.
	ID string
	// Prefix starts the names of the channels. Zero means "socket.io", as in Node.
	Prefix string
	// Namespace is what is served. Zero means "/".
	Namespace string
	// Sharded uses sharded Pub/Sub: the option useShardedPubSub of Node's streams adapter, or its sharded adapter.
	Sharded bool
	// SpecificResponses is the option publishOnSpecificResponseChannel of Node's classic adapter: answers go to who has
	// asked alone. All servers must have it alike.
	SpecificResponses bool
}

func (c PeersConfig) withDefaults() PeersConfig {
	c.Prefix = cmp.Or(c.Prefix, "socket.io")
	c.Namespace = cmp.Or(c.Namespace, "/")
	return c
}

// public is the channel for all servers of a namespace.
func (c PeersConfig) public(namespace string) string {
	return c.Prefix + "#" + cmp.Or(namespace, "/") + "#"
}

// private is the channel of one server.
func (c PeersConfig) private(namespace, id string) string { return c.public(namespace) + id + "#" }

// Peers is the way to ask all other servers of the cluster, and to answer them: what is over when it is answered, and so
// has no place in the log. It speaks as @socket.io/redis-streams-adapter does.
type Peers struct {
	*asking
	cfg PeersConfig
}

// NewPeers makes Peers. named lists the servers of the cluster as far as they have names.
func NewPeers(r *Redis, cfg PeersConfig, named func() []Replica) *Peers {
	p := &Peers{cfg: cfg.withDefaults()}
	p.asking = newAsking(clusterDialect{p.cfg, msgpackForm}, cfg.ID, r, cfg.Sharded, named)
	return p
}

// clusterDialect is that of cluster adapters: requests go out on one channel for each namespace, answers come back on
// another of the asking server's own.
type clusterDialect struct {
	PeersConfig
	form wireForm
}

func (d clusterDialect) request(r Request) (published, error) {
	payload, err := encodeRequest(r, d.form)
	return published{d.public(r.Namespace), payload}, err
}

func (d clusterDialect) response(to Request, r Response) (published, error) {
	payload, err := encodeResponse(r, d.form)
	return published{d.private(to.Namespace, to.From), payload}, err
}

func (d clusterDialect) audience(namespace string) string { return d.public(namespace) }

// Run listens and answers until ctx ends. serve is given the questions of others; it returns at once, and answers when
// and as often as it likes.
func (p *Peers) Run(ctx context.Context, serve func(r Request, respond func(Response))) error {
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() { p.send(ctx) })
	channels := []string{p.cfg.public(p.cfg.Namespace), p.cfg.private(p.cfg.Namespace, p.cfg.ID)}
	hear := func(_ string, payload []byte) {
		if !isEmitted(payload) { // which has its own way, see Emitters
			p.hear(payload, serve)
		}
	}
	if !p.cfg.Sharded {
		return p.redis.Listener().Receive(ctx, Subscription{Channels: channels, Handle: hear})
	}
	shards := p.redis.Shards(hear)
	if err := shards.Add(channels...); err != nil {
		return err
	}
	return shards.Run(ctx)
}

// hear takes a message of another server, or one of our own, which is not for us.
func (p *Peers) hear(payload []byte, serve func(Request, func(Response))) {
	m, err := decodeCluster(payload)
	switch {
	case err != nil:
		p.invalid.Add(1)
	case m.Request != nil && m.Request.From != p.cfg.ID:
		serve(*m.Request, func(r Response) { p.respond(*m.Request, r) })
	case m.Response != nil:
		p.responded(*m.Response)
	}
}
