//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write puts results into a file as the runs of one scenario do.
func writeRuns(t *testing.T, rs ...result) string {
	t.Helper()
	var b bytes.Buffer
	for _, r := range rs {
		if err := json.NewEncoder(&b).Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "runs.jsonl")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func fanout(server string, cpu float64, more map[string]float64) result {
	r := result{Server: server, Scenario: "fanout", Values: map[string]float64{
		"n": 1000, "rate": 0, "window": 4, "payload": 300, "cpu_us": cpu, "expected": 1000}}
	for column, v := range more {
		r.Values[column] = v
	}
	return r
}

func wantLines(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, line := range want {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line\n%s\nin\n%s", line, got)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	path := writeRuns(t,
		fanout("ours", 3, nil), fanout("node-ws", 8, map[string]float64{"p50_ms": 1.234}),
		fanout("ours", 9, map[string]float64{"lost": 30, "dup": 1, "closed_early": 2, "stuck": 1}), fanout("node-ws", 10, nil),
		fanout("ours", 2, nil), fanout("other", 1200, nil))
	var out bytes.Buffer
	if err := printTable(&out, []string{path}); err != nil {
		t.Fatal(err)
	}
	wantLines(t, out.String(),
		"#### fanout, 1000 connections, at most 4 events of 300 bytes outstanding",
		"| server | runs | cpu_us | per_s | p50_ms | p99_ms | p999_ms | server_util | loadgen_util | rss_mb | × node-ws | min..max cpu_us | lost | dup | ooo | wrong_room | closed, failed or stuck |",
		"| ours | 3 | 3.00 | - | - | - | - | - | - | - | 0.33 | 2.00..9.00 | 30 (1.00%) | 1 | 0 | 0 | 3 |",
		"| node-ws | 2 | 9.00 | - | 1.23 | - | - | - | - | - | 1.00 | 8.00..10.0 | 0 | 0 | 0 | 0 | 0 |",
		"| other | 1 | 1200 | - | - | - | - | - | - | - | 133.3 | 1200..1200 | 0 | 0 | 0 | 0 | 0 |")
}

func TestSummary(t *testing.T) {
	t.Parallel()
	idleRun := func(server string, perConn float64) result {
		return result{Server: server, Scenario: "idle", Values: map[string]float64{"n": 10, "rss_per_conn": perConn}}
	}
	for _, c := range []struct {
		name string
		runs []result
		row  string
		ok   bool
	}{
		{"far slower, but correct", []result{fanout("ours", 90, nil), fanout("node-ws", 9, nil)},
			"| fanout | 90.0 µs CPU | 9.00 µs CPU | 10.0 | ≤ 0.50 | 0 / 0 / 0 / 0 | 0 |", true},
		{"the other one loses", []result{fanout("ours", 4, nil), fanout("node-ws", 8, map[string]float64{"lost": 5})},
			"| fanout | 4.00 µs CPU | 8.00 µs CPU | 0.50 | ≤ 0.50 | 0 / 0 / 0 / 0 | 0 |", true},
		{"without baseline", []result{fanout("ours", 4, nil)},
			"| fanout | 4.00 µs CPU | - | - | ≤ 0.50 | 0 / 0 / 0 / 0 | 0 |", true},
		{"idle", []result{idleRun("ours", 6000), idleRun("node-ws", 12000)},
			"| idle | 6.00 KB each | 12.0 KB each | 0.50 | ≤ 0.75 | 0 / 0 / 0 / 0 | 0 |", true},
		{"lost", []result{fanout("ours", 4, map[string]float64{"lost": 1})},
			"| fanout | 4.00 µs CPU | - | - | ≤ 0.50 | 1 / 0 / 0 / 0 | 0 |", false},
		{"doubled in one of the runs", []result{fanout("ours", 4, map[string]float64{"dup": 2}), fanout("ours", 4, nil)},
			"| fanout | 4.00 µs CPU | - | - | ≤ 0.50 | 0 / 2 / 0 / 0 | 0 |", false},
		{"reordered", []result{fanout("ours", 4, map[string]float64{"ooo": 3})},
			"| fanout | 4.00 µs CPU | - | - | ≤ 0.50 | 0 / 0 / 3 / 0 | 0 |", false},
		{"connections lost", []result{fanout("ours", 4, map[string]float64{"failed": 4})},
			"| fanout | 4.00 µs CPU | - | - | ≤ 0.50 | 0 / 0 / 0 / 0 | 4 |", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			err := printSummary(&out, []string{writeRuns(t, c.runs...)})
			if (err == nil) != c.ok {
				t.Errorf("got error %v, want none: %v", err, c.ok)
			}
			wantLines(t, out.String(), c.row)
		})
	}
}

func TestBadRuns(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"empty": "", "cut off": `{"server":"ours"`} {
		path := filepath.Join(t.TempDir(), "runs.jsonl")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readRuns(path); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
