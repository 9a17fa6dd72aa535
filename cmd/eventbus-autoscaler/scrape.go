package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/photo-management/event-bus/scaling"
)

const maxMetrics = 2 << 20 // bytes of a replica's metrics; they have about 50 KB

// scrape is what one replica tells of itself.
func (r *replicas) scrape(ctx context.Context, t target) (scaling.Snapshot, error) {
	ctx, done := context.WithTimeout(context.WithValue(ctx, dialKey{}, t.addr), scrapeTimeout)
	defer done()
	fail := func(err error) (scaling.Snapshot, error) {
		return scaling.Snapshot{}, fmt.Errorf("metrics of %s: %w", t.addr, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, nil)
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	req.Header.Set("User-Agent", "eventbus-autoscaler")
	res, err := r.client.Do(req)
	if err != nil {
		return fail(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("%d %s", res.StatusCode, http.StatusText(res.StatusCode)))
	}
	text, err := readBounded(res.Body, maxMetrics)
	if err != nil {
		return fail(err)
	}
	s, err := scaling.Read(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return parseMetrics(text) }))
	if err != nil {
		return fail(err)
	}
	return s, nil
}

// parseMetrics reads Prometheus's text format.
func parseMetrics(text []byte) ([]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	byName, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("text format of Prometheus: %w", err)
	}
	families := make([]*dto.MetricFamily, 0, len(byName))
	for _, f := range byName {
		families = append(families, f)
	}
	return families, nil
}
