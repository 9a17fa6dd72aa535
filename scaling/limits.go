package scaling

import (
	"cmp"
	"errors"
	"fmt"
	"math"
)

// Limits are the seed's AutoScalingConfig (11.2).
type Limits struct {
	// MinReplicas and MaxReplicas bound the number of replicas. Zero means 2 and 10, or the other if that is beyond.
	MinReplicas, MaxReplicas int
	// ScaleUp is what a replica is added above. Zero means 70 % CPU, 80 % memory, and 5,000 connections per pod. Negative
	// leaves a figure out, from both decisions.
	ScaleUp Usage
	// ScaleDown is what all have to be below for one replica less. Zero means half of ScaleUp.
	ScaleDown Usage
}

// Usage is the average load of a replica: CPU and memory in percent of its limits.
type Usage struct{ CPU, Memory, ConnectionsPerPod float64 }

func (l Limits) withDefaults() Limits {
	switch {
	case l.MinReplicas == 0 && l.MaxReplicas > 0:
		l.MinReplicas = min(2, l.MaxReplicas)
	case l.MinReplicas == 0:
		l.MinReplicas = 2
	}
	l.MaxReplicas = cmp.Or(l.MaxReplicas, max(10, l.MinReplicas))
	up, down := &l.ScaleUp, &l.ScaleDown
	up.CPU = cmp.Or(up.CPU, 70)
	up.Memory = cmp.Or(up.Memory, 80)
	up.ConnectionsPerPod = cmp.Or(up.ConnectionsPerPod, 5000)
	down.CPU = cmp.Or(down.CPU, up.CPU/2)
	down.Memory = cmp.Or(down.Memory, up.Memory/2)
	down.ConnectionsPerPod = cmp.Or(down.ConnectionsPerPod, up.ConnectionsPerPod/2)
	return l
}

// Validate reports all problems at once, by key.
func (l Limits) Validate() error {
	l = l.withDefaults()
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if l.MinReplicas < 1 {
		wrong("minReplicas is %d: want 1 or more, or 0 for 2", l.MinReplicas)
	}
	if l.MaxReplicas < l.MinReplicas {
		wrong("maxReplicas is %d: want minReplicas (%d) or more", l.MaxReplicas, l.MinReplicas)
	}
	looked := false
	for _, f := range []struct {
		key      string
		up, down float64
	}{
		{"cpu", l.ScaleUp.CPU, l.ScaleDown.CPU},
		{"memory", l.ScaleUp.Memory, l.ScaleDown.Memory},
		{"connectionsPerPod", l.ScaleUp.ConnectionsPerPod, l.ScaleDown.ConnectionsPerPod},
	} {
		switch {
		case math.IsNaN(f.up) || math.IsInf(f.up, 0):
			wrong("scaleUp.%s is %g: want a number above 0, 0 for the default, or a negative one to leave it out", f.key, f.up)
			looked = true
		case f.up >= 0:
			looked = true
			if !(f.down >= 0 && f.down < f.up) {
				wrong("scaleDown.%s is %g: want less than scaleUp.%s (%g) and not less than 0", f.key, f.down, f.key, f.up)
			}
		}
	}
	if !looked {
		wrong("scaleUp leaves out all of cpu, memory and connectionsPerPod: want one at least")
	}
	return errors.Join(errs...)
}
