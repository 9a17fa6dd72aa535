package adapter

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// The members of what Node's cluster adapters tell each other (socket.io-adapter, cluster-adapter.js, ClusterMessage
// and ClusterResponse), and the entries of the stream that has most of it (@socket.io/redis-streams-adapter,
// adapter.js, encode and decode).

// Types of messages: MessageType of cluster-adapter.js.
const (
	typeBroadcast         = "3"
	typeJoin              = "4"
	typeLeave             = "5"
	typeDisconnect        = "6"
	typeFetch             = "7"
	typeFetched           = "8"
	typeServerSideEmit    = "9"
	typeServerSideEmitted = "10"
	typeClientCount       = "11"
	typeBroadcastAck      = "12"
)

// entryKind is what a message of a type does. Those that are not for the log, and those of the future, are Other.
func entryKind(typ string) Kind {
	switch typ {
	case typeBroadcast:
		return Event
	case typeJoin:
		return Join
	case typeLeave:
		return Leave
	case typeDisconnect:
		return Disconnect
	default:
		return Other
	}
}

// entryType is the field "type" of an entry. Other has none.
func entryType(k Kind) string {
	switch k {
	case Event:
		return typeBroadcast
	case Join:
		return typeJoin
	case Leave:
		return typeLeave
	case Disconnect:
		return typeDisconnect
	default:
		return ""
	}
}

// namespace is the name of a namespace on the wire.
func namespace(name string) string { return cmp.Or(name, "/") }

// appendData appends the field "data" of an entry: JSON, or base64 of MessagePack if there is something binary.
func appendData(dst []byte, m Message) ([]byte, error) {
	if m.Kind != Event || !m.Binary {
		return appendMessageData(dst, m)
	}
	text, err := appendMessageData(nil, m)
	if err != nil {
		return nil, err
	}
	packed, err := jsonToMsgpack(nil, string(text), true)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(dst, packed), nil
}

// decodeEntry decodes the fields of an entry. Its position is the caller's to set. What is Other is no error: the
// stream may hold what a future version writes, or another program, and packets that want an answer from one
// client of another server.
func decodeEntry(uid, nsp, typ, data string) (Entry, error) {
	e := Entry{From: uid, Message: Message{Kind: Other, Namespace: nsp}}
	kind := entryKind(typ)
	if kind == Other || nsp == "" {
		return e, nil
	}
	var parsed gjson.Result
	var err error
	packed := !strings.HasPrefix(data, "{")
	if packed {
		parsed, err = parseBase64(data)
	} else {
		parsed, err = parseJSON(data)
	}
	if err != nil {
		return e, err
	}
	members, err := readMembers(parsed)
	if err != nil {
		return e, err
	}
	if e.Message, err = members.message(kind, packed); err != nil {
		return Entry{From: uid, Message: Message{Kind: Other, Namespace: nsp}}, err
	}
	e.Namespace = nsp
	return e, nil
}

// parseBase64 parses MessagePack in base64. The padding is optional, as for Node.
func parseBase64(text string) (gjson.Result, error) {
	packed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return gjson.Result{}, wireError("neither JSON nor base64")
	}
	return parseMsgpack(packed)
}

func parseMsgpack(packed []byte) (gjson.Result, error) {
	text, err := msgpackToJSON(nil, packed)
	if err != nil {
		return gjson.Result{}, err
	}
	return gjson.Parse(string(text)), nil
}

// members are those of the member "data" of all types of messages.
type members struct {
	packet, opts, requestID  gjson.Result
	rooms, close             gjson.Result // to join or to leave; of a disconnect
	sockets, count, response gjson.Result
}

