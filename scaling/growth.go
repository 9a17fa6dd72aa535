package scaling

// growth is what happened between two snapshots.
type growth struct {
	span             Span
	seconds, minutes Figure

	published, received, errors Figure
	incoming                    Figure // received, or an error
	publish, broadcast          Histogram

	connections, disconnections, slow, refused Figure
	handshakes                                 Figure // connected, or refused
	active                                     Figure // in the middle of both snapshots

	processed, handlerErrors, dead Figure
	handling                       Histogram

	cpu Figure // seconds
}

func grown(from, to Snapshot) growth {
	took := to.Time.Sub(from.Time).Seconds()
	if from.Time.IsZero() || took <= 0 {
		return growth{}
	}
	g := growth{
		span:    Span{from.Time, to.Time, took},
		seconds: Known(took), minutes: Known(took / 60),

		published: to.Events.Published.since(from.Events.Published),
		received:  to.Events.Received.since(from.Events.Received),
		errors:    to.Events.Errors.since(from.Events.Errors),
		publish:   to.Events.Publish.since(from.Events.Publish),
		broadcast: to.Rooms.Broadcast.since(from.Rooms.Broadcast),

		connections:    to.WebSockets.Connections.since(from.WebSockets.Connections),
		disconnections: to.WebSockets.Disconnections.since(from.WebSockets.Disconnections),
		slow:           to.WebSockets.SlowClients.since(from.WebSockets.SlowClients),
		refused:        to.WebSockets.Refused.since(from.WebSockets.Refused),
		active:         from.WebSockets.Active.plus(to.WebSockets.Active).times(0.5),

		processed:     to.Subscriptions.Processed.since(from.Subscriptions.Processed),
		handlerErrors: to.Subscriptions.HandlerErrors.since(from.Subscriptions.HandlerErrors),
		dead:          to.Subscriptions.DeadLetters.since(from.Subscriptions.DeadLetters),
		handling:      to.Subscriptions.Handling.since(from.Subscriptions.Handling),

		cpu: to.Process.CPUSeconds.since(from.Process.CPUSeconds),
	}
	g.incoming = g.received.plus(g.errors)
	g.handshakes = g.connections.plus(g.refused)
	return g
}
