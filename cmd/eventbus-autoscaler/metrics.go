package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/scaling"
)

// metrics are those of the autoscaler itself.
type metrics struct {
	decisions *prometheus.CounterVec
	changes   *prometheus.CounterVec
	failures  *prometheus.CounterVec
	replicas  *prometheus.GaugeVec
	missing   prometheus.Gauge
	last      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventbus_autoscaler_" + name, Help: help}, []string{label})
		reg.MustRegister(c)
		for _, v := range values { // 0 is seen before the first
			c.WithLabelValues(v)
		}
		return c
	}
	m := &metrics{
		decisions: counter("decisions_total", "Evaluations, by what they decided.", "action", scaling.ScaleUp, scaling.ScaleDown, scaling.NoChange),
		changes:   counter("changes_total", "Changes of the number of replicas.", "action", scaling.ScaleUp, scaling.ScaleDown),
		failures:  counter("failures_total", "What went wrong: asking for or setting the scale, the load, looking for an HPA or finding one, waiting.", "stage", "scale", "load", "hpa", "wait"),
		replicas: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eventbus_autoscaler_replicas", Help: "Replicas that the deployment had, and should have, in the last evaluation.",
		}, []string{"state"}),
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eventbus_autoscaler_replicas_unknown", Help: "Replicas of which figures were missing in the last evaluation.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eventbus_autoscaler_last_evaluation_seconds", Help: "Time of the last evaluation.",
		}),
	}
	reg.MustRegister(m.replicas, m.missing, m.last)
	return m
}

func (m *metrics) evaluated(load scaling.Load, d scaling.Decision) {
	m.decisions.WithLabelValues(d.Action).Inc()
	m.replicas.WithLabelValues("current").Set(float64(d.CurrentReplicas))
	m.replicas.WithLabelValues("target").Set(float64(d.TargetReplicas))
	m.missing.Set(float64(load.Missing))
	m.last.SetToCurrentTime()
}

func (m *metrics) scaled(d scaling.Decision) { m.changes.WithLabelValues(d.Action).Inc() }
