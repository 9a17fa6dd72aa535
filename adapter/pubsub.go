package adapter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// PubSub takes the place of Log and Peers where the other servers use @socket.io/redis-adapter: what is broadcast is
// published, and heard by whoever listens then. There are no positions, and nothing to recover from; who missed something
// has missed it. Ids, leases and durable input are as with a Log.
type PubSub struct {
	*asking
	*Store
	log      *Log // for its keys; there is no stream
	cfg      PeersConfig
	listener *Listener
	shards   *Shards // nil unless sharded
	emitters Emitters
	start    Position
	ready    chan struct{} // closed when it hears

	mu    sync.Mutex // one message at a time
	apply func([]Entry)
	serve atomic.Pointer[func(Request, func(Response))]
}

// NewPubSub makes one. Of the LogConfig the keys and times count. named is as for Peers.
func NewPubSub(r *Redis, cfg PeersConfig, keys LogConfig, named func() []Replica) *PubSub {
	cfg = cfg.withDefaults()
	log := r.Log(keys)
	p := &PubSub{
		Store: log.Store, log: log, cfg: cfg, listener: r.Listener(), emitters: Emitters{cfg.Prefix, cfg.Namespace},
		start: Position{}.Next(time.Now()), ready: make(chan struct{}),
	}
	var d dialect = classicDialect{cfg}
	hears := p.listener.hears
	if cfg.Sharded {
		d = clusterDialect{cfg, jsonForm}
		p.shards = r.Shards(func(_ string, payload []byte) { p.hearSharded(payload) })
		hears = cfg.shardsHear(p.shards)
	}
	p.asking = newAsking(d, cfg, r, hears, named)
	return p
}

// Start is a position that nothing comes before or after.
func (p *PubSub) Start() Position { return p.start }

// CaughtUp is closed when what is published is heard.
func (p *PubSub) CaughtUp() <-chan struct{} { return p.ready }

// Wait returns at once: what the others have published cannot be told.
func (p *PubSub) Wait(ctx context.Context) error { return ctx.Err() }

// Known is as for a Log.
func (p *PubSub) Known(ctx context.Context, keys []string) ([]bool, error) {
	return p.log.Known(ctx, keys)
}

// Cursor is as for a Log.
func (p *PubSub) Cursor(ctx context.Context, channel string) (Position, error) {
	return p.log.Cursor(ctx, channel)
}

// publishRecords publishes what is new, all together, if the lease is held, and says what is written.
//
// KEYS: lease, cursor, then one for each record, then the feed if events are sent. ARGV: token of the lease or "", time to
// remember keys in ms, cursor or "", the channel to say it on, the command to publish with, the number of records; then
// what feedScript says, and then for each message channel and payload.
var publishRecords = redis.NewScript(feedScript + `
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
	return redis.error_reply('DEPOSED the lease is held by another')
end
local n = tonumber(ARGV[6])
local i, feed, wanted = 8 + 2 * n, false
if ARGV[7] ~= '' then
	feed, wanted = hasFeed(n, 2, 7)
	if wanted then
		return wanted
	end
	i = i + n
end
local fresh, written = {}, {}
for r = 1, n do
	local key, count = ARGV[6 + 2 * r], tonumber(ARGV[7 + 2 * r])
	fresh[r] = (key == '' or redis.call('EXISTS', KEYS[r + 2]) == 0) and 1 or 0
	if fresh[r] == 1 then
		for m = 0, count - 1 do
			redis.call(ARGV[5], ARGV[i + 2 * m], ARGV[i + 2 * m + 1])
		end
		if feed and ARGV[7 + 2 * n + r] ~= '' then
			redis.call('XADD', KEYS[n + 3], '*', 'event', ARGV[7 + 2 * n + r])
		end
		if key ~= '' then
			redis.call('SET', KEYS[r + 2], '', 'PX', ARGV[2])
		end
	end
	if key ~= '' then
		written[#written + 1] = key
	end
	i = i + 2 * count
end
if ARGV[3] ~= '' then
	redis.call('SET', KEYS[2], ARGV[3])
end
if #written > 0 then
	redis.call('PUBLISH', ARGV[4], table.concat(written, ' '))
end
fresh[n + 1] = feed and 1 or 0
return fresh
`)

// Append publishes records, as Log.Append appends them. In a Cluster sharded channels live on other nodes than keys: there,
// an attempt whose outcome is not known may publish twice.
func (p *PubSub) Append(ctx context.Context, lease Lease, records []Record) ([]bool, error) {
	apart := p.apart()
	if apart {
		if err := p.publishApart(ctx, lease, records); err != nil {
			return nil, err
		}
	}
	return p.append(lease.Channel, records, func(way string) ([]int64, error) {
		keys, args, err := p.appendArgs(lease, records, way, apart)
		if err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
		answer, err := publishRecords.Run(ctx, p.redis.client, keys, args...).Int64Slice()
		if err != nil && !isOurs(err) {
			return nil, fmt.Errorf("publish: %w", p.redis.explain(err))
		}
		return answer, err
	})
}

