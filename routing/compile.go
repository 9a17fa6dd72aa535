package routing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/photo-management/event-bus/events"
)

const (
	maxDepth = 8   // of rules within rules
	maxRules = 100 // of one channel, multi not counted
)

// Rules are compiled rules, safe for concurrent use. Make them with Compile.
type Rules struct {
	channels map[string][]group
	spec     map[string][]Rule
}

// group has the rules of one event name, which make one target.
type group struct {
	event string
	rules []rule
}

// rule is a room, client or broadcast rule.
type rule struct {
	all      bool
	always   bool // there is no selector
	selector events.Path
	prefix   string
}

// reserved are the names socket.io does not let anybody emit, because its own code listens for them.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// Compile compiles the rules of each channel. The error names every problem with its place.
func Compile(spec map[string][]Rule) (*Rules, error) {
	r := &Rules{channels: make(map[string][]group, len(spec))}
	var all problems
	for _, channel := range slices.Sorted(maps.Keys(spec)) {
		c := compiler{}
		if channel == "" {
			c.problem(`""`, "want a channel name")
		}
		for i, rule := range spec[channel] {
			c.add(rule, fmt.Sprintf("%s[%d]", channel, i), 1)
		}
		if c.count > maxRules {
			c.problem(channel, "has %d rules: want at most %d", c.count, maxRules)
		}
		r.channels[channel] = c.groups
		all = append(all, c.problems...)
	}
	if len(all) > 0 {
		return nil, errors.Join(all...)
	}
	r.spec = cloneRules(spec)
	return r, nil
}

// Channels lists the channels that were compiled, those without rules included, sorted.
func (r *Rules) Channels() []string { return slices.Sorted(maps.Keys(r.channels)) }

// Spec returns what the rules were compiled from, by channel. The map is the caller's.
func (r *Rules) Spec() map[string][]Rule { return cloneRules(r.spec) }

func cloneRules(spec map[string][]Rule) map[string][]Rule {
	clone := make(map[string][]Rule, len(spec))
	for channel, rules := range spec {
		clone[channel] = cloneList(rules)
	}
	return clone
}

func cloneList(rules []Rule) []Rule {
	clone := slices.Clone(rules)
	for i := range clone {
		clone[i].Rules = cloneList(clone[i].Rules)
	}
	return clone
}

// compiler collects the groups and problems of one channel.
type compiler struct {
	groups []group
	count  int
	problems
}

func (c *compiler) add(r Rule, place string, depth int) {
	if r.Type == "multi" {
		c.addAll(r, place, depth)
		return
	}
	c.count++
	compiled := rule{all: r.Type == "broadcast", prefix: r.TargetPrefix}
	switch r.Type {
	case "room":
	case "client", "broadcast":
		if r.TargetPrefix != "" {
			c.problem(place+".targetPrefix", "a %s rule has none: leave it out, or use type room", r.Type)
		}
	default:
		c.problem(place+".type", "%q: want room, client, broadcast or multi", r.Type)
	}
	if r.Type == "client" {
		compiled.prefix = "client:"
	}
	switch path, err := events.ParsePath(r.Selector); {
	case r.Selector == "" && compiled.all:
		compiled.always = true
	case r.Selector == "":
		c.problem(place+".selector", `want the path of a field, such as "data.photoId"`)
	case err != nil:
		c.problem(place+".selector", "%v", err)
	default:
		compiled.selector = path
	}
	if slices.Contains(reserved, r.EventName) {
		c.problem(place+".eventName", "%q belongs to socket.io: want another name", r.EventName)
	}
	if len(r.Rules) > 0 {
		c.problem(place+".rules", "want them only in a rule of type multi")
	}
	c.group(cmp.Or(r.EventName, "event"), compiled)
}

// addAll adds the rules of a multi rule.
func (c *compiler) addAll(r Rule, place string, depth int) {
	if r.Selector != "" || r.TargetPrefix != "" || r.EventName != "" {
		c.problem(place, "a multi rule has only rules: set selector, targetPrefix and eventName in those")
	}
	if len(r.Rules) == 0 {
		c.problem(place+".rules", "want at least one rule")
	}
	if depth == maxDepth {
		c.problem(place+".rules", "want at most %d levels of rules", maxDepth)
		return
	}
	for i, sub := range r.Rules {
		c.add(sub, fmt.Sprintf("%s.rules[%d]", place, i), depth+1)
	}
}

func (c *compiler) group(event string, r rule) {
	i := slices.IndexFunc(c.groups, func(g group) bool { return g.event == event })
	if i < 0 {
		i = len(c.groups)
		c.groups = append(c.groups, group{event: event})
	}
	c.groups[i].rules = append(c.groups[i].rules, r)
}
