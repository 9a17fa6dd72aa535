//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Labels of servers. Costs are compared with the baseline's; faults of ours fail a summary.
const (
	ours     = "ours"
	one      = "ours-1"       // one replica, where ours is several
	durable  = "ours-durable" // with durable input
	baseline = "node-ws"
)

// runs are all results of one scenario.
type runs []result

func readRuns(path string) (runs, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rs runs
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("decode %s: %w", path, err)
		}
		rs = append(rs, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(rs) == 0 {
		return nil, fmt.Errorf("no results in %s", path)
	}
	return rs, nil
}

func (rs runs) of(server string) runs {
	return slices.DeleteFunc(slices.Clone(rs), func(r result) bool { return r.Server != server })
}

// ofOurs are those of the service in all its arrangements.
func (rs runs) ofOurs() runs {
	return slices.Concat(rs.of(ours), rs.of(one), rs.of(durable))
}

// servers are the labels in the order of their first results.
func (rs runs) servers() []string {
	var names []string
	for _, r := range rs {
		if !slices.Contains(names, r.Server) {
			names = append(names, r.Server)
		}
	}
	return names
}

// values are those of a column, sorted; runs without it are left out.
func (rs runs) values(column string) []float64 {
	var vs []float64
	for _, r := range rs {
		if v, ok := r.Values[column]; ok {
			vs = append(vs, v)
		}
	}
	slices.Sort(vs)
	return vs
}

// median of a column; false if no run has it.
func (rs runs) median(column string) (float64, bool) {
	vs := rs.values(column)
	if len(vs) == 0 {
		return 0, false
	}
	middle := len(vs) / 2
	if len(vs)%2 == 1 {
		return vs[middle], true
	}
	return (vs[middle-1] + vs[middle]) / 2, true
}

func (rs runs) sum(columns ...string) float64 {
	var sum float64
	for _, column := range columns {
		for _, v := range rs.values(column) {
			sum += v
		}
	}
	return sum
}

// cost is the column a scenario is about.
func (rs runs) cost() string {
	if rs[0].Scenario == "idle" {
		return "rss_per_conn"
	}
	return "cpu_us"
}

// ratio is a server's median by another's; false if one is unknown.
func (rs runs) ratio(column, server, other string) (float64, bool) {
	v, ok := rs.of(server).median(column)
	others, ok2 := rs.of(other).median(column)
	if !ok || !ok2 || others <= 0 {
		return 0, false
	}
	return v / others, true
}

// title names the scenario and its parameters.
func (rs runs) title() string {
	v := rs[0].Values
	title := fmt.Sprintf("%s, %.0f connections", rs[0].Scenario, v["n"])
	switch rate, ok := v["rate"]; {
	case ok && rate > 0:
		title += fmt.Sprintf(", %v events/s of %.0f bytes", rate, v["payload"])
	case ok:
		title += fmt.Sprintf(", at most %.0f events of %.0f bytes outstanding", v["window"], v["payload"])
	}
	return title
}