// appendArgs are the KEYS and ARGV of publishRecords; apart from it, messages are published already.
func (p *PubSub) appendArgs(lease Lease, records []Record, way string, apart bool) (keys []string, args []any, err error) {
	keys = []string{p.Key("lease:none"), p.log.cursorKey(lease.Channel)}
	if lease.Key != "" {
		keys[0] = lease.Key
	}
	args = []any{lease.Token, p.log.cfg.Dedupe.Milliseconds(), "", p.written(), "PUBLISH", len(records), way}
	if p.cfg.Sharded {
		args[4] = "SPUBLISH"
	}
	for _, r := range records {
		keys = append(keys, p.Key("id:"+r.Key))
		count := len(r.Messages)
		if apart {
			count = 0
		}
		args = append(args, r.Key, count)
		if r.Cursor != (Position{}) {
			args[2] = r.Cursor.String()
		}
	}
	if way != feedNone {
		args, keys = feedArgs(args, way, records), append(keys, p.feedKey(lease.Channel))
	}
	if apart {
		return keys, args, nil
	}
	for _, r := range records {
		for _, m := range r.Messages {
			out, err := p.message(m)
			if err != nil {
				return nil, nil, err
			}
			args = append(args, out.channel, out.payload)
		}
	}
	return keys, args, nil
}

// written is the channel on which our own replicas hear the keys of what is published, which the messages do not have.
func (p *PubSub) written() string { return p.Key("written") }

// message is how a message is published. It goes to the channel that all servers listen to, whatever rooms they have.
func (p *PubSub) message(m Message) (out published, err error) {
	switch {
	case p.cfg.Sharded:
		out.channel = p.cfg.public(m.Namespace)
		out.payload, err = encodeMessage(p.cfg.ID, m, jsonForm)
	case m.Kind == Event:
		out.channel = p.cfg.public(m.Namespace)
		out.payload, err = encodeClassicEvent(p.cfg.ID, m)
	default:
		out.channel = classicDialect{p.cfg}.audience(m.Namespace)
		out.payload, err = encodeClassicCommand(p.cfg.ID, m)
	}
	return out, err
}

// apart reports whether no script can both publish and note it.
func (p *PubSub) apart() bool {
	_, cluster := p.redis.client.(*redis.ClusterClient)
	return cluster && p.cfg.Sharded
}

// publishApart publishes what is new without a note of it.
func (p *PubSub) publishApart(ctx context.Context, lease Lease, records []Record) error {
	keys := make([]string, len(records))
	for i, r := range records {
		keys[i] = r.Key
	}
	known, err := p.log.Known(ctx, keys)
	if err == nil && lease.Key != "" {
		var token string
		token, err = p.redis.client.Get(ctx, lease.Key).Result()
		if errors.Is(err, redis.Nil) || err == nil && token != lease.Token {
			return ErrDeposed
		}
	}
	if err != nil {
		return fmt.Errorf("publish: %w", p.redis.explain(err))
	}
	pipe := p.redis.client.Pipeline()
	for i, r := range records {
		if r.Key != "" && (known[i] || slices.Contains(keys[:i], r.Key)) {
			continue
		}
		for _, m := range r.Messages {
			out, err := p.message(m)
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			pipe.SPublish(ctx, out.channel, out.payload)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("publish: %w", p.redis.explain(err))
	}
	return nil
}

// Tail calls apply with what is published, until ctx ends. There is no gap that could be told.
func (p *PubSub) Tail(ctx context.Context, apply func([]Entry), _ func(Position)) error {
	p.mu.Lock()
	p.apply = apply
	p.mu.Unlock()
	if p.cfg.Sharded {
		return p.tailSharded(ctx)
	}
	d := classicDialect{p.cfg}
	return p.listener.Receive(ctx, Subscription{
		Channels: []string{
			d.audience(p.cfg.Namespace), d.answers(p.cfg.Namespace), d.private(p.cfg.Namespace, p.cfg.ID), p.written(),
		},
		Patterns: []string{p.emitters.Events()},
		Handle:   p.hearClassic,
		Up:       sync.OnceFunc(func() { close(p.ready) }),
	})
}

// tailSharded hears the sharded channels of servers, and the plain ones that emitters have.
func (p *PubSub) tailSharded(ctx context.Context) error {
	main, own := p.cfg.public(p.cfg.Namespace), p.cfg.private(p.cfg.Namespace, p.cfg.ID)
	if err := p.shards.Add(main, own); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed [2]error
	var parts sync.WaitGroup
	parts.Go(func() {
		defer cancel()
		failed[0] = p.shards.Run(ctx)
	})
	parts.Go(func() {
		defer cancel()
		failed[1] = p.listener.Receive(ctx, Subscription{
			Channels: []string{p.emitters.Commands(), p.written()},
			Patterns: []string{p.emitters.Events()},
			Handle:   p.hearPlain,
		})
	})
	parts.Go(func() {
		select {
		case <-p.listener.Subscribed():
		case <-ctx.Done():
		}
		poll := time.NewTicker(10 * time.Millisecond)
		defer poll.Stop()
		for ctx.Err() == nil {
			if _, heard := p.hears(); heard {
				close(p.ready)
				return
			}
			select {
			case <-poll.C:
			case <-ctx.Done():
			}
		}
	})
	parts.Wait()
	return errors.Join(failed[:]...)
}

// Run answers the questions of others until ctx ends.
func (p *PubSub) Run(ctx context.Context, serve func(Request, func(Response))) error {
	p.serve.Store(&serve)
	defer p.serve.Store(nil)
	p.send(ctx)
	return nil
}

// Occupied follows the rooms that have members here, and the ids of those: to others' channels of such there may be
// something to hear.
func (p *PubSub) Occupied(namespace, room string, yes bool) {
	if !p.cfg.Sharded || namespace != p.cfg.Namespace || room == p.cfg.ID || !p.cfg.SubscriptionMode.hasChannel(room) {
		return
	}
	channel := p.cfg.public(namespace) + room + "#"
	if yes {
		_ = p.shards.Add(channel) // too long a name is no channel
	} else {
		p.shards.Remove(channel)
	}
}
