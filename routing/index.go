package routing

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/photo-management/event-bus/events"
)

const (
	cacheSlots   = 16 // fields that a run looks up once
	indexedPaths = 4  // fields that one part of the index goes by, beside the type
)

// index finds the filters that may have something to say about an event, so that the others cost nothing: by channel,
// by type, and by the value of fields that many conditions want to be equal to something. Filters are numbers, in
// declared order.
type index struct {
	everywhere part // the filters for every channel
	channels   map[string]*part
}

// part is the index of filters that share their channels.
type part struct {
	rest   []int32 // always asked
	byType map[string][]int32
	fields []fieldIndex
}

// fieldIndex finds filters by the value of one field.
type fieldIndex struct {
	path events.Path
	slot int
	at   map[scalar][]int32
}

// index builds both indexes.
func (f *Filters) index(specs []Filter) {
	for d, name := range []string{Inbound: "inbound", Outbound: "outbound"} {
		var everywhere []int32
		channels := make(map[string][]int32)
		for i, spec := range specs {
			if spec.Direction != "" && spec.Direction != name {
				continue
			}
			if len(spec.Channels) == 0 {
				everywhere = append(everywhere, int32(i))
			}
			for _, channel := range slices.Compact(slices.Sorted(slices.Values(spec.Channels))) {
				channels[channel] = append(channels[channel], int32(i))
			}
		}
		x := &f.indexes[d]
		x.everywhere = f.part(everywhere)
		x.channels = make(map[string]*part, len(channels))
		for channel, numbers := range channels {
			p := f.part(numbers)
			x.channels[channel] = &p
		}
	}
}

// part indexes the filters of these numbers.
func (f *Filters) part(numbers []int32) part {
	p := part{byType: make(map[string][]int32)}
	uses := make(map[string]int)
	for _, n := range numbers {
		for path, c := range f.keys(n) {
			if uses[path]++; uses[path] == 2 && path != "type" { // for one alone a look at it costs the same
				p.fields = append(p.fields, fieldIndex{path: c.path, slot: c.slot, at: make(map[scalar][]int32)})
			}
		}
	}
	slices.SortStableFunc(p.fields, func(a, b fieldIndex) int { return uses[b.path.String()] - uses[a.path.String()] })
	p.fields = p.fields[:min(len(p.fields), indexedPaths)]
	for _, n := range numbers {
		p.insert(n, maps.Collect(f.keys(n)))
	}
	return p
}

// insert puts a filter where it is found by its type, or else by the first of the fields, or always.
func (p *part) insert(n int32, keys map[string]*condition) {
	if c, ok := keys["type"]; ok {
		for _, want := range c.needs() {
			p.byType[want.str] = append(p.byType[want.str], n) // a type is never anything but a string
		}
		return
	}
	for _, field := range p.fields {
		if c, ok := keys[field.path.String()]; ok {
			for _, want := range c.needs() {
				field.at[want] = append(field.at[want], n)
			}
			return
		}
	}
	p.rest = append(p.rest, n)
}

// keys yields the fields that must have one of some values for a filter to act. Of a filter that acts on what does not
// match there are none.
func (f *Filters) keys(n int32) iter.Seq2[string, *condition] {
	return func(yield func(string, *condition) bool) {
		flt := &f.filters[n]
		if flt.negative {
			return
		}
		var seen []string
		for i := range flt.conditions {
			c := &flt.conditions[i]
			if path := c.path.String(); c.needs() != nil && !slices.Contains(seen, path) {
				seen = append(seen, path)
				if !yield(path, c) {
					return
				}
			}
		}
	}
}

// cacheFields gives the fields that most conditions ask for a slot in a run's cache.
func (f *Filters) cacheFields() {
	uses := make(map[string]int)
	for c := range f.conditions() {
		switch path := c.path.String(); path {
		case "id", "type", "timestamp": // an event has them at hand
		default:
			uses[path]++
		}
	}
	maps.DeleteFunc(uses, func(_ string, n int) bool { return n == 1 })
	paths := slices.SortedFunc(maps.Keys(uses), func(a, b string) int {
		return cmp.Or(uses[b]-uses[a], cmp.Compare(a, b))
	})
	paths = paths[:min(len(paths), cacheSlots)]
	for c := range f.conditions() {
		c.slot = slices.Index(paths, c.path.String())
	}
}

func (f *Filters) conditions() iter.Seq[*condition] {
	return func(yield func(*condition) bool) {
		for i := range f.filters {
			for j := range f.filters[i].conditions {
				if !yield(&f.filters[i].conditions[j]) {
					return
				}
			}
		}
	}
}
