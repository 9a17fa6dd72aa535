//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

const freememLimit = 20 * time.Second

// idle measures what connections cost that do nothing but answer pings, and what is left when they are gone.
func idle(l *loop, server *process, res result) error {
	if err := l.freemem(); err != nil {
		return err
	}
	base := server.memory("VmRSS:")
	above := func() float64 { return float64(server.memory("VmRSS:") - base) }
	for cycle := range l.cfg.cycles {
		if err := l.connectAll(server, res); err != nil {
			return err
		}
		l.pump(l.cfg.settle)
		if cycle == 0 {
			if err := idleOpen(l, server, res, above); err != nil {
				return err
			}
		}
		l.disconnectAll()
		time.Sleep(l.cfg.after)
		res.set("left_mb", above()/1e6)
		if l.cfg.freemem != "" {
			if err := l.freemem(); err != nil {
				return err
			}
			res.set("left_gc_mb", above()/1e6)
		}
	}
	return nil
}

// idleOpen measures while the connections are open.
func idleOpen(l *loop, server *process, res result, above func() float64) error {
	res.set("rss_mb", float64(server.memory("VmRSS:"))/1e6)
	res.set("rss_per_conn", above()/float64(max(l.ready, 1)))
	cpu, begin := server.cpu(), time.Now()
	l.pump(l.cfg.idle)
	res.set("idle_cpu_pct", 100*float64(server.cpu()-cpu)/float64(time.Since(begin).Microseconds()))
	res.set("idle_pings", float64(l.pings))
	if l.cfg.freemem != "" {
		if err := l.freemem(); err != nil {
			return err
		}
		res.set("rss_per_conn_gc", above()/float64(max(l.ready, 1)))
	}
	l.pump(l.cfg.hold)
	return nil
}

// freemem has the server collect its garbage, if it can be asked to, and gives it a moment to return the memory.
func (l *loop) freemem() error {
	if l.cfg.freemem == "" {
		return nil
	}
	client := http.Client{Timeout: freememLimit}
	defer client.CloseIdleConnections()
	answer, err := client.Get(l.cfg.freemem)
	if err != nil {
		return fmt.Errorf("collect the server's garbage: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("collect the server's garbage: %s", answer.Status)
	}
	l.pump(500 * time.Millisecond)
	return nil
}
