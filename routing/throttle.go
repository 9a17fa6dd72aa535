package routing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/tidwall/gjson"

	"github.com/photo-management/event-bus/events"
)

const (
	maxThrottleLimit  = 100_000
	maxThrottleWindow = 86_400 // seconds
	maxKeyBytes       = 128
	maxGroupBytes     = 512
)

// ThrottleParams say how many events may pass in a window of time, which slides.
type ThrottleParams struct {
	// Key is what is counted together, of all filters with this key. Empty means by the event's type. Filters of one
	// key with another limit or window than the first of them count apart: 10 a second, and 100 a minute.
	Key string `json:"key"`
	// GroupBy is the path of a field, such as "data.userId": each of its values is counted apart.
	GroupBy string  `json:"groupBy"`
	Limit   int     `json:"limit"`  // 1 to 100,000 events
	Window  float64 `json:"window"` // seconds, more than 0 and at most 86,400
}

// ThrottleAsk asks whether one more event may pass.
type ThrottleAsk struct {
	Key    string // what is counted together
	Member string // the event, on its channel: one that is asked for again counts once
	Limit  int
	Window time.Duration
}

// throttle is compiled ThrottleParams.
type throttle struct {
	key     string
	grouped bool
	groupBy events.Path
	limit   int
	window  time.Duration
	suffix  string // of the key, see countApart
}

func (p *problems) throttle(raw json.RawMessage, place string) *throttle {
	var params ThrottleParams
	if err := decodeStrict(orObject(raw), place, &params, "key, groupBy, limit or window"); err != nil {
		*p = append(*p, err)
		return nil
	}
	t := &throttle{key: params.Key, grouped: params.GroupBy != "", limit: params.Limit}
	if len(params.Key) > maxKeyBytes {
		p.problem(place+".key", "has %d bytes: want at most %d", len(params.Key), maxKeyBytes)
	}
	if t.grouped {
		var err error
		if t.groupBy, err = fieldPath(params.GroupBy); err != nil {
			p.problem(place+".groupBy", "%v", err)
		}
	}
	if params.Limit < 1 || params.Limit > maxThrottleLimit {
		p.problem(place+".limit", "%d: want 1 to %d events", params.Limit, maxThrottleLimit)
	}
	if params.Window < 0.001 || params.Window > maxThrottleWindow {
		p.problem(place+".window", "%v: want 0.001 to %d seconds", params.Window, maxThrottleWindow)
	} else {
		t.window = time.Duration(math.Round(params.Window*1000)) * time.Millisecond
	}
	return t
}

// countApart gives throttles that have a key in common with an earlier one, but not its limit and window, keys of their
// own. One window would forget what the other still needs, and take the member the first has let pass for its own.
func (f *Filters) countApart() {
	type rate struct {
		limit  int
		window time.Duration
	}
	first := make(map[string]rate)
	for i := range f.filters {
		t := f.filters[i].throttle
		if t == nil {
			continue
		}
		r := rate{t.limit, t.window}
		if was, ok := first[t.key]; !ok {
			first[t.key] = r
		} else if was != r {
			t.suffix = fmt.Sprintf(":%d/%s", r.limit, r.window)
		}
	}
}

func (t *throttle) ask(channel string, ev *events.Event) ThrottleAsk {
	return ThrottleAsk{Key: t.keyOf(ev), Member: channel + "\x00" + ev.ID, Limit: t.limit, Window: t.window}
}

// keyOf is throttle:<key or type>:<JSON of the group>, of which a long one gives its hash, and what counts it apart. A
// field that is absent counts as null.
func (t *throttle) keyOf(ev *events.Event) string {
	name := t.key
	if name == "" {
		name = ev.Type
	}
	b := make([]byte, 0, 64)
	b = append(append(append(b, "throttle:"...), name...), ':')
	if !t.grouped {
		return string(append(append(b, `"global"`...), t.suffix...))
	}
	start := len(b)
	v, _ := ev.Lookup(t.groupBy)
	switch v.Kind {
	case events.String:
		b = appendQuoted(b, v.Str)
	case events.Number:
		b = appendNumber(b, v.Num)
	case events.Array, events.Object:
		b = appendJSON(b, gjson.Parse(v.String()))
	default:
		b = append(b, v.String()...)
	}
	if group := b[start:]; len(group) > maxGroupBytes {
		sum := sha256.Sum256(group)
		b = hex.AppendEncode(append(b[:start], "sha256:"...), sum[:])
	}
	return string(append(b, t.suffix...))
}

// appendJSON writes JSON as JavaScript's JSON.stringify does what it has parsed: without white space, the numbers in
// its form, so that what is equal is written alike; of several members of one name the last, at the place of the first.
func appendJSON(b []byte, r gjson.Result) []byte {
	switch {
	case r.Type == gjson.String:
		return appendQuoted(b, r.Str)
	case r.Type == gjson.Number:
		return appendNumber(b, r.Num)
	case r.Type != gjson.JSON:
		return append(b, r.Raw...)
	}
	n := node{raw: r.Raw}
	n.expand()
	b = append(b, n.brackets()[0])
	for i, m := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		if !n.array {
			b = append(appendQuoted(b, m.name), ':')
		}
		b = appendJSON(b, gjson.Parse(m.node.raw))
	}
	return append(b, n.brackets()[1])
}

func appendNumber(b []byte, f float64) []byte {
	if math.IsInf(f, 0) {
		return append(b, "null"...)
	}
	return append(b, events.Value{Kind: events.Number, Num: f}.String()...)
}
