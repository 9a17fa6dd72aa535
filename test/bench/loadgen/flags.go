//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what to measure, from the command line.
type config struct {
	scenario string
	server   string // label of the server in the tables
	pids     []int
	ports    []int  // of the replicas; connections take them in turn
	secret   string // of the tokens, from the environment
	redis    int    // port
	redisPID int    // whose CPU is told apart; 0 is nobody

	n        int
	perRoom  int
	inflight int

	rate    float64
	window  int
	durable bool
	payload int
	warmup  time.Duration
	dur     time.Duration
	stall   time.Duration

	settle  time.Duration
	idle    time.Duration
	after   time.Duration
	cycles  int
	freemem string

	away time.Duration
	hold time.Duration
}

var scenarios = []string{"fanout", "rooms", "echo", "idle", "cluster", "cluster-full", "herd"}

func parseFlags(args []string) (config, error) {
	c := config{secret: os.Getenv("JWT_SECRET")}
	fs := flag.NewFlagSet("loadgen", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // main tells what is wrong
	fs.StringVar(&c.scenario, "scenario", "fanout", strings.Join(scenarios, ", "))
	fs.StringVar(&c.server, "server", "ours", "label of the server under test")
	fs.Func("pid", "process ids of the server, with commas between those of several replicas", numbers(&c.pids))
	fs.Func("port", "ports of the server on 127.0.0.1, with commas between those of several replicas", numbers(&c.ports))
	fs.IntVar(&c.redis, "redis", 6379, "port of Redis on 127.0.0.1")
	fs.IntVar(&c.redisPID, "redis-pid", 0, "process id of Redis, to tell its CPU too")
	fs.IntVar(&c.n, "n", 1000, "connections")
	fs.IntVar(&c.perRoom, "k", 10, "all but fanout: connections per room")
	fs.IntVar(&c.inflight, "inflight", 64, "handshakes under way while connecting")
	fs.Float64Var(&c.rate, "rate", 0, "events per second; 0 is as fast as the server delivers")
	fs.IntVar(&c.window, "window", 0, "without a rate: outstanding events; 0 is 4 for fanout, 256 for others")
	fs.BoolVar(&c.durable, "durable", false, "add events to the durable input, a Redis stream, instead of publishing them")
	fs.IntVar(&c.payload, "payload", 300, "bytes of an event, at least about 250")
	fs.DurationVar(&c.warmup, "warmup", 2*time.Second, "not measured")
	fs.DurationVar(&c.dur, "dur", 8*time.Second, "measured")
	fs.DurationVar(&c.stall, "stall", 400*time.Millisecond, "without a rate: time without a delivery after which outstanding events are given up")
	fs.DurationVar(&c.settle, "settle", 5*time.Second, "idle: time before memory is measured")
	fs.DurationVar(&c.idle, "idle", 30*time.Second, "idle: time over which CPU is measured")
	fs.DurationVar(&c.after, "after", 8*time.Second, "idle: time after the last disconnect before memory is measured again")
	fs.IntVar(&c.cycles, "cycles", 1, "idle: times to connect and disconnect; memory must not grow with them")
	fs.StringVar(&c.freemem, "freemem", "", "idle: URL that makes the server collect garbage")
	fs.DurationVar(&c.away, "away", time.Second, "herd: time after which connections return, give or take half of it, as socket.io-client does")
	fs.DurationVar(&c.hold, "hold", 0, "keep connections open this much longer, to profile the server")
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fs.SetOutput(os.Stderr)
		fs.PrintDefaults()
		return c, err
	case err != nil:
		return c, err
	case fs.NArg() > 0:
		return c, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if c.window == 0 {
		c.window = 256
		if c.scenario == "fanout" {
			c.window = 4
		}
	}
	if c.scenario == "fanout" {
		c.perRoom = c.n // all in one
	}
	return c, c.validate()
}

// numbers parses positive numbers with commas between them.
func numbers(to *[]int) func(string) error {
	return func(list string) error {
		*to = nil
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n <= 0 {
				return fmt.Errorf("%q: want a positive number", text)
			}
			*to = append(*to, n)
		}
		return nil
	}
}

func (c config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	port := func(p int) bool { return 0 < p && p < 1<<16 }
	check(slices.Contains(scenarios, c.scenario), "-scenario %q: want one of %v", c.scenario, scenarios)
	check(len(c.pids) > 0, "-pid is missing: whose CPU and memory to measure")
	check(len(c.pids) == len(c.ports), "-pid has %d and -port %d of the replicas", len(c.pids), len(c.ports))
	check(len(c.ports) > 0, "-port is missing: the server's")
	for _, p := range c.ports {
		check(port(p), "-port %d: want the server's port", p)
	}
	check(port(c.redis), "-redis %d: want the port of Redis", c.redis)
	check(c.secret != "", "JWT_SECRET is missing: the secret the server verifies tokens with")
	check(0 < c.n && c.n <= maxConns, "-n %d: want 1 to %d", c.n, maxConns)
	check(c.perRoom > 0, "-k %d: want at least 1", c.perRoom)
	check(c.inflight > 0, "-inflight %d: want at least 1", c.inflight)
	check(0 <= c.rate && c.rate <= 1e6, "-rate %v: want 0 to 1000000", c.rate)
	check(0 < c.window && c.window <= 1e6, "-window %d: want 1 to 1000000, or 0 for the default", c.window)
	check(0 < c.payload && c.payload <= maxFrame/2, "-payload %d: want 1 to %d", c.payload, maxFrame/2)
	check(0 < c.dur && c.dur <= time.Hour, "-dur %v: want up to 1h", c.dur)
	check(0 <= c.warmup && c.warmup <= time.Hour, "-warmup %v: want up to 1h", c.warmup)
	check(c.stall > 0, "-stall %v: want more than 0", c.stall)
	check(c.scenario != "herd" || c.rate > 0, "-rate is missing: herd needs one")
	check(0 <= c.away && c.away <= time.Minute, "-away %v: want up to 1m", c.away)
	check(c.idle > 0, "-idle %v: want more than 0", c.idle)
	check(c.cycles > 0, "-cycles %d: want at least 1", c.cycles)
	return errors.Join(errs...)
}
