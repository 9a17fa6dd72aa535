package delivery

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have the seed's names (10.1). Labels are channels, categories and reasons, never ids.
type metrics struct {
	active    prometheus.Gauge
	created   *prometheus.CounterVec
	removed   *prometheus.CounterVec
	processed *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	dead      *prometheus.CounterVec
	passed    *prometheus.CounterVec
	requests  *prometheus.CounterVec
	open      prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventbus_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "eventbus_" + name, Help: help})
		reg.MustRegister(g)
		return g
	}
	m := &metrics{
		active:    gauge("active_subscriptions_total", "Subscriptions that this replica runs."),
		created:   counter("subscriptions_created_total", "Subscriptions that this replica began to run.", "channel"),
		removed:   counter("subscriptions_removed_total", "Subscriptions that this replica ceased to run: removed, changed, or another one leads.", "channel"),
		processed: counter("subscription_messages_processed_total", "Events handled by a subscription.", "channel"),
		errors:    counter("subscription_handler_errors_total", "Attempts of subscriptions that failed, by category.", "channel", "error_type"),
		dead:      counter("dead_letters_total", "Events of subscriptions that went to the dead letters.", "channel", "reason"),
		passed:    counter("subscriptions_passed_total", "Times a subscription lost events, as the feed kept no more.", "channel"),
		requests:  counter("webhook_requests_total", "Requests to webhooks, by success, category of failure, or permanent: not to be tried again.", "outcome"),
		open:      gauge("circuit_breakers_open", "Subscriptions whose breaker is not closed."),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eventbus_subscription_handler_duration_milliseconds",
			Help:    "Time of one attempt of a subscription.",
			Buckets: []float64{1, 5, 10, 25, 50, 100, 250, 500, 1000, 2000},
		}, []string{"channel"}),
	}
	reg.MustRegister(m.duration)
	return m
}

func (m *metrics) attempted(channel string, a Attempt, webhook bool) {
	m.duration.WithLabelValues(channel).Observe(float64(a.Took) / float64(time.Millisecond))
	outcome := "success"
	if a.Err == nil {
		m.processed.WithLabelValues(channel).Inc()
	} else {
		outcome = string(a.Category)
		m.errors.WithLabelValues(channel, outcome).Inc()
		if isPermanent(a.Err) {
			outcome = "permanent"
		}
	}
	if webhook {
		m.requests.WithLabelValues(outcome).Inc()
	}
}
