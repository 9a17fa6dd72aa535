package scaling

import (
	"errors"
	"fmt"
	"math"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// Histogram is one of Prometheus's with fixed buckets. The zero value is one that is not known. It is read-only.
type Histogram struct {
	Sum     float64
	Buckets []Bucket // ascending, the last one's bound is +Inf; none: not known
}

// Bucket counts the observations up to a bound: it includes those of the buckets before it.
type Bucket struct{ Bound, Count float64 }

// Known tells whether the histogram was there.
func (h Histogram) Known() bool { return len(h.Buckets) > 0 }

// Count is the number of observations.
func (h Histogram) Count() Figure {
	if !h.Known() {
		return Figure{}
	}
	return Known(h.Buckets[len(h.Buckets)-1].Count)
}

// Average is the mean, not known if nothing was observed.
func (h Histogram) Average() Figure { return Known(h.Sum).over(h.Count()) }

// Quantile estimates the value below which a part q (0 to 1) of the observations lies, as Prometheus's histogram_quantile
// does: within the bucket that it falls into, observations count as evenly spread from the bound below (0 for the first
// bucket) to its own. If it falls into the last bucket, which has no end, it is the highest finite bound: the true value
// is that or more. It is not known if nothing was observed, or there is but one bucket.
func (h Histogram) Quantile(q float64) Figure {
	total, last := h.Count(), len(h.Buckets)-1
	if total.Value == 0 || last < 1 {
		return Figure{}
	}
	rank := q * total.Value
	i := slices.IndexFunc(h.Buckets, func(b Bucket) bool { return b.Count >= rank })
	switch {
	case i < 0 || i == last:
		return Known(h.Buckets[last-1].Bound)
	case i == 0 && h.Buckets[0].Bound <= 0:
		return Known(h.Buckets[0].Bound)
	}
	below := Bucket{}
	if i > 0 {
		below = h.Buckets[i-1]
	}
	b := h.Buckets[i]
	return Known(below.Bound + (b.Bound-below.Bound)*(rank-below.Count)/(b.Count-below.Count))
}

// since is what was observed after an earlier reading. As with counters, one that has less than it had has begun anew.
func (h Histogram) since(earlier Histogram) Histogram {
	if !sameBounds(h.Buckets, earlier.Buckets) {
		return h
	}
	diff := Histogram{Sum: h.Sum - earlier.Sum, Buckets: slices.Clone(h.Buckets)}
	before := 0.0
	for i := range diff.Buckets {
		diff.Buckets[i].Count -= earlier.Buckets[i].Count
		if diff.Buckets[i].Count < before {
			return h
		}
		before = diff.Buckets[i].Count
	}
	return diff
}

// add is both together: two series of one name.
func (h Histogram) add(g Histogram) (Histogram, error) {
	if !h.Known() {
		return g, nil
	}
	if !sameBounds(h.Buckets, g.Buckets) {
		return Histogram{}, errors.New("its series have different buckets")
	}
	sum := Histogram{Sum: h.Sum + g.Sum, Buckets: slices.Clone(h.Buckets)}
	for i := range sum.Buckets {
		sum.Buckets[i].Count += g.Buckets[i].Count
	}
	return sum, nil
}

func sameBounds(a, b []Bucket) bool {
	return slices.EqualFunc(a, b, func(a, b Bucket) bool { return a.Bound == b.Bound })
}

// maxBuckets is more than any of ours has.
const maxBuckets = 1000

// readHistogram takes over what was gathered, which may leave the last bucket out.
func readHistogram(d *dto.Histogram) (Histogram, error) {
	if d == nil || len(d.GetBucket()) == 0 || len(d.GetBucket()) > maxBuckets {
		return Histogram{}, fmt.Errorf("it has no histogram of 1 to %d buckets", maxBuckets)
	}
	h := Histogram{Sum: d.GetSampleSum(), Buckets: make([]Bucket, 0, len(d.GetBucket())+1)}
	for _, b := range d.GetBucket() {
		h.Buckets = append(h.Buckets, Bucket{b.GetUpperBound(), float64(b.GetCumulativeCount())})
	}
	if last := h.Buckets[len(h.Buckets)-1]; !math.IsInf(last.Bound, 1) {
		h.Buckets = append(h.Buckets, Bucket{math.Inf(1), float64(d.GetSampleCount())})
	}
	for i, b := range h.Buckets[1:] {
		if below := h.Buckets[i]; !(b.Bound > below.Bound) || b.Count < below.Count {
			return Histogram{}, errors.New("its buckets do not ascend")
		}
	}
	return h, nil
}
