package adapter

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// Sessions as redis-streams-adapter keeps them (adapter.js, persistSession and restoreSession), with the
// members that socket.io's socket.js gives them in _onclose.

// encodeSession encodes a session such that Node restores it. Binary stand-ins in Data become what they stand for, so
// that what Node had written comes back to it as it was.
func encodeSession(s StoredSession) (string, error) {
	if s.PID == "" || s.ID == "" {
		return "", wireError("a session without pid or sid")
	}
	rooms := s.Rooms
	if !slices.Contains(rooms, s.ID) { // Node looks for missed packets by these rooms alone
		rooms = append([]string{s.ID}, rooms...)
	}
	dst := appendString(appendMember([]byte{'{'}, "sid"), s.ID)
	dst = appendString(appendMember(dst, "pid"), s.PID)
	dst = appendStrings(appendMember(dst, "rooms"), rooms)
	dst = appendRaw(appendMember(dst, "data"), s.Data, "{}")
	packed, err := jsonToMsgpack(nil, string(append(dst, '}')), true)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed), nil
}

// decodeSession decodes a session that Node has written, or encodeSession. The socket's id is one of its rooms.
func decodeSession(text string) (StoredSession, error) {
	v, err := parseBase64(text)
	if err != nil {
		return StoredSession{}, err
	}
	if !v.IsObject() {
		return StoredSession{}, wireError("a session is no object")
	}
	var sid, pid, rooms, data gjson.Result
	v.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "sid":
			sid = v
		case "pid":
			pid = v
		case "rooms":
			rooms = v
		case "data":
			data = v
		}
		return true
	})
	if sid.Type != gjson.String || pid.Type != gjson.String || sid.Str == "" || pid.Str == "" || !rooms.IsArray() {
		return StoredSession{}, wireError("a session without sid, pid or rooms")
	}
	s := StoredSession{PID: strings.Clone(pid.Str), ID: strings.Clone(sid.Str), Data: rawOf(data)}
	s.Rooms, err = stringsOf(rooms, "rooms of a session")
	return s, err
}
