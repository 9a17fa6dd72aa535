//go:build linux

package main

import "strconv"

// result is what one run found, and one line of a results file.
type result struct {
	Server   string             `json:"server"`
	Scenario string             `json:"scenario"`
	Values   map[string]float64 `json:"values"` // by column; what was not measured is absent
	Errors   map[string]int     `json:"errors,omitempty"`
}

// set notes v with five digits: more would only look exact.
func (r result) set(column string, v float64) {
	r.Values[column], _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
}

// count adds n to an exact number.
func (r result) count(column string, n int) { r.Values[column] += float64(n) }

func (r result) setLatency(h *hist) {
	for column, p := range map[string]float64{"p50_ms": .5, "p99_ms": .99, "p999_ms": .999} {
		r.set(column, float64(h.quantile(p))/1e6)
	}
	r.set("max_ms", float64(h.max)/1e6)
}

// faultColumns count what was lost, doubled, reordered or given to the wrong room, and connections the server lost.
var faultColumns = []string{"lost", "dup", "ooo", "wrong_room", "closed_early", "failed", "stuck"}
