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

	// by channel and type, so that the ingest path looks no label up
	byType map[string]map[string]prometheus.Counter
}

// otherType is the event_type of what is not one of ours.
const otherType = "other"

func newMetrics(sockets *socketio.Server, channels []string, reg prometheus.Registerer) *metrics {
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
		byType:         map[string]map[string]prometheus.Counter{},
	}
	reg.MustRegister(m.broadcast)
	gauge("websocket_active_connections", "Open connections, whatever their transport.", func() float64 {
		return float64(sockets.Engine().Len())
	})
	gauge("active_rooms_total", "Rooms that have members.", func() float64 { return float64(sockets.Of("/").Rooms()) })
	for _, channel := range channels {
		m.byType[channel] = map[string]prometheus.Counter{}
		for _, t := range append(events.Types(), otherType) {
			m.byType[channel][t] = m.events.WithLabelValues(channel, t)
		}
	}
	return m
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
	kind, category := "append", "network"
	switch {
	case errors.Is(err, events.ErrTooLarge):
		kind, category = "too_large", "validation"
	case errors.Is(err, events.ErrMalformed):
		kind, category = "malformed", "validation"
	}
	m.errors.WithLabelValues(channel, kind, category).Inc()
}

func (m *metrics) delivered(entries int, took time.Duration) {
	m.entries.Add(float64(entries))
	m.broadcast.Observe(float64(took) / float64(time.Millisecond))
}

func (m *metrics) recovered(ok bool) {
	m.recoveries.WithLabelValues(map[bool]string{true: "recovered", false: "new"}[ok]).Inc()
}
