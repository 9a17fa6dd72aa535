//go:build linux

package main

import (
	"fmt"
	"io"
)

// comparison is a row of the summary: a figure of ours beside another one's, and the most it may be.
type comparison struct {
	what    string // after the scenario's name
	column  string
	unit    string
	scale   float64 // of the column's values, for the unit
	server  string
	against string
	share   float64 // of the other's, at most; 0 is no target
	most    float64 // in the unit; 0 is no target
}

func cpu(share float64) comparison {
	return comparison{column: "cpu_us", unit: "µs CPU", scale: 1, server: ours, against: baseline, share: share}
}

func latency(what, column, server string, most float64) comparison {
	return comparison{what: what, column: column, unit: "ms", scale: 1, server: server, against: baseline, most: most}
}

func toOne() comparison {
	c := cpu(1.3)
	c.what, c.against = ", to one replica", one
	return c
}

var comparisons = map[string][]comparison{
	"fanout": {cpu(0.5)},
	"rooms":  {cpu(0.45)},
	"echo":   {cpu(0.35)},
	"idle":   {{column: "rss_per_conn", unit: "KB each", scale: 1e-3, server: ours, against: baseline, share: 0.75}},
	"cluster": {cpu(0), toOne(),
		latency(", p50", "p50_ms", ours, 2), latency(", p99", "p99_ms", ours, 15),
		latency(", durable p50", "p50_ms", durable, 2), latency(", durable p99", "p99_ms", durable, 15)},
	"cluster-full": {cpu(0), toOne()},
	"herd": {cpu(0),
		{what: ", all whole", column: "whole_s", unit: "s", scale: 1, server: ours, against: baseline},
		{what: ", whole", column: "whole", unit: "connections", scale: 1, server: ours, against: baseline},
		{what: ", Redis commands", column: "redis_cmds", unit: "each", scale: 1, server: ours, against: baseline}},
}

// printSummary prints the rows of each scenario. It returns an error if ours lost, doubled or reordered something; costs
// and times fail nothing, as they are the machine's as much as the server's.
func printSummary(out io.Writer, files []string) error {
	fmt.Fprintf(out, "\n#### Summary\n\n| scenario | %s | %s | ratio | target | lost / dup / reordered / wrong room | connections lost |\n|---|---|---|---|---|---|---|\n",
		ours, baseline)
	faulty := 0.0
	for _, file := range files {
		rs, err := readRuns(file)
		if err != nil {
			return err
		}
		of := rs.ofOurs()
		faults := fmt.Sprintf("%.0f / %.0f / %.0f / %.0f | %.0f", of.sum("lost"), of.sum("dup"), of.sum("ooo"), of.sum("wrong_room"),
			of.sum("closed_early", "failed", "stuck"))
		for _, c := range comparisons[rs[0].Scenario] {
			fmt.Fprintf(out, "| %s%s | %s | %s | %s | %s | %s |\n", rs[0].Scenario, c.what, c.value(rs, c.server), c.other(rs),
				short(rs.ratio(c.column, c.server, c.against)), c.target(), faults)
			faults = " | " // of all the scenario's runs, in its first row
		}
		faulty += of.sum(faultColumns...)
	}
	if faulty > 0 {
		return fmt.Errorf("%s lost, doubled or reordered messages or lost connections: %.0f", ours, faulty)
	}
	return nil
}

// value is a server's median with its unit.
func (c comparison) value(rs runs, server string) string {
	v, ok := rs.of(server).median(c.column)
	if !ok {
		return "-"
	}
	return short(v*c.scale, true) + " " + c.unit
}

// other is what is compared with, named unless the column's heading does.
func (c comparison) other(rs runs) string {
	v := c.value(rs, c.against)
	if c.against != baseline {
		v += " (" + c.against + ")"
	}
	return v
}

func (c comparison) target() string {
	switch {
	case c.share > 0:
		return fmt.Sprintf("≤ %.2f", c.share)
	case c.most > 0:
		return fmt.Sprintf("≤ %v %s", c.most, c.unit)
	}
	return "-"
}
