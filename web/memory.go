package web

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// maxMemory is the part of its limit from which on memory use is unhealthy.
const maxMemory = 0.9

// MemoryCheck compares the memory of the Go runtime with the least limit there is. The root is os.DirFS("/"), from which
// the limits of Linux are read; without them, as on other systems, only GOMEMLIMIT is known.
//
// With GOMEMLIMIT the collector lets garbage pile up to the limit and then works, so what counts is what it could not give
// back: the live heap after the last collection, stacks and the runtime's own. Without, garbage counts too, up to what the
// runtime has from the system: at the limit of the container (cgroup v2) or the machine's memory, the kernel kills the
// process, whatever it could have given back. Files mapped or cached do not count.
func MemoryCheck(root fs.FS) Check {
	return Check{
		ID:       "memory-usage",
		Name:     "Memory Usage",
		Timeout:  time.Second,
		Interval: 30 * time.Second,
		Run: func(context.Context) (CheckResult, error) {
			return memoryResult(readMemory(), memoryLimit(root)), nil
		},
	}
}

// memoryUse is what the runtime has, in bytes.
type memoryUse struct {
	mapped uint64 // from the system, and not given back
	needed uint64 // of it, what is not garbage or idle
}

func readMemory() memoryUse {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) uint64 { return samples[i].Value.Uint64() }
	mapped := value(0) - value(1)
	live := value(5)
	if live == 0 {
		live = value(2) // nothing has been collected yet
	}
	return memoryUse{mapped: mapped, needed: mapped - value(2) - value(3) - value(4) + live}
}

// limit is the memory there is, and whose word that is.
type limit struct {
	bytes  uint64 // 0: not known
	source string // GOMEMLIMIT, container or machine
}

func memoryLimit(root fs.FS) limit {
	if soft := debug.SetMemoryLimit(-1); soft < math.MaxInt64 {
		return limit{uint64(soft), "GOMEMLIMIT"}
	}
	machine, container := machineMemory(root), containerMemory(root)
	switch {
	case container > 0 && (machine == 0 || container < machine):
		return limit{container, "container"}
	case machine > 0:
		return limit{machine, "machine"}
	}
	return limit{}
}

// containerMemory is the least memory.max from the process's cgroup up; 0: none.
func containerMemory(root fs.FS) uint64 {
	own, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	group := "/"
	for line := range strings.Lines(string(own)) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			group = path.Clean("/" + strings.TrimSpace(rest))
		}
	}
	least := uint64(0)
	for ; ; group = path.Dir(group) {
		// Within a cgroup namespace, the groups above are not to be seen, and the own one is the root.
		text, err := fs.ReadFile(root, path.Join("sys/fs/cgroup", group, "memory.max"))
		if n, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil && n > 0 && (least == 0 || n < least) {
			least = n
		}
		if group == "/" {
			return least
		}
	}
}

func machineMemory(root fs.FS) uint64 {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var kib uint64
		if n, _ := fmt.Sscanf(lines.Text(), "MemTotal: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

func memoryResult(use memoryUse, most limit) CheckResult {
	const mib = 1 << 20
	used := use.mapped
	if most.source == "GOMEMLIMIT" {
		used = use.needed
	}
	usedMB := float64(used) / mib
	if most.bytes == 0 {
		return CheckResult{
			Healthy: true,
			Message: fmt.Sprintf("Memory usage: %.0fMB, no limit known", usedMB),
			Details: map[string]any{"usedMB": usedMB},
		}
	}
	totalMB, utilization := float64(most.bytes)/mib, float64(used)/float64(most.bytes)
	return CheckResult{
		Healthy: utilization < maxMemory,
		Message: fmt.Sprintf("Memory usage: %.0fMB / %.0fMB (%.1f%%)", usedMB, totalMB, utilization*100),
		Details: map[string]any{"usedMB": usedMB, "totalMB": totalMB, "utilization": utilization, "limit": most.source},
	}
}
