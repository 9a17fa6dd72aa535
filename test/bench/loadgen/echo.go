//go:build linux

package main

// echo measures round trips: every connection sends its next heartbeat when the last one is answered.
func echo(l *loop, server *process, res result) error {
	if err := l.connectAll(server, res); err != nil {
		return err
	}
	var (
		latency     hist
		answers     int64
		repeats     int
		outstanding int
		lastAnswer  int64
		ending      bool
	)
	ask := func(c *conn, now int64) {
		c.sentAt = now
		outstanding++
		l.text(c, heartbeatQuery)
	}
	l.onEcho = func(c *conn, now int64) {
		if c.sentAt == 0 {
			repeats++
			return
		}
		answers++
		outstanding--
		latency.add(now - c.sentAt)
		lastAnswer, c.sentAt = now, 0
		if !ending {
			ask(c, now)
		}
	}
	for _, c := range l.conns {
		if c.state == ready {
			ask(c, l.now())
		}
	}
	l.pump(l.cfg.warmup)
	latency = hist{}
	m := newMeter(server, answers)
	l.pump(l.cfg.dur)
	m.stop(answers, res)
	res.setLatency(&latency)
	res.set("rss_mb", float64(server.memory("VmRSS:"))/1e6)

	ending, lastAnswer = true, l.now()
	l.pumpUntil(drainLimit, func() bool { return outstanding == 0 || l.now()-lastAnswer > int64(drainQuiet) })
	l.pump(repeatLimit)
	res.count("lost", outstanding)
	res.count("dup", repeats)
	l.pump(l.cfg.hold)
	return nil
}
