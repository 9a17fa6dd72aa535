package adapter

import (
	"github.com/tidwall/gjson"
)

// What @socket.io/redis-adapter 8 publishes (index.js), and @socket.io/redis-emitter 5: events on the channel of a
// namespace or a room, all else on its channels for requests and responses.

// Types of requests: RequestType of index.js.
const (
	classicSockets        = "0"
	classicRooms          = "1"
	classicJoin           = "2"
	classicLeave          = "3"
	classicDisconnect     = "4"
	classicFetch          = "5"
	classicServerSideEmit = "6"
	classicBroadcast      = "7"
	classicClientCount    = "8"
	classicBroadcastAck   = "9"
)

// encodeClassicEvent encodes an Event for the channel of its namespace, or of its room if there is one only.
func encodeClassicEvent(from string, m Message) ([]byte, error) {
	if m.Kind != Event || len(m.Args) == 0 {
		return nil, wireError("not an event with a name")
	}
	dst := append(appendString([]byte{'['}, from), ',')
	dst = append(appendPacket(dst, m.Args, namespace(m.Namespace)), ',')
	dst = append(appendBroadcastOpts(dst, m), ']')
	return jsonToMsgpack(nil, string(dst), m.Binary)
}

// decodeClassicEvent decodes what comes on the channel of a namespace or a room (index.js, onmessage). The event is
// for the namespace that it says itself.
func decodeClassicEvent(payload []byte) (Entry, error) {
	v, err := parseMsgpack(payload)
	if err != nil {
		return Entry{}, err
	}
	if !v.IsArray() {
		return Entry{}, wireError("no array")
	}
	var parts [3]gjson.Result // uid, packet, opts
	v.ForEach(func(i, v gjson.Result) bool {
		if n := int(i.Num); n < len(parts) {
			parts[n] = v
		}
		return true
	})
	e := Entry{}
	if e.From, err = stringOf(parts[0], "uid"); err != nil {
		return Entry{}, err
	}
	d := members{packet: parts[1], opts: parts[2]}
	if e.Message, err = d.message(Event, true); err != nil {
		return Entry{}, err
	}
	e.Namespace = namespace(e.Namespace)
	return e, nil
}

// encodeClassicCommand encodes a Join, Leave or Disconnect for the channel of requests.
func encodeClassicCommand(from string, m Message) ([]byte, error) {
	dst := appendString(appendMember([]byte{'{'}, "uid"), from)
	switch m.Kind {
	case Join:
		dst = append(appendMember(dst, "type"), classicJoin...)
	case Leave:
		dst = append(appendMember(dst, "type"), classicLeave...)
	case Disconnect:
		dst = append(appendMember(dst, "type"), classicDisconnect...)
	default:
		return nil, wireError("a message that is no command")
	}
	dst = appendOpts(appendMember(dst, "opts"), m.Rooms, m.Except)
	if m.Kind == Disconnect {
		dst = appendBool(appendMember(dst, "close"), m.Close)
	} else {
		dst = appendStrings(appendMember(dst, "rooms"), m.Into)
	}
	return append(dst, '}'), nil
}

// appendOpts appends options that have no flags.
func appendOpts(dst []byte, rooms, except []string) []byte {
	return append(appendTargets(append(dst, '{'), rooms, except), '}')
}

// encodeClassicRequest encodes a request for the channel of requests.
func encodeClassicRequest(r Request) ([]byte, error) {
	if r.ID == "" && r.Kind != ServerSideEmit {
		return nil, wireError("a request without id")
	}
	if len(r.Args) == 0 && (r.Kind == EmitWithAck || r.Kind == ServerSideEmit) {
		return nil, wireError("an event has no name")
	}
	dst := appendString(appendMember([]byte{'{'}, "uid"), r.From)
	if r.ID != "" {
		dst = appendString(appendMember(dst, "requestId"), r.ID)
	}
	dst = appendMember(dst, "type")
	form := jsonForm
	switch r.Kind {
	case ListSockets:
		dst = appendStrings(appendMember(append(dst, classicSockets...), "rooms"), r.Rooms)
	case ListRooms:
		dst = append(dst, classicRooms...)
	case FetchSockets:
		dst = appendOpts(appendMember(append(dst, classicFetch...), "opts"), r.Rooms, r.Except)
	case ServerSideEmit:
		dst = appendList(appendMember(append(dst, classicServerSideEmit...), "data"), r.Args)
	case EmitWithAck:
		form = msgpackForm
		dst = appendPacket(appendMember(append(dst, classicBroadcast...), "packet"), r.Args, namespace(r.Namespace))
		dst = appendBroadcastOpts(appendMember(dst, "opts"), Message{Rooms: r.Rooms, Except: r.Except})
	default:
		return nil, wireError("a request of no kind")
	}
	return form.finish(append(dst, '}'), r.Binary)
}

