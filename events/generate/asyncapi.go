package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/tidwall/gjson"
)

// object is a JSON object.
type object = map[string]any

const (
	socketChannel = "socket"
	envelopeName  = "EventEnvelope"
)

// asyncAPI writes asyncapi.json: what comes in through Redis, and what sockets hear and say.
func asyncAPI(s *sources) ([]byte, error) {
	d := document{channels: object{}, operations: object{}, messages: object{}, schemas: object{}}
	if err := d.addSchemas(s); err != nil {
		return nil, err
	}
	d.addRedis(s)
	d.addSocket(s)
	return encode(object{
		"asyncapi": "3.0.0",
		"info": object{
			"title":       "Event Bus Service",
			"version":     "1.0.0",
			"description": "Real-time events from back-end services, over Redis, to Socket.IO front-ends. " + notice,
			"license":     object{"name": "MIT"},
		},
		"defaultContentType": "application/json",
		"servers": object{
			"redis": object{"host": "localhost:6379", "protocol": "redis", "description": "Where back-end services publish."},
			"socketio": object{"host": "localhost:3003", "pathname": "/socket.io/", "protocol": "socketio",
				"description": "Socket.IO protocol 5, for socket.io-client 3 and 4. The handshake's auth.token, or the Authorization header, is a JWT."},
		},
		"channels":   d.channels,
		"operations": d.operations,
		"components": object{"messages": d.messages, "schemas": d.schemas},
	})
}

// document is an AsyncAPI document in the making.
type document struct{ channels, operations, messages, schemas object }

func (d document) addSchemas(s *sources) error {
	for name, text := range s.socket.Types {
		if err := d.addSchema(name, text); err != nil {
			return err
		}
	}
	for _, t := range s.types {
		if err := d.addSchema(pascal(t.name)+"Event", t.schema); err != nil {
			return err
		}
	}
	return d.addSchema(envelopeName, s.envelope)
}

func (d document) addSchema(name string, text []byte) error {
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		return fmt.Errorf("schema of %s: %w", name, err)
	}
	d.schemas[name] = adapted(schema)
	return nil
}

// adapted rewrites JSON Schema 2020-12 for AsyncAPI, whose schemas are draft-07: there, a $ref has no neighbours.
func adapted(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = adapted(v[i])
		}
	case object:
		delete(v, "$schema")
		for key := range v {
			v[key] = adapted(v[key])
		}
		if ref, ok := v["$ref"].(string); ok {
			v["$ref"] = schemaRef(strings.Replace(ref, "envelope.json", envelopeName, 1))["$ref"]
			if len(v) > 1 {
				v["allOf"] = []any{object{"$ref": v["$ref"]}}
				delete(v, "$ref")
			}
		}
	}
	return v
}

func schemaRef(name string) object  { return ref("components/schemas", name) }
func messageRef(name string) object { return ref("components/messages", name) }

func ref(where, name string) object {
	return object{"$ref": "#/" + where + "/" + strings.ReplaceAll(name, "/", "~1")}
}

// addRedis adds two channels for each of ours, and what the service receives from them.
func (d document) addRedis(s *sources) {
	for _, t := range s.types {
		d.messages[t.name] = object{
			"name":        t.name,
			"title":       gjson.GetBytes(t.schema, "title").Str,
			"contentType": "application/json",
			"payload":     schemaRef(pascal(t.name) + "Event"),
		}
	}
	for _, r := range s.routes {
		id := strings.ReplaceAll(r.channel, ":", ".")
		messages := object{}
		for _, t := range s.of(r.channel) {
			messages[t.name] = messageRef(t.name)
		}
		d.receive(id+".pubsub", r.channel, "Redis Pub/Sub: PUBLISH "+r.channel+" <JSON of the event>. It is heard while a "+
			"replica listens. CloudEvents 1.0 in structured JSON are taken as well.", messages)
		d.receive(id+".stream", "eventbus:in:"+r.channel, "A Redis stream: XADD eventbus:in:"+r.channel+" MAXLEN ~ 100000 * event <JSON of "+
			"the event>. What XADD has confirmed is delivered. CloudEvents 1.0 in structured JSON are taken as well.", messages)
	}
}

// receive adds a channel in Redis and the operation of taking all that is in it.
func (d document) receive(id, address, description string, messages object) {
	d.channels[id] = object{
		"address":     address,
		"description": description,
		"servers":     []any{ref("servers", "redis")},
		"messages":    messages,
	}
	d.operations["receive."+id] = object{"action": "receive", "channel": ref("channels", id), "summary": "Take events from " + address + "."}
}

// addSocket adds the namespace that all clients are in.
func (d document) addSocket(s *sources) {
	messages := object{}
	d.channels[socketChannel] = object{
		"address": "/",
		"description": "The Socket.IO namespace. The name of a message is the name of the event; its payload is the event's first argument. " +
			"An acknowledgement is a message of its own here.",
		"servers":  []any{ref("servers", "socketio")},
		"messages": messages,
	}
	say := func(key, name, description string, payload object) object {
		m := object{"name": name, "contentType": "application/json", "summary": description}
		maps.Copy(m, payload)
		d.messages["socket."+key] = m
		messages[key] = messageRef("socket." + key)
		return ref("channels/"+socketChannel+"/messages", key)
	}
	key := func(name string) string { return strings.ReplaceAll(name, ":", ".") }
	operation := func(action, name, summary string, message object) object {
		o := object{"action": action, "channel": ref("channels", socketChannel), "summary": summary, "messages": []any{message}}
		d.operations[action+"."+key(name)] = o
		return o
	}
	for _, r := range s.routes {
		var payloads []any
		for _, t := range s.of(r.channel) {
			payloads = append(payloads, schemaRef(pascal(t.name)+"Event"))
		}
		summary := "An event of " + r.channel + ". A second argument, a string, is its offset for connection state recovery."
		operation("send", r.event, summary, say(key(r.event), r.event, summary, object{"payload": object{"oneOf": payloads}}))
	}
	for _, e := range s.socket.ServerToClient {
		operation("send", e.Name, e.Description, say(key(e.Name), e.Name, e.Description, payload(e.Payload)))
	}
	for _, e := range s.socket.ClientToServer {
		k := "client." + key(e.Name)
		o := operation("receive", e.Name, e.Description, say(k, e.Name, e.Description, payload(e.Payload)))
		var answers []any
		for _, name := range e.Answers {
			answers = append(answers, schemaRef(name))
		}
		answer := say(k+".answer", e.Name, "The acknowledgement of "+e.Name+".", object{"payload": object{"oneOf": answers}})
		o["reply"] = object{"channel": ref("channels", socketChannel), "messages": []any{answer}}
	}
}

// payload is that of a message; one that has none is without the key.
func payload(typeName string) object {
	if typeName == "" {
		return nil
	}
	return object{"payload": schemaRef(typeName)}
}
