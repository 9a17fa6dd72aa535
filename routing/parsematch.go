package routing

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ParseMatch reads a match, a JSON object of at most 1 MiB, as strictly as ParseFilters. place goes before what is wrong.
func ParseMatch(raw []byte, place string) (Match, error) {
	var p problems
	var m struct {
		Match
		Conditions []json.RawMessage `json:"conditions"` // instead of Match's, to say which one is wrong
	}
	p.parse(raw, place, maxFilterBytes, &m, "eventTypes, conditions or expr")
	if len(m.Conditions) > maxConditions {
		p.problem(place+".conditions", "has %d: want at most %d", len(m.Conditions), maxConditions)
		m.Conditions = nil
	}
	for i, raw := range m.Conditions {
		m.Match.Conditions = append(m.Match.Conditions, p.parseCondition(raw, fmt.Sprintf("%s.conditions[%d]", place, i)))
	}
	return m.Match, errors.Join(p...)
}
