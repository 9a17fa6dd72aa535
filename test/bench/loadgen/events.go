//go:build linux

package main

import "time"

const (
	drainLimit  = 60 * time.Second // for what is still under way at the end
	drainQuiet  = 5 * time.Second  // without a delivery, what is missing then is lost
	repeatLimit = 300 * time.Millisecond
)

// eventRun is one run of fanout (everybody in one room) or rooms (a room for each few).
type eventRun struct {
	l     *loop
	redis *publisher

	members []int32 // connected members, by room
	seq     []int32 // last number published, by room
	open    []int32 // deliveries to come, by event: four bytes each, for a bounded time
	random  uint64
	buf     []byte
	nextAt  int64 // with a rate: when the next event is due
	wake    int64 // something else is due then, if not zero
	inTurn  bool  // rooms are chosen in turn

	outstanding  int // events with deliveries to come
	givenUp      int // index of the first event that counts for that
	lastDelivery int64

	deliveries, expected      int64
	repeats, reordered, wrong int
	stalls                    int
	latency, lag              hist
}

// events publishes to Redis and follows each event to each member of its room.
func events(l *loop, server *process, res result) error {
	if err := l.connectAll(server, res); err != nil {
		return err
	}
	redis, err := newPublisher(l.cfg.redis)
	if err != nil {
		return err
	}
	defer redis.close()
	r := newEventRun(l, redis)
	listeners, err := redis.awaitListener(appendEvent(nil, mark{room: int64(len(r.members)), event: -1}, 0))
	if err != nil {
		return err
	}
	redis.durable = l.cfg.durable
	broker := &process{pids: l.cfg.broker()}

	r.nextAt = l.now()
	if err := r.publishFor(l.cfg.warmup); err != nil {
		return err
	}
	r.latency, r.lag, r.stalls = hist{}, hist{}, 0
	published, begin := len(r.open), time.Now()
	m, brokerCPU, delivered := newMeter(server, r.deliveries), broker.cpu(), r.deliveries
	if err := r.publishFor(l.cfg.dur); err != nil {
		return err
	}
	m.stop(r.deliveries, res)
	if n := r.deliveries - delivered; n > 0 && len(broker.pids) > 0 {
		res.set("redis_us", float64(broker.cpu()-brokerCPU)/float64(n))
	}
	res.set("rate", l.cfg.rate)
	res.count("window", l.cfg.window)
	res.count("payload", len(r.buf))
	res.set("events_per_s", float64(len(r.open)-published)/time.Since(begin).Seconds())
	res.setLatency(&r.latency)
	res.set("publish_lag_p99_ms", float64(r.lag.quantile(.99))/1e6)
	res.count("stalls", r.stalls)
	res.count("redis_listeners", listeners)
	res.set("rss_mb", float64(server.memory("VmRSS:"))/1e6)
	res.set("peak_mb", float64(server.memory("VmHWM:"))/1e6)
	r.drain(res)
	l.pump(l.cfg.hold)
	return nil
}

// newEventRun begins a run with the connections that are ready.
func newEventRun(l *loop, redis *publisher) *eventRun {
	rooms := (l.cfg.n + l.cfg.perRoom - 1) / l.cfg.perRoom
	r := &eventRun{l: l, redis: redis, members: make([]int32, rooms), seq: make([]int32, rooms),
		open: make([]int32, 0, 1<<20), random: 88172645463325252}
	for _, c := range l.conns {
		if c.state == ready {
			c.member = true
			r.members[c.room]++
		}
	}
	l.onEvent = r.delivered
	l.onLost = func(c *conn) { r.members[c.room]-- }
	return r
}

// publishFor publishes for d: at the rate, or without one as many as keep the window full.
func (r *eventRun) publishFor(d time.Duration) error {
	return r.publishUntil(d, func(int64) bool { return r.l.ready == 0 })
}

// publishUntil publishes until done says so, at most for d.
func (r *eventRun) publishUntil(d time.Duration, done func(now int64) bool) error {
	l, w := r.l, r.l.cfg.window
	r.lastDelivery = l.now()
	for end := l.now() + int64(d); !done(l.now()); {
		now := l.now()
		if now >= end {
			break
		}
		wait := 50 * time.Millisecond
		if l.cfg.rate > 0 {
			for ; r.nextAt <= now; r.nextAt += int64(1e9 / l.cfg.rate) {
				r.lag.add(now - r.nextAt)
				if err := r.publish(r.nextAt); err != nil { // when it was due: a late one has waited already
					return err
				}
			}
			wait = min(wait, time.Duration(r.nextAt-now))
			if r.wake > 0 {
				wait = min(wait, time.Duration(r.wake-now))
			}
		} else {
			if r.outstanding > 0 && now-r.lastDelivery > int64(l.cfg.stall) {
				r.stalls++
				r.givenUp, r.outstanding = len(r.open), 0
				r.lastDelivery = now
			}
			for r.outstanding < w {
				if err := r.publish(l.now()); err != nil {
					return err
				}
			}
		}
		l.poll(min(wait, time.Duration(end-now)))
	}
	return nil
}

// xorshift is xorshift64: the same sequence in every run.
func xorshift(x uint64) uint64 {
	x ^= x << 13
	x ^= x >> 7
	return x ^ x<<17
}

// publish sends one event to a room that has somebody in it, chosen at random or in turn.
func (r *eventRun) publish(at int64) error {
	r.random = xorshift(r.random)
	room := int(r.random % uint64(len(r.members)))
	if r.inTurn {
		room = len(r.open) % len(r.members)
	}
	for r.members[room] == 0 {
		room = (room + 1) % len(r.members)
	}
	r.seq[room]++
	m := mark{seq: int64(r.seq[room]), room: int64(room), event: int64(len(r.open)), at: at}
	r.open = append(r.open, r.members[room])
	r.outstanding++
	r.expected += int64(r.members[room])
	r.buf = appendEvent(r.buf[:0], m, r.l.cfg.payload)
	return r.redis.publish(r.buf)
}

// delivered checks one delivery.
func (r *eventRun) delivered(c *conn, message []byte, now int64) {
	m, ok := parseMark(message)
	if !ok || m.room != int64(c.room) || m.seq < 1 || m.seq > int64(r.seq[c.room]) || m.event < 0 || m.event >= int64(len(r.open)) {
		r.wrong++
		return
	}
	switch c.seen.see(int32(m.seq)) {
	case repeated:
		r.repeats++
		return
	case late:
		r.reordered++
	}
	r.deliveries++
	r.latency.add(now - m.at)
	r.lastDelivery = now
	r.open[m.event]--
	if r.open[m.event] == 0 && m.event >= int64(r.givenUp) {
		r.outstanding--
	}
}

// drain waits for what is under way and counts what was lost.
func (r *eventRun) drain(res result) {
	r.lastDelivery = r.l.now()
	r.l.pumpUntil(drainLimit, func() bool {
		return r.deliveries >= r.expected || r.l.now()-r.lastDelivery > int64(drainQuiet)
	})
	r.l.pump(repeatLimit)
	var lost int
	for _, c := range r.l.conns {
		if c.member {
			lost += c.seen.lost(r.seq[c.room])
		}
	}
	res.count("expected", int(r.expected))
	res.count("lost", lost)
	res.count("dup", r.repeats)
	res.count("ooo", r.reordered)
	res.count("wrong_room", r.wrong)
}
