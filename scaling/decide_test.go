package scaling

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// The thresholds of these tests, as an operator would set them.
var testLimits = Limits{
	MinReplicas: 2, MaxReplicas: 5,
	ScaleUp:   Usage{CPU: 70, Memory: 80, ConnectionsPerPod: 1000},
	ScaleDown: Usage{CPU: 30, Memory: 40, ConnectionsPerPod: 300},
}

func TestDecide(t *testing.T) {
	t.Parallel()
	load := func(replicas int, cpu, memory, connections float64) Load {
		return Load{Replicas: replicas, CPU: Known(cpu), Memory: Known(memory), Connections: Known(connections)}
	}
	unknown := func(l Load, what string) Load {
		for _, w := range strings.Fields(what) {
			*map[string]*Figure{"cpu": &l.CPU, "memory": &l.Memory, "connections": &l.Connections}[w] = Figure{}
		}
		return l
	}
	missing := func(l Load, n int) Load { l.Missing = n; return l }
	for name, test := range map[string]struct {
		load Load
		want Decision
	}{
		"CPU":                          {load(3, 85, 50, 600), Decision{ScaleUp, 3, 4, "High CPU: 85.0%"}},
		"memory":                       {load(3, 50, 81.25, 600), Decision{ScaleUp, 3, 4, "High Memory: 81.2%"}},
		"connections":                  {load(3, 50, 50, 3600), Decision{ScaleUp, 3, 4, "High Connection Load: 1200 per pod"}},
		"all":                          {load(2, 90, 90, 4000), Decision{ScaleUp, 2, 3, "High CPU: 90.0%, High Memory: 90.0%, High Connection Load: 2000 per pod"}},
		"at a threshold":               {load(3, 70, 80, 3000), Decision{NoChange, 3, 3, "Metrics within acceptable ranges"}},
		"up wins over down":            {load(3, 85, 10, 30), Decision{ScaleUp, 3, 4, "High CPU: 85.0%"}},
		"up, though not all are known": {unknown(load(3, 85, 0, 0), "memory connections"), Decision{ScaleUp, 3, 4, "High CPU: 85.0%"}},
		"up, though one is missing":    {missing(load(3, 85, 50, 600), 1), Decision{ScaleUp, 3, 4, "High CPU: 85.0%"}},
		"at the maximum":               {load(5, 85, 50, 600), Decision{NoChange, 5, 5, "At the maximum of 5 replicas: High CPU: 85.0%"}},
		"down":                         {load(4, 20, 30, 400), Decision{ScaleDown, 4, 3, "Low resource utilization detected"}},
		"not all low":                  {load(4, 20, 60, 400), Decision{NoChange, 4, 4, "Metrics within acceptable ranges"}},
		"at a lower threshold":         {load(4, 30, 30, 400), Decision{NoChange, 4, 4, "Metrics within acceptable ranges"}},
		"at the minimum":               {load(2, 1, 1, 1), Decision{NoChange, 2, 2, "Metrics within acceptable ranges"}},
		"CPU not known":                {unknown(load(4, 0, 30, 400), "cpu"), Decision{NoChange, 4, 4, "Not scaling down: CPU not known"}},
		"nothing known":                {unknown(load(4, 0, 0, 0), "cpu memory connections"), Decision{NoChange, 4, 4, "Not scaling down: CPU, Memory, Connections not known"}},
		"one replica is missing":       {missing(load(4, 20, 30, 400), 1), Decision{NoChange, 4, 4, "Not scaling down: figures of 1 of 4 replicas not known"}},
		"fewer than the minimum":       {load(1, 1, 1, 1), Decision{ScaleUp, 1, 2, "Fewer than the minimum of 2 replicas"}},
		"more than the maximum":        {load(9, 99, 99, 1), Decision{ScaleDown, 9, 5, "More than the maximum of 5 replicas"}},
		"none, by somebody's will":     {load(0, 0, 0, 0), Decision{NoChange, 0, 0, "Scaled to zero: left alone"}},
	} {
		if got := Decide(test.load, testLimits); got != test.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
	}
	near := testLimits
	near.MinReplicas, near.ScaleDown = 1, Usage{CPU: 60, Memory: 79, ConnectionsPerPod: 900}
	if got, want := Decide(load(2, 40, 50, 1100), near), (Decision{NoChange, 2, 2, "Not scaling down, as the others would have: High CPU: 80.0%, High Connection Load: 1100 per pod"}); got != want {
		t.Errorf("too much for the others:\ngot  %+v\nwant %+v", got, want)
	}
	noMemory := testLimits
	noMemory.ScaleUp.Memory = -1
	if got, want := Decide(unknown(load(4, 20, 0, 400), "memory"), noMemory), (Decision{ScaleDown, 4, 3, "Low resource utilization detected"}); got != want {
		t.Errorf("memory left out:\ngot  %+v\nwant %+v", got, want)
	}
	if got, want := Decide(load(4, 20, 99, 400), noMemory), (Decision{ScaleDown, 4, 3, "Low resource utilization detected"}); got != want {
		t.Errorf("memory left out:\ngot  %+v\nwant %+v", got, want)
	}
}

