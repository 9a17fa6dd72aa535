package routing

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/events"
)

const maxChanges = 100 // of each sort in one transform

// TransformParams are what a transform changes: first it adds, then removes, then modifies, each in declared order. A
// dot in a name leads into an object; in an array a number is an index. What is not changed stays as it was, byte for
// byte, its members in their order. A change that does not fit the event, such as one inside a string, is left out and
// counted; should the changed event be none, because it is too large or too deep, it is dropped with an error.
type TransformParams struct {
	// AddFields are set in data: {"priority": "high", "image.checked": true}. Objects on the way are made.
	AddFields json.RawMessage `json:"addFields"`
	// RemoveFields are taken out of data: ["filename", "image.exif"].
	RemoveFields []string `json:"removeFields"`
	// ModifyFields change fields of data or metadata: {"data.title": {"type": "append", "value": " (copy)"}}. Replace
	// sets; append does what += does in JavaScript for a string and a string, number, boolean or null, and for two
	// numbers, gives an array one more element, and sets what is absent. metadata.traceparent is not to be changed.
	ModifyFields json.RawMessage `json:"modifyFields"`
}

// transform is compiled TransformParams.
type transform struct{ changes []change }

// change is one step of a transform.
type change struct {
	do    changeKind
	path  []string // from the event
	value string   // JSON
}

type changeKind uint8

const (
	setField changeKind = iota
	removeField
	appendField
)

// metadataStrings are what an event that decodes has as strings, if at all.
var metadataStrings = []string{"source", "traceId", "clientId", "sessionId", "version"}

func (p *problems) transform(raw json.RawMessage, place string) *transform {
	var params TransformParams
	if err := decodeStrict(orObject(raw), place, &params, "addFields, removeFields or modifyFields"); err != nil {
		*p = append(*p, err)
		return nil
	}
	before := len(*p)
	t := &transform{}
	for name, value := range p.members(params.AddFields, place+".addFields") {
		if path, ok := p.dataPath(name, fmt.Sprintf("%s.addFields[%q]", place, name)); ok {
			t.changes = append(t.changes, change{setField, path, value.Raw})
		}
	}
	if len(params.RemoveFields) > maxChanges {
		p.problem(place+".removeFields", "has %d: want at most %d", len(params.RemoveFields), maxChanges)
	}
	for i, name := range params.RemoveFields {
		if path, ok := p.dataPath(name, fmt.Sprintf("%s.removeFields[%d]", place, i)); ok {
			t.changes = append(t.changes, change{do: removeField, path: path})
		}
	}
	for name, value := range p.members(params.ModifyFields, place+".modifyFields") {
		if c, ok := p.modification(name, value.Raw, fmt.Sprintf("%s.modifyFields[%q]", place, name)); ok {
			t.changes = append(t.changes, c)
		}
	}
	if len(*p) > before {
		return nil
	}
	if len(t.changes) == 0 {
		p.problem(place, "changes nothing: want addFields, removeFields or modifyFields")
	} else if err := t.try(); err != nil {
		p.problem(place, "no event would be left: %v", err)
	}
	return t
}

// try changes the least event there is, which shows values that no event could take.
func (t *transform) try() error {
	ev, err := events.Decode([]byte(`{"id":"a","type":"a","data":{},"metadata":{},"timestamp":""}`), 0)
	if err == nil {
		_, _, _, err = t.apply(&ev, 0)
	}
	return err
}

// members yields the members of an object in their order; null and nothing have none.
func (p *problems) members(raw json.RawMessage, place string) iter.Seq2[string, gjson.Result] {
	return func(yield func(string, gjson.Result) bool) {
		object, n := gjson.ParseBytes(raw), 0
		if !object.IsObject() {
			if object.Type != gjson.Null {
				p.problem(place, "want an object")
			}
			return
		}
		object.ForEach(func(key, value gjson.Result) bool {
			if n++; n > maxChanges {
				p.problem(place, "has more than %d members: want fewer", maxChanges)
				return false
			}
			return yield(key.Str, value)
		})
	}
}

func (p *problems) dataPath(name, place string) ([]string, bool) {
	path, err := events.ParsePath("data." + name)
	if err != nil {
		p.problem(place, "%v", err)
		return nil, false
	}
	return strings.Split(path.String(), "."), true
}

func (p *problems) modification(name, raw, place string) (change, bool) {
	var m struct {
		Type  string          `json:"type"`
		Value json.RawMessage `json:"value"`
	}
	before := len(*p)
	path, err := fieldPath(name)
	if err != nil {
		p.problem(place, "%v", err)
	}
	parts := strings.Split(path.String(), ".")
	switch {
	case err != nil:
	case len(parts) < 2:
		p.problem(place, "want a field of data or metadata, such as data.title")
	case parts[0] == "metadata" && parts[1] == "traceparent":
		p.problem(place, "the trace context cannot be changed")
	}
	if err := decodeStrict([]byte(raw), place, &m, "type or value"); err != nil {
		*p = append(*p, err)
		return change{}, false
	}
	do := setField
	switch m.Type {
	case "replace":
	case "append":
		do = appendField
	default:
		p.problem(place+".type", "%q: want append or replace", clip(m.Type))
	}
	value := gjson.ParseBytes(m.Value)
	switch {
	case m.Value == nil:
		p.problem(place+".value", "want a value")
	case err == nil && parts[0] == "metadata" && slices.Contains(metadataStrings, parts[1]):
		if len(parts) > 2 {
			p.problem(place, "cannot exist: metadata.%s is a string", parts[1])
		} else if value.Type != gjson.String {
			p.problem(place+".value", "want a string: %s is one", name)
		}
	}
	return change{do, parts, value.Raw}, len(*p) == before
}

func orObject(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return []byte("{}")
	}
	return raw
}

// apply returns the changed event, whether anything changed, and how many changes did not fit.
func (t *transform) apply(ev *events.Event, maxBytes int) (changed events.Event, isNew bool, unfit int, err error) {
	root := node{raw: string(ev.Raw())}
	for i := range t.changes {
		switch c := &t.changes[i]; {
		case c.apply(&root):
			isNew = true
		case c.do != removeField: // what is not there is as it should be
			unfit++
		}
	}
	if isNew {
		changed, err = events.Decode(root.append(make([]byte, 0, len(root.raw)+64)), maxBytes)
	}
	return changed, isNew, unfit, err
}

// apply is false if nothing changed.
func (c *change) apply(root *node) bool {
	switch c.do {
	case removeField:
		return root.remove(c.path)
	case appendField:
		if at := root.at(c.path); at != nil {
			return at.appendValue(c.value)
		}
	}
	return root.set(c.path, c.value)
}
