package main

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// quantity is a flag for a number as Kubernetes writes it: 500m, 0.5, 512Mi, 1G.
type quantity float64

var suffixes = []struct {
	suffix string
	factor float64
}{ // longer ones first
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

func (q *quantity) Set(s string) error {
	number, factor := s, 1.0
	for _, f := range suffixes {
		if n, ok := strings.CutSuffix(s, f.suffix); ok {
			number, factor = n, f.factor
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v > 0) || math.IsInf(v*factor, 0) || strings.ContainsAny(number, "xX_pP") {
		return errors.New("want a number above 0, as Kubernetes writes it, such as 500m or 512Mi")
	}
	*q = quantity(v * factor)
	return nil
}

func (q *quantity) String() string {
	if *q == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*q), 'g', -1, 64)
}
