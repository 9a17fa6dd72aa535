package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/server"
	"github.com/photo-management/event-bus/web"
)

// apiClients are the sockets of all replicas.
type apiClients struct {
	api
	trusted []netip.Prefix // proxies, whose word on where a client is counts
}

// handshake is what Node's servers, and ours, tell of a socket's.
type handshake struct {
	Headers map[string]any `json:"headers"`
	Address string         `json:"address"`
	Issued  int64          `json:"issued"` // ms since the epoch
	// Transport is the one in use, which only ours tell; of others' it is known which one it began with.
	Transport string `json:"transport"`
	Query     struct {
		Transport string `json:"transport"`
	} `json:"query"`
}

// forwarded are the headers in which proxies say where a client is.
func (h handshake) forwarded() http.Header {
	headers := http.Header{}
	for _, name := range []string{"X-Forwarded-For", "Forwarded"} {
		if v, ok := h.Headers[strings.ToLower(name)].(string); ok {
			headers.Set(name, v)
		}
	}
	return headers
}

func (a apiClients) connection(s adapter.RemoteSocket) web.Connection {
	var h handshake
	_ = json.Unmarshal(s.Handshake, &h) // what is not understood is not known
	who := server.ReadClient(s)
	c := web.Connection{
		SocketID: s.ID, UserID: who.UserID, ClientID: who.ClientID, SessionID: who.SessionID,
		IPAddress: h.Address, Transport: cmp.Or(h.Transport, h.Query.Transport), Rooms: []string{},
	}
	if addr := auth.ClientAddr(h.Address, h.forwarded(), a.trusted); addr.IsValid() {
		c.IPAddress = addr.String()
	}
	agent, _ := h.Headers["user-agent"].(string)
	c.UserAgent = clip(agent, 256) // the client's own words, of any length
	if h.Issued > 0 {
		c.ConnectedAt = time.UnixMilli(h.Issued).UTC()
	}
	for _, room := range s.Rooms {
		if room != s.ID {
			c.Rooms = append(c.Rooms, room)
		}
	}
	return c
}

