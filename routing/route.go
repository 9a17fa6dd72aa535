package routing

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/photo-management/event-bus/events"
)

// RouteParams are where a route filter sends events.
type RouteParams struct {
	Rules []Rule `json:"rules"` // as a channel has them, at most 100
	// Only leaves out the channel's own rules, and those of route filters before.
	Only bool `json:"only"`
}

// Route is the compiled rules of one route filter, which an Outcome carries to TargetsWith.
type Route struct {
	groups []group
	only   bool
}

func (p *problems) route(raw json.RawMessage, place string) *Route {
	var params struct {
		RouteParams
		Rules []json.RawMessage `json:"rules"` // instead of RouteParams', to say which one is wrong
	}
	if err := decodeStrict(orObject(raw), place, &params, "rules or only"); err != nil {
		*p = append(*p, err)
		return nil
	}
	if len(params.Rules) == 0 {
		p.problem(place+".rules", "want at least one rule")
	}
	before := len(*p)
	rules := p.parseRules(params.Rules, place+".rules", 1)
	if len(*p) > before {
		return nil
	}
	var c compiler
	for i, rule := range rules {
		c.add(rule, fmt.Sprintf("%s.rules[%d]", place, i), 1)
	}
	if c.count > maxRules {
		c.problem(place+".rules", "has %d rules: want at most %d", c.count, maxRules)
	}
	*p = append(*p, c.problems...)
	return &Route{groups: c.groups, only: params.Only}
}

// TargetsWith is Targets with what route filters had to say about the event. Rules of one event name make one target,
// wherever they come from, so that a socket hears an event once by each name.
func (r *Rules) TargetsWith(channel string, ev events.Event, o Outcome) []Target {
	if len(o.Routes) == 0 {
		return r.Targets(channel, ev)
	}
	merged := slices.Clone(r.channels[channel])
	for _, route := range o.Routes {
		if route.only {
			merged = nil
		}
		for _, g := range route.groups {
			i := slices.IndexFunc(merged, func(m group) bool { return m.event == g.event })
			if i < 0 {
				merged = append(merged, g)
				continue
			}
			merged[i].rules = slices.Concat(merged[i].rules, g.rules) // a new slice: the old one is shared
		}
	}
	return targets(merged, ev)
}
