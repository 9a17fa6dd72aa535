package routing

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
)

// Direction is the way an event goes.
type Direction uint8

const (
	Inbound  Direction = iota // from Redis, to be ingested
	Outbound                  // published by this process
)

var filterID = regexp.MustCompile(`^[A-Za-z0-9._:-]+$`)

// CompileFilters compiles filters in the order in which they apply. A channel that is not one of channels is refused;
// nil allows any. The error names every problem with its place, such as "filters[2].conditions[0].operator".
func CompileFilters(specs []Filter, channels []string) (*Filters, error) {
	if len(specs) > MaxFilters {
		return nil, fmt.Errorf("filters: has %d: want at most %d", len(specs), MaxFilters)
	}
	f := &Filters{filters: make([]filter, len(specs))}
	var p problems
	seen := make(map[string]int, len(specs))
	for i, spec := range specs {
		place := fmt.Sprintf("filters[%d]", i)
		p.filterID(spec.ID, place+".id", seen, i)
		p.scope(spec, place, channels)
		f.filters[i] = p.filter(spec, place)
	}
	if len(p) > 0 {
		return nil, errors.Join(p...)
	}
	f.countApart()
	f.cacheFields()
	f.index(specs)
	f.runs.New = func() any { return &run{filters: f} }
	return f, nil
}

func (p *problems) filterID(id, place string, seen map[string]int, i int) {
	if len(id) > maxIDBytes || !filterID.MatchString(id) {
		p.problem(place, "%q: want 1 to %d of A-Z a-z 0-9 . _ : -", clip(id), maxIDBytes)
		return
	}
	if first, double := seen[id]; double {
		p.problem(place, "%q is that of filters[%d] already: want another", id, first)
		return
	}
	seen[id] = i
}

// scope checks what says which events a filter is for.
func (p *problems) scope(spec Filter, place string, channels []string) {
	if spec.Direction != "" && spec.Direction != "inbound" && spec.Direction != "outbound" {
		p.problem(place+".direction", "%q: want inbound, outbound, or nothing for both", clip(spec.Direction))
	}
	if len(spec.Channels) > maxFilterChannels {
		p.problem(place+".channels", "has %d: want at most %d", len(spec.Channels), maxFilterChannels)
		return
	}
	for i, channel := range spec.Channels {
		place := fmt.Sprintf("%s.channels[%d]", place, i)
		switch {
		case channel == "" || len(channel) > maxNameBytes:
			p.problem(place, "has %d bytes: want the name of a channel, 1 to %d bytes", len(channel), maxNameBytes)
		case channels != nil && !slices.Contains(channels, channel):
			p.problem(place, "unknown channel %q: want one of %q", channel, channels)
		}
	}
}

func (p *problems) filter(spec Filter, place string) filter {
	f := filter{
		id:         spec.ID,
		conditions: p.conditions(spec.Conditions, place+".conditions"),
		program:    p.expression(spec.Expr, place+".expr", true),
		counts:     new([counts]atomic.Uint64),
	}
	if spec.Type != "include" && spec.Type != "exclude" {
		p.problem(place+".type", "%q: want include or exclude", clip(spec.Type))
	}
	f.negative = spec.Type == "exclude"
	params, at := spec.Action.Params, place+".action.params"
	if len(params) > maxParamsBytes {
		p.problem(at, "has %d bytes: want at most %d", len(params), maxParamsBytes)
		return f
	}
	switch spec.Action.Type {
	case "drop":
		f.drop, f.negative = true, spec.Type == "include"
		if s := string(params); s != "" && s != "null" && s != "{}" {
			p.problem(at, "drop has none: leave them out")
		}
	case "transform":
		f.transform = p.transform(params, at)
	case "route":
		f.route = p.route(params, at)
	case "throttle":
		f.throttle = p.throttle(params, at)
	default:
		p.problem(place+".action.type", "%q: want drop, transform, route or throttle", clip(spec.Action.Type))
	}
	return f
}
