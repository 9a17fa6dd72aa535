package scaling

import (
	"encoding/json"
	"math"
)

// Figure is a number, or not known. Its zero value is not known, so what nobody has measured cannot pass for 0.
type Figure struct {
	Value float64 // 0 unless known
	Known bool
}

// Known is a figure that is known, unless v is no finite number.
func Known(v float64) Figure {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Figure{}
	}
	return Figure{v, true}
}

// MarshalJSON is the number, or null. A field with omitzero is left out while it is not known.
func (f Figure) MarshalJSON() ([]byte, error) {
	if !f.Known {
		return []byte("null"), nil
	}
	return json.Marshal(f.Value)
}

// over is f in parts of g, unknown if either is, or g is 0.
func (f Figure) over(g Figure) Figure {
	if !f.Known || !g.Known || g.Value == 0 {
		return Figure{}
	}
	return Known(f.Value / g.Value)
}

// times is f multiplied.
func (f Figure) times(by float64) Figure {
	if !f.Known {
		return f
	}
	return Known(f.Value * by)
}

// plus is the sum, unknown if either is.
func (f Figure) plus(g Figure) Figure {
	if !f.Known || !g.Known {
		return Figure{}
	}
	return Known(f.Value + g.Value)
}

// since is how much a counter has grown from an earlier reading, by Prometheus's rule: one that is less than it was has
// begun anew at 0. One that was not there is taken to have begun in between, as a counter with labels does when it is
// first used.
func (f Figure) since(earlier Figure) Figure {
	if f.Known && earlier.Known && f.Value >= earlier.Value {
		return Known(f.Value - earlier.Value)
	}
	return f
}

// exceeds tells whether f is known to be above the limit. A negative limit is none.
func (f Figure) exceeds(limit float64) bool { return f.Known && limit >= 0 && f.Value > limit }
