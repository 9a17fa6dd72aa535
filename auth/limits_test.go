package auth

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimitsValidate(t *testing.T) {
	t.Parallel()
	for _, good := range []Limits{
		{},
		{
			Connections: LimitConfig{Enabled: true, Max: 60, Window: time.Minute},
			PerIP:       Allowance{1000, time.Minute},
			Events:      EventLimits{Bucket{50, 100}, Allowance{Max: 1000}},
			Publish:     PublishLimits{Allowance{1_000_000, 24 * time.Hour}},
		},
		{Events: EventLimits{PerConnection: Bucket{Rate: minRate}}},
	} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	bad := Limits{
		Connections: LimitConfig{Max: -1, Window: time.Millisecond, Keys: 1},
		PerIP:       Allowance{-1, time.Millisecond},
		Events:      EventLimits{Bucket{-1, -1}, Allowance{maxAllowance + 1, 0}},
		Publish:     PublishLimits{Allowance{0, 25 * time.Hour}},
	}
	err := bad.Validate()
	for _, want := range []string{"maxRequests: -1; give", "windowMs", "keys", "perIP.max: -1; give", "perIP.window", "events.perConnection.rate",
		"events.perConnection.burst", "events.perUser.max: 1000001; give", "publish.perUser.window"} {
		if err == nil || !strings.Contains(err.Error(), "security.rateLimit."+want) {
			t.Errorf("got %v, want it to name %s", err, want)
		}
	}
	for _, rate := range []float64{math.NaN(), math.Inf(1), minRate / 2} {
		if (Limits{Events: EventLimits{PerConnection: Bucket{Rate: rate}}}).Validate() == nil {
			t.Errorf("rate %v: no error", rate)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	t.Parallel()
	on := Limits{Connections: LimitConfig{Enabled: true, Keys: 10}}
	for _, tt := range []struct {
		limits Limits
		a      Allowance
		want   LimitConfig
	}{
		{on, Allowance{5, time.Hour}, LimitConfig{Enabled: true, Max: 5, Window: time.Hour, Keys: 10}},
		{on, Allowance{}, LimitConfig{Keys: 10}},
		{Limits{}, Allowance{5, time.Hour}, LimitConfig{Max: 5, Window: time.Hour}},
	} {
		if got := tt.limits.Of(tt.a); got != tt.want {
			t.Errorf("%+v: got %+v, want %+v", tt.a, got, tt.want)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limits := Limits{Connections: LimitConfig{Enabled: true}, Events: EventLimits{PerConnection: Bucket{Rate: 2, Burst: 3}}}
		p := limits.Pace()
		for i := range 3 {
			if ok, wait := p.Allow(); !ok || wait != 0 {
				t.Errorf("burst %d: got %v, %v", i, ok, wait)
			}
		}
		for range 10 {
			if ok, wait := p.Allow(); ok || wait != 500*time.Millisecond {
				t.Errorf("one too many: got %v, %v, want 500ms", ok, wait)
			}
		}
		time.Sleep(500 * time.Millisecond)
		if ok, _ := p.Allow(); !ok {
			t.Error("refused after the time told")
		}
		if ok, _ := p.Allow(); ok {
			t.Error("two passed in the time of one")
		}
		if ok, _ := limits.Pace().Allow(); !ok {
			t.Error("another connection is refused")
		}
		limits.Events.PerConnection.Burst = 0
		if p, n := limits.Pace(), 0; true {
			for ok := true; ok; n++ {
				ok, _ = p.Allow()
			}
			if n != 21 {
				t.Errorf("got %d at once, want ten seconds' worth", n-1)
			}
		}
		slow := Limits{Connections: LimitConfig{Enabled: true}, Events: EventLimits{PerConnection: Bucket{Rate: minRate}}}.Pace()
		slow.Allow()
		if ok, wait := slow.Allow(); ok || wait < 999*time.Second || wait > 1001*time.Second {
			t.Errorf("slow: got %v, %v, want 1000s", ok, wait)
		}
	})
	for _, off := range []Limits{{}, {Connections: LimitConfig{Enabled: true}}, {Events: EventLimits{PerConnection: Bucket{Rate: 1, Burst: 1}}}} {
		p := off.Pace()
		for range 100 {
			if ok, _ := p.Allow(); !ok {
				t.Fatalf("%+v: refused", off)
			}
		}
		if p.bucket != nil {
			t.Errorf("%+v: holds a bucket", off)
		}
	}
}

func BenchmarkPace(b *testing.B) {
	for _, rate := range []float64{0, 1e6, 1} { // no limit, passes, is refused
		p := Limits{Connections: LimitConfig{Enabled: true}, Events: EventLimits{PerConnection: Bucket{Rate: rate, Burst: 1}}}.Pace()
		b.Run(map[float64]string{0: "off", 1e6: "on", 1: "refused"}[rate], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Allow()
			}
		})
	}
}
