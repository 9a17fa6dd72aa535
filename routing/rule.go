// Package routing decides what becomes of an event: filters drop, change, route and throttle it, rules say which rooms
// hear it, and matches whether a subscription wants it. All are compiled once, and refused then if something is wrong.
//
// It does no I/O and knows nothing of sockets: a target is an event name and rooms, and whether an event may pass a
// throttle its caller finds out.
package routing

import (
	_ "embed"
	"encoding/json"
	"fmt"
)

// Rule is one routing rule as configuration has it.
type Rule struct {
	// Type is one of
	//   - room: the room TargetPrefix + the selected value
	//   - client: the room "client:" + the selected value
	//   - broadcast: everybody; with a Selector, only if it selects something
	//   - multi: all of Rules, nothing else is set
	Type string `json:"type"`
	// Selector is the path of the event's field that names the target, such as "data.photoId". A non-empty string or
	// a number of at most 512 bytes selects; an array selects with each such element, up to the first 1000.
	Selector string `json:"selector,omitempty"`
	// TargetPrefix goes before the value in a room's name. Only for room.
	TargetPrefix string `json:"targetPrefix,omitempty"`
	// EventName is the name the browser listens for. Empty means "event".
	EventName string `json:"eventName,omitempty"`
	// Rules are the rules of a multi.
	Rules []Rule `json:"rules,omitempty"`
}

// Target is one emit: each socket in any of the rooms hears it once.
type Target struct {
	Event string   // the name of the Socket.IO event
	Rooms []string // no room twice; nil if All is set
	All   bool     // every socket, whatever its rooms
}

//go:embed default.json
var defaultRules []byte

// Default returns the rules, by channel, that are in force unless configuration has others. The map is the caller's.
func Default() map[string][]Rule {
	var rules map[string][]Rule
	if err := json.Unmarshal(defaultRules, &rules); err != nil {
		panic(fmt.Errorf("embedded default.json: %w", err))
	}
	return rules
}
