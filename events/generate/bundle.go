package main

import (
	"bytes"
	"encoding/json"
)

// bundle writes schemas.json: the channel of each event type, and the schemas by the names that they refer to each
// other by.
func bundle(s *sources) ([]byte, error) {
	all := struct {
		Comment  string                     `json:"$comment"`
		Channels map[string]string          `json:"channels"`
		Schemas  map[string]json.RawMessage `json:"schemas"`
	}{notice, map[string]string{}, map[string]json.RawMessage{"envelope.json": s.envelope}}
	for _, t := range s.types {
		all.Channels[t.name] = t.channel
		all.Schemas[t.name+".json"] = t.schema
	}
	return encode(all)
}

// encode writes JSON for people and diffs.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}
