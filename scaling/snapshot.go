package scaling

import "time"

// Snapshot is the seed's EventBusMetricsSnapshot (10.1) and what Analyse needs besides: the metrics of one process at
// one time, summed over their labels. Counters count from the start of the process. A metric that was not there is not
// known; one with labels is not there before it is first used.
type Snapshot struct {
	Time          time.Time
	Events        EventFigures
	WebSockets    WebSocketFigures
	Subscriptions SubscriptionFigures
	Rooms         RoomFigures
	Process       ProcessFigures
}

// EventFigures are of events.
type EventFigures struct {
	Published Figure    // counter: by this process's API
	Received  Figure    // counter: each event once, on the replica that leads its channel
	Errors    Figure    // counter: what could not be processed, and was not received
	Publish   Histogram // ms of a publication
}

// WebSocketFigures are of connections, whatever their transport.
type WebSocketFigures struct {
	Active         Figure // gauge
	Connections    Figure // counter
	Disconnections Figure // counter
	SlowClients    Figure // counter: of the disconnections, those of clients that did not read
	Refused        Figure // counter: handshakes that were refused
}

// SubscriptionFigures are of webhooks and handlers.
type SubscriptionFigures struct {
	Active        Figure    // gauge
	Processed     Figure    // counter: events handled
	HandlerErrors Figure    // counter: attempts that failed
	DeadLetters   Figure    // counter
	Handling      Histogram // ms of an attempt, whether or not it failed
}

// RoomFigures are of rooms.
type RoomFigures struct {
	Active    Figure    // gauge
	Broadcast Histogram // ms to hand a batch of broadcasts to the sockets of this process
}

// ProcessFigures are of the process and its Go runtime.
type ProcessFigures struct {
	CPUSeconds    Figure // counter
	ResidentBytes Figure // gauge
	MemoryLimit   Figure // GOMEMLIMIT in bytes, if there is one
	CPUs          Figure // GOMAXPROCS
	Goroutines    Figure // gauge
	Started       Figure // when, in seconds since 1970
}
