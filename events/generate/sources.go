package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/photo-management/event-bus/events"
)

// sources is all that the files are made from.
type sources struct {
	envelope []byte // JSON Schemas
	types    []eventType
	routes   []route // in order of their channels
	socket   socketEvents
}

type eventType struct {
	name, channel string
	schema        []byte
}

// route is the Socket.IO event that a channel's events go out as by default.
type route struct{ channel, event string }

// socketEvents is socket.json: what sockets say and hear besides the events of the bus. The payloads and answers are
// JSON Schemas that refer to Types by name.
type socketEvents struct {
	Types          map[string]json.RawMessage `json:"types"`
	ServerToClient []socketEvent              `json:"serverToClient"`
	ClientToServer []socketEvent              `json:"clientToServer"`
}

type socketEvent struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Argument    string   `json:"argument"` // a name for the payload
	Payload     string   `json:"payload"`  // the name of a type; empty: there is none
	Answers     []string `json:"answers"`  // names of the types that the acknowledgement may have
}

//go:embed socket.json
var socketTable []byte

func read(root string) (*sources, error) {
	s := new(sources)
	var err error
	if s.envelope, err = os.ReadFile(filepath.Join(root, "events/schemas/envelope.json")); err != nil {
		return nil, err
	}
	var channels []string
	for _, name := range events.Types() {
		channel, _ := events.Channel(name)
		schema, err := os.ReadFile(filepath.Join(root, "events/schemas", name+".json"))
		if err != nil {
			return nil, err
		}
		s.types = append(s.types, eventType{name, channel, schema})
		if !slices.Contains(channels, channel) {
			channels = append(channels, channel)
		}
	}
	if s.routes, err = readRoutes(filepath.Join(root, "routing/default.json"), channels); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(socketTable, &s.socket); err != nil {
		return nil, fmt.Errorf("socket.json: %w", err)
	}
	return s, nil
}

// of lists the types whose events a channel has by default.
func (s *sources) of(channel string) (types []eventType) {
	for _, t := range s.types {
		if t.channel == channel {
			types = append(types, t)
		}
	}
	return types
}

type rule struct {
	EventName string `json:"eventName"`
	Rules     []rule `json:"rules"`
}

func readRoutes(file string, channels []string) (routes []route, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var rules map[string][]rule
	if err := json.Unmarshal(text, &rules); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, channel := range channels {
		var names []string
		for _, r := range rules[channel] {
			names = r.names(names)
		}
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			routes = append(routes, route{channel, name})
		}
	}
	return routes, nil
}

func (r rule) names(dst []string) []string {
	if r.EventName != "" {
		dst = append(dst, r.EventName)
	}
	for _, sub := range r.Rules {
		dst = sub.names(dst)
	}
	return dst
}
