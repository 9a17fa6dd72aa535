package adapter

import (
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
	dst, err := appendMessageData(openEnvelope(entryType(m.Kind)), m)
	if err != nil {
		return nil, err
	}
	return f.finish(closeEnvelope(dst, from, m.Namespace), m.Binary)
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
		dst = append(openEnvelope(typeFetch), '{')
		dst = appendBroadcastOpts(appendMember(dst, "opts"), Message{Rooms: r.Rooms, Except: r.Except})
		dst = appendString(appendMember(dst, "requestId"), r.ID)
	case EmitWithAck:
		dst = append(openEnvelope(typeBroadcast), '{')
		dst = appendPacket(appendMember(dst, "packet"), r.Args, "")
		dst = appendString(appendMember(dst, "requestId"), r.ID)
		dst = appendBroadcastOpts(appendMember(dst, "opts"), Message{Rooms: r.Rooms, Except: r.Except})
	case ServerSideEmit:
		dst = append(openEnvelope(typeServerSideEmit), '{')
		if r.ID != "" {
			dst = appendString(appendMember(dst, "requestId"), r.ID)
		}
		dst = appendList(appendMember(dst, "packet"), r.Args)
	default:
		return nil, wireError("a request that cluster adapters do not know")
	}
	return f.finish(closeEnvelope(append(dst, '}'), r.From, r.Namespace), r.Binary)
}

// openEnvelope writes up to the member "data", and closeEnvelope what comes after that.
func openEnvelope(typ string) []byte {
	dst := append(appendMember([]byte{'{'}, "type"), typ...)
	return appendMember(dst, "data")
}

func closeEnvelope(dst []byte, from, nsp string) []byte {
	dst = appendString(appendMember(dst, "uid"), from)
	return append(appendString(appendMember(dst, "nsp"), namespace(nsp)), '}')
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
		if err != nil {
			return wirePayload{}, err
		}
		return wirePayload{Request: &r}, nil
	case typeFetched, typeServerSideEmitted, typeClientCount, typeBroadcastAck:
		r, err := e.response()
		if err != nil {
			return wirePayload{}, err
		}
		return wirePayload{Response: &r}, nil
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
