package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

const (
	maxFilterBytes = 1 << 20 // of the JSON of one filter
	maxSpecBytes   = 8 << 20 // of the JSON of all filters, or all rules
)

// ParseFilters reads a JSON array of filters, at most 8 MiB. A field that a filter, condition or action does not have
// is an error, and so is a value of another type; all of them are named with their place. Whether the filters make
// sense, CompileFilters says.
func ParseFilters(raw []byte) ([]Filter, error) {
	var list []json.RawMessage
	if err := decodeBounded(raw, "filters", maxSpecBytes, &list, ""); err != nil {
		return nil, err
	}
	if len(list) > MaxFilters {
		return nil, fmt.Errorf("filters: has %d: want at most %d", len(list), MaxFilters)
	}
	var p problems
	filters := make([]Filter, len(list))
	for i, raw := range list {
		filters[i] = p.parseFilter(raw, fmt.Sprintf("filters[%d]", i))
	}
	if len(p) > 0 {
		return nil, errors.Join(p...)
	}
	return filters, nil
}

// ParseFilter reads one filter, a JSON object of at most 1 MiB, as ParseFilters does.
func ParseFilter(raw []byte) (Filter, error) {
	var p problems
	f := p.parseFilter(raw, "filter")
	return f, errors.Join(p...)
}

// ParseRules reads rules: a JSON object of arrays of rules, by channel, at most 8 MiB, as strictly as ParseFilters.
func ParseRules(raw []byte) (map[string][]Rule, error) {
	var channels map[string]json.RawMessage
	if err := decodeBounded(raw, "rules", maxSpecBytes, &channels, ""); err != nil {
		return nil, err
	}
	var p problems
	rules := make(map[string][]Rule, len(channels))
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		var list []json.RawMessage
		p.parse(channels[channel], channel, maxSpecBytes, &list, "")
		rules[channel] = p.parseRules(list, channel, 1)
	}
	if len(p) > 0 {
		return nil, errors.Join(p...)
	}
	return rules, nil
}

func decodeBounded(raw []byte, place string, limit int, into any, fields string) error {
	if len(raw) > limit {
		return fmt.Errorf("%s: has %d bytes: want at most %d", place, len(raw), limit)
	}
	if string(bytes.TrimSpace(raw)) == "null" { // which encoding/json takes for anything
		return fmt.Errorf("%s: null: want a value", place)
	}
	return decodeStrict(raw, place, into, fields)
}

// parse decodes one object, and notes what is wrong with it.
func (p *problems) parse(raw []byte, place string, limit int, into any, fields string) {
	if err := decodeBounded(raw, place, limit, into, fields); err != nil {
		*p = append(*p, err)
	}
}

func (p *problems) parseFilter(raw []byte, place string) Filter {
	var f struct {
		Filter
		Conditions []json.RawMessage `json:"conditions"` // instead of Filter's, to say which one is wrong
		Action     json.RawMessage   `json:"action"`
	}
	p.parse(raw, place, maxFilterBytes, &f, "id, type, direction, channels, conditions, expr or action")
	if len(f.Conditions) > maxConditions {
		p.problem(place+".conditions", "has %d: want at most %d", len(f.Conditions), maxConditions)
		return f.Filter
	}
	for i, raw := range f.Conditions {
		f.Filter.Conditions = append(f.Filter.Conditions, p.parseCondition(raw, fmt.Sprintf("%s.conditions[%d]", place, i)))
	}
	if f.Action != nil {
		p.parse(f.Action, place+".action", maxFilterBytes, &f.Filter.Action, "type or params")
	}
	return f.Filter
}

func (p *problems) parseCondition(raw []byte, place string) Condition {
	var c struct {
		Condition
		Value json.RawMessage `json:"value"` // instead of Condition's, which does not tell null from nothing
	}
	before := len(*p)
	p.parse(raw, place, maxFilterBytes, &c, "field, operator or value")
	switch {
	case len(*p) > before:
	case c.Value == nil:
		p.problem(place+".value", "want a value, which may be null")
	default:
		if err := decodeStrict(c.Value, place+".value", &c.Condition.Value, ""); err != nil {
			*p = append(*p, err)
		}
	}
	return c.Condition
}

func (p *problems) parseRules(list []json.RawMessage, place string, depth int) []Rule {
	if depth > maxDepth {
		p.problem(place, "want at most %d levels of rules", maxDepth)
		return nil
	}
	var rules []Rule
	for i, raw := range list {
		var r struct {
			Rule
			Rules []json.RawMessage `json:"rules"`
		}
		place := fmt.Sprintf("%s[%d]", place, i)
		p.parse(raw, place, maxFilterBytes, &r, "type, selector, targetPrefix, eventName or rules")
		r.Rule.Rules = p.parseRules(r.Rules, place+".rules", depth+1)
		rules = append(rules, r.Rule)
	}
	return rules
}