// randomLimits are valid.
func randomLimits(dice *rand.Rand) Limits {
	l := Limits{MinReplicas: 1 + dice.IntN(5)}
	l.MaxReplicas = l.MinReplicas + dice.IntN(10)
	usage := func(max float64) (up, down float64) {
		up = 1 + dice.Float64()*max
		return up, up * dice.Float64() * 0.999
	}
	l.ScaleUp.CPU, l.ScaleDown.CPU = usage(100)
	l.ScaleUp.Memory, l.ScaleDown.Memory = usage(100)
	l.ScaleUp.ConnectionsPerPod, l.ScaleDown.ConnectionsPerPod = usage(10_000)
	return l
}

func randomLoad(dice *rand.Rand) Load {
	figure := func(max float64) Figure {
		if dice.IntN(6) == 0 {
			return Figure{}
		}
		return Known(dice.Float64() * max * 1.2)
	}
	l := Load{Replicas: 1 + dice.IntN(17), CPU: figure(100), Memory: figure(100), Connections: figure(50_000)}
	if dice.IntN(4) == 0 {
		l.Missing = dice.IntN(l.Replicas + 1)
	}
	return l
}

func TestDecideProperties(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(11, 2))
	seen := map[string]int{}
	for range 50_000 {
		limits, load := randomLimits(dice), randomLoad(dice)
		if err := limits.Validate(); err != nil {
			t.Fatalf("%+v: %v", limits, err)
		}
		d := Decide(load, limits)
		seen[d.Action]++
		fail := func(why string) { t.Fatalf("%s: %+v within %+v: %+v", why, load, limits, d) }

		if d.CurrentReplicas != load.Replicas || d.Reason == "" {
			fail("it does not say what of")
		}
		if d.TargetReplicas < limits.MinReplicas || d.TargetReplicas > limits.MaxReplicas {
			fail("out of bounds")
		}
		if (d.Action == ScaleUp) != (d.TargetReplicas > load.Replicas) || (d.Action == ScaleDown) != (d.TargetReplicas < load.Replicas) {
			fail("action and target differ")
		}
		inside := load.Replicas >= limits.MinReplicas && load.Replicas <= limits.MaxReplicas
		if inside && math.Abs(float64(d.TargetReplicas-load.Replicas)) > 1 {
			fail("more than a step")
		}
		perPod := load.Connections.over(Known(float64(load.Replicas)))
		up := load.CPU.exceeds(limits.ScaleUp.CPU) || load.Memory.exceeds(limits.ScaleUp.Memory) || perPod.exceeds(limits.ScaleUp.ConnectionsPerPod)
		if inside && up != (d.Action == ScaleUp) && load.Replicas < limits.MaxReplicas {
			fail("up if, and only if, something is high")
		}
		known := load.CPU.Known && load.Memory.Known && load.Connections.Known && load.Missing == 0
		if inside && d.Action == ScaleDown && (up || !known) {
			fail("down, though something is high or not known")
		}
		if d.Action == ScaleDown && inside {
			if next := Decide(load.with(d.TargetReplicas), limits); next.Action == ScaleUp {
				fail("down, only to go up again")
			}
		}

		// More load never means fewer replicas.
		more := load
		for _, f := range []*Figure{&more.CPU, &more.Memory, &more.Connections} {
			if f.Known {
				*f = Known(f.Value * (1 + dice.Float64()))
			}
		}
		if Decide(more, limits).TargetReplicas < d.TargetReplicas {
			fail("fewer replicas for more load")
		}
	}
	for _, action := range []string{ScaleUp, ScaleDown, NoChange} {
		if seen[action] < 100 {
			t.Errorf("%s was decided %d times only", action, seen[action])
		}
	}
}

