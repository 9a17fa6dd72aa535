//go:build linux

package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const herdLimit = 90 * time.Second // for all to be back and whole

// returning is how far a connection has come since it was dropped.
type returning struct {
	at    int64 // when it dials again
	up    bool  // is ready again
	due   int32 // number its room had reached by then: up to there it must catch up
	whole bool  // was recovered and has caught up
}

// herdRun is one run of herd on top of the events it publishes.
type herdRun struct {
	*eventRun
	away []*conn // still to dial, the first to return first

	up, recovered, whole int
	lastUp, lastWhole    int64
	failed               error // of a dial
}

// herd drops all connections at once, has them return to the next replica as socket.io-client does, and follows each
// until it has what it missed, while events go on. What the returning costs is what is used above the steady state.
func herd(l *loop, server *process, res result) error {
	if err := l.connectAll(server, res); err != nil {
		return err
	}
	redis, err := newPublisher(l.cfg.redis)
	if err != nil {
		return err
	}
	defer redis.close()
	r := &herdRun{eventRun: newEventRun(l, redis)}
	r.inTurn = true
	if _, err := redis.awaitListener(appendEvent(nil, mark{room: int64(len(r.members)), event: -1}, 0)); err != nil {
		return err
	}
	redis.durable = l.cfg.durable
	r.nextAt = l.now()
	enough := func(int64) bool { return l.ready == 0 || len(r.open) > len(r.members) }
	if err := r.publishUntil(herdLimit, enough); err != nil { // an event for everybody: what follows needs an offset
		return err
	}
	r.latency, r.lag = hist{}, hist{}

	use := newUsage(server, l.cfg)
	if err := r.publishFor(l.cfg.dur); err != nil {
		return err
	}
	steady := use.since()
	res.setLatency(&r.latency)

	use = newUsage(server, l.cfg)
	m := newMeter(server, r.deliveries)
	dropped := r.dropAll()
	until := dropped + int64(l.cfg.dur)
	settled := func(now int64) bool {
		r.dialDue(now)
		return r.failed != nil || now >= until && len(r.away) == 0 && l.pending == 0 && r.whole >= r.recovered
	}
	if err := r.publishUntil(herdLimit, settled); err != nil {
		return err
	}
	if r.failed != nil {
		return r.failed
	}
	m.stop(r.deliveries, res)
	herd := use.since()
	if steady.err != nil || herd.err != nil {
		return fmt.Errorf("redis: %w", cmp.Or(steady.err, herd.err))
	}
	r.report(res, steady, herd, dropped)
	res.set("peak_mb", float64(server.memory("VmHWM:"))/1e6)
	r.drain(res)
	res.count("stuck", l.pending+len(r.away))
	l.pump(l.cfg.hold)
	return nil
}

func (r *herdRun) report(res result, steady, herd used, dropped int64) {
	l, n := r.l, float64(max(len(r.l.conns), 1))
	span := herd.took.Seconds() / steady.took.Seconds()
	res.set("cpu_us", (herd.server-steady.server*span)/n)
	res.set("redis_us", (herd.redis-steady.redis*span)/n)
	res.set("redis_cmds", (herd.commands-steady.commands*span)/n)
	for name, calls := range herd.calls {
		res.set("redis:"+name, calls)
	}
	res.set("steady_cpu_s", steady.server/1e6/steady.took.Seconds())
	res.set("herd_cpu_s", herd.server/1e6)
	res.set("herd_s", herd.took.Seconds())
	res.set("rate", l.cfg.rate)
	res.count("window", l.cfg.window)
	res.count("payload", len(r.buf))
	if r.up > 0 {
		res.set("back_s", float64(r.lastUp-dropped)/1e9)
	}
	if r.whole > 0 {
		res.set("whole_s", float64(r.lastWhole-dropped)/1e9)
	}
	res.count("back", r.up)
	res.count("recovered", r.recovered)
	res.count("whole", r.whole)
}

// dropAll closes all connections, without a goodbye, and sets when each returns.
func (r *herdRun) dropAll() (at int64) {
	l := r.l
	at = l.now()
	spread := int64(l.cfg.away)
	for _, c := range l.conns {
		if c.state != ready {
			continue
		}
		l.shut(c)
		l.ready--
		r.random = xorshift(r.random)
		c.back.at = at + spread/2
		if spread > 0 {
			c.back.at += int64(r.random % uint64(spread))
		}
		c.replica = (c.replica + 1) % int32(len(l.cfg.ports))
		r.away = append(r.away, c)
	}
	slices.SortFunc(r.away, func(a, b *conn) int { return int(a.back.at - b.back.at) })
	l.onReady = r.returned
	l.onLost = nil // who is lost from now on is still owed its events
	l.onEvent = func(c *conn, m []byte, now int64) {
		r.delivered(c, m, now)
		r.check(c, now)
	}
	return at
}

// dialDue dials those whose time has come.
func (r *herdRun) dialDue(now int64) {
	for len(r.away) > 0 && r.away[0].back.at <= now && r.failed == nil {
		c := r.away[0]
		r.away = r.away[1:]
		r.failed = r.l.open(c)
	}
	r.wake = 0
	if len(r.away) > 0 {
		r.wake = r.away[0].back.at
	}
}

// returned takes note of a connection that is ready again. One that is not recovered has subscribed anew; what it
// missed is lost.
func (r *herdRun) returned(c *conn, recovered bool) {
	now := r.l.now()
	c.back.up, c.back.due = true, r.seq[c.room]
	r.up++
	r.lastUp = now
	if recovered {
		r.recovered++
		r.check(c, now)
	} else {
		c.back.due = -1
	}
}

// check sees whether a recovered connection has caught up.
func (r *herdRun) check(c *conn, now int64) {
	b := &c.back
	if !b.up || b.whole || b.due < 0 || c.seen.last < b.due || len(c.seen.missing) > 0 {
		return
	}
	b.whole = true
	r.whole++
	r.lastWhole = now
}
