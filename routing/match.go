package routing

import (
	"errors"
	"fmt"
	"slices"

	"github.com/expr-lang/expr/vm"

	"github.com/photo-management/event-bus/events"
)

const (
	maxEventTypes = 100
	maxNameBytes  = 256 // of an event's type
)

// Match chooses events, for a subscription: those that are of one of the types and for which every condition and the
// expression are true. What is left out is not asked; the zero Match chooses all events.
type Match struct {
	EventTypes []string    `json:"eventTypes,omitempty"` // at most 100
	Conditions []Condition `json:"conditions,omitempty"` // at most 50
	// Expr is an expression of https://expr-lang.org with id, type, data, metadata and timestamp, of at most 4 KiB:
	// `len(data.faces) > 3 || data.stage in ["faces", "objects"]`. One that fails at run time is not true.
	Expr string `json:"expr,omitempty"`
}

// CompileMatch compiles a match, safe for concurrent use. The error names every problem with its place; place, such as
// "subscriptions[0].filter", goes before.
func CompileMatch(m Match, place string) (func(events.Event) bool, error) {
	var p problems
	if place != "" {
		place += "."
	}
	if m.EventTypes != nil && len(m.EventTypes) == 0 {
		p.problem(place+"eventTypes", "has none, so nothing would match: leave it out for all types")
	}
	if len(m.EventTypes) > maxEventTypes {
		p.problem(place+"eventTypes", "has %d: want at most %d", len(m.EventTypes), maxEventTypes)
	}
	for i, t := range m.EventTypes {
		if t == "" || len(t) > maxNameBytes {
			p.problem(fmt.Sprintf("%seventTypes[%d]", place, i), "has %d bytes: want 1 to %d", len(t), maxNameBytes)
		}
	}
	types := slices.Clone(m.EventTypes)
	conditions := p.conditions(m.Conditions, place+"conditions")
	program := p.expression(m.Expr, place+"expr", false)
	if len(p) > 0 {
		return nil, errors.Join(p...)
	}
	return func(ev events.Event) bool {
		if len(types) > 0 && !slices.Contains(types, ev.Type) {
			return false
		}
		for i := range conditions {
			c := &conditions[i]
			if v, ok := ev.Lookup(c.path); !c.holds(&v, ok) {
				return false
			}
		}
		if program == nil {
			return true
		}
		env, err := newExprEnv(&ev, "")
		if err != nil {
			return false
		}
		matches, err := env.run(program)
		return err == nil && matches
	}, nil
}

// expression compiles an expression; "" is none.
func (p *problems) expression(source, place string, withChannel bool) *vm.Program {
	if source == "" {
		return nil
	}
	program, err := compileExpr(source, withChannel)
	if err != nil {
		p.problem(place, "%v", err)
	}
	return program
}
