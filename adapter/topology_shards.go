package adapter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Shards hears sharded channels (SSUBSCRIBE, of Redis 7.0 or newer), which may come and go while it runs. In a Cluster each
// of them lives on the node of its slot alone: so there is one connection to each node that has some, and they move
// along when slots do. All methods are safe for concurrent use.
type Shards struct {
	redis *Redis

	handling sync.Mutex // makes the connections take turns
	handle   func(channel string, payload []byte)

	wake      chan struct{} // of capacity 1: there is something to settle
	again     atomic.Bool   // it is so after a failure, which deserves a pause
	refused   chan error    // of capacity 1: why nothing can be heard at all
	oversized atomic.Uint64

	mu       sync.Mutex
	channels map[string]*shard // all that are wanted
	leaving  []leaving         // subscribed ones that are not wanted any more
	ever     bool              // something has been heard
	lost     time.Time         // zero while nothing is wrong, so that a loss and a return are each reported once
}

// shard is a wanted channel.
type shard struct {
	on    *shardConn // nil: to be subscribed
	heard bool       // confirmed
}

type leaving struct {
	channel string
	on      *shardConn
}

// shardConn is a connection to one node. Shards.mu guards what is below ps.
type shardConn struct {
	ps      *redis.PubSub
	leaving map[string]int // answers to SUNSUBSCRIBE to come; others say that a slot has moved
	ended   bool
}

// Shards makes one that hands each message to handle, which is called once at a time, in the order of each channel.
// The payload is the callee's to keep. It needs no closing: it has connections while Run runs.
func (r *Redis) Shards(handle func(channel string, payload []byte)) *Shards {
	return &Shards{
		redis: r, handle: handle,
		wake: make(chan struct{}, 1), refused: make(chan error, 1), channels: map[string]*shard{},
	}
}

// Add wants channels heard, from soon on: Heard says since when. Those that are wanted already stay as they are.
func (s *Shards) Add(channels ...string) error {
	if err := checkChannels(channels); err != nil {
		return err
	}
	s.mu.Lock()
	for _, c := range channels {
		if s.channels[c] == nil {
			s.channels[c] = &shard{}
		}
	}
	s.mu.Unlock()
	s.settleSoon()
	return nil
}

// Remove wants channels no longer; no message that comes later is handed over.
func (s *Shards) Remove(channels ...string) {
	s.mu.Lock()
	for _, c := range channels {
		if one := s.channels[c]; one != nil && one.on != nil {
			s.leaving = append(s.leaving, leaving{c, one.on})
		}
		delete(s.channels, c)
	}
	s.mu.Unlock()
	s.settleSoon()
}

// Heard says whether channel is heard now. One whose connection died counts for up to 2 s.
func (s *Shards) Heard(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.channels[channel]
	return one != nil && one.heard
}

// Oversized counts the messages not handed over because they are larger than RedisConfig.MaxMessage.
func (s *Shards) Oversized() uint64 { return s.oversized.Load() }

// Run hears the channels until ctx ends; then it returns nil. What is published while a connection is lost, or on its
// way to another node, is gone. If the first subscription is refused, that is returned, as a configuration to mend.
// It is for one call.
func (s *Shards) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	conns := map[*redis.Client]*shardConn{}
	ended := make(chan *redis.Client)
	open := func(node *redis.Client) (*shardConn, error) {
		ps := node.Subscribe(ctx)
		if err := ps.Ping(ctx); err != nil {
			_ = ps.Close()
			return nil, err
		}
		c := &shardConn{ps: ps, leaving: map[string]int{}}
		readers.Go(func() {
			s.read(ctx, c)
			select {
			case ended <- node:
			case <-ctx.Done():
			}
		})
		return c, nil
	}
	for attempt := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.refused:
			return err
		case node := <-ended:
			delete(conns, node)
			continue
		case <-s.wake:
		}
		if attempt++; !s.again.Swap(false) {
			attempt = 0
		} else if !pause(ctx, reconnectDelay(attempt-1, rand.Float64()), ended, conns) {
			return nil
		}
		if err := s.settle(ctx, conns, open); err != nil && ctx.Err() == nil {
			s.fail(err)
		}
	}
}

// pause waits, and forgets connections that end meanwhile. It is false when ctx ends.
func pause(ctx context.Context, d time.Duration, ended <-chan *redis.Client, conns map[*redis.Client]*shardConn) bool {
	for over := time.After(d); ; {
		select {
		case <-ctx.Done():
			return false
		case node := <-ended:
			delete(conns, node)
		case <-over:
			return true
		}
	}
}

