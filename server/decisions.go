package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// Declarations are what decides over events, as configuration has it. The zero value has the design's rules and no more.
type Declarations struct {
	Events        events.Config
	Rules         map[string][]routing.Rule // by channel, which are the channels there are; nil means routing.Default
	Filters       []routing.Filter
	Validation    map[string][]events.ValidatorSpec // by event type
	Subscriptions []delivery.Spec
}

// Validate reports everything that is wrong at once, by key.
func (d Declarations) Validate(web delivery.WebhookConfig) error {
	if _, err := d.compile(0); err != nil {
		return err
	}
	channels := d.Channels()
	var errs []error
	ids := map[string]bool{}
	for i, spec := range d.Subscriptions {
		if err := spec.Validate(channels, web, CompileMatch); err != nil {
			errs = append(errs, fmt.Errorf("subscriptions[%d]: %w", i, err))
		}
		if ids[spec.ID] {
			errs = append(errs, fmt.Errorf("subscriptions[%d].id: %q is there twice; want another", i, spec.ID))
		}
		ids[spec.ID] = true
	}
	return errors.Join(errs...)
}

// countable refuses what is counted for all replicas together where there is nothing to count in.
func (d Declarations) countable(store *adapter.Store) error {
	if store != nil {
		return nil
	}
	var errs []error
	for i, f := range d.Filters {
		if f.Action.Type == "throttle" {
			errs = append(errs, fmt.Errorf("filters[%d].action.type: throttle: %w", i, ErrNoStore))
		}
	}
	for _, t := range slices.Sorted(maps.Keys(d.Validation)) {
		for i, v := range d.Validation[t] {
			if v.Type == events.RateLimitValidator {
				errs = append(errs, fmt.Errorf("security.eventValidation.%s[%d].type: %s: %w", t, i, v.Type, ErrNoStore))
			}
		}
	}
	return errors.Join(errs...)
}

// Channels are those whose events are served, sorted.
func (d Declarations) Channels() []string {
	if d.Rules == nil {
		d.Rules = routing.Default()
	}
	return slices.Sorted(maps.Keys(d.Rules))
}

// CompileMatch is the language of the filters of subscriptions: a routing.Match.
func CompileMatch(raw json.RawMessage) (func(events.Event) bool, error) {
	m, err := routing.ParseMatch(raw, "filter")
	if err != nil {
		return nil, err
	}
	return routing.CompileMatch(m, "filter")
}

// decisions are Declarations, compiled. They never change: a change makes new ones.
type decisions struct {
	registry   *events.Registry
	declared   map[string]bool // types whose events must fit their schema wherever they come in
	rules      *routing.Rules
	filters    *routing.Filters
	validators map[string][]events.Validator
}

func (d Declarations) compile(maxEvent int) (*decisions, error) {
	c := &decisions{declared: map[string]bool{}}
	var errs [4]error
	c.registry, errs[0] = d.Events.Registry()
	rules := d.Rules
	if rules == nil {
		rules = routing.Default()
	}
	c.rules, errs[1] = routing.Compile(rules)
	if c.filters, errs[2] = routing.CompileFilters(d.Filters, d.Channels()); errs[2] == nil && c.filters != nil {
		c.filters.MaxEvent = maxEvent
	}
	for _, t := range d.Events.Types {
		c.declared[t.Name] = true
	}
	if errs[0] == nil {
		c.validators, errs[3] = c.registry.CompileValidators(d.Validation)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return c, nil
}

// valid holds an event that came in from Redis against what is asked of its content: a built-in type need not fit its schema
// there, unless it was declared anew.
func (d *decisions) valid(ev events.Event) error {
	_, builtIn := events.Channel(ev.Type)
	if !builtIn || d.declared[ev.Type] {
		if err := d.registry.Check(ev); err != nil {
			return err
		}
	}
	return d.validate(ev)
}

// validate asks the validators of an event's content.
func (d *decisions) validate(ev events.Event) error {
	for _, v := range d.validators[ev.Type] {
		if v.Check != nil {
			if err := v.Check(ev); err != nil {
				return fmt.Errorf("validator %s: %w", v.Name, err)
			}
		}
	}
	return nil
}

// admit says whether an event may come in from Redis, and which limits it has to keep there. Who publishes to Redis, Redis
// knows and we do not: so permissions, and limits for each user, are asked where events are published through us.
func (d *decisions) admit(channel string, ev events.Event) ([]routing.ThrottleAsk, error) {
	if err := d.valid(ev); err != nil {
		return nil, err
	}
	var asks []routing.ThrottleAsk
	for _, v := range d.validators[ev.Type] {
		if v.Type == events.RateLimitValidator && !perUser(v.Config) {
			asks = append(asks, limitAsk(v.Config, "", channel, ev))
		}
	}
	return asks, nil
}

// publishable says whether an identity may publish an event, and which limits of its own that has to keep.
func (d *decisions) publishable(who auth.Identity, channel string, ev events.Event) ([]routing.ThrottleAsk, error) {
	if err := d.registry.Check(ev); err != nil {
		return nil, err
	}
	if err := d.validate(ev); err != nil {
		return nil, err
	}
	var asks []routing.ThrottleAsk
	for _, v := range d.validators[ev.Type] {
		switch {
		case v.Type == events.PermissionValidator && !who.Has(v.Permission):
			return nil, fmt.Errorf("validator %s: %w: missing permission %s", v.Name, auth.ErrDenied, v.Permission)
		case v.Type == events.RateLimitValidator && perUser(v.Config):
			asks = append(asks, limitAsk(v.Config, who.UserID, channel, ev))
		}
	}
	return asks, nil
}

func perUser(c events.RateSpec) bool { return strings.Contains(c.Key, "{userId}") }

// limitAsk asks about one limit. Limits that have a key in common, but are not the same, count apart: 10 a second, and 100 a
// minute.
func limitAsk(c events.RateSpec, user, channel string, ev events.Event) routing.ThrottleAsk {
	return routing.ThrottleAsk{
		Key: fmt.Sprintf("limit:%d/%d:%s", c.Limit, c.Window, c.For(user, ev.Type)), Member: channel + "\x00" + ev.ID, Limit: c.Limit, Window: time.Duration(c.Window) * time.Second,
	}
}

// ErrLimited says that too many events of a kind have come, of all or of somebody.
var ErrLimited = fmt.Errorf("%w: rate limit exceeded", events.ErrInvalid)

// limit refuses the events that are too many. One that was let pass is not counted again, whoever asks.
func (s *Server) limit(ctx context.Context, batch []arrival) error {
	var asks []routing.ThrottleAsk
	var of []int
	for i := range batch {
		for range batch[i].limits {
			of = append(of, i)
		}
		asks = append(asks, batch[i].limits...)
	}
	if len(asks) == 0 {
		return nil
	}
	pass, err := s.throttle(ctx, asks)
	if err != nil {
		return err
	}
	for j, i := range of {
		if !pass[j] {
			batch[i].refused = fmt.Errorf("%w: at most %d in %s", ErrLimited, asks[j].Limit, asks[j].Window)
		}
	}
	return nil
}

// throttle asks for all replicas whether events may pass.
func (s *Server) throttle(ctx context.Context, asks []routing.ThrottleAsk) ([]bool, error) {
	if s.Store == nil {
		return nil, ErrNoStore // which countable has seen to
	}
	question := make([]adapter.ThrottleAsk, len(asks))
	for i, a := range asks {
		question[i] = adapter.ThrottleAsk{Key: a.Key, Member: a.Member, Limit: a.Limit, Window: a.Window}
	}
	return s.Store.Throttle(ctx, question)
}
