package scaling

import "time"

// Analysis is the seed's PerformanceAnalysis (11.1), as the API shows it: what was measured between two snapshots of one
// process. What is not known is left out. Latencies are in ms, rates are parts of 1 where they say error, else per second.
type Analysis struct {
	Window          Span             `json:"window,omitzero"`
	EventThroughput Throughput       `json:"eventThroughput"`
	Connections     Connections      `json:"connectionPerformance"`
	Subscriptions   Subscriptions    `json:"subscriptionPerformance"`
	Resources       Resources        `json:"resources"`
	Recommendations []Recommendation `json:"recommendations"` // never null
}

// Span is the time that was analysed.
type Span struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Seconds float64   `json:"seconds"`
}

// Quantiles are estimated from a histogram: see Histogram.Quantile.
type Quantiles struct {
	P50 Figure `json:"p50,omitzero"`
	P95 Figure `json:"p95,omitzero"`
	P99 Figure `json:"p99,omitzero"`
}

// Throughput is of events. Latency is the time to hand a batch of broadcasts to the sockets, publish latency that of the
// API's publications: neither is the whole way of an event.
type Throughput struct {
	EventsPerSecond    Figure    `json:"eventsPerSecond,omitzero"` // received, of the channels that this replica leads
	PublishedPerSecond Figure    `json:"publishedPerSecond,omitzero"`
	AverageLatency     Figure    `json:"averageLatency,omitzero"`
	Latency            Quantiles `json:"latency,omitzero"`
	AveragePublish     Figure    `json:"averagePublishLatency,omitzero"`
	Publish            Quantiles `json:"publishLatency,omitzero"`
	ErrorRate          Figure    `json:"errorRate,omitzero"` // of all that came in
}

// Connections are those of clients, whatever their transport.
type Connections struct {
	Active               Figure `json:"activeConnections,omitzero"`
	ConnectionRate       Figure `json:"connectionRate,omitzero"`
	DisconnectionRate    Figure `json:"disconnectionRate,omitzero"`
	ErrorRate            Figure `json:"errorRate,omitzero"` // handshakes that were refused, of all
	ChurnPerMinute       Figure `json:"churnPerMinute,omitzero"`
	SlowClientsPerMinute Figure `json:"slowClientsPerMinute,omitzero"`
}

// Subscriptions are webhooks and handlers.
type Subscriptions struct {
	Active               Figure    `json:"activeSubscriptions,omitzero"`
	ProcessedPerSecond   Figure    `json:"processedPerSecond,omitzero"`
	HandlerErrorRate     Figure    `json:"handlerErrorRate,omitzero"` // of attempts
	AverageHandler       Figure    `json:"averageHandlerLatency,omitzero"`
	Handler              Quantiles `json:"handlerLatency,omitzero"`
	DeadLettersPerMinute Figure    `json:"deadLettersPerMinute,omitzero"`
}

// Resources are those of the process.
type Resources struct {
	CPU           Figure `json:"cpuPercent,omitzero"`    // of Thresholds.CPULimit
	Memory        Figure `json:"memoryPercent,omitzero"` // of Thresholds.MemoryLimit
	ResidentBytes Figure `json:"residentBytes,omitzero"`
	Goroutines    Figure `json:"goroutines,omitzero"`
}

// Analyse compares two snapshots of one process and recommends by the thresholds. If to is not later than from, what
// needs a span of time is not known: averages, rates and CPU.
func Analyse(from, to Snapshot, t Thresholds) Analysis {
	t = t.withDefaults()
	g := grown(from, to)
	a := Analysis{
		Window: g.span,
		EventThroughput: Throughput{
			EventsPerSecond: g.received.over(g.seconds), PublishedPerSecond: g.published.over(g.seconds),
			AverageLatency: g.broadcast.Average(), Latency: quantiles(g.broadcast),
			AveragePublish: g.publish.Average(), Publish: quantiles(g.publish),
			ErrorRate: g.errors.over(g.incoming),
		},
		Connections: Connections{
			Active:         to.WebSockets.Active,
			ConnectionRate: g.connections.over(g.seconds), DisconnectionRate: g.disconnections.over(g.seconds),
			ErrorRate:            g.refused.over(g.handshakes),
			ChurnPerMinute:       g.disconnections.over(g.minutes).over(g.active),
			SlowClientsPerMinute: g.slow.over(g.minutes),
		},
		Subscriptions: Subscriptions{
			Active:             to.Subscriptions.Active,
			ProcessedPerSecond: g.processed.over(g.seconds),
			HandlerErrorRate:   g.handlerErrors.over(g.handling.Count()),
			AverageHandler:     g.handling.Average(), Handler: quantiles(g.handling),
			DeadLettersPerMinute: g.dead.over(g.minutes),
		},
		Resources: Resources{
			CPU:           g.cpu.over(g.seconds).over(limit(t.CPULimit, to.Process.CPUs)).times(100),
			Memory:        to.Process.ResidentBytes.over(limit(float64(t.MemoryLimit), to.Process.MemoryLimit)).times(100),
			ResidentBytes: to.Process.ResidentBytes, Goroutines: to.Process.Goroutines,
		},
	}
	a.Recommendations = advise(a, g, t)
	return a
}

func limit(set float64, runtime Figure) Figure {
	if set > 0 {
		return Known(set)
	}
	return runtime
}

func quantiles(h Histogram) Quantiles {
	return Quantiles{h.Quantile(0.5), h.Quantile(0.95), h.Quantile(0.99)}
}
