package adapter

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// What cluster adapters publish: ClusterMessage and ClusterResponse of cluster-adapter.js as a whole. The streams
// adapter does so with what is not for its log (adapter.js, doPublish), the sharded adapter with everything
// (sharded-adapter.js, encode).

// wireForm is how an adapter writes what it publishes. Both read both.
type wireForm uint8

const (
	msgpackForm wireForm = iota // always MessagePack, as redis-streams-adapter
	jsonForm                    // JSON, and MessagePack if there is something binary, as the sharded redis-adapter
)

func (f wireForm) finish(text []byte, binary bool) ([]byte, error) {
	if f == jsonForm && !binary {
		return text, nil
	}
	return jsonToMsgpack(nil, string(text), binary)
}

// wirePayload is what was published: one of the three.
type wirePayload struct {
	Entry    *Entry // without a position
	Request  *Request
	Response *Response
}

// encodeMessage encodes a message for sockets as the sharded adapter publishes it.
func encodeMessage(from string, m Message, f wireForm) ([]byte, error) {
	dst := openEnvelope(from, m.Namespace, entryType(m.Kind))
	dst, err := appendMessageData(dst, m)
	if err != nil {
		return nil, err
	}
	return f.finish(append(dst, '}'), m.Binary)
}

// encodeRequest encodes all requests but those that only the classic adapter knows.
func encodeRequest(r Request, f wireForm) ([]byte, error) {
	if r.ID == "" && r.Kind != ServerSideEmit {
		return nil, wireError("a request without id")
	}
	if len(r.Args) == 0 && r.Kind != FetchSockets {
		return nil, wireError("an event has no name")
	}
	var dst []byte
	switch r.Kind {
	case FetchSockets:
		dst = append(openEnvelope(r.From, r.Namespace, typeFetch), '{')
		dst = appendBroadcastOpts(appendMember(dst, "opts"), Message{Rooms: r.Rooms, Except: r.Except})
		dst = appendString(appendMember(dst, "requestId"), r.ID)
	case EmitWithAck:
		dst = append(openEnvelope(r.From, r.Namespace, typeBroadcast), '{')
		dst = appendPacket(appendMember(dst, "packet"), r.Args, "")
		dst = appendString(appendMember(dst, "requestId"), r.ID)
		dst = appendBroadcastOpts(appendMember(dst, "opts"), Message{Rooms: r.Rooms, Except: r.Except})
	case ServerSideEmit:
		dst = append(openEnvelope(r.From, r.Namespace, typeServerSideEmit), '{')
		if r.ID != "" {
			dst = appendString(appendMember(dst, "requestId"), r.ID)
		}
		dst = appendList(appendMember(dst, "packet"), r.Args)
	default:
		return nil, wireError("a request that cluster adapters do not know")
	}
	return f.finish(append(dst, "}}"...), r.Binary)
}

