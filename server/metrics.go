package server

import (
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
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
	broadcast      *prometheus.HistogramVec
	connections    prometheus.Counter
	disconnections *prometheus.CounterVec
	recoveries     *prometheus.CounterVec
	refused        *prometheus.CounterVec
	denied         prometheus.Counter
	badEvents      prometheus.Counter
	leases         *prometheus.GaugeVec
	retries        prometheus.Counter
	trimmed        *prometheus.CounterVec
	deadLetters    *prometheus.CounterVec
	dropped        *prometheus.CounterVec
	publications   *prometheus.CounterVec
	publishErrors  *prometheus.CounterVec
	publishTime    *prometheus.HistogramVec

	badDeclarations prometheus.Counter

	lag   atomic.Int64   // ns, of the last entries delivered
	tally *adapter.Tally // nil: nobody sums up
	sums  struct{ connected, disconnected, recovered, refused, published, received, errors, lag, batches atomic.Int64 }
	// by channel and type, so that the ingest path looks no label up
	byType map[string]map[string]received
}

// received is where events of a type on a channel are counted.
type received struct {
	prometheus.Counter
	tally string
}

// What a Tally counts: one of these, the channel and the type, with bars between.
const (
	tallyPublished = "published"
	tallyReceived  = "received"
	tallyDuplicate = "duplicate"
	tallyFiltered  = "filtered"
	tallyError     = "error"
)

func tallyName(what, channel, eventType string) string { return what + "|" + channel + "|" + eventType }

// otherType is the event_type of what is not one of ours.
const otherType = "other"

func newMetrics(sockets *socketio.Server, channels map[string]*channel, types []string, tally *adapter.Tally, reg prometheus.Registerer) *metrics {
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
		broadcast: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eventbus_room_broadcast_duration_milliseconds",
			Help:    "Time to hand a batch of broadcasts to the sockets of this replica, by what their rooms are for: photo, user, client, session, all, other, or mixed.",
			Buckets: []float64{0.1, 0.5, 1, 5, 10, 25, 50, 100, 250},
		}, []string{"room_type"}),
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
		deadLetters:   counter("ingest_dead_letters_total", "Messages from Redis that were refused, and are among the dead letters.", "channel", "reason"),
		dropped:       counter("events_filtered_total", "Events dropped by filters.", "direction", "channel", "event_type"),
		publications:  counter("events_published_total", "Events published through this service.", "channel", "event_type"),
		publishErrors: counter("event_publish_errors_total", "Events that were not published through this service.", "channel", "error_type"),
		publishTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eventbus_event_publish_duration_milliseconds",
			Help:    "Time to publish an event, or a batch of them, through this service.",
			Buckets: []float64{1, 5, 10, 25, 50, 100, 250, 500, 1000},
		}, []string{"channel"}),
		badDeclarations: counter("declarations_refused_total", "Times that what was declared at run time could not be taken over.").WithLabelValues(),
		tally:           tally,
		byType:          map[string]map[string]received{},
	}
	reg.MustRegister(m.broadcast, m.leases, m.publishTime)
	gauge("websocket_active_connections", "Open connections, whatever their transport.", func() float64 {
		return float64(sockets.Engine().Len())
	})
	gauge("queue_bytes", "Bytes that wait for clients to take them.", func() float64 { return float64(sockets.Engine().Queued()) })
	messages := func(name, help string, value func() uint64) {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "eventbus_websocket_messages_" + name + "_total", Help: help},
			func() float64 { return float64(value()) }))
	}
	messages("sent", "Packets for clients, heartbeats included.", func() uint64 { out, _ := sockets.Engine().Messages(); return out })
	messages("received", "Messages that came from clients.", func() uint64 { _, in := sockets.Engine().Messages(); return in })
	gauge("log_lag_seconds", "How old the last entries of the log were when this replica had brought them to its sockets.", func() float64 {
		return time.Duration(m.lag.Load()).Seconds()
	})
	gauge("active_rooms_total", "Rooms that have members.", func() float64 { return float64(sockets.Of("/").Rooms()) })
	for channel, c := range channels {
		m.leases.WithLabelValues(channel).Set(0)
		m.byType[channel] = map[string]received{}
		for _, t := range append(types, otherType) {
			m.byType[channel][t] = received{m.events.WithLabelValues(channel, t), tallyName(tallyReceived, channel, t)}
		}
		waitingGauge(reg, c)
	}
	return m
}

// waitingGauge shows what was heard and is not known to be in the log.
func waitingGauge(reg prometheus.Registerer, c *channel) {
	w, label := c.waiting, prometheus.Labels{"channel": c.name}
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "eventbus_waiting_events", ConstLabels: label,
			Help: "Plain events heard and not known to be in the log: a leader's queue, and what the others keep for up to a minute in case it dies.",
		}, func() float64 { return float64(w.count()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "eventbus_waiting_dropped_total", ConstLabels: label,
			Help: "Plain events that a replica which does not lead let go, as it kept too many.",
		}, func() float64 { return float64(w.forgotten()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "eventbus_ingest_lag_seconds", ConstLabels: label,
			Help: "Where this replica leads: for how long the oldest event has waited for the log, plain or durable.",
		}, func() float64 { return c.lag(time.Now()).Seconds() }),
	)
}