// decodeClassicRequest decodes what comes on the channel of a namespace for requests (index.js, onrequest): an Entry
// with a Join, Leave or Disconnect, or Other for types of the future, or a Request.
func decodeClassicRequest(nsp string, payload []byte) (wirePayload, error) {
	v, packed, err := parsePayload(payload)
	if err != nil {
		return wirePayload{}, err
	}
	c, err := readClassic(v, packed)
	if err != nil {
		return wirePayload{}, err
	}
	if c.typ.Type != gjson.Number {
		return wirePayload{}, wireError("a request without type")
	}
	switch c.typ.Raw {
	case classicJoin, classicLeave, classicDisconnect:
		m, err := c.command()
		if err != nil {
			return wirePayload{}, err
		}
		m.Namespace = nsp
		return wirePayload{Entry: &Entry{From: c.from, Message: m}}, nil
	case classicSockets, classicRooms, classicFetch, classicServerSideEmit, classicBroadcast:
		r, err := c.request()
		if err != nil {
			return wirePayload{}, err
		}
		r.Namespace = nsp
		return wirePayload{Request: &r}, nil
	default:
		return wirePayload{Entry: &Entry{From: c.from, Message: Message{Kind: Other, Namespace: nsp}}}, nil
	}
}

// classicPayload is a request or a response. The ones of older releases have sid and room for one socket.
type classicPayload struct {
	members
	from, id            string
	typ, sid, room, uid gjson.Result
	packed              bool
}

func readClassic(v gjson.Result, packed bool) (*classicPayload, error) {
	c := &classicPayload{packed: packed}
	var err error
	if c.members, err = readMembers(v); err != nil {
		return nil, err
	}
	v.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "type":
			c.typ = v
		case "uid":
			c.uid = v
		case "sid":
			c.sid = v
		case "room":
			c.room = v
		}
		return true
	})
	if c.from, err = stringOf(c.uid, "uid"); err != nil {
		return nil, err
	}
	c.id, err = stringOf(c.requestID, "requestId")
	return c, err
}

func (c *classicPayload) command() (Message, error) {
	kind := map[string]Kind{classicJoin: Join, classicLeave: Leave, classicDisconnect: Disconnect}[c.typ.Raw]
	if isPresent(c.opts) {
		return c.message(kind, c.packed)
	}
	m := Message{Kind: kind, Close: c.close.Type == gjson.True}
	sid, err := stringOf(c.sid, "sid")
	if err != nil {
		return m, err
	}
	if sid == "" { // without a room it would be for everybody
		return m, wireError("neither opts nor sid")
	}
	m.Rooms = []string{sid}
	if kind == Disconnect {
		return m, nil
	}
	room, ok := roomName(c.room)
	if !ok {
		return m, wireError("no room to join or to leave")
	}
	m.Into = []string{room}
	return m, nil
}

func (c *classicPayload) request() (Request, error) {
	r := Request{ID: c.id, From: c.from}
	if r.ID == "" && c.typ.Raw != classicServerSideEmit {
		return r, wireError("a request without id")
	}
	var err error
	switch c.typ.Raw {
	case classicSockets:
		r.Kind = ListSockets
		r.Rooms, err = stringsOf(c.rooms, "rooms")
	case classicRooms:
		r.Kind = ListRooms
	case classicFetch:
		r.Kind = FetchSockets
		err = r.address(&c.members)
	case classicServerSideEmit:
		r.Kind = ServerSideEmit
		var args string
		args, err = readArgs(c.response, reservedServerEvents)
		r.setArgs(args, c.packed)
	case classicBroadcast:
		r.Kind = EmitWithAck
		var p eventPacket
		if p, err = readPacket(c.packet); err != nil {
			return r, err
		}
		r.setArgs(p.args, c.packed)
		err = r.address(&c.members)
	}
	return r, err
}
