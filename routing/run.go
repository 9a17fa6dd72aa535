package routing

import (
	"slices"

	"github.com/photo-management/event-bus/events"
)

// run is what one Apply works with: the event at hand and what is known of it. Runs are used again.
type run struct {
	filters *Filters
	channel string
	index   *index
	part    *part // of the channel; nil if no filter names it

	ev     *events.Event
	known  [cacheSlots]fieldState
	values [cacheSlots]events.Value
	value  events.Value // of a field without a slot
	env    *exprEnv     // of the event's expressions, once one asked; nil with envErr, if it has none
	envErr error

	lists [2 * (indexedPaths + 2)][]int32 // candidates, each list in declared order
	n     int                             // of lists

	tally    []act  // counted when all is decided
	failures uint64 // of expressions

	waiting []waiting // for the throttle, each with its ask
	asks    []ThrottleAsk
}

const maxTally = 16 << 10

type fieldState uint8

const (
	unknown fieldState = iota
	absent
	present
)

// act is one thing to count.
type act struct {
	filter int32
	what   count
}

// waiting is an event that met a throttle.
type waiting struct{ event, filter int32 }

func (r *run) note(filter int32, what count) { r.tally = append(r.tally, act{filter, what}) }

// begin turns to an event, and finds the filters behind one that may have something to say about it.
func (r *run) begin(ev *events.Event, behind int32) {
	r.ev, r.env, r.envErr, r.n = ev, nil, nil, 0
	r.known = [cacheSlots]fieldState{}
	r.candidates(&r.index.everywhere, behind)
	if r.part != nil {
		r.candidates(r.part, behind)
	}
}

func (r *run) candidates(p *part, behind int32) {
	r.add(p.rest, behind)
	if len(p.byType) > 0 {
		r.add(p.byType[r.ev.Type], behind)
	}
	for i := range p.fields {
		field := &p.fields[i]
		if v, ok := r.lookup(&field.path, field.slot); ok {
			if key, ok := scalarOf(v); ok {
				r.add(field.at[key], behind)
			}
		}
	}
}

func (r *run) add(list []int32, behind int32) {
	if behind >= 0 {
		i, _ := slices.BinarySearch(list, behind+1)
		list = list[i:]
	}
	if len(list) > 0 {
		r.lists[r.n] = list
		r.n++
	}
}

// next takes the first of the candidates, by declared order; -1 if there are no more.
func (r *run) next() int32 {
	if r.n == 0 {
		return -1
	}
	first := 0
	for i := 1; i < r.n; i++ {
		if r.lists[i][0] < r.lists[first][0] {
			first = i
		}
	}
	filter := r.lists[first][0]
	if r.lists[first] = r.lists[first][1:]; len(r.lists[first]) == 0 {
		r.n--
		r.lists[first] = r.lists[r.n]
	}
	return filter
}

// lookup returns the value of a field, which holds until the next lookup, and whether there is one.
func (r *run) lookup(path *events.Path, slot int) (*events.Value, bool) {
	if slot < 0 {
		v, ok := r.ev.Lookup(*path)
		r.value = v
		return &r.value, ok
	}
	if r.known[slot] == unknown {
		v, ok := r.ev.Lookup(*path)
		r.values[slot], r.known[slot] = v, absent
		if ok {
			r.known[slot] = present
		}
	}
	return &r.values[slot], r.known[slot] == present
}

// matches says whether a filter's conditions and its expression are true of the event.
func (r *run) matches(filter int32) bool {
	f := &r.filters.filters[filter]
	for i := range f.conditions {
		c := &f.conditions[i]
		if !c.holds(r.lookup(&c.path, c.slot)) {
			return false
		}
	}
	if f.program == nil {
		return true
	}
	if r.env == nil && r.envErr == nil {
		r.env, r.envErr = newExprEnv(r.ev, r.channel)
	}
	matches, err := false, r.envErr
	if err == nil {
		matches, err = r.env.run(f.program)
	}
	if err != nil {
		r.failures++
		r.note(filter, failed)
	}
	return matches && err == nil
}

// settle counts what was done.
func (r *run) settle() {
	for _, a := range r.tally {
		r.filters.filters[a.filter].counts[a.what].Add(1)
	}
	if r.failures > 0 {
		r.filters.exprErrors.Add(r.failures)
	}
}

// release gives the run back, without the events it saw, and without a tally that only a rare batch needs.
func (r *run) release() {
	tally := r.tally[:0]
	if cap(tally) > maxTally {
		tally = nil
	}
	*r = run{filters: r.filters, tally: tally}
	r.filters.runs.Put(r)
}
