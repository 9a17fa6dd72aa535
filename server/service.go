package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
	"github.com/photo-management/event-bus/routing"
	"github.com/photo-management/event-bus/server/engineio"
)

// publishing is how events get to Redis: publisher.Publisher.
type publishing interface {
	PublishAll(ctx context.Context, batch []publisher.ChannelEvent) []error
}

// Publication is an event, and where it is published.
type Publication struct {
	Channel string // empty means the default channel of the event's type
	Event   events.Event
	// Plain publishes with PUBLISH, to whoever listens at the moment. Otherwise it is durable.
	Plain bool
}

// Published is what became of a Publication.
type Published struct {
	Channel string
	Dropped string // the id of the filter that dropped it; then it is not published, and Err is nil
	Err     error  // auth.ErrDenied, events.ErrInvalid, or what Redis said; nil means that the bus has it
}

// Publish puts one event on the bus, for somebody; see PublishBatch.
func (s *Server) Publish(ctx context.Context, who auth.Identity, p Publication) Published {
	return s.PublishBatch(ctx, who, []Publication{p})[0]
}

// PublishBatch puts events on the bus, for somebody, each if they may publish it, it is valid and the outbound filters
// let it pass, in one round trip for each channel and in their order there. Results are in the order of the batch. It
// comes back as any event from Redis does, on the replica that leads its channel.
func (s *Server) PublishBatch(ctx context.Context, who auth.Identity, batch []Publication) []Published {
	start := time.Now()
	batch = slices.Clone(batch) // filters may change events
	results := make([]Published, len(batch))
	byChannel := map[string][]int{} // those that may be published
	d := s.decisions.Load()
	var asks []routing.ThrottleAsk
	var of []int
	for i, p := range batch {
		r := &results[i]
		if r.Channel = p.Channel; r.Channel == "" {
			r.Channel, _ = d.registry.Channel(p.Event.Type)
		}
		var limits []routing.ThrottleAsk
		if limits, r.Err = s.mayPublish(d, who, r.Channel, p.Event); r.Err == nil {
			byChannel[r.Channel] = append(byChannel[r.Channel], i)
		}
		for range limits {
			of = append(of, i)
		}
		asks = append(asks, limits...)
	}
	if len(asks) > 0 {
		pass, err := s.throttle(ctx, asks)
		for j, i := range of {
			switch {
			case err != nil:
				results[i].Err = err
			case !pass[j]:
				results[i].Err = fmt.Errorf("%w: at most %d in %s", ErrLimited, asks[j].Limit, asks[j].Window)
			}
		}
	}
	var durable, plain []publisher.ChannelEvent
	var durableOf, plainOf []int
	for channel, of := range byChannel {
		for _, i := range s.outbound(ctx, d, channel, batch, results, of) {
			one := publisher.ChannelEvent{Channel: channel, Event: batch[i].Event}
			if batch[i].Plain {
				plain, plainOf = append(plain, one), append(plainOf, i)
			} else {
				durable, durableOf = append(durable, one), append(durableOf, i)
			}
		}
	}
	s.send(ctx, s.Durable, durable, durableOf, results)
	s.send(ctx, s.Plain, plain, plainOf, results)
	for i := range results {
		s.metrics.published(results[i], batch[i].Event.Type, time.Since(start))
	}
	return results
}

// mayPublish says whether somebody may publish an event, and what limits of theirs it must keep.
func (s *Server) mayPublish(d *decisions, who auth.Identity, channel string, ev events.Event) ([]routing.ThrottleAsk, error) {
	if channel == "" {
		return nil, fmt.Errorf("%w: channel: is needed, as the type %q has none of its own", events.ErrInvalid, ev.Type)
	}
	if s.channels[channel] == nil || !s.channels[channel].durable {
		return nil, fmt.Errorf("%w: channel: %q is none that is served; want one of %s", events.ErrInvalid, channel, strings.Join(s.declared.channels, ", "))
	}
	if !who.HasRole(AdminRole) {
		if err := s.Policy.Channel(who, auth.Publish, channel); err != nil {
			s.audit(auth.Record{Event: auth.ChannelAccessDenied, UserID: who.UserID, Channel: channel, Action: string(auth.Publish)})
			return nil, err
		}
	}
	asks, err := d.publishable(who, channel, ev)
	if err != nil {
		s.audit(auth.Record{
			Event: auth.EventValidationFailed, UserID: who.UserID, Channel: channel, EventType: ev.Type, EventID: ev.ID, Reason: err.Error(),
		})
	}
	return asks, err
}

