//go:build linux

// Command loadgen measures one Socket.IO event bus server on this machine: what a delivery, a round trip or an idle
// connection costs it. It speaks the websocket transport on loopback from one thread and one epoll instance, because
// it shares the machine with the server under test and must cost much less than it. It checks that nothing is lost,
// doubled or reordered; it is no conformance test of the protocol.
//
//	loadgen [FLAGS]          runs a scenario, prints one JSON line
//	loadgen table FILE       prints the medians of such lines as a table
//	loadgen summary FILE...  prints one line a scenario; fails if "ours" lost, doubled or reordered something
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "table":
			return printTable(out, args[1:])
		case "summary":
			return printSummary(out, args[1:])
		}
	}
	cfg, err := parseFlags(args)
	if err != nil {
		return err
	}
	debug.SetGCPercent(400)
	runtime.LockOSThread()
	res, err := measure(cfg)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(res)
}

// measure runs the scenario of cfg. It returns an error if the server ended or could not be measured; what the server
// did wrong otherwise is part of the result.
func measure(cfg config) (result, error) {
	l, err := newLoop(cfg)
	if err != nil {
		return result{}, err
	}
	defer l.close()
	server := &process{pids: cfg.pids}
	res := result{Server: cfg.server, Scenario: cfg.scenario, Values: map[string]float64{}}
	res.count("n", cfg.n)
	res.count("replicas", len(cfg.ports))
	switch cfg.scenario {
	case "idle":
		err = idle(l, server, res)
	case "echo":
		err = echo(l, server, res)
	case "herd":
		err = herd(l, server, res)
	default:
		err = events(l, server, res)
	}
	if err != nil {
		return result{}, err
	}
	if server.err != nil {
		return result{}, fmt.Errorf("the server cannot be measured, it may have ended: %w", server.err)
	}
	res.Errors = l.reasons
	res.count("closed_early", l.closed)
	res.count("failed", l.failed)
	return res, nil
}
