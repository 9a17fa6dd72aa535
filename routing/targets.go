package routing

import (
	"iter"
	"math"
	"slices"

	"github.com/photo-management/event-bus/events"
)

const (
	maxValueBytes = 512  // of a selected value
	maxElements   = 1000 // of a selected array
)

// Targets returns what an event on a channel is emitted as: one target for each event name, in the order of the
// rules, without those that select nothing.
func (r *Rules) Targets(channel string, ev events.Event) []Target {
	return targets(r.channels[channel], ev)
}

func targets(groups []group, ev events.Event) []Target {
	var targets []Target
	for i := range groups {
		t := groups[i].target(ev)
		if !t.All && len(t.Rooms) == 0 {
			continue
		}
		if targets == nil {
			targets = make([]Target, 0, len(groups)-i)
		}
		targets = append(targets, t)
	}
	return targets
}

func (g *group) target(ev events.Event) Target {
	var rooms roomSet
	for i := range g.rules {
		r := &g.rules[i]
		if r.always {
			return Target{Event: g.event, All: true}
		}
		value, ok := ev.Lookup(r.selector)
		if !ok {
			continue
		}
		for name := range names(value) {
			if r.all {
				return Target{Event: g.event, All: true}
			}
			rooms.add(r.prefix+name, len(g.rules))
		}
	}
	return Target{Event: g.event, Rooms: rooms.list}
}

// names yields what a value selects with.
func names(v events.Value) iter.Seq[string] {
	return func(yield func(string) bool) {
		if v.Kind != events.Array {
			if s := name(v); s != "" {
				yield(s)
			}
			return
		}
		n := 0
		for element := range v.Elements() {
			if s := name(element); s != "" && !yield(s) {
				return
			}
			if n++; n == maxElements {
				return
			}
		}
	}
}

// name returns nothing for a value that is no name.
func name(v events.Value) string {
	if v.Kind != events.String && v.Kind != events.Number || math.IsInf(v.Num, 0) {
		return ""
	}
	if s := v.String(); len(s) <= maxValueBytes {
		return s
	}
	return ""
}

// roomSet keeps rooms in the order they came in, without doubles.
type roomSet struct {
	list []string
	seen map[string]struct{} // from the moment a scan of the list would be slower
}

func (s *roomSet) add(room string, sizeHint int) {
	const small = 16
	switch {
	case s.list == nil:
		s.list = make([]string, 0, sizeHint)
	case len(s.list) <= small:
		if slices.Contains(s.list, room) {
			return
		}
	default:
		if s.seen == nil {
			s.seen = make(map[string]struct{}, 2*len(s.list))
			for _, r := range s.list {
				s.seen[r] = struct{}{}
			}
		}
		if _, ok := s.seen[room]; ok {
			return
		}
		s.seen[room] = struct{}{}
	}
	s.list = append(s.list, room)
}
