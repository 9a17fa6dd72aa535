package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Clients are the sockets of all replicas and the rooms they are in.
type Clients interface {
	Connections(ctx context.Context, which ConnectionQuery) (ConnectionPage, error)
	// Disconnect closes a socket for good: its client does not come back by itself. It may be NotFound.
	Disconnect(ctx context.Context, socketID string) error

	Rooms(ctx context.Context, page Page) (RoomPage, error)
	// Room may be empty of members, which is no error: a room exists while somebody is in it.
	Room(ctx context.Context, room string, page Page) (Room, error)
	// Broadcast emits an event to everybody in a room, past filters and rules. It is not one of the bus: data is any JSON.
	Broadcast(ctx context.Context, room, event string, data json.RawMessage) error
	// Join and Leave may be NotFound, of the socket. Doing either twice is no error.
	Join(ctx context.Context, socketID, room string) error
	Leave(ctx context.Context, socketID, room string) error
}

// ConnectionQuery selects sockets; empty fields select all.
type ConnectionQuery struct {
	Page
	UserID string
	Room   string
}

// ConnectionPage is a part of the connections.
type ConnectionPage struct {
	Connections []Connection `json:"connections"`
	Next        string       `json:"next,omitempty"` // empty: that was the last
}

// Connection is one socket. What its replica does not tell is left out.
type Connection struct {
	SocketID    string    `json:"socketId"`
	UserID      string    `json:"userId,omitempty"`
	ClientID    string    `json:"clientId,omitempty"`
	SessionID   string    `json:"sessionId,omitempty"`
	UserAgent   string    `json:"userAgent,omitempty"`
	IPAddress   string    `json:"ipAddress,omitempty"`
	Transport   string    `json:"transport,omitempty"`
	Replica     string    `json:"replica,omitempty"`
	ConnectedAt time.Time `json:"connectedAt,omitzero"`
	Rooms       []string  `json:"rooms"`
}

// RoomPage is a part of the rooms.
type RoomPage struct {
	Rooms []RoomSize `json:"rooms"`
	Next  string     `json:"next,omitempty"`
}

// RoomSize is a room and how many sockets are in it.
type RoomSize struct {
	Room  string `json:"room"`
	Count int    `json:"count"`
}

// Room is a room and a part of its members.
type Room struct {
	RoomSize
	Members []string `json:"members"` // ids of sockets
	Next    string   `json:"next,omitempty"`
}

const (
	maxEventName = 128      // bytes
	maxBroadcast = 64 << 10 // bytes of the body
)

// reservedNames are the events that Socket.IO keeps for itself.
var reservedNames = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

func (a *api) clientOperations() []operation {
	const connections, rooms = apiPrefix + "/connections", apiPrefix + "/rooms"
	ops := []operation{
		{id: "listConnections", method: http.MethodGet, path: connections, serve: a.listConnections},
		{id: "disconnectClient", method: http.MethodDelete, path: connections + "/{socketId}", serve: a.disconnectClient},
		{id: "listRooms", method: http.MethodGet, path: rooms, serve: a.listRooms},
		{id: "getRoom", method: http.MethodGet, path: rooms + "/{room}", serve: a.getRoom},
		{id: "broadcastToRoom", method: http.MethodPost, path: rooms + "/{room}/emit", maxBody: maxBroadcast, serve: a.broadcast},
		{id: "joinRoom", method: http.MethodPut, path: rooms + "/{room}/members/{socketId}",
			serve: func(c *call) error { return c.member(a.cfg.Clients.Join) }},
		{id: "leaveRoom", method: http.MethodDelete, path: rooms + "/{room}/members/{socketId}",
			serve: func(c *call) error { return c.member(a.cfg.Clients.Leave) }},
	}
	return inMode(ops, a.cfg.Clients != nil)
}

// inMode completes operations of one resource.
func inMode(ops []operation, there bool) []operation {
	for i := range ops {
		ops[i].there = there
		if ops[i].timeout == 0 {
			ops[i].timeout = callTimeout
		}
	}
	return ops
}

func (a *api) listConnections(c *call) error {
	q := newQuery(c.r)
	which := ConnectionQuery{Page: q.page(), UserID: q.text("userId"), Room: q.text("room")}
	if err := q.done(); err != nil {
		return err
	}
	page, err := a.cfg.Clients.Connections(c.ctx, which)
	if err != nil {
		return err
	}
	page.Connections = slices.Clone(page.Connections)
	for i := range page.Connections {
		page.Connections[i].Rooms = orNone(page.Connections[i].Rooms)
	}
	page.Connections = orNone(page.Connections)
	return c.answer(http.StatusOK, page)
}

// orNone makes an empty list of none, so that the answer has [] where null would be.
func orNone[S ~[]E, E any](s S) S {
	if s == nil {
		return S{}
	}
	return s
}

func (a *api) disconnectClient(c *call) error {
	id, err := c.name("socketId")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Clients.Disconnect(c.ctx, id); err != nil {
		return err
	}
	return c.done()
}

func (a *api) listRooms(c *call) error {
	q := newQuery(c.r)
	page := q.page()
	if err := q.done(); err != nil {
		return err
	}
	rooms, err := a.cfg.Clients.Rooms(c.ctx, page)
	if err != nil {
		return err
	}
	rooms.Rooms = orNone(rooms.Rooms)
	return c.answer(http.StatusOK, rooms)
}

func (a *api) getRoom(c *call) error {
	name, err := c.name("room")
	if err != nil {
		return err
	}
	q := newQuery(c.r)
	page := q.page()
	if err := q.done(); err != nil {
		return err
	}
	room, err := a.cfg.Clients.Room(c.ctx, name, page)
	if err != nil {
		return err
	}
	room.Members = orNone(room.Members)
	return c.answer(http.StatusOK, room)
}

// broadcastRequest is the body of POST /rooms/{room}/emit.
type broadcastRequest struct {
	Event string          `json:"event" api:"required"`
	Data  json.RawMessage `json:"data" api:"required"`
}

func (a *api) broadcast(c *call) error {
	room, err := c.name("room")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	var req broadcastRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	switch why := checkName(req.Event); {
	case why != "":
		return malformedField("event", why)
	case len(req.Event) > maxEventName:
		return malformedField("event", fmt.Sprintf("may have %d bytes.", maxEventName))
	case slices.Contains(reservedNames, req.Event):
		return malformedField("event", "is a name that Socket.IO keeps for itself.")
	}
	if err := a.cfg.Clients.Broadcast(c.ctx, room, req.Event, req.Data); err != nil {
		return err
	}
	c.write(http.StatusAccepted, "application/json", []byte(`{"status":"accepted"}`))
	return nil
}

func (c *call) member(change func(ctx context.Context, socketID, room string) error) error {
	room, err := c.name("room")
	if err != nil {
		return err
	}
	id, err := c.name("socketId")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := change(c.ctx, id, room); err != nil {
		return err
	}
	return c.done()
}