// encodeResponse encodes the answer to a request.
func encodeResponse(r Response, f wireForm) ([]byte, error) {
	typ, ok := responseType(r)
	if !ok || r.ID == "" {
		return nil, wireError("a response to no request of cluster adapters")
	}
	dst := append(openEnvelope(r.From, r.Namespace, typ), '{')
	dst = appendString(appendMember(dst, "requestId"), r.ID)
	switch typ {
	case typeFetched:
		dst = appendSockets(appendMember(dst, "sockets"), r.Sockets)
	case typeClientCount:
		dst = strconv.AppendInt(appendMember(dst, "clientCount"), int64(r.Count), 10)
	default:
		dst = appendRaw(appendMember(dst, "packet"), r.Args, "null")
	}
	return f.finish(append(dst, "}}"...), r.Binary)
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

// openEnvelope writes up to the member "data".
func openEnvelope(from, nsp, typ string) []byte {
	dst := appendString(appendMember([]byte{'{'}, "uid"), from)
	dst = appendString(appendMember(dst, "nsp"), namespace(nsp))
	dst = append(appendMember(dst, "type"), typ...)
	return appendMember(dst, "data")
}

func appendList(dst, elements []byte) []byte {
	return append(append(append(dst, '['), elements...), ']')
}

// parsePayload parses what was published: MessagePack, or JSON if it begins with a brace, which no message in
// MessagePack does.
func parsePayload(payload []byte) (v gjson.Result, packed bool, err error) {
	if len(payload) > 0 && payload[0] == '{' {
		v, err = parseJSON(string(payload))
		return v, false, err
	}
	v, err = parseMsgpack(payload)
	return v, true, err
}

// decodeCluster decodes what encodeMessage, encodeRequest and encodeResponse encode. Heartbeats, what the future may
// bring, and packets that want an answer from one client of another server are an Entry that is Other.
func decodeCluster(payload []byte) (wirePayload, error) {
	v, packed, err := parsePayload(payload)
	if err != nil {
		return wirePayload{}, err
	}
	if !v.IsObject() {
		return wirePayload{}, wireError("no object")
	}
	var uid, nsp, typ, data gjson.Result
	v.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "uid":
			uid = v
		case "nsp":
			nsp = v
		case "type":
			typ = v
		case "data":
			data = v
		}
		return true
	})
	if typ.Type != gjson.Number || uid.Type != gjson.String || nsp.Type != gjson.String {
		return wirePayload{}, wireError("type, uid or nsp is missing")
	}
	e := envelope{from: strings.Clone(uid.Str), namespace: strings.Clone(nsp.Str), typ: typ.Raw, packed: packed}
	switch e.typ {
	case typeBroadcast, typeJoin, typeLeave, typeDisconnect, typeFetch, typeServerSideEmit,
		typeFetched, typeServerSideEmitted, typeClientCount, typeBroadcastAck:
	default:
		return e.other(), nil
	}
	if e.members, err = readMembers(data); err != nil {
		return wirePayload{}, err
	}
	if e.id, err = stringOf(e.requestID, "requestId"); err != nil {
		return wirePayload{}, err
	}
	return e.decode()
}

// envelope is a ClusterMessage or a ClusterResponse.
type envelope struct {
	members
	from, namespace, typ, id string
	packed                   bool
}

func (e *envelope) other() wirePayload {
	return wirePayload{Entry: &Entry{From: e.from, Message: Message{Kind: Other, Namespace: e.namespace}}}
}

func (e *envelope) decode() (wirePayload, error) {
	switch e.typ {
	case typeBroadcast, typeFetch, typeServerSideEmit:
		if e.typ == typeBroadcast && e.id == "" {
			break
		}
		r, err := e.request()
		return wirePayload{Request: &r}, err
	case typeFetched, typeServerSideEmitted, typeClientCount, typeBroadcastAck:
		r, err := e.response()
		return wirePayload{Response: &r}, err
	}
	m, err := e.message(entryKind(e.typ), e.packed)
	if err != nil {
		return wirePayload{}, err
	}
	m.Namespace = e.namespace
	return wirePayload{Entry: &Entry{From: e.from, Message: m}}, nil
}

func (e *envelope) request() (Request, error) {
	r := Request{ID: e.id, From: e.from, Namespace: e.namespace}
	switch e.typ {
	case typeFetch:
		r.Kind = FetchSockets
		return r, r.address(&e.members)
	case typeBroadcast:
		r.Kind = EmitWithAck
		p, err := readPacket(e.packet)
		if err != nil {
			return r, err
		}
		r.setArgs(p.args, e.packed)
		return r, r.address(&e.members)
	default:
		r.Kind = ServerSideEmit
		args, err := readArgs(e.packet, reservedServerEvents)
		r.setArgs(args, e.packed)
		return r, err
	}
}

// reservedServerEvents cannot be sent to servers: RESERVED_EVENTS of socket.io's namespace.js.
var reservedServerEvents = []string{"connect", "connection", "new_namespace"}

// address sets the sockets that are asked.
func (r *Request) address(m *members) error {
	if r.ID == "" {
		return wireError("a request without id")
	}
	to, err := readTargets(m.opts)
	r.Rooms, r.Except = to.rooms, to.except
	return err
}

func (r *Request) setArgs(args string, packed bool) {
	r.Args, r.Binary = []byte(args), packed && strings.Contains(args, binaryMark)
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
		r.Sockets, err = readSockets(e.sockets)
		r.Binary = e.packed && strings.Contains(e.sockets.Raw, binaryMark)
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
