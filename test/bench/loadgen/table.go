//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

var (
	loadColumns    = []string{"cpu_us", "per_s", "p50_ms", "p99_ms", "p999_ms", "server_util", "loadgen_util", "rss_mb"}
	clusterColumns = slices.Concat([]string{"replicas", "redis_us"}, loadColumns)
	herdColumns    = []string{"replicas", "cpu_us", "redis_us", "redis_cmds", "back", "recovered", "whole", "back_s", "whole_s", "server_util", "loadgen_util", "peak_mb"}
	idleColumns    = []string{"rss_per_conn", "rss_per_conn_gc", "idle_cpu_pct", "connect_rate", "connect_cpu_us", "left_mb", "left_gc_mb"}
)

// printTable prints a row a server: medians, the ratio to the baseline, and what went wrong in all its runs.
func printTable(out io.Writer, files []string) error {
	if len(files) != 1 {
		return errors.New("usage: loadgen table FILE")
	}
	rs, err := readRuns(files[0])
	if err != nil {
		return err
	}
	columns := loadColumns
	switch rs[0].Scenario {
	case "idle":
		columns = idleColumns
	case "cluster", "cluster-full":
		columns = clusterColumns
	case "herd":
		columns = herdColumns
	}
	cost := rs.cost()
	header := slices.Concat([]string{"server", "runs"}, columns, []string{"× " + baseline, "min..max " + cost,
		"lost", "dup", "ooo", "wrong_room", "closed, failed or stuck"})
	fmt.Fprintf(out, "\n#### %s\n\n| %s |\n|%s\n", rs.title(), strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, server := range rs.servers() {
		of := rs.of(server)
		row := []string{server, fmt.Sprint(len(of))}
		for _, column := range columns {
			row = append(row, short(of.median(column)))
		}
		row = append(row, short(rs.ratio(cost, server, baseline)), of.spread(cost), of.lost())
		for _, column := range []string{"dup", "ooo", "wrong_room"} {
			row = append(row, fmt.Sprintf("%.0f", of.sum(column)))
		}
		row = append(row, fmt.Sprintf("%.0f", of.sum("closed_early", "failed", "stuck")))
		fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
	}
	return nil
}

func (rs runs) spread(column string) string {
	vs := rs.values(column)
	if len(vs) == 0 {
		return "-"
	}
	return short(vs[0], true) + ".." + short(vs[len(vs)-1], true)
}

// lost is how much was lost, with its share.
func (rs runs) lost() string {
	lost := fmt.Sprintf("%.0f", rs.sum("lost"))
	if expected := rs.sum("expected"); expected > 0 && lost != "0" {
		lost += fmt.Sprintf(" (%.2f%%)", 100*rs.sum("lost")/expected)
	}
	return lost
}

// short prints v with as many digits as matter, or a dash.
func short(v float64, ok bool) string {
	switch {
	case !ok:
		return "-"
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
