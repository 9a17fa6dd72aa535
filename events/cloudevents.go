package events

import (
	"strings"

	"github.com/tidwall/gjson"
)

// Attributes of a CloudEvent and the metadata they become.
var cloudMetadata = [...]struct{ attribute, member string }{
	{"source", "source"},
	{"traceid", "traceId"},
	{"clientid", "clientId"},
	{"sessionid", "sessionId"},
	{"dataversion", "version"},
	{"traceparent", "traceparent"},
}

// isCloudEvent leaves alone an Event that merely has a member specversion: in CloudEvents no attribute is an object.
func (m *members) isCloudEvent() bool {
	return m.specVersion.Type == gjson.String && m.specVersion.Str == "1.0" && !m.metadata.IsObject()
}

// fromCloudEvent writes a CloudEvent (CloudEvents 1.0, JSON format section 3) in the shape of an Event. Attributes
// without a place in Event stay as they are, at the top level.
func fromCloudEvent(doc gjson.Result) ([]byte, error) {
	known := map[string]gjson.Result{
		"id": {}, "type": {}, "data": {}, "time": {},
		"specversion": {}, "timestamp": {}, "metadata": {}, // these would contradict what is written here
		"data_base64": {},
	}
	for _, m := range cloudMetadata {
		known[m.attribute] = gjson.Result{}
	}
	var rest []byte
	var contentType gjson.Result
	doc.ForEach(func(key, value gjson.Result) bool {
		if key.Str == "datacontenttype" {
			contentType = value
		}
		if _, ok := known[key.Str]; ok {
			known[key.Str] = value
		} else {
			rest = appendMember(rest, key.Raw, value.Raw)
		}
		return true
	})
	if !isStringOrAbsent(known["time"]) {
		return nil, wrong("time", "a string")
	}
	if known["data_base64"].Type != gjson.Null {
		return nil, wrong("data_base64", "none: the bus takes data that is a JSON object, in data")
	}
	if !isJSONType(contentType) {
		return nil, wrong("datacontenttype", "application/json or another JSON media type, or none")
	}
	var metadata []byte
	for _, m := range cloudMetadata {
		value := known[m.attribute]
		if !isStringOrAbsent(value) {
			return nil, wrong(m.attribute, "a string")
		}
		if value.Type == gjson.Null && m.member == "version" {
			value.Raw = `"` + defaultVersion + `"`
		}
		metadata = appendMember(metadata, `"`+m.member+`"`, value.Raw)
	}
	var out []byte
	out = appendMember(out, `"id"`, known["id"].Raw)
	out = appendMember(out, `"type"`, known["type"].Raw)
	out = appendMember(out, `"data"`, known["data"].Raw)
	out = appendMember(out, `"metadata"`, "{"+string(metadata)+"}")
	out = appendMember(out, `"timestamp"`, known["time"].Raw)
	if len(rest) > 0 {
		out = append(append(out, ','), rest...)
	}
	return append(append([]byte{'{'}, out...), '}'), nil
}

// isJSONType reports whether data of that type is JSON rather than a string of something else (JSON format section 3.1).
func isJSONType(v gjson.Result) bool {
	if v.Type == gjson.Null {
		return true
	}
	mediaType, _, _ := strings.Cut(v.Str, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	return strings.HasSuffix(mediaType, "/json") || strings.HasSuffix(mediaType, "+json")
}

// appendMember adds a member to the inside of an object, unless it has no value. Key and value are JSON.
func appendMember(dst []byte, key, value string) []byte {
	if value == "" || value == "null" {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, key...)
	dst = append(dst, ':')
	return append(dst, value...)
}