// known is an event type as a label: those that nobody has declared are one.
func (m *metrics) known(channel, eventType string) string {
	if _, ok := m.byType[channel][eventType]; !ok {
		return otherType
	}
	return eventType
}

func (m *metrics) add(what, channel, eventType string) {
	if m.tally != nil {
		m.tally.Add(tallyName(what, channel, eventType), 1)
	}
}

func (m *metrics) received(channel, eventType string, fresh bool) {
	eventType = m.known(channel, eventType)
	if !fresh {
		m.duplicates.WithLabelValues(channel).Inc()
		m.add(tallyDuplicate, channel, eventType)
		return
	}
	if c, ok := m.byType[channel][eventType]; ok { // a source hands over what it was asked for
		c.Inc()
		m.sums.received.Add(1)
		if m.tally != nil {
			m.tally.Add(c.tally, 1)
		}
	}
}

// filtered counts an event that a filter dropped.
func (m *metrics) filtered(direction, channel, eventType string) {
	eventType = m.known(channel, eventType)
	m.dropped.WithLabelValues(direction, channel, eventType).Inc()
	m.add(tallyFiltered, channel, eventType)
}

// published counts an event that somebody published through us, or tried to.
func (m *metrics) published(p Published, eventType string, took time.Duration) {
	if _, ok := m.byType[p.Channel]; !ok {
		p.Channel = otherType // of the caller's invention
	}
	eventType = m.known(p.Channel, eventType)
	switch {
	case p.Err != nil:
		m.publishErrors.WithLabelValues(p.Channel, publishError(p.Err)).Inc()
	case p.Dropped != "":
		m.filtered("outbound", p.Channel, eventType)
	default:
		m.publications.WithLabelValues(p.Channel, eventType).Inc()
		m.sums.published.Add(1)
		m.publishTime.WithLabelValues(p.Channel).Observe(float64(took) / float64(time.Millisecond))
		m.add(tallyPublished, p.Channel, eventType)
	}
}

// publishError bounds the label values of what went wrong.
func publishError(err error) string {
	switch {
	case errors.Is(err, ErrLimited):
		return "rate_limit"
	case errors.Is(err, events.ErrInvalid):
		return "validation"
	case errors.Is(err, auth.ErrDenied):
		return "permission"
	}
	return "redis"
}

func (m *metrics) ingestError(channel string, err error) {
	m.add(tallyError, channel, otherType) // what could not be read says nothing of its type
	m.sums.errors.Add(1)
	kind := "malformed"
	switch {
	case errors.Is(err, events.ErrTooLarge):
		kind = "too_large"
	case errors.Is(err, ErrLimited):
		kind = "rate_limit"
	case errors.Is(err, events.ErrInvalid):
		kind = "invalid"
	}
	m.errors.WithLabelValues(channel, kind, "validation").Inc()
}

// refuse counts a connection that was refused in the handshake.
func (m *metrics) refuse(why string) {
	m.refused.WithLabelValues(why).Inc()
	m.sums.refused.Add(1)
}

// delivered counts entries that went to the sockets, as begun at start.
func (m *metrics) delivered(entries []adapter.Entry, start time.Time) {
	now := time.Now()
	m.entries.Add(float64(len(entries)))
	if len(entries) == 0 {
		return
	}
	kind := roomType(entries[0].Rooms)
	for i := range entries[1:] {
		if roomType(entries[i+1].Rooms) != kind {
			kind = "mixed"
			break
		}
	}
	m.broadcast.WithLabelValues(kind).Observe(float64(now.Sub(start)) / float64(time.Millisecond))
	at := entries[len(entries)-1].At
	if at.IsZero() {
		at = start
	}
	lag := now.Sub(at)
	m.lag.Store(int64(lag))
	m.sums.lag.Add(int64(lag))
	m.sums.batches.Add(1)
}

// roomType says what rooms are for, by the first of them.
func roomType(rooms []string) string {
	if rooms == nil {
		return "all"
	}
	if len(rooms) > 0 {
		switch kind, _, _ := strings.Cut(rooms[0], ":"); kind {
		case "photo", "user", "client", "session":
			return kind
		}
	}
	return "other"
}

func (m *metrics) recovered(ok bool) {
	m.sums.connected.Add(1)
	if ok {
		m.sums.recovered.Add(1)
	}
	m.recoveries.WithLabelValues(map[bool]string{true: "recovered", false: "new"}[ok]).Inc()
}
