package scaling

import (
	"fmt"
	"strings"
)

// The actions of a Decision.
const (
	ScaleUp   = "scale_up"
	ScaleDown = "scale_down"
	NoChange  = "no_change"
)

// Decision is the seed's ScalingDecision (11.2).
type Decision struct {
	Action          string `json:"action"`
	CurrentReplicas int    `json:"currentReplicas"`
	TargetReplicas  int    `json:"targetReplicas"`
	Reason          string `json:"reason"`
}

// Decide says how many replicas there should be: one more if any figure is above its threshold for that, one less if
// all are below theirs, within the limits. A count outside the limits goes to the nearer one at once, and one of 0 is
// somebody's will to have none, and stays. In two ways it holds on to a replica that the seed would let go. What is not
// known, of all or some replicas, is no reason for fewer, and the decision says so. And neither is a load that the
// remaining replicas could not bear: CPU and connections are what they would take over, memory is mostly not.
func Decide(load Load, limits Limits) Decision {
	limits = limits.withDefaults()
	n := load.Replicas
	to := func(target int, reason string) Decision {
		action := NoChange
		switch {
		case target > n:
			action = ScaleUp
		case target < n:
			action = ScaleDown
		}
		return Decision{action, n, target, reason}
	}
	switch {
	case n <= 0:
		return to(n, "Scaled to zero: left alone")
	case n < limits.MinReplicas:
		return to(limits.MinReplicas, fmt.Sprintf("Fewer than the minimum of %d replicas", limits.MinReplicas))
	case n > limits.MaxReplicas:
		return to(limits.MaxReplicas, fmt.Sprintf("More than the maximum of %d replicas", limits.MaxReplicas))
	}
	if high := tooHigh(load, limits); high != "" {
		if n == limits.MaxReplicas {
			return to(n, fmt.Sprintf("At the maximum of %d replicas: %s", n, high))
		}
		return to(n+1, high)
	}
	switch unknown := notKnown(load, limits); {
	case unknown != "":
		return to(n, "Not scaling down: "+unknown)
	case !allLow(load, limits) || n == limits.MinReplicas:
		return to(n, "Metrics within acceptable ranges")
	}
	if high := tooHigh(load.with(n-1), limits); high != "" {
		return to(n, "Not scaling down, as the others would have: "+high)
	}
	return to(n-1, "Low resource utilization detected")
}

func tooHigh(load Load, limits Limits) string {
	var reasons []string
	for _, g := range load.gauges(limits) {
		if g.load.Known && g.load.Value > g.up {
			reasons = append(reasons, fmt.Sprintf(g.high, g.load.Value))
		}
	}
	return strings.Join(reasons, ", ")
}

func allLow(load Load, limits Limits) bool {
	for _, g := range load.gauges(limits) {
		if !(g.load.Value < g.down) {
			return false
		}
	}
	return true
}

func notKnown(load Load, limits Limits) string {
	var names []string
	for _, g := range load.gauges(limits) {
		if !g.load.Known {
			names = append(names, g.name)
		}
	}
	switch {
	case len(names) > 0:
		return strings.Join(names, ", ") + " not known"
	case load.Missing > 0:
		return fmt.Sprintf("figures of %d of %d replicas not known", load.Missing, load.Replicas)
	}
	return ""
}

// gauge is a figure and its thresholds.
type gauge struct {
	name, high string
	load       Figure
	up, down   float64
}

// gauges are those that limits look at.
func (l Load) gauges(limits Limits) []gauge {
	up, down := limits.ScaleUp, limits.ScaleDown
	perPod := l.Connections.over(Known(float64(l.Replicas)))
	all := []gauge{
		{"CPU", "High CPU: %.1f%%", l.CPU, up.CPU, down.CPU},
		{"Memory", "High Memory: %.1f%%", l.Memory, up.Memory, down.Memory},
		{"Connections", "High Connection Load: %.0f per pod", perPod, up.ConnectionsPerPod, down.ConnectionsPerPod},
	}
	looked := all[:0]
	for _, g := range all {
		if g.up >= 0 {
			looked = append(looked, g)
		}
	}
	return looked
}
