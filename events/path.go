package events

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	maxPathBytes = 512
	maxPathParts = 32
)

// Path is a parsed field path, for Lookup. Make it with ParsePath, once.
type Path struct {
	text  string
	parts []part
	field field
}

// part is one step: a member's name and, if the name is an array index, its value, else -1.
type part struct {
	name  string
	index int
}

// field names what Event has decoded already.
type field int

const (
	otherField field = iota
	idField
	typeField
	timestampField
	sourceField
	traceIDField
	clientIDField
	sessionIDField
	versionField
	traceparentField
)

var decodedFields = map[string]field{
	"id":                   idField,
	"type":                 typeField,
	"timestamp":            timestampField,
	"metadata.source":      sourceField,
	"metadata.traceId":     traceIDField,
	"metadata.clientId":    clientIDField,
	"metadata.sessionId":   sessionIDField,
	"metadata.version":     versionField,
	"metadata.traceparent": traceparentField,
}

// ParsePath parses a dotted path such as "data.photoId" or "data.results.thumbnails.0.url". Each part is a member's
// exact name, nothing in it has a further meaning; in an array, a number is an index from 0. A path has at most
// 512 bytes and 32 parts, none of them empty.
func ParsePath(s string) (Path, error) {
	if s == "" || len(s) > maxPathBytes {
		return Path{}, fmt.Errorf("field path has %d bytes: want 1 to %d", len(s), maxPathBytes)
	}
	names := strings.Split(s, ".")
	if len(names) > maxPathParts {
		return Path{}, fmt.Errorf("field path %q has %d parts: want at most %d", s, len(names), maxPathParts)
	}
	p := Path{text: s, parts: make([]part, len(names)), field: decodedFields[s]}
	for i, name := range names {
		if name == "" {
			return Path{}, fmt.Errorf("field path %q: want a name on both sides of each dot", s)
		}
		p.parts[i] = part{name, arrayIndex(name)}
	}
	return p, nil
}

// String returns the path as it was written.
func (p Path) String() string { return p.text }

// arrayIndex is -1 for what JavaScript would not take as an index either: "01", "+1".
func arrayIndex(name string) int {
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && strconv.Itoa(n) == name {
		return n
	}
	return -1
}