// AdminRole is the role that may do everything through the API.
const AdminRole = "admin"

// outbound takes events of a channel through the outbound filters, and returns which of them go on.
func (s *Server) outbound(ctx context.Context, d *decisions, channel string, batch []Publication, results []Published, of []int) (on []int) {
	evs := make([]events.Event, 0, len(of))
	for _, i := range of {
		if results[i].Err == nil {
			evs, on = append(evs, batch[i].Event), append(on, i)
		}
	}
	outcomes, err := d.filters.Apply(ctx, routing.Outbound, channel, evs, s.throttle)
	if err != nil {
		for _, i := range on {
			results[i].Err = err
		}
		return nil
	}
	if outcomes == nil {
		return on
	}
	passed := on[:0]
	for j, i := range on {
		out := outcomes[j]
		results[i].Dropped, results[i].Err = out.Dropped, out.Err
		if batch[i].Event = out.Event; out.Dropped == "" && out.Err == nil {
			passed = append(passed, i)
		}
	}
	return passed
}

func (s *Server) send(ctx context.Context, by publishing, evs []publisher.ChannelEvent, of []int, results []Published) {
	if len(evs) == 0 {
		return
	}
	if by == nil {
		for _, i := range of {
			results[i].Err = ErrNoStore
		}
		return
	}
	for j, err := range by.PublishAll(ctx, evs) {
		results[of[j]].Err = err
	}
}

// Subscribe has a handler called with the events of a channel, as they are accepted: see delivery.HandlerSpec.
func (s *Server) Subscribe(spec delivery.HandlerSpec) (*delivery.Subscription, error) {
	if s.Subscriptions == nil {
		return nil, ErrNoStore
	}
	return s.Subscriptions.Handle(spec)
}

// Join puts a socket, on whichever replica it is, into a room.
func (s *Server) Join(socketID, room string) error { return s.clients.To(socketID).Join(room) }

// Leave takes a socket out of a room.
func (s *Server) Leave(socketID, room string) error { return s.clients.To(socketID).Leave(room) }

// Disconnect closes a client's connection, on whichever replica it is. A client that was closed so comes back only if its
// front-end connects again.
func (s *Server) Disconnect(socketID string) error { return s.clients.To(socketID).Disconnect() }

// Broadcast emits a Socket.IO event to everybody in a room, on all replicas. data is encoded as JSON.
func (s *Server) Broadcast(room, event string, data any) error {
	if room == "" {
		return errors.New("room: want a name")
	}
	return s.clients.To(room).Emit(event, data)
}

// Members lists the sockets of a room on all replicas. With an adapter.PartialError it has those that were found.
func (s *Server) Members(ctx context.Context, room string) ([]adapter.RemoteSocket, error) {
	return s.clients.To(room).FetchSockets(ctx)
}

// Clients lists the sockets of all replicas.
func (s *Server) Clients(ctx context.Context) ([]adapter.RemoteSocket, error) {
	return s.clients.To().FetchSockets(ctx)
}

// Count is how many sockets are in a room, on all replicas.
func (s *Server) Count(ctx context.Context, room string) (int, error) {
	members, err := s.Members(ctx, room)
	return len(members), err
}

