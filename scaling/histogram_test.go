package scaling

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

var inf = math.Inf(1)

// buckets makes a histogram of bounds and cumulative counts in turn; the last bound is +Inf.
func buckets(sum float64, pairs ...float64) Histogram {
	h := Histogram{Sum: sum}
	for i := 0; i < len(pairs); i += 2 {
		h.Buckets = append(h.Buckets, Bucket{pairs[i], pairs[i+1]})
	}
	return h
}

// The expectations are what Prometheus's histogram_quantile makes of the same buckets (promql/quantile.go).
func TestQuantile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		h    Histogram
		q    float64
		want Figure
	}{
		"within a bucket":              {buckets(0, 10, 10, 20, 20, inf, 20), 0.75, Known(15)},
		"first bucket begins at 0":     {buckets(0, 10, 10, 20, 20, inf, 20), 0.25, Known(5)},
		"at a bound":                   {buckets(0, 10, 10, 20, 20, inf, 20), 0.5, Known(10)},
		"all of it":                    {buckets(0, 10, 10, 20, 20, inf, 20), 1, Known(20)},
		"an empty bucket is passed":    {buckets(0, 1, 0, 5, 0, 25, 100, inf, 100), 0.5, Known(15)},
		"beyond the last finite bound": {buckets(0, 10, 1, 20, 2, inf, 100), 0.99, Known(20)},
		"first bound is not above 0":   {buckets(0, 0, 10, 5, 10, inf, 10), 0.5, Known(0)},
		"nothing observed":             {buckets(0, 10, 0, inf, 0), 0.5, Figure{}},
		"only one bucket":              {buckets(9, inf, 10), 0.5, Figure{}},
		"not there":                    {Histogram{}, 0.5, Figure{}},
	} {
		if got := test.h.Quantile(test.q); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// A quantile lies within the bucket that holds the true value, and grows with q.
func TestQuantileBounds(t *testing.T) {
	t.Parallel()
	dice := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		h := buckets(0, 1, 0, 5, 0, 10, 0, 25, 0, inf, 0)
		n := 1 + dice.IntN(50)
		for range n {
			v := dice.Float64() * 30
			for i := range h.Buckets {
				if v <= h.Buckets[i].Bound {
					h.Buckets[i].Count++
				}
			}
		}
		last := 0.0
		for q := 0.01; q < 1; q += 0.01 {
			got := h.Quantile(q)
			if !got.Known || got.Value < last || got.Value > 25 {
				t.Fatalf("quantile %g of %v is %v after %g", q, h, got, last)
			}
			last = got.Value
		}
	}
}

func TestHistogramSince(t *testing.T) {
	t.Parallel()
	earlier, later := buckets(30, 1, 1, 10, 5, inf, 6), buckets(50, 1, 2, 10, 7, inf, 8)
	for name, test := range map[string]struct{ from, to, want Histogram }{
		"grown":             {earlier, later, buckets(20, 1, 1, 10, 2, inf, 2)},
		"unchanged":         {later, later, buckets(0, 1, 0, 10, 0, inf, 0)},
		"begun anew":        {later, earlier, earlier},
		"begun in between":  {Histogram{}, later, later},
		"gone":              {earlier, Histogram{}, Histogram{}},
		"buckets changed":   {buckets(1, 2, 1, inf, 1), later, later},
		"a bucket shrank":   {buckets(30, 1, 3, 10, 3, inf, 3), later, later},
		"neither was there": {},
	} {
		got := test.to.since(test.from)
		if got.Sum != test.want.Sum || len(got.Buckets) != len(test.want.Buckets) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
			continue
		}
		for i := range got.Buckets {
			if got.Buckets[i] != test.want.Buckets[i] {
				t.Errorf("%s: got %v, want %v", name, got, test.want)
			}
		}
	}
}

func TestReadHistogram(t *testing.T) {
	t.Parallel()
	made := func(count uint64, pairs ...float64) *dto.Histogram {
		h := &dto.Histogram{SampleCount: &count}
		for i := 0; i < len(pairs); i += 2 {
			n := uint64(pairs[i+1])
			h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: &pairs[i], CumulativeCount: &n})
		}
		return h
	}
	for name, test := range map[string]struct {
		h    *dto.Histogram
		fail string
	}{
		"as gathered":      {made(5, 1, 2, 10, 4), ""},
		"as in a text":     {made(5, 1, 2, 10, 4, inf, 5), ""},
		"not a histogram":  {nil, "no histogram"},
		"no buckets":       {made(5), "no histogram"},
		"too many":         {made(5, make([]float64, 2*maxBuckets+2)...), "no histogram"},
		"bounds descend":   {made(5, 10, 2, 1, 4), "do not ascend"},
		"a bound twice":    {made(5, 1, 2, 1, 2), "do not ascend"},
		"a bound is NaN":   {made(5, 1, 2, math.NaN(), 4), "do not ascend"},
		"the only is NaN":  {made(5, math.NaN(), 4), "do not ascend"},
		"counts descend":   {made(5, 1, 4, 10, 2), "do not ascend"},
		"total is too few": {made(3, 1, 2, 10, 4), "do not ascend"},
	} {
		got, err := readHistogram(test.h)
		switch {
		case test.fail == "" && err != nil, test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)):
			t.Errorf("%s: got error %v, want %q", name, err, test.fail)
		case test.fail == "" && (len(got.Buckets) != 3 || got.Buckets[2] != Bucket{inf, 5} || got.Count() != Known(5)):
			t.Errorf("%s: got %v", name, got)
		}
	}
}
