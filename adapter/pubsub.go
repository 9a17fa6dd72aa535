package adapter

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
	log      *Log // for its keys; there is no stream
	cfg      PeersConfig
	shards   *Shards
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
	p := &PubSub{
		log: r.Log(keys), cfg: cfg, emitters: Emitters{cfg.Prefix, cfg.Namespace},
		start: Position{}.Next(time.Now()), ready: make(chan struct{}),
	}
	var d dialect = classicDialect{cfg}
	if cfg.Sharded {
		d = clusterDialect{cfg, jsonForm}
		p.shards = r.Shards(func(_ string, payload []byte) { p.hearSharded(payload) })
	}
	p.asking = newAsking(d, cfg.ID, r, cfg.Sharded, named)
	return p
}

// Key names a key of ours, see Log.Key.
func (p *PubSub) Key(rest string) string { return p.log.Key(rest) }

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

// publishRecords publishes what is new, all together, if the lease is held.
//
// KEYS: lease, cursor, then one for each record. ARGV: token of the lease or "", time to remember keys in ms, cursor or
// "", then for each record its key and the number of messages, and for each of those channel and payload.
var publishRecords = redis.NewScript(`
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
	return redis.error_reply('DEPOSED the lease is held by another')
end
local fresh, i = {}, 4
for r = 3, #KEYS do
	local key, count = ARGV[i], tonumber(ARGV[i + 1])
	i = i + 2
	fresh[#fresh + 1] = (key == '' or redis.call('EXISTS', KEYS[r]) == 0) and 1 or 0
	if fresh[#fresh] == 1 then
		for m = 0, count - 1 do
			redis.call('PUBLISH', ARGV[i + 2 * m], ARGV[i + 2 * m + 1])
		end
		if key ~= '' then
			redis.call('SET', KEYS[r], '', 'PX', ARGV[2])
		end
	end
	i = i + 2 * count
end
if ARGV[3] ~= '' then
	redis.call('SET', KEYS[2], ARGV[3])
end
return fresh
`)

// Append publishes records, as Log.Append appends them. Sharded channels live on other nodes than keys: there, an attempt
// whose outcome is not known may publish twice.
func (p *PubSub) Append(ctx context.Context, lease Lease, records []Record) ([]bool, error) {
	if p.cfg.Sharded {
		if err := p.publishSharded(ctx, lease, records); err != nil {
			return nil, err
		}
	}
	keys := []string{p.Key("lease:none"), p.log.cursorKey(lease.Channel)}
	if lease.Key != "" {
		keys[0] = lease.Key
	}
	args := []any{lease.Token, p.log.cfg.Dedupe.Milliseconds(), ""}
	for _, r := range records {
		keys = append(keys, p.Key("id:"+r.Key))
		if p.cfg.Sharded {
			args = append(args, r.Key, 0)
		} else {
			args = append(args, r.Key, len(r.Messages))
			for _, m := range r.Messages {
				out, err := p.classic(m)
				if err != nil {
					return nil, fmt.Errorf("publish: %w", err)
				}
				args = append(args, out.channel, out.payload)
			}
		}
		if r.Cursor != (Position{}) {
			args[2] = r.Cursor.String()
		}
	}
	answer, err := publishRecords.Run(ctx, p.redis.client, keys, args...).Int64Slice()
	switch {
	case redis.HasErrorPrefix(err, "DEPOSED"):
		return nil, ErrDeposed
	case err != nil:
		return nil, fmt.Errorf("publish: %w", p.redis.explain(err))
	}
	fresh := make([]bool, len(answer))
	for i, n := range answer {
		fresh[i] = n == 1
	}
	return fresh, nil
}

// classic is how the classic adapter publishes a message.
func (p *PubSub) classic(m Message) (published, error) {
	if m.Kind == Event {
		payload, err := encodeClassicEvent(p.cfg.ID, m)
		return published{p.cfg.public(m.Namespace), payload}, err
	}
	payload, err := encodeClassicCommand(p.cfg.ID, m)
	return published{classicDialect{p.cfg}.audience(m.Namespace), payload}, err
}