// readMembers does as JSON.parse where a name is there twice: the last one counts.
func readMembers(data gjson.Result) (members, error) {
	var d members
	if !data.IsObject() {
		return d, wireError("data is no object")
	}
	data.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "packet":
			d.packet = v
		case "opts":
			d.opts = v
		case "requestId":
			d.requestID = v
		case "rooms":
			d.rooms = v
		case "close":
			d.close = v
		case "sockets":
			d.sockets = v
		case "clientCount":
			d.count = v
		case "data": // where the classic adapter has a packet
			d.response = v
		}
		return true
	})
	return d, nil
}

// message makes a message for sockets. A broadcast that wants answers is Other: it is not for the log. The namespace
// is what the packet says, if it does.
func (d *members) message(kind Kind, packed bool) (Message, error) {
	m := Message{Kind: kind}
	to, err := readTargets(d.opts)
	if err != nil {
		return m, err
	}
	m.Rooms, m.Except = to.rooms, to.except
	switch kind {
	case Event:
		p, err := readPacket(d.packet)
		if err != nil {
			return m, err
		}
		if p.wantsAck || isPresent(d.requestID) {
			return Message{Kind: Other, Namespace: p.namespace}, nil
		}
		m.Namespace = p.namespace
		m.Args, m.Volatile = []byte(p.args), to.volatile
		m.Binary = packed && strings.Contains(p.args, binaryMark)
	case Join, Leave:
		if !d.rooms.IsArray() {
			return m, wireError("rooms to join or to leave are no array")
		}
		m.Into, err = stringsOf(d.rooms, "rooms to join or to leave")
	case Disconnect:
		if d.close.IsObject() || d.close.IsArray() || d.close.Type == gjson.String || d.close.Type == gjson.Number {
			return m, wireError("close is neither true nor false")
		}
		m.Close = d.close.Type == gjson.True
	}
	return m, err
}

// targets are the options of a broadcast: BroadcastOptions of in-memory-adapter.js.
type targets struct {
	rooms, except []string
	volatile      bool
}

func readTargets(opts gjson.Result) (targets, error) {
	var to targets
	if !opts.IsObject() {
		return to, wireError("opts is no object")
	}
	var rooms, except gjson.Result
	opts.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "rooms":
			rooms = v
		case "except":
			except = v
		case "flags":
			to.volatile = v.Get("volatile").Type == gjson.True
		}
		return true
	})
	var err error
	if to.rooms, err = stringsOf(rooms, "rooms"); err != nil {
		return to, err
	}
	to.except, err = stringsOf(except, "rooms to except")
	return to, err
}

// eventPacket is a packet of socket.io-parser that holds an event.
type eventPacket struct {
	args      string // as Message.Args
	namespace string
	wantsAck  bool
}

func readPacket(packet gjson.Result) (eventPacket, error) {
	var out eventPacket
	if !packet.IsObject() {
		return out, wireError("packet is no object")
	}
	var typ, data, id, nsp gjson.Result
	packet.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "type":
			typ = v
		case "data":
			data = v
		case "id":
			id = v
		case "nsp":
			nsp = v
		}
		return true
	})
	if typ.Raw != "2" && typ.Raw != "5" { // EVENT and BINARY_EVENT
		return out, wireError("packet is no event")
	}
	var err error
	if out.namespace, err = stringOf(nsp, "namespace"); err != nil {
		return out, err
	}
	out.wantsAck = isPresent(id)
	out.args, err = readArgs(data, reservedEvents)
	return out, err
}

// reservedEvents cannot be sent to sockets: RESERVED_EVENTS of socket.io's socket-types.js.
var reservedEvents = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// readArgs gives the inside of an array that begins with an event's name: a string that is not reserved, or a number.
func readArgs(data gjson.Result, reserved []string) (string, error) {
	if !data.IsArray() {
		return "", wireError("an event is no array")
	}
	ok := false
	data.ForEach(func(_, name gjson.Result) bool {
		ok = name.Type == gjson.Number || name.Type == gjson.String && !slices.Contains(reserved, name.Str)
		return false
	})
	if !ok {
		return "", wireError("an event has no name, or one that is reserved")
	}
	return insideOf(data), nil
}