// page is a part of a list sorted by name, after the cursor.
func page[T any](all []T, name func(T) string, p web.Page) (part []T, next string) {
	slices.SortFunc(all, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	i, found := slices.BinarySearchFunc(all, p.Cursor, func(x T, cursor string) int { return strings.Compare(name(x), cursor) })
	if found {
		i++
	}
	part = all[i:]
	if len(part) > p.Limit {
		part = part[:p.Limit]
		next = name(part[len(part)-1])
	}
	return part, next
}

func (a apiClients) Connections(ctx context.Context, which web.ConnectionQuery) (web.ConnectionPage, error) {
	var sockets []adapter.RemoteSocket
	var err error
	if which.Room != "" {
		sockets, err = a.srv.Members(ctx, which.Room)
	} else {
		sockets, err = a.srv.Clients(ctx)
	}
	if err != nil {
		return web.ConnectionPage{}, answer(err)
	}
	all := make([]web.Connection, 0, len(sockets))
	for _, s := range sockets {
		if c := a.connection(s); which.UserID == "" || which.UserID == c.UserID {
			all = append(all, c)
		}
	}
	part, next := page(all, func(c web.Connection) string { return c.SocketID }, which.Page)
	return web.ConnectionPage{Connections: part, Next: next}, nil
}

// known says that there is no such socket, if there is none.
func (a apiClients) known(ctx context.Context, socketID string) error {
	n, err := a.srv.Count(ctx, socketID) // its id is a room that it alone is in
	if err == nil && n == 0 {
		return web.NotFound("There is no such socket.")
	}
	return answer(err)
}

func (a apiClients) Disconnect(ctx context.Context, socketID string) error {
	if err := a.known(ctx, socketID); err != nil {
		return err
	}
	return answer(a.srv.Disconnect(socketID))
}

func (a apiClients) Join(ctx context.Context, socketID, room string) error {
	if err := a.known(ctx, socketID); err != nil {
		return err
	}
	return answer(a.srv.Join(socketID, room))
}

func (a apiClients) Leave(ctx context.Context, socketID, room string) error {
	if err := a.known(ctx, socketID); err != nil {
		return err
	}
	return answer(a.srv.Leave(socketID, room))
}

func (a apiClients) Rooms(ctx context.Context, p web.Page) (web.RoomPage, error) {
	sockets, err := a.srv.Clients(ctx)
	if err != nil {
		return web.RoomPage{}, answer(err)
	}
	count := map[string]int{}
	for _, s := range sockets {
		for _, room := range s.Rooms {
			if room != s.ID {
				count[room]++
			}
		}
	}
	rooms := make([]web.RoomSize, 0, len(count))
	for room, n := range count {
		rooms = append(rooms, web.RoomSize{Room: room, Count: n})
	}
	part, next := page(rooms, func(r web.RoomSize) string { return r.Room }, p)
	return web.RoomPage{Rooms: part, Next: next}, nil
}

func (a apiClients) Room(ctx context.Context, room string, p web.Page) (web.Room, error) {
	sockets, err := a.srv.Members(ctx, room)
	if err != nil {
		return web.Room{}, answer(err)
	}
	ids := make([]string, len(sockets))
	for i, s := range sockets {
		ids[i] = s.ID
	}
	n := len(ids)
	part, next := page(ids, func(id string) string { return id }, p)
	return web.Room{RoomSize: web.RoomSize{Room: room, Count: n}, Members: part, Next: next}, nil
}

func (a apiClients) Broadcast(_ context.Context, room, event string, data json.RawMessage) error {
	return answer(a.srv.Broadcast(room, event, data))
}

// apiSubscriptions declares webhooks.
type apiSubscriptions struct{ api }

func (a apiSubscriptions) List(ctx context.Context) ([]web.Subscription, error) {
	all, configured, err := a.srv.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	stats := map[string]delivery.Stats{}
	for _, s := range a.subs.Stats().Subscriptions {
		stats[s.ID] = s
	}
	groups := map[string]map[string]adapter.FeedGroup{} // by channel, then by name
	list := make([]web.Subscription, len(all))
	for i, spec := range all {
		if groups[spec.Channel] == nil {
			found, err := a.store.Feed(spec.Channel).Groups(ctx)
			if err != nil {
				return nil, err
			}
			groups[spec.Channel] = map[string]adapter.FeedGroup{}
			for _, g := range found {
				groups[spec.Channel][g.Name] = g
			}
		}
		list[i] = subscription(spec, source(i, configured), stats[spec.ID], groups[spec.Channel][delivery.Group(spec.ID)])
	}
	return list, nil
}

func subscription(spec delivery.Spec, source string, s delivery.Stats, g adapter.FeedGroup) web.Subscription {
	w := web.Subscription{
		ID: spec.ID, Channel: spec.Channel, Source: source, Spec: raw(spec), State: "active", CreatedAt: spec.CreatedAt,
		LastMessageAt: s.LastMessageAt, MessageCount: s.MessageCount, ErrorCount: s.ErrorCount,
		Pending: g.Pending, Lag: g.Lag,
	}
	if s.Breaker == "open" {
		w.State = "paused"
	}
	return w
}

func (a apiSubscriptions) Get(ctx context.Context, id string) (web.Subscription, error) {
	all, err := a.List(ctx)
	if err != nil {
		return web.Subscription{}, err
	}
	for _, s := range all {
		if s.ID == id {
			return s, nil
		}
	}
	return web.Subscription{}, web.NotFound("There is no such subscription.")
}

func (a apiSubscriptions) Create(ctx context.Context, text json.RawMessage) (web.Subscription, error) {
	spec, err := delivery.ParseSpec(text)
	if err != nil {
		return web.Subscription{}, web.InvalidErrors(err)
	}
	if spec.ID == "" {
		spec.ID = newSubscriptionID()
	}
	all, _, err := a.srv.Webhooks(ctx)
	if err != nil {
		return web.Subscription{}, err
	}
	if slices.ContainsFunc(all, func(x delivery.Spec) bool { return x.ID == spec.ID }) {
		return web.Subscription{}, web.Conflict("There is a subscription of this id: change it with PUT.")
	}
	return a.declare(ctx, spec)
}

func (a apiSubscriptions) declare(ctx context.Context, spec delivery.Spec) (web.Subscription, error) {
	if err := a.srv.AddWebhook(ctx, spec); err != nil {
		return web.Subscription{}, answer(err)
	}
	spec.CreatedAt = time.Now().UTC()
	return subscription(spec.Public(), web.SourceAPI, delivery.Stats{}, adapter.FeedGroup{}), nil
}

func (a apiSubscriptions) Put(ctx context.Context, id string, text json.RawMessage) (web.Subscription, bool, error) {
	spec, err := delivery.ParseSpec(text)
	if err != nil {
		return web.Subscription{}, false, web.InvalidErrors(err)
	}
	if spec.ID != "" && spec.ID != id {
		return web.Subscription{}, false, web.Invalid("id", "must be the one in the address, or left out.")
	}
	spec.ID = id
	all, _, err := a.srv.Webhooks(ctx)
	if err != nil {
		return web.Subscription{}, false, err
	}
	there := slices.ContainsFunc(all, func(x delivery.Spec) bool { return x.ID == id })
	s, err := a.declare(ctx, spec)
	return s, !there, err
}

func (a apiSubscriptions) Delete(ctx context.Context, id string) error {
	return answer(a.srv.RemoveWebhook(ctx, id))
}