// publishSharded publishes what is new. Everything goes to the channel that all servers listen to, whatever rooms they have.
func (p *PubSub) publishSharded(ctx context.Context, lease Lease, records []Record) error {
	var keys []string
	for _, r := range records {
		keys = append(keys, r.Key)
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
		for _, m := range r.Messages {
			if known[i] && r.Key != "" {
				continue
			}
			payload, err := encodeMessage(p.cfg.ID, m, jsonForm)
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			pipe.SPublish(ctx, p.cfg.public(m.Namespace), payload)
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("publish: %w", p.redis.explain(err))
	}
	return nil
}

// Tail calls apply with what is published, until ctx ends. There is no gap that could be told.
func (p *PubSub) Tail(ctx context.Context, apply func([]Entry), _ func(Position)) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	p.mu.Lock()
	p.apply = apply
	p.mu.Unlock()
	up := sync.OnceFunc(func() { close(p.ready) })
	if !p.cfg.Sharded {
		d := classicDialect{p.cfg}
		return p.redis.Listener().Receive(ctx, Subscription{
			Channels: []string{d.audience(p.cfg.Namespace), d.answers(p.cfg.Namespace), d.private(p.cfg.Namespace, p.cfg.ID)},
			Patterns: []string{p.emitters.Events()},
			Handle:   p.hearClassic,
			Up:       up,
		})
	}
	main := p.cfg.public(p.cfg.Namespace)
	if err := p.shards.Add(main, p.cfg.private(p.cfg.Namespace, p.cfg.ID)); err != nil {
		return err
	}
	var failed [2]error
	parts.Go(func() {
		defer cancel()
		failed[0] = p.shards.Run(ctx)
	})
	parts.Go(func() {
		defer cancel()
		failed[1] = p.redis.Listener().Receive(ctx, Subscription{
			Channels: []string{p.emitters.Commands()},
			Patterns: []string{p.emitters.Events()},
			Handle:   p.hearEmitter,
		})
	})
	for poll := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-poll.C:
			if p.shards.Heard(main) {
				poll.Stop()
				up()
				<-ctx.Done()
			}
		}
	}
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

// Occupied follows the rooms that have members here: to others' channels of those there is something to hear.
func (p *PubSub) Occupied(namespace, room string, yes bool) {
	if !p.cfg.Sharded || namespace != p.cfg.Namespace {
		return
	}
	channel := p.cfg.public(namespace) + room + "#"
	if yes {
		_ = p.shards.Add(channel) // too long a name is no channel
	} else {
		p.shards.Remove(channel)
	}
}

// hand applies what a server or an emitter has published, in the place of an entry of a log.
func (p *PubSub) hand(e Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Volatile = true // there is no place in a log that could be kept
	p.apply([]Entry{e})
}

func (p *PubSub) ask(r Request) {
	if serve := p.serve.Load(); serve != nil && r.From != p.cfg.ID && !p.mine(r.ID) {
		(*serve)(r, func(answer Response) { p.respond(r, answer) })
	}
}

func (p *PubSub) hearSharded(payload []byte) {
	m, err := decodeCluster(payload)
	switch {
	case err != nil:
		p.invalid.Add(1)
	case m.Entry != nil:
		p.hand(*m.Entry)
	case m.Request != nil:
		p.ask(*m.Request)
	case m.Response != nil:
		p.responded(*m.Response)
	}
}

func (p *PubSub) hearEmitter(channel string, payload []byte) {
	if heard := p.emitters.Heard(channel, payload); heard != nil {
		m, err := p.emitters.Decode(heard)
		if err != nil {
			p.invalid.Add(1)
			return
		}
		p.hand(Entry{Message: m})
	}
}

func (p *PubSub) hearClassic(channel string, payload []byte) {
	d := classicDialect{p.cfg}
	var err error
	switch namespace := p.cfg.Namespace; {
	case channel == d.audience(namespace):
		var m wirePayload
		if m, err = decodeClassicRequest(namespace, payload); err != nil {
			break
		}
		if m.Entry != nil {
			p.hand(*m.Entry)
		} else if m.Request != nil {
			p.ask(*m.Request)
		}
	case strings.HasPrefix(channel, d.answers(namespace)):
		var r Response
		if r, err = decodeClassicResponse(namespace, payload); err == nil {
			p.responded(r)
		}
	default:
		var e Entry
		if e, err = decodeClassicEvent(payload); err == nil {
			p.hand(e)
		}
	}
	if err != nil {
		p.invalid.Add(1)
	}
}

// classicDialect is that of @socket.io/redis-adapter: one channel of each namespace for questions and commands, one for
// answers, whoever they are for.
type classicDialect struct{ PeersConfig }

func (d classicDialect) audience(namespace string) string {
	return d.Prefix + "-request#" + strings.TrimPrefix(d.public(namespace), d.Prefix+"#")
}

func (d classicDialect) answers(namespace string) string {
	return d.Prefix + "-response#" + strings.TrimPrefix(d.public(namespace), d.Prefix+"#")
}

func (d classicDialect) private(namespace, id string) string { return d.answers(namespace) + id + "#" }

func (d classicDialect) request(r Request) (published, error) {
	payload, err := encodeClassicRequest(r)
	return published{d.audience(r.Namespace), payload}, err
}

func (d classicDialect) response(to Request, r Response) (published, error) {
	payload, err := encodeClassicResponse(r)
	if d.SpecificResponses && to.Kind != ServerSideEmit && to.From != "" {
		return published{d.private(to.Namespace, to.From), payload}, err
	}
	return published{d.answers(to.Namespace), payload}, err
}
