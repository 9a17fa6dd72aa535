package routing

import (
	"slices"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/events"
)

// node is a JSON value that can be changed. What is not changed is written as it came, byte for byte, members in their
// order; only the white space between the members on the way to a change goes.
type node struct {
	raw     string // until it is opened
	open    bool
	array   bool
	members []member
}

// member is one of an object, or an element, which has no name.
type member struct {
	name string // unescaped
	key  string // as JSON
	node *node
}

// expand reads the members of an object or array; it is false for other values.
func (n *node) expand() bool {
	if n.open {
		return true
	}
	r := gjson.Parse(n.raw)
	if n.array = r.IsArray(); !n.array && !r.IsObject() {
		return false
	}
	n.open = true
	at := make(map[string]int) // where a name is: of several members of one name the last counts
	r.ForEach(func(key, value gjson.Result) bool {
		m := member{name: key.Str, key: key.Raw, node: &node{raw: value.Raw}}
		if !n.array {
			if i, double := at[m.name]; double {
				n.members[i] = m
				return true
			}
			at[m.name] = len(n.members)
		}
		n.members = append(n.members, m)
		return true
	})
	return true
}

// index is where an opened node has a member, or an array the element of that number; -1 if nowhere.
func (n *node) index(name string) int {
	if !n.array {
		return slices.IndexFunc(n.members, func(m member) bool { return m.name == name })
	}
	if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.members) && strconv.Itoa(i) == name {
		return i
	}
	return -1
}

// at returns the node at a path, or nil.
func (n *node) at(path []string) *node {
	for _, name := range path {
		if !n.expand() {
			return nil
		}
		i := n.index(name)
		if i < 0 {
			return nil
		}
		n = n.members[i].node
	}
	return n
}

// set puts a JSON value at a path and makes the objects on the way that are absent or null. It is false, and nothing
// has changed, where something on the way is neither an object nor an array with that element.
func (n *node) set(path []string, value string) bool {
	for i, name := range path {
		if !n.expand() {
			return false
		}
		at := n.index(name)
		switch {
		case at < 0 && n.array:
			return false
		case at < 0:
			at = len(n.members)
			n.members = append(n.members, member{name: name, key: string(appendQuoted(nil, name)), node: &node{raw: "{}"}})
		case i < len(path)-1 && n.members[at].node.isNull():
			n.members[at].node = &node{raw: "{}"}
		}
		if i == len(path)-1 {
			n.members[at].node = &node{raw: value}
		}
		n = n.members[at].node
	}
	return true
}

func (n *node) isNull() bool { return !n.open && n.raw == "null" }

// remove takes out what is at a path, of an array the element; it is false if there is nothing.
func (n *node) remove(path []string) bool {
	last := len(path) - 1
	parent := n.at(path[:last])
	if parent == nil || !parent.expand() {
		return false
	}
	i := parent.index(path[last])
	if i < 0 {
		return false
	}
	parent.members = slices.Delete(parent.members, i, i+1)
	return true
}

// appendValue does what += does in JavaScript for a string and a string, number, boolean or null, and for two numbers;
// an array gets one more element. It is false, and nothing has changed, for all other values.
func (n *node) appendValue(value string) bool {
	if n.expand() {
		if n.array {
			n.members = append(n.members, member{node: &node{raw: value}})
		}
		return n.array
	}
	was, more := gjson.Parse(n.raw), gjson.Parse(value)
	switch {
	case was.Type == gjson.String && more.Type != gjson.JSON:
		n.raw = string(appendQuoted(nil, was.Str+text(more)))
	case was.Type == gjson.Number && more.Type == gjson.Number:
		sum := was.Num + more.Num
		if sum-sum != 0 { // infinite: JSON cannot say it
			return false
		}
		n.raw = events.Value{Kind: events.Number, Num: sum}.String()
	default:
		return false
	}
	return true
}

// text is JavaScript's String() of a string, number, boolean or null.
func text(r gjson.Result) string {
	switch r.Type {
	case gjson.String:
		return r.Str
	case gjson.Number:
		return events.Value{Kind: events.Number, Num: r.Num}.String()
	}
	return r.Raw
}

// append writes the JSON.
func (n *node) append(b []byte) []byte {
	if !n.open {
		return append(b, n.raw...)
	}
	b = append(b, n.brackets()[0])
	for i, m := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		if !n.array {
			b = append(append(b, m.key...), ':')
		}
		b = m.node.append(b)
	}
	return append(b, n.brackets()[1])
}

func (n *node) brackets() string {
	if n.array {
		return "[]"
	}
	return "{}"
}

// appendQuoted writes a string as JavaScript's JSON.stringify does.
func appendQuoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c >= '\b' && c <= '\r' && c != '\v':
			b = append(b, '\\', "btn\x00fr"[c-'\b'])
		default:
			b = append(b, `\u00`...)
			b = append(b, hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}
