package web

import (
	"math"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"
)

func TestMemoryLimits(t *testing.T) {
	t.Parallel()
	files := func(pairs ...string) fstest.MapFS {
		fs := fstest.MapFS{}
		for i := 0; i < len(pairs); i += 2 {
			fs[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
		}
		return fs
	}
	const meminfo = "MemTotal:        2048 kB\nMemFree:          100 kB\n"
	for _, c := range []struct {
		name               string
		fs                 fstest.MapFS
		container, machine uint64
	}{
		{"nothing to read", files(), 0, 0},
		{"machine", files("proc/meminfo", meminfo), 0, 2 << 20},
		{"container", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "1048576\n", "proc/meminfo", meminfo), 1 << 20, 2 << 20},
		{"no limit", files("proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), 0, 0},
		{"of a group above", files("proc/self/cgroup", "0::/a/b/c\n", "sys/fs/cgroup/a/b/c/memory.max", "max\n", "sys/fs/cgroup/a/b/memory.max", "3000\n", "sys/fs/cgroup/a/memory.max", "5000\n"), 3000, 0},
		{"a group that is not to be seen", files("proc/self/cgroup", "12:memory:/old\n0::/../pod\n", "sys/fs/cgroup/memory.max", "4000\n"), 4000, 0},
		{"broken", files("proc/self/cgroup", "what\n", "sys/fs/cgroup/memory.max", "-1\n", "proc/meminfo", "MemTotal: lots\n"), 0, 0},
	} {
		if got := containerMemory(c.fs); got != c.container {
			t.Errorf("%s: got %d of the container, want %d", c.name, got, c.container)
		}
		if got := machineMemory(c.fs); got != c.machine {
			t.Errorf("%s: got %d of the machine, want %d", c.name, got, c.machine)
		}
	}
}

func TestMemoryResult(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	use := memoryUse{mapped: 95 * mib, needed: 40 * mib}
	for _, c := range []struct {
		limit   limit
		healthy bool
		message string
	}{
		{limit{}, true, "Memory usage: 95MB, no limit known"},
		{limit{100 * mib, "container"}, false, "Memory usage: 95MB / 100MB (95.0%)"},
		{limit{1000 * mib, "machine"}, true, "Memory usage: 95MB / 1000MB (9.5%)"},
		{limit{100 * mib, "GOMEMLIMIT"}, true, "Memory usage: 40MB / 100MB (40.0%)"},
		{limit{44 * mib, "GOMEMLIMIT"}, false, "Memory usage: 40MB / 44MB (90.9%)"},
	} {
		if got := memoryResult(use, c.limit); got.Healthy != c.healthy || got.Message != c.message {
			t.Errorf("%+v: got %+v", c.limit, got)
		}
	}
}

// The real figures make sense. GOMEMLIMIT is of the process, so this test runs alone.
func TestMemoryCheck(t *testing.T) {
	held := make([]byte, 32<<20)
	for i := range held {
		held[i] = 1
	}
	before := readMemory()
	if before.mapped < 32<<20 || before.needed > before.mapped || before.needed == 0 {
		t.Errorf("got %+v", before)
	}
	check := MemoryCheck(os.DirFS("/"))
	result, err := check.Run(t.Context())
	if err != nil || !strings.HasPrefix(result.Message, "Memory usage: ") {
		t.Errorf("got %+v, %v", result, err)
	}
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(48 << 30))
	result, err = check.Run(t.Context())
	if err != nil || !result.Healthy || !strings.Contains(result.Message, "/ 49152MB") {
		t.Errorf("with GOMEMLIMIT: got %+v, %v", result, err)
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if held[0]+held[len(held)-1] != 2 {
		t.Error("the memory is not held")
	}
}