// ConnectionMetrics are those of this replica.
type ConnectionMetrics struct {
	ActiveConnections int   `json:"activeConnections"`
	TotalConnections  int64 `json:"totalConnections"` // since the start
	Disconnections    int64 `json:"disconnections"`
	Recovered         int64 `json:"recovered"`
	Refused           int64 `json:"refused"`
	ActiveRooms       int   `json:"activeRooms"`
	MessagesSent      int64 `json:"messagesSent"` // heartbeats included
	MessagesReceived  int64 `json:"messagesReceived"`
	Errors            int64 `json:"errors"` // connections that broke
	// AverageLatency is how old entries of the log were when they had been brought to the sockets, in ms; zero if there was none.
	AverageLatency float64 `json:"averageLatency"`
}

// ConnectionMetrics tells about the connections of this replica.
func (s *Server) ConnectionMetrics() ConnectionMetrics {
	c := ConnectionMetrics{ActiveConnections: s.Connections(), ActiveRooms: s.clients.Rooms()}
	c.TotalConnections, c.Disconnections = s.metrics.sums.connected.Load(), s.metrics.sums.disconnected.Load()
	c.Recovered, c.Refused = s.metrics.sums.recovered.Load(), s.metrics.sums.refused.Load()
	engine := s.sockets.Engine()
	sent, received := engine.Messages()
	c.MessagesSent, c.MessagesReceived = int64(sent), int64(received)
	ended := engine.Ended()
	c.Errors = int64(ended[engineio.TransportError] + ended[engineio.ParseError])
	if n := s.metrics.sums.batches.Load(); n > 0 {
		c.AverageLatency = float64(s.metrics.sums.lag.Load()) / float64(n) / float64(time.Millisecond)
	}
	return c
}

// EventCounts counts events.
type EventCounts struct {
	Published  int64 `json:"published"` // through this API
	Received   int64 `json:"received"`  // and accepted
	Duplicates int64 `json:"duplicates"`
	Filtered   int64 `json:"filtered"` // dropped by filters
	Errors     int64 `json:"errors"`   // refused
}

func (c *EventCounts) add(kind string, n int64) {
	switch kind {
	case tallyPublished:
		c.Published += n
	case tallyReceived:
		c.Received += n
	case tallyDuplicate:
		c.Duplicates += n
	case tallyFiltered:
		c.Filtered += n
	case tallyError:
		c.Errors += n
	}
}

// EventTotals counts events since this replica has started, on it alone.
func (s *Server) EventTotals() EventCounts {
	return EventCounts{
		Published: s.metrics.sums.published.Load(), Received: s.metrics.sums.received.Load(), Errors: s.metrics.sums.errors.Load(),
	}
}

// EventMetrics counts the events of some time, on all replicas.
type EventMetrics struct {
	From, To time.Time
	EventCounts
	ByChannel, ByType map[string]EventCounts
}

// EventMetrics counts the events between two times, to the minute, of the last 24 hours.
func (s *Server) EventMetrics(ctx context.Context, from, to time.Time) (EventMetrics, error) {
	m := EventMetrics{From: from, To: to, ByChannel: map[string]EventCounts{}, ByType: map[string]EventCounts{}}
	if s.Tally == nil {
		return m, ErrNoStore
	}
	sums, err := s.Tally.Sum(ctx, from, to)
	if err != nil {
		return m, err
	}
	for name, n := range sums {
		parts := strings.SplitN(name, "|", 3)
		if len(parts) != 3 {
			continue
		}
		m.add(parts[0], n)
		byChannel, byType := m.ByChannel[parts[1]], m.ByType[parts[2]]
		byChannel.add(parts[0], n)
		byType.add(parts[0], n)
		m.ByChannel[parts[1]], m.ByType[parts[2]] = byChannel, byType
	}
	delete(m.ByType, "") // of what is no event
	return m, nil
}

// ChannelOf is the default channel of an event type, and whether the type is known.
func (s *Server) ChannelOf(eventType string) (string, bool) {
	return s.decisions.Load().registry.Channel(eventType)
}

// Client is who a socket belongs to, as far as it has said.
type Client struct{ UserID, ClientID, SessionID string }

// ReadClient reads the data of a socket, as Members has it.
func ReadClient(socket adapter.RemoteSocket) Client {
	d := readSession(socket.Data)
	return Client{UserID: d.User.ID, ClientID: d.ClientID, SessionID: d.SessionID}
}
