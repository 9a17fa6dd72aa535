package adapter

// JSON text of what is sent. Node's adapters write their members in this order.

// appendMessageData appends the member "data" of a message for sockets.
func appendMessageData(dst []byte, m Message) ([]byte, error) {
	dst = append(dst, '{')
	switch m.Kind {
	case Event:
		if len(m.Args) == 0 {
			return nil, wireError("an event has no name")
		}
		dst = appendPacket(appendMember(dst, "packet"), m.Args, "")
		dst = appendBroadcastOpts(appendMember(dst, "opts"), m)
	case Join, Leave:
		dst = appendBroadcastOpts(appendMember(dst, "opts"), m)
		dst = appendStrings(appendMember(dst, "rooms"), m.Into)
	case Disconnect:
		dst = appendBroadcastOpts(appendMember(dst, "opts"), m)
		dst = appendBool(appendMember(dst, "close"), m.Close)
	default:
		return nil, wireError("a message of no kind that is sent")
	}
	return append(dst, '}'), nil
}

// appendPacket appends a packet with an event. Only the classic adapter writes the namespace into it.
func appendPacket(dst, args []byte, nsp string) []byte {
	dst = append(append(append(dst, `{"type":2,"data":[`...), args...), ']')
	if nsp != "" {
		dst = appendString(appendMember(dst, "nsp"), nsp)
	}
	return append(dst, '}')
}

func appendBroadcastOpts(dst []byte, m Message) []byte {
	dst = appendTargets(append(dst, '{'), m.Rooms, m.Except)
	dst = append(appendMember(dst, "flags"), '{')
	if m.Volatile && m.Kind == Event {
		dst = append(dst, `"volatile":true`...)
	}
	return append(dst, "}}"...)
}

func appendTargets(dst []byte, rooms, except []string) []byte {
	dst = appendStrings(appendMember(dst, "rooms"), rooms)
	return appendStrings(appendMember(dst, "except"), except)
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, "true"...)
	}
	return append(dst, "false"...)
}

// appendSockets appends the sockets of a FETCH_SOCKETS_RESPONSE. Node's applications reach into the two
// objects, so none is left out.
func appendSockets(dst []byte, sockets []RemoteSocket) []byte {
	dst = append(dst, '[')
	for i, s := range sockets {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(appendMember(append(dst, '{'), "id"), s.ID)
		dst = appendRaw(appendMember(dst, "handshake"), s.Handshake, "{}")
		dst = appendStrings(appendMember(dst, "rooms"), s.Rooms)
		dst = appendRaw(appendMember(dst, "data"), s.Data, "{}")
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// appendRaw appends JSON that is there already, or what stands for none.
func appendRaw(dst, json []byte, none string) []byte {
	if len(json) == 0 {
		return append(dst, none...)
	}
	return append(dst, json...)
}
