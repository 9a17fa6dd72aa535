package adapter

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// encodeResponse encodes the answer to a request.
func encodeResponse(r Response, f wireForm) ([]byte, error) {
	typ, ok := responseType(r)
	if !ok || r.ID == "" {
		return nil, wireError("a response to no request of cluster adapters")
	}
	dst := append(openEnvelope(typ), '{')
	dst = appendString(appendMember(dst, "requestId"), r.ID)
	switch typ {
	case typeFetched:
		dst = appendSockets(appendMember(dst, "sockets"), r.Sockets)
	case typeClientCount:
		dst = strconv.AppendInt(appendMember(dst, "clientCount"), int64(r.Count), 10)
	default:
		dst = appendRaw(appendMember(dst, "packet"), r.Args, "null")
	}
	return f.finish(closeEnvelope(append(dst, '}'), r.From, r.Namespace), r.Binary)
}

func responseType(r Response) (typ string, ok bool) {
	switch {
	case r.Kind == FetchSockets:
		return typeFetched, true
	case r.Kind == ServerSideEmit:
		return typeServerSideEmitted, true
	case r.Kind == EmitWithAck && r.Count < 0:
		return typeBroadcastAck, true
	case r.Kind == EmitWithAck:
		return typeClientCount, true
	default:
		return "", false
	}
}

func (e *envelope) response() (Response, error) {
	r := Response{ID: e.id, From: e.from, Namespace: e.namespace, Count: -1}
	if r.ID == "" {
		return r, wireError("a response without id")
	}
	var err error
	switch e.typ {
	case typeFetched:
		r.Kind, r.Count = FetchSockets, 0
		err = r.setSockets(e.sockets, e.packed)
	case typeServerSideEmitted:
		r.Kind, r.Count = ServerSideEmit, 0
		r.setArgs(e.packet, e.packed)
	case typeBroadcastAck:
		r.Kind = EmitWithAck
		r.setArgs(e.packet, e.packed)
	case typeClientCount:
		r.Kind = EmitWithAck
		r.Count, err = readCount(e.count)
	}
	return r, err
}

// setArgs takes a client's or a server's answer; undefined is null.
func (r *Response) setArgs(v gjson.Result, packed bool) {
	r.Args = appendRaw(nil, []byte(v.Raw), "null")
	r.Binary = packed && strings.Contains(v.Raw, binaryMark)
}

// setSockets takes a list of sockets as Node sees them.
func (r *Response) setSockets(list gjson.Result, packed bool) error {
	var err error
	r.Sockets, err = readSockets(list)
	r.Binary = packed && slices.ContainsFunc(r.Sockets, func(s RemoteSocket) bool {
		return strings.Contains(string(s.Data), binaryMark) || strings.Contains(string(s.Handshake), binaryMark)
	})
	return err
}

func readCount(v gjson.Result) (int, error) {
	n, err := strconv.ParseUint(v.Raw, 10, 31)
	if err != nil {
		return 0, wireError("clientCount is no number")
	}
	return int(n), nil
}

func readSockets(list gjson.Result) ([]RemoteSocket, error) {
	if !list.IsArray() {
		return nil, wireError("sockets are no array")
	}
	var out []RemoteSocket
	var err error
	list.ForEach(func(_, v gjson.Result) bool {
		var s RemoteSocket
		s, err = readSocket(v)
		out = append(out, s)
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func readSocket(v gjson.Result) (RemoteSocket, error) {
	var s RemoteSocket
	var id, rooms, data, handshake gjson.Result
	if v.IsObject() {
		v.ForEach(func(name, v gjson.Result) bool {
			switch name.Str {
			case "id":
				id = v
			case "rooms":
				rooms = v
			case "data":
				data = v
			case "handshake":
				handshake = v
			}
			return true
		})
	}
	if id.Type != gjson.String || id.Str == "" {
		return s, wireError("a socket without id")
	}
	if isPresent(handshake) && !handshake.IsObject() {
		return s, wireError("a handshake is no object")
	}
	s.ID = strings.Clone(id.Str)
	var err error
	s.Rooms, err = stringsOf(rooms, "rooms of a socket")
	s.Data, s.Handshake = rawOf(data), rawOf(handshake)
	return s, err
}

// rawOf is JSON to keep, or nil where there is none.
func rawOf(v gjson.Result) []byte {
	if !isPresent(v) {
		return nil
	}
	return []byte(v.Raw)
}
