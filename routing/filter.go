package routing

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/expr-lang/expr/vm"
)

const (
	// MaxFilters is how many filters there may be at a time.
	MaxFilters = 5_000

	maxFilterChannels = 100
	maxIDBytes        = 128
	maxParamsBytes    = 64 << 10
)

// Filter is one filter as configuration and API have it.
type Filter struct {
	// ID is the filter's own: 1 to 128 of the characters A-Z a-z 0-9 . _ : -
	ID string `json:"id"`
	// Type is include or exclude. An include filter acts on the events that match, an exclude filter on the others,
	// except that of drop filters include keeps what matches and drops the others, and exclude drops what matches.
	Type string `json:"type"`
	// Direction is inbound, for events that come from Redis; outbound, for those a process publishes; or, if empty, both.
	Direction string `json:"direction,omitempty"`
	// Channels are the channels whose events the filter is for, at most 100; none means every channel. Events of
	// another direction or channel pass it untouched.
	Channels []string `json:"channels,omitempty"`
	// Conditions and Expr are what an event must all fulfil to match, see Match. With none every event matches. Expr
	// also knows the channel.
	Conditions []Condition `json:"conditions,omitempty"`
	Expr       string      `json:"expr,omitempty"`
	Action     Action      `json:"action"`
}

// Action is what a filter does.
type Action struct {
	// Type is one of
	//   - drop: the event ends here. No Params.
	//   - transform: the event goes on changed; TransformParams
	//   - route: it goes to further rooms; RouteParams
	//   - throttle: it is dropped if too many came before it; ThrottleParams
	Type   string          `json:"type"`
	Params json.RawMessage `json:"params,omitempty"` // a JSON object of at most 64 KiB
}

// FilterStats is what one filter did since it was compiled. Events of a batch that was given back are not in it.
type FilterStats struct {
	ID          string `json:"id"`
	Matched     uint64 `json:"matched"` // its conditions and expression were true
	Dropped     uint64 `json:"dropped"` // by a drop filter, or because the changed event was none
	Transformed uint64 `json:"transformed"`
	Routed      uint64 `json:"routed"`
	Throttled   uint64 `json:"throttled"` // dropped for the rate
	Failed      uint64 `json:"failed"`    // its expression, a change, or the changed event was not possible
}

// Filters are compiled filters, safe for concurrent use. Make them with CompileFilters; nil is no filters.
type Filters struct {
	// MaxEvent is how many bytes an event may have after a transform. Zero means events.DefaultMaxBytes. Set it before
	// the first Apply.
	MaxEvent int

	filters    []filter
	indexes    [2]index // by Direction
	exprErrors atomic.Uint64
	runs       sync.Pool // of *run
}

// filter is a compiled Filter. Exactly one of what its actions need is set.
type filter struct {
	id         string
	conditions []condition
	program    *vm.Program
	negative   bool // it acts on the events that do not match
	drop       bool
	transform  *transform
	route      *Route
	throttle   *throttle
	counts     *[counts]atomic.Uint64
}

// What is counted of each filter.
type count uint8

const (
	matched count = iota
	dropped
	transformed
	routed
	throttled
	failed
	counts = iota
)

// Stats returns what each filter did, in declared order.
func (f *Filters) Stats() []FilterStats {
	if f == nil {
		return nil
	}
	stats := make([]FilterStats, len(f.filters))
	for i := range f.filters {
		c := f.filters[i].counts
		stats[i] = FilterStats{
			ID: f.filters[i].id, Matched: c[matched].Load(), Dropped: c[dropped].Load(), Transformed: c[transformed].Load(),
			Routed: c[routed].Load(), Throttled: c[throttled].Load(), Failed: c[failed].Load(),
		}
	}
	return stats
}

// Inherit lets the filters count on where those of the same ids in old stood, so that a change of one filter does not
// make all the others begin at zero. Call it before the first Apply.
func (f *Filters) Inherit(old *Filters) {
	if old == nil {
		return
	}
	was := make(map[string]*filter, len(old.filters))
	for i := range old.filters {
		was[old.filters[i].id] = &old.filters[i]
	}
	for i := range f.filters {
		if o, ok := was[f.filters[i].id]; ok {
			f.filters[i].counts = o.counts
		}
	}
	f.exprErrors.Store(old.exprErrors.Load())
}

// ExprErrors is how many expressions failed at run time, such as a comparison of a string and a number, or of an event
// with more than 10,000 values. Such an event does not match.
func (f *Filters) ExprErrors() uint64 {
	if f == nil {
		return 0
	}
	return f.exprErrors.Load()
}
