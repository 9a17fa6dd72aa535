package scaling

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Damping keeps a replica count from swinging: a replica less makes its clients move, and one more takes load off the
// others only as clients come.
type Damping struct {
	// DownAfter is how many decisions in a row have to be for fewer replicas before that is done. Zero means 20: ten
	// minutes, at one in 30 s.
	DownAfter int
	// UpCooldown and DownCooldown are how long after the last change, of either kind, the count may go up or down again.
	// Zero means 1 min and 5 min; negative is none.
	UpCooldown, DownCooldown time.Duration
}

func (d Damping) withDefaults() Damping {
	d.DownAfter = cmp.Or(d.DownAfter, 20)
	d.UpCooldown = cmp.Or(d.UpCooldown, time.Minute)
	d.DownCooldown = cmp.Or(d.DownCooldown, 5*time.Minute)
	return d
}

// Validate reports all problems at once, by key.
func (d Damping) Validate() error {
	var errs []error
	if d.DownAfter < 0 {
		errs = append(errs, fmt.Errorf("scaleDown.after is %d: want 1 or more, or 0 for 20", d.DownAfter))
	}
	for _, c := range []struct {
		key  string
		time time.Duration
	}{{"scaleUp.cooldown", d.UpCooldown}, {"scaleDown.cooldown", d.DownCooldown}} {
		if c.time > 24*time.Hour {
			errs = append(errs, fmt.Errorf("%s is %s: want up to 24h, 0 for the default, or a negative one for none", c.key, c.time))
		}
	}
	return errors.Join(errs...)
}

// Damper passes decisions on that have held for long enough. It has no clock: the time is told. It is for one goroutine.
type Damper struct {
	cfg     Damping
	downs   int       // decisions in a row for fewer replicas
	changed time.Time // when the count last did; zero: never
}

// NewDamper makes one that knows of no change yet.
func NewDamper(cfg Damping) *Damper { return &Damper{cfg: cfg.withDefaults()} }

// Settle is the decision, or none to change anything and why, if it is not time yet.
func (d *Damper) Settle(dec Decision, now time.Time) Decision {
	if dec.Action != ScaleDown {
		d.downs = 0
	}
	cooldown := d.cfg.UpCooldown
	switch dec.Action {
	case NoChange:
		return dec
	case ScaleDown:
		d.downs = min(d.downs+1, d.cfg.DownAfter)
		if d.downs < d.cfg.DownAfter {
			return hold(dec, fmt.Sprintf("for %d of %d evaluations", d.downs, d.cfg.DownAfter))
		}
		cooldown = d.cfg.DownCooldown
	}
	if since := now.Sub(d.changed); !d.changed.IsZero() && since < cooldown {
		return hold(dec, fmt.Sprintf("changed %s ago, cooling down for %s", since.Round(time.Second), cooldown))
	}
	return dec
}

// Changed tells that the count was changed just now.
func (d *Damper) Changed(now time.Time) { d.downs, d.changed = 0, now }

func hold(dec Decision, why string) Decision {
	dec.Action, dec.TargetReplicas, dec.Reason = NoChange, dec.CurrentReplicas, fmt.Sprintf("Waiting with %s: %s; %s", dec.Action, dec.Reason, why)
	return dec
}
