//go:build linux

package main

import (
	"fmt"
	"io"
)

// targets are what ours may cost at most, as a share of the baseline.
var targets = map[string]float64{"fanout": 0.5, "rooms": 0.45, "echo": 0.35, "idle": 0.75, "cluster": 1.3, "cluster-full": 1.3, "herd": 0.5}

// printSummary prints a row a scenario. It returns an error if ours lost, doubled or reordered something; costs and
// times fail nothing, as they are the machine's as much as the server's.
func printSummary(out io.Writer, files []string) error {
	fmt.Fprintf(out, "\n#### Summary\n\n| scenario | %s | compared with | ratio | target | lost / dup / reordered / wrong room | connections lost |\n|---|---|---|---|---|---|---|\n",
		ours)
	faulty := 0.0
	for _, file := range files {
		rs, err := readRuns(file)
		if err != nil {
			return err
		}
		of := rs.of(ours)
		fmt.Fprintf(out, "| %s | %s | %s | %s | ≤ %.2f | %.0f / %.0f / %.0f / %.0f | %.0f |\n", rs[0].Scenario,
			rs.costOf(ours), rs.baseline()+": "+rs.costOf(rs.baseline()), short(rs.ratio(ours)), targets[rs[0].Scenario],
			of.sum("lost"), of.sum("dup"), of.sum("ooo"), of.sum("wrong_room"),
			of.sum("closed_early", "failed", "stuck"))
		faulty += of.sum(faultColumns...)
	}
	if faulty > 0 {
		return fmt.Errorf("%s lost, doubled or reordered messages or lost connections: %.0f", ours, faulty)
	}
	return nil
}

// costOf is a server's median cost with its unit.
func (rs runs) costOf(server string) string {
	v, ok := rs.of(server).median(rs.cost())
	switch {
	case !ok:
		return "-"
	case rs.cost() == "rss_per_conn":
		return short(v/1000, true) + " KB each"
	}
	return short(v, true) + " µs CPU"
}