// settle asks Redis for what is wanted and not subscribed, and the other way round. It goes on after an error, which
// may be of one node, and returns one of them.
func (s *Shards) settle(ctx context.Context, conns map[*redis.Client]*shardConn, open func(*redis.Client) (*shardConn, error)) error {
	s.mu.Lock()
	leave := s.leaving
	s.leaving = nil
	for _, l := range leave {
		l.on.leaving[l.channel]++
	}
	var join []string
	for c, one := range s.channels {
		if one.on == nil {
			join = append(join, c)
		}
	}
	s.mu.Unlock()

	for _, l := range leave {
		_ = l.on.ps.SUnsubscribe(noDial, l.channel) // after an error it is left anyway
	}
	var failed error
	down := map[*redis.Client]bool{} // one dial each is enough to know
	for _, c := range join {
		node, err := s.redis.nodeOf(ctx, c)
		if err != nil {
			return err
		}
		if down[node] {
			continue
		}
		on := conns[node]
		if on == nil {
			if on, err = open(node); err != nil {
				failed, down[node] = err, true
				continue
			}
			conns[node] = on
		}
		switch wanted, err := s.assign(c, on); {
		case err != nil:
			failed, down[node] = err, true
		case wanted:
			if err := on.ps.SSubscribe(noDial, c); err != nil { // the reader sees the same and lets go of all
				failed, down[node] = err, true
			}
		}
	}
	return failed
}

// assign makes on the connection of channel, unless it was removed meanwhile.
func (s *Shards) assign(channel string, on *shardConn) (wanted bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.channels[channel]
	switch {
	case one == nil:
		return false, nil
	case on.ended:
		return false, net.ErrClosed
	}
	one.on = on
	return true, nil
}

// nodeOf is the server that a sharded channel, or a key, belongs to.
func (r *Redis) nodeOf(ctx context.Context, channel string) (*redis.Client, error) {
	switch c := r.client.(type) {
	case *redis.ClusterClient:
		return c.MasterForKey(ctx, channel)
	case *redis.Client:
		return c, nil
	default:
		return nil, fmt.Errorf("no node of a %T", c)
	}
}

// read is one connection's life. When it ends, its channels are to be subscribed again.
func (s *Shards) read(ctx context.Context, c *shardConn) {
	var attendant sync.WaitGroup
	defer attendant.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attendant.Go(func() { attend(ctx, c.ps, s.redis.idle) })
	for ctx.Err() == nil {
		m, err := c.ps.ReceiveTimeout(noDial, s.redis.idle+s.redis.answer)
		var reply redis.Error
		switch {
		case errors.As(err, &reply): // to an SSUBSCRIBE, and does not say to which
			s.release(c, false)
			s.fail(err)
			continue
		case err != nil:
			s.release(c, true)
			if ctx.Err() == nil {
				s.fail(err)
			}
			return
		}
		switch m := m.(type) {
		case *redis.Message:
			s.message(c, m)
		case *redis.Subscription:
			s.confirm(c, m)
		}
	}
}

func (s *Shards) message(c *shardConn, m *redis.Message) {
	s.mu.Lock()
	one := s.channels[m.Channel]
	wanted := one != nil && one.on == c
	s.mu.Unlock()
	switch {
	case !wanted:
	case len(m.Payload) > s.redis.cfg.MaxMessage:
		s.oversized.Add(1)
	default:
		s.handling.Lock()
		defer s.handling.Unlock()
		s.handle(m.Channel, []byte(m.Payload))
	}
}

func (s *Shards) confirm(c *shardConn, m *redis.Subscription) {
	var away time.Duration
	defer func() {
		if away > 0 {
			s.redis.log.Info("redis sharded pub/sub is back", zap.Duration("away", away))
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.channels[m.Channel]
	switch {
	case m.Kind == "sunsubscribe" && c.leaving[m.Channel] > 0: // as we asked
		if c.leaving[m.Channel]--; c.leaving[m.Channel] == 0 {
			delete(c.leaving, m.Channel)
		}
	case one == nil || one.on != c:
	case m.Kind == "ssubscribe" && c.leaving[m.Channel] == 0:
		one.heard, s.ever = true, true
		if !s.lost.IsZero() {
			away, s.lost = time.Since(s.lost), time.Time{}
		}
	case m.Kind == "sunsubscribe": // the slot has moved
		*one = shard{}
		s.reload()
		s.settleSoon()
	}
}

// release makes the channels of c to be subscribed again: all at its end, else those that are not confirmed.
func (s *Shards) release(c *shardConn, end bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.ended = end
	for _, one := range s.channels {
		if one.on == c && (end || !one.heard) {
			*one = shard{}
		}
	}
}

// fail sees to another attempt, unless it is sure to be in vain.
func (s *Shards) fail(err error) {
	err = fmt.Errorf("subscribe to sharded channels: %w", s.redis.explain(err))
	_, isRefusal := errors.AsType[refusal](err)
	if redis.HasErrorPrefix(err, "unknown command") {
		isRefusal, err = true, fmt.Errorf("%w: they need Redis 7.0 or newer, or Valkey", err)
	}
	s.mu.Lock()
	inVain, known := isRefusal && !s.ever, !s.lost.IsZero()
	if !known {
		s.lost = time.Now()
	}
	s.mu.Unlock()
	if inVain {
		select {
		case s.refused <- err:
		default:
		}
		return
	}
	if !known {
		s.redis.log.Warn("redis sharded pub/sub is lost, trying again", zap.Error(err))
	}
	s.reload()
	s.again.Store(true)
	s.settleSoon()
}

// reload asks a Cluster which node has which slots now.
func (s *Shards) reload() {
	if c, ok := s.redis.client.(*redis.ClusterClient); ok {
		c.ReloadState(context.Background())
	}
}

func (s *Shards) settleSoon() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
