package server

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/server/socketio"
)

// metrics are those of a Server, with the seed's names (10.1) where it has one. Label values come from our own
// short lists.
type metrics struct {
	events         *prometheus.CounterVec
	duplicates     *prometheus.CounterVec
	errors         *prometheus.CounterVec
	entries        prometheus.Counter
	broadcast      prometheus.Histogram
	connections    prometheus.Counter
	disconnections *prometheus.CounterVec
	recoveries     *prometheus.CounterVec
	refused        *prometheus.CounterVec
	denied         prometheus.Counter
	badEvents      prometheus.Counter
	leases         *prometheus.GaugeVec
	retries        prometheus.Counter
	trimmed        *prometheus.CounterVec

	// by channel and type, so that the ingest path looks no label up
	byType map[string]map[string]prometheus.Counter
}

// otherType is the event_type of what is not one of ours.
const otherType = "other"

func newMetrics(sockets *socketio.Server, channels map[string]*channel, reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "eventbus_" + name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "eventbus_" + name, Help: help}, value))
	}
	m := &metrics{
		events:     counter("events_received_total", "Events received, each once.", "channel", "event_type"),
		duplicates: counter("events_duplicate_total", "Events dropped because their id was seen before.", "channel"),
		errors:     counter("event_errors_total", "Events that could not be processed.", "channel", "error_type", "category"),
		entries:    counter("log_entries_total", "Broadcasts taken from the log to the sockets of this replica.").WithLabelValues(),
		broadcast: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "eventbus_room_broadcast_duration_milliseconds",
			Help:    "Time to hand a batch of broadcasts to the sockets of this replica.",
			Buckets: []float64{0.1, 0.5, 1, 5, 10, 25, 50, 100, 250},
		}),
		connections:    counter("websocket_connections_total", "Sockets connected, whatever their transport.").WithLabelValues(),
		disconnections: counter("websocket_disconnections_total", "Sockets disconnected.", "reason"),
		recoveries:     counter("recoveries_total", "Sockets connected, by whether they continue an earlier connection.", "outcome"),
		refused:        counter("connections_refused_total", "Connections refused in the handshake.", "reason"),
		denied:         counter("subscriptions_denied_total", "Subscriptions of clients that were denied.").WithLabelValues(),
		badEvents:      counter("client_events_refused_total", "Events of clients that were malformed, unknown or too many.").WithLabelValues(),
		retries:        counter("log_retries_total", "Attempts to reach the log, while events waited for it, that failed.").WithLabelValues(),
		trimmed:        counter("input_trimmed_total", "Times a durable input was found trimmed beyond what had been read.", "channel"),
		leases: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eventbus_leases_held", Help: "1 while this replica leads the channel.",
		}, []string{"channel"}),
		byType: map[string]map[string]prometheus.Counter{},
	}
	reg.MustRegister(m.broadcast, m.leases)
	gauge("websocket_active_connections", "Open connections, whatever their transport.", func() float64 {
		return float64(sockets.Engine().Len())
	})
	gauge("active_rooms_total", "Rooms that have members.", func() float64 { return float64(sockets.Of("/").Rooms()) })
	for channel, c := range channels {
		m.leases.WithLabelValues(channel).Set(0)
		m.byType[channel] = map[string]prometheus.Counter{}
		for _, t := range append(events.Types(), otherType) {
			m.byType[channel][t] = m.events.WithLabelValues(channel, t)
		}
		waitingGauge(reg, channel, c.waiting)
	}
	return m
}

// waitingGauge shows what was heard and is not known to be in the log.
func waitingGauge(reg prometheus.Registerer, channel string, w *waiting) {
	label := prometheus.Labels{"channel": channel}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "eventbus_waiting_events", ConstLabels: label,
			Help: "Plain events heard and not known to be in the log: a leader's queue, and what the others keep in case it dies.",
		}, func() float64 { return float64(w.count()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "eventbus_waiting_dropped_total", ConstLabels: label,
			Help: "Plain events that a replica which does not lead let go, as it kept too many.",
		}, func() float64 { return float64(w.forgotten()) }),
	)
}

func (m *metrics) received(channel, eventType string, fresh bool) {
	if !fresh {
		m.duplicates.WithLabelValues(channel).Inc()
		return
	}
	if _, ok := m.byType[channel][eventType]; !ok {
		eventType = otherType
	}
	if c, ok := m.byType[channel][eventType]; ok { // a source hands over what it was asked for
		c.Inc()
	}
}

func (m *metrics) ingestError(channel string, err error) {
	kind := "malformed"
	if errors.Is(err, events.ErrTooLarge) {
		kind = "too_large"
	}
	m.errors.WithLabelValues(channel, kind, "validation").Inc()
}

func (m *metrics) delivered(entries int, took time.Duration) {
	m.entries.Add(float64(entries))
	m.broadcast.Observe(float64(took) / float64(time.Millisecond))
}

func (m *metrics) recovered(ok bool) {
	m.recoveries.WithLabelValues(map[bool]string{true: "recovered", false: "new"}[ok]).Inc()
}
