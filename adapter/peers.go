package adapter

import (
	"cmp"
	"context"
	"sync"
	"unicode/utf16"
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
	// SubscriptionMode is the option of that name of Node's sharded adapter: PubSub hears what Node's servers publish to
	// the channels of single rooms. Zero means Dynamic, as there.
	SubscriptionMode SubscriptionMode
	// SpecificResponses is the option publishOnSpecificResponseChannel of Node's classic adapter: answers go to who has
	// asked alone. All servers must have it alike.
	SpecificResponses bool
}

func (c PeersConfig) withDefaults() PeersConfig {
	c.Prefix = cmp.Or(c.Prefix, "socket.io")
	c.Namespace = cmp.Or(c.Namespace, "/")
	c.SubscriptionMode = cmp.Or(c.SubscriptionMode, Dynamic)
	return c
}

// SubscriptionMode says for which rooms servers with Node's sharded adapter publish to a channel of the room alone.
type SubscriptionMode string

// The modes of Node.
const (
	Static         SubscriptionMode = "static"          // for none
	Dynamic        SubscriptionMode = "dynamic"         // for those with names that are not like a socket's id
	DynamicPrivate SubscriptionMode = "dynamic-private" // for all
)

// Valid reports whether it is one of the modes.
func (m SubscriptionMode) Valid() bool { return m == Static || m == Dynamic || m == DynamicPrivate }

func (m SubscriptionMode) hasChannel(room string) bool {
	return m == DynamicPrivate || m == Dynamic && len(utf16.Encode([]rune(room))) != 20 // as Node knows ids of sockets
}

// public is the channel for all servers of a namespace.
func (c PeersConfig) public(namespace string) string {
	return c.Prefix + "#" + cmp.Or(namespace, "/") + "#"
}

// private is the channel of one server.
func (c PeersConfig) private(namespace, id string) string { return c.public(namespace) + id + "#" }

// shardsHear tells whether the two channels of cluster adapters are heard. How often that began is not known.
func (c PeersConfig) shardsHear(s *Shards) hearing {
	return func() (uint64, bool) {
		return 0, s.Heard(c.public(c.Namespace)) && s.Heard(c.private(c.Namespace, c.ID))
	}
}

// hears is a hearing.
func (l *Listener) hears() (uint64, bool) { return l.Reconnects(), l.Connected() }

// Peers is the way to ask all other servers of the cluster, and to answer them: what is over when it is answered, and so
// has no place in the log. It speaks as @socket.io/redis-streams-adapter does.
type Peers struct {
	*asking
	cfg      PeersConfig
	listener *Listener // nil if sharded
	shards   *Shards   // nil unless sharded
	serve    func(Request, func(Response))
}

// NewPeers makes Peers. named lists the servers of the cluster as far as they have names.
func NewPeers(r *Redis, cfg PeersConfig, named func() []Replica) *Peers {
	p := &Peers{cfg: cfg.withDefaults()}
	var hears hearing
	if cfg.Sharded {
		p.shards = r.Shards(p.hear)
		hears = p.cfg.shardsHear(p.shards)
	} else {
		p.listener = r.Listener()
		hears = p.listener.hears
	}
	p.asking = newAsking(clusterDialect{p.cfg, msgpackForm}, p.cfg, r, hears, named)
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
// and as often as it likes. Run is for one call.
func (p *Peers) Run(ctx context.Context, serve func(r Request, respond func(Response))) error {
	p.serve = serve
	ctx, cancel := context.WithCancel(ctx)
	var sender sync.WaitGroup
	defer sender.Wait()
	defer cancel()
	sender.Go(func() { p.send(ctx) })
	channels := []string{p.cfg.public(p.cfg.Namespace), p.cfg.private(p.cfg.Namespace, p.cfg.ID)}
	if p.shards == nil {
		return p.listener.Receive(ctx, Subscription{Channels: channels, Handle: p.hear})
	}
	if err := p.shards.Add(channels...); err != nil {
		return err
	}
	return p.shards.Run(ctx)
}

// hear takes a message of another server, or one of our own, which is not for us. Those of emitters have their own way.
func (p *Peers) hear(_ string, payload []byte) {
	if isEmitted(payload) {
		return
	}
	m, err := decodeCluster(payload)
	switch {
	case err != nil:
		p.invalid.Add(1)
	case m.Request != nil && m.Request.From != p.cfg.ID:
		p.serve(*m.Request, func(r Response) { p.respond(*m.Request, r) })
	case m.Response != nil:
		p.responded(*m.Response)
	}
}