func TestLoadOf(t *testing.T) {
	t.Parallel()
	replica := func(cpu, memory, connections float64) Replica {
		return Replica{Known(cpu), Known(memory), Known(connections)}
	}
	for name, test := range map[string]struct {
		replicas int
		reached  []Replica
		want     Load
	}{
		"all":              {2, []Replica{replica(10, 20, 30), replica(30, 40, 50)}, Load{2, Known(20), Known(30), Known(80), 0}},
		"none":             {2, nil, Load{2, Figure{}, Figure{}, Figure{}, 2}},
		"one starts":       {3, []Replica{replica(90, 60, 30), replica(90, 60, 30)}, Load{3, Known(60), Known(40), Known(60), 1}},
		"one's CPU is new": {2, []Replica{replica(50, 20, 30), {Memory: Known(40), Connections: Known(10)}}, Load{2, Known(25), Known(30), Known(40), 1}},
		"no CPU is known":  {1, []Replica{{Memory: Known(40), Connections: Known(10)}}, Load{1, Figure{}, Known(40), Known(10), 1}},
		"one too many":     {1, []Replica{replica(10, 20, 30), replica(30, 40, 50)}, Load{1, Known(20), Known(30), Known(80), 0}},
	} {
		if got := LoadOf(test.replicas, test.reached); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		limits Limits
		want   []string // one for each problem
	}{
		"zero":             {Limits{}, nil},
		"as in the tests":  {testLimits, nil},
		"one replica":      {Limits{MaxReplicas: 1}, nil},
		"many":             {Limits{MinReplicas: 50}, nil},
		"only connections": {Limits{ScaleUp: Usage{CPU: -1, Memory: -1}}, nil},
		"negative minimum": {Limits{MinReplicas: -1}, []string{"minReplicas is -1: want 1 or more"}},
		"crossed":          {Limits{MinReplicas: 5, MaxReplicas: 3}, []string{"maxReplicas is 3: want minReplicas (5) or more"}},
		"all three": {
			Limits{ScaleUp: Usage{50, 50, 100}, ScaleDown: Usage{50, 60, -1}},
			[]string{"scaleDown.cpu is 50: want less than scaleUp.cpu (50)", "scaleDown.memory is 60", "scaleDown.connectionsPerPod is -1"},
		},
		"not above the default": {Limits{ScaleDown: Usage{CPU: 75}}, []string{"scaleDown.cpu is 75: want less than scaleUp.cpu (70)"}},
		"no numbers":            {Limits{ScaleUp: Usage{CPU: math.NaN(), Memory: inf}, ScaleDown: Usage{ConnectionsPerPod: math.NaN()}}, []string{"scaleUp.cpu is NaN", "scaleUp.memory is +Inf", "scaleDown.connectionsPerPod is NaN"}},
		"nothing looked at":     {Limits{ScaleUp: Usage{-1, -1, -1}}, []string{"scaleUp leaves out all"}},
	} {
		err := test.limits.Validate()
		var got []string
		if err != nil {
			got = strings.Split(err.Error(), "\n")
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], test.want[i]) {
				t.Errorf("%s: got %q, want %q", name, got[i], test.want[i])
			}
		}
	}
}
