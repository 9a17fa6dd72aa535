package scaling

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Thresholds are what Analyse recommends by: it does so when a figure is above its threshold. Zero takes the default,
// negative never recommends. In the configuration file they are below scaling.thresholds, MaxLatency in ms as
// maxLatency and so on.
type Thresholds struct {
	// MaxLatency is for the average time that a batch of broadcasts takes to the sockets, or a publication to the bus.
	// Zero means 100 ms.
	MaxLatency time.Duration
	// MaxErrorRate is for the part of events that could not be processed, and of handshakes that were refused. Zero means
	// 0.05.
	MaxErrorRate float64
	// MaxHandlerLatency and MaxHandlerErrorRate are for subscriptions: the average time of an attempt, and the part of
	// attempts that failed. Zero means 1 s and 0.1.
	MaxHandlerLatency   time.Duration
	MaxHandlerErrorRate float64
	// MaxDeadLetters and MaxSlowClients are for dead letters of subscriptions, and connections closed as the client did
	// not read, both per minute. Zero means 1 and 10.
	MaxDeadLetters float64
	MaxSlowClients float64
	// MaxChurn is for disconnections per minute in parts of the open connections. Zero means 0.25.
	MaxChurn float64
	// MaxCPU and MaxMemory are in percent of the limits below. Zero means 80 and 85.
	MaxCPU, MaxMemory float64

	// MinSamples is how many observations (events, handshakes, attempts, open connections) an average or a rate takes
	// before it recommends anything. Zero means 20, 1 always recommends.
	MinSamples int

	// CPULimit is the CPU that the process may use, in cores, and MemoryLimit its memory in bytes. Zero means what the Go
	// runtime goes by: GOMAXPROCS, and GOMEMLIMIT if that is set; if not, MaxMemory is not looked at.
	CPULimit    float64
	MemoryLimit int64
}

func (t Thresholds) withDefaults() Thresholds {
	t.MaxLatency = cmp.Or(t.MaxLatency, 100*time.Millisecond)
	t.MaxErrorRate = cmp.Or(t.MaxErrorRate, 0.05)
	t.MaxHandlerLatency = cmp.Or(t.MaxHandlerLatency, time.Second)
	t.MaxHandlerErrorRate = cmp.Or(t.MaxHandlerErrorRate, 0.1)
	t.MaxDeadLetters = cmp.Or(t.MaxDeadLetters, 1)
	t.MaxSlowClients = cmp.Or(t.MaxSlowClients, 10)
	t.MaxChurn = cmp.Or(t.MaxChurn, 0.25)
	t.MaxCPU = cmp.Or(t.MaxCPU, 80)
	t.MaxMemory = cmp.Or(t.MaxMemory, 85)
	t.MinSamples = cmp.Or(t.MinSamples, 20)
	return t
}

// Validate reports all problems at once, by key.
func (t Thresholds) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("scaling.thresholds."+format, args...))
	}
	for _, f := range []struct {
		key         string
		value, most float64
		want        string
	}{
		{"maxErrorRate", t.MaxErrorRate, 1, "a part of 1, such as 0.05"},
		{"maxHandlerErrorRate", t.MaxHandlerErrorRate, 1, "a part of 1, such as 0.1"},
		{"maxDeadLetters", t.MaxDeadLetters, math.MaxFloat64, "a number per minute"},
		{"maxSlowClients", t.MaxSlowClients, math.MaxFloat64, "a number per minute"},
		{"maxChurn", t.MaxChurn, math.MaxFloat64, "a part of the connections, such as 0.25"},
		{"maxCpu", t.MaxCPU, 100, "a percentage up to 100"},
		{"maxMemory", t.MaxMemory, 100, "a percentage up to 100"},
	} {
		if !(f.value <= f.most) || math.IsInf(f.value, -1) { // NaN is not
			wrong("%s is %g: want %s, 0 for the default, or a negative number for none", f.key, f.value, f.want)
		}
	}
	if t.MinSamples < 0 {
		wrong("minSamples is %d: want 1 or more, or 0 for 20", t.MinSamples)
	}
	if !(t.CPULimit >= 0) || math.IsInf(t.CPULimit, 0) {
		wrong("cpuLimit is %g: want a number of cores, such as 0.5, or 0 for GOMAXPROCS", t.CPULimit)
	}
	if t.MemoryLimit < 0 {
		wrong("memoryLimit is %d: want a number of bytes, or 0 for GOMEMLIMIT", t.MemoryLimit)
	}
	return errors.Join(errs...)
}
