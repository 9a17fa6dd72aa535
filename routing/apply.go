package routing

import (
	"context"
	"fmt"

	"github.com/photo-management/event-bus/events"
)

// Outcome is what the filters made of an event.
type Outcome struct {
	Event     events.Event // as it goes on, or as it was when it was dropped
	Changed   bool         // by a transform
	Dropped   string       // the id of the filter that dropped it; empty: it goes on
	Throttled bool         // dropped because too many came before it
	Err       error        // dropped because the changed event was none
	Routes    []*Route     // what route filters add, for Rules.TargetsWith
}

// Apply takes a batch of events of a channel through the filters, each in declared order; what a transform makes goes
// on to the filters behind it. It returns an outcome for each event, or nil if no filter had anything to do and all
// events go on as they are. Events are never changed, changed ones are new.
//
// throttle says for each ask whether that event may pass. It is called once for all events that have come to a
// throttle filter, in their order, and again should some come to another. If it fails, nothing is decided and nothing
// counted: Apply returns its error, and may be called again. Without throttle filters it may be nil.
func (f *Filters) Apply(
	ctx context.Context, dir Direction, channel string, evs []events.Event,
	throttle func(ctx context.Context, asks []ThrottleAsk) ([]bool, error),
) ([]Outcome, error) {
	if f == nil || len(f.filters) == 0 {
		return nil, nil
	}
	r := f.runs.Get().(*run)
	defer r.release()
	r.channel, r.index = channel, &f.indexes[dir]
	r.part = r.index.channels[channel]
	var outs []Outcome
	for i := range evs {
		r.begin(&evs[i], -1)
		outs = r.pass(i, evs, outs)
	}
	for len(r.waiting) > 0 {
		if err := r.ask(ctx, outs, throttle); err != nil {
			return nil, err
		}
	}
	r.settle()
	return outs, nil
}

// pass takes the event at hand through its filters to the end or to a throttle. It makes outs when there is something
// to tell.
func (r *run) pass(i int, evs []events.Event, outs []Outcome) []Outcome {
	for {
		n := r.next()
		if n < 0 {
			return outs
		}
		matches := r.matches(n)
		if matches {
			r.note(n, matched)
		}
		flt := &r.filters.filters[n]
		if matches == flt.negative {
			continue
		}
		if outs == nil {
			outs = make([]Outcome, len(evs))
			for j := range evs {
				outs[j].Event = evs[j]
			}
		}
		if !r.act(n, flt, i, &outs[i]) {
			return outs
		}
	}
}

// act does what a filter does to an event. It is false if the event goes no further, for now.
func (r *run) act(n int32, flt *filter, i int, out *Outcome) bool {
	switch {
	case flt.drop:
		out.Dropped = flt.id
		r.note(n, dropped)
		return false
	case flt.transform != nil:
		return r.transform(n, flt, out)
	case flt.route != nil:
		out.Routes = append(out.Routes, flt.route)
		r.note(n, routed)
		return true
	}
	r.waiting = append(r.waiting, waiting{int32(i), n})
	r.asks = append(r.asks, flt.throttle.ask(r.channel, &out.Event))
	return false
}

func (r *run) transform(n int32, flt *filter, out *Outcome) bool {
	changed, isNew, unfit, err := flt.transform.apply(&out.Event, r.filters.MaxEvent)
	for range unfit {
		r.note(n, failed)
	}
	if err != nil {
		out.Dropped, out.Err = flt.id, fmt.Errorf("event after filter %q: %w", flt.id, err)
		r.note(n, failed)
		r.note(n, dropped)
		return false
	}
	if isNew {
		out.Event, out.Changed = changed, true
		r.note(n, transformed)
		r.begin(&out.Event, n)
	}
	return true
}

// ask is one round: one call of the throttle for all events that wait for it, and on with those that may pass.
func (r *run) ask(
	ctx context.Context, outs []Outcome, throttle func(context.Context, []ThrottleAsk) ([]bool, error),
) error {
	waited, asks := r.waiting, r.asks
	if throttle == nil {
		return fmt.Errorf("filter %q throttles: nobody is there to ask", r.filters.filters[waited[0].filter].id)
	}
	allowed, err := throttle(ctx, asks)
	if err != nil {
		return err
	}
	if len(allowed) != len(asks) {
		return fmt.Errorf("throttle: %d answers to %d questions", len(allowed), len(asks))
	}
	r.waiting, r.asks = nil, nil // the next round's
	for i, w := range waited {
		out := &outs[w.event]
		if !allowed[i] {
			out.Dropped, out.Throttled = r.filters.filters[w.filter].id, true
			r.note(w.filter, throttled)
			continue
		}
		r.begin(&out.Event, w.filter)
		r.pass(int(w.event), nil, outs)
	}
	return nil
}
