package scaling

import (
	"testing"
	"time"
)

var (
	goUp   = Decision{ScaleUp, 3, 4, "High CPU: 85.0%"}
	goDown = Decision{ScaleDown, 3, 2, "Low resource utilization detected"}
	stay   = Decision{NoChange, 3, 3, "Metrics within acceptable ranges"}
)

func TestDamperDown(t *testing.T) {
	t.Parallel()
	d, now := NewDamper(Damping{DownAfter: 3}), noon
	for i, step := range []struct {
		in   Decision
		want Decision
	}{
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 1 of 3 evaluations"}},
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 2 of 3 evaluations"}},
		{stay, stay}, // begins again
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 1 of 3 evaluations"}},
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 2 of 3 evaluations"}},
		{goUp, goUp}, // at once, and begins again
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 1 of 3 evaluations"}},
		{goDown, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; for 2 of 3 evaluations"}},
		{goDown, goDown},
		{goDown, goDown}, // until somebody says that it is done
	} {
		if got := d.Settle(step.in, now); got != step.want {
			t.Errorf("step %d: got %+v, want %+v", i, got, step.want)
		}
		now = now.Add(30 * time.Second)
	}
	d.Changed(now)
	if got := d.Settle(goDown, now.Add(time.Hour)); got.Action != NoChange {
		t.Errorf("after a change: got %+v", got)
	}
}

func TestDamperCooldown(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg   Damping
		in    Decision
		since time.Duration
		want  Decision
	}{
		"up too soon":   {Damping{}, goUp, 59 * time.Second, Decision{NoChange, 3, 3, "Waiting with scale_up: High CPU: 85.0%; changed 59s ago, cooling down for 1m0s"}},
		"up":            {Damping{}, goUp, time.Minute, goUp},
		"up, no rest":   {Damping{UpCooldown: -1}, goUp, 0, goUp},
		"down too soon": {Damping{DownAfter: 1}, goDown, 299 * time.Second, Decision{NoChange, 3, 3, "Waiting with scale_down: Low resource utilization detected; changed 4m59s ago, cooling down for 5m0s"}},
		"down":          {Damping{DownAfter: 1}, goDown, 5 * time.Minute, goDown},
		"down, no rest": {Damping{DownAfter: 1, DownCooldown: -1}, goDown, 0, goDown},
	} {
		d := NewDamper(test.cfg)
		d.Changed(noon)
		if got := d.Settle(test.in, noon.Add(test.since)); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
	if got := NewDamper(Damping{}).Settle(goUp, noon); got != goUp {
		t.Errorf("before any change: got %+v", got)
	}
}

func TestDampingValidate(t *testing.T) {
	t.Parallel()
	for _, ok := range []Damping{{}, {DownAfter: 1, UpCooldown: -1, DownCooldown: 24 * time.Hour}} {
		if err := ok.Validate(); err != nil {
			t.Errorf("%+v: %v", ok, err)
		}
	}
	err := Damping{DownAfter: -1, UpCooldown: 25 * time.Hour, DownCooldown: 48 * time.Hour}.Validate()
	const want = "scaleDown.after is -1: want 1 or more, or 0 for 20\n" +
		"scaleUp.cooldown is 25h0m0s: want up to 24h, 0 for the default, or a negative one for none\n" +
		"scaleDown.cooldown is 48h0m0s: want up to 24h, 0 for the default, or a negative one for none"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
