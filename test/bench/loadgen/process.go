//go:build linux

package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// process is the server under test, or several of them, with their children. The first error of reading about it is kept in err; what is
// returned from then on means nothing.
type process struct {
	pids []int
	err  error
}

// tree is the ids of the processes and all they started: servers may come in wrappers.
func (p *process) tree() []int {
	ids := slices.Clone(p.pids)
	for i := 0; i < len(ids); i++ {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", ids[i]))
		for _, task := range tasks {
			children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", ids[i], task.Name()))
			for _, field := range strings.Fields(string(children)) {
				if id, err := strconv.Atoi(field); err == nil {
					ids = append(ids, id)
				}
			}
		}
	}
	return ids
}

// read returns one file of /proc of each process of the tree. A child may have gone meanwhile.
func (p *process) read(name string) []string {
	var files []string
	for _, id := range p.tree() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", id, name))
		if err == nil {
			files = append(files, string(b))
		} else if slices.Contains(p.pids, id) {
			p.err = cmp.Or(p.err, err)
		}
	}
	return files
}

// cpu is the user and system time used so far in microseconds, in steps of 10,000 (proc(5): fields 14 and 15 of stat,
// in ticks of which Linux has 100 a second).
func (p *process) cpu() int64 {
	var ticks int64
	for _, stat := range p.read("stat") {
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from field 3 on
		for _, i := range []int{14 - 3, 15 - 3} {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			p.err = cmp.Or(p.err, err)
			ticks += n
		}
	}
	return ticks * 10_000
}

// memory is a line of status, such as "VmRSS:", in bytes.
func (p *process) memory(line string) int64 {
	var sum int64
	for _, status := range p.read("status") {
		_, rest, found := strings.Cut(status, line)
		fields := strings.Fields(rest)
		if !found || len(fields) == 0 { // a process that has ended and was not waited for has none
			p.err = cmp.Or(p.err, fmt.Errorf("no %s in /proc/PID/status of %v", line, p.pids))
			continue
		}
		kilobytes, err := strconv.ParseInt(fields[0], 10, 64)
		p.err = cmp.Or(p.err, err)
		sum += kilobytes * 1024
	}
	return sum
}

// meter measures CPU between two moments.
type meter struct {
	server     *process
	at         time.Time
	cpu, own   int64
	deliveries int64
}

func newMeter(server *process, deliveries int64) meter {
	return meter{server: server, at: time.Now(), cpu: server.cpu(), own: ownCPU(), deliveries: deliveries}
}

// stop notes the CPU per delivery, in microseconds, deliveries per second, and the shares of a core used.
func (m meter) stop(deliveries int64, res result) {
	took, n := time.Since(m.at), float64(deliveries-m.deliveries)
	cpu, own := float64(m.server.cpu()-m.cpu), float64(ownCPU()-m.own)
	if n > 0 {
		res.set("cpu_us", cpu/n)
	}
	res.set("per_s", n/took.Seconds())
	res.set("server_util", cpu/float64(took.Microseconds()))
	res.set("loadgen_util", own/float64(took.Microseconds()))
}

// ownCPU is the time this process used so far, in microseconds.
func ownCPU() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return (u.Utime.Nano() + u.Stime.Nano()) / 1000
}
