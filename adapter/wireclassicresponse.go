package adapter

import (
	"slices"
	"strconv"

	"github.com/tidwall/gjson"
)

// encodeClassicResponse encodes a response, for the channel that the one who asked listens to.
func encodeClassicResponse(r Response) ([]byte, error) {
	if r.ID == "" {
		return nil, wireError("a response without id")
	}
	dst, form := []byte{'{'}, jsonForm
	switch r.Kind {
	case ServerSideEmit:
		dst = append(appendMember(dst, "type"), classicServerSideEmit...)
	case EmitWithAck:
		if r.Count < 0 {
			dst, form = append(appendMember(dst, "type"), classicBroadcastAck...), msgpackForm
		} else {
			dst = append(appendMember(dst, "type"), classicClientCount...)
		}
	}
	dst = appendString(appendMember(dst, "requestId"), r.ID)
	switch {
	case r.Kind == FetchSockets:
		dst = appendSockets(appendMember(dst, "sockets"), r.Sockets)
	case r.Kind == ListSockets:
		dst = appendSocketIDs(appendMember(dst, "sockets"), r.Sockets)
	case r.Kind == ListRooms:
		dst = appendStrings(appendMember(dst, "rooms"), r.Rooms)
	case r.Kind == ServerSideEmit:
		dst = appendRaw(appendMember(dst, "data"), r.Args, "null")
	case r.Kind == EmitWithAck && r.Count < 0:
		dst = appendRaw(appendMember(dst, "packet"), r.Args, "null")
	case r.Kind == EmitWithAck:
		dst = strconv.AppendInt(appendMember(dst, "clientCount"), int64(r.Count), 10)
	default:
		return nil, wireError("a response of no kind")
	}
	return form.finish(append(dst, '}'), r.Binary)
}

func appendSocketIDs(dst []byte, sockets []RemoteSocket) []byte {
	ids := make([]string, len(sockets))
	for i, s := range sockets {
		ids[i] = s.ID
	}
	return appendStrings(dst, ids)
}

// decodeClassicResponse decodes what comes on the channels of a namespace for responses (index.js, onresponse). They do
// not say who sent them. Some do not say either what they answer: whoever asked knows it by the id, for a list
// of no sockets may be one of FetchSockets or of ListSockets, and is said to be the former. An answer to a Join, Leave or
// Disconnect for one socket, which we never send, is an error.
func decodeClassicResponse(nsp string, payload []byte) (Response, error) {
	v, packed, err := parsePayload(payload)
	if err != nil {
		return Response{}, err
	}
	c, err := readClassic(v, packed)
	if err != nil {
		return Response{}, err
	}
	r := Response{ID: c.id, From: c.from, Namespace: nsp}
	if r.ID == "" {
		return Response{}, wireError("a response without id")
	}
	switch {
	case c.typ.Raw == classicServerSideEmit:
		r.Kind = ServerSideEmit
		r.setArgs(c.response, packed)
	case c.typ.Raw == classicClientCount:
		r.Kind = EmitWithAck
		r.Count, err = readCount(c.count)
	case c.typ.Raw == classicBroadcastAck:
		r.Kind, r.Count = EmitWithAck, -1
		r.setArgs(c.packet, packed)
	case isPresent(c.sockets):
		err = r.setSocketsOrIDs(c.sockets, packed)
	case isPresent(c.rooms):
		r.Kind = ListRooms
		r.Rooms, err = stringsOf(c.rooms, "rooms")
	default:
		err = wireError("a response to no request of ours")
	}
	if err != nil {
		return Response{}, err
	}
	return r, nil
}

// setSocketsOrIDs takes sockets, or their ids.
func (r *Response) setSocketsOrIDs(list gjson.Result, packed bool) error {
	if list.Get("0").Type != gjson.String {
		r.Kind = FetchSockets
		return r.setSockets(list, packed)
	}
	r.Kind = ListSockets
	ids, err := stringsOf(list, "ids of sockets")
	if slices.Contains(ids, "") {
		err = wireError("a socket without id")
	}
	for _, id := range ids {
		r.Sockets = append(r.Sockets, RemoteSocket{ID: id})
	}
	return err
}
