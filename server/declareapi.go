package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/routing"
)

// declaredNow are the values of a table as it is in Redis, which may be half a second ahead of what is in force here.
func declaredNow[T any](ctx context.Context, t *adapter.Table, parse func([]byte) (T, error)) ([]T, error) {
	if t == nil {
		return nil, nil
	}
	rows, err := t.Rows(ctx)
	if err != nil {
		return nil, err
	}
	values, _ := parseRows(rows, parse) // what this replica does not understand is another's
	return values, nil
}

// Filters lists the filters that are declared, in their order, and of how many of them the configuration has the first.
func (s *Server) Filters(ctx context.Context) (all []routing.Filter, configured int, err error) {
	filters, err := declaredNow(ctx, s.declared.filters, routing.ParseFilter)
	base := s.configured()
	return slices.Concat(base.Filters, filters), len(base.Filters), err
}

// configured is what the configuration declares.
func (s *Server) configured() Declarations {
	s.declared.mu.Lock()
	defer s.declared.mu.Unlock()
	return s.declared.base
}

// FilterStats tells what each filter did on this replica.
func (s *Server) FilterStats() []routing.FilterStats { return s.decisions.Load().filters.Stats() }

// AddFilter declares a filter, or changes the one of its id, on all replicas within a second. A new one comes behind
// all others. It returns ErrInvalidDeclaration or ErrConfigured.
func (s *Server) AddFilter(ctx context.Context, f routing.Filter) error {
	d := s.declared
	if d.filters == nil {
		return ErrNoStore
	}
	if err := d.notConfigured(f.ID); err != nil {
		return err
	}
	if _, err := routing.CompileFilters([]routing.Filter{f}, d.channels); err != nil {
		alone := strings.ReplaceAll(err.Error(), "filters[0].", "") // there is but one
		return fmt.Errorf("%w: %s", ErrInvalidDeclaration, alone)
	}
	return d.put(ctx, d.filters, f.ID, f, time.Time{})
}

// notConfigured refuses the ids of filters that the configuration has.
func (d *declared) notConfigured(ids ...string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if slices.ContainsFunc(d.base.Filters, func(x routing.Filter) bool { return x.ID == id }) {
			return fmt.Errorf("filter %q: %w", id, ErrConfigured)
		}
	}
	return nil
}

// put keeps a value in a table.
func (d *declared) put(ctx context.Context, t *adapter.Table, id string, value any, expires time.Time) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := t.Put(ctx, id, text, expires); err != nil {
		return invalidRow(err)
	}
	d.settle(ctx, t, func(rows []adapter.Row) bool {
		return slices.ContainsFunc(rows, func(r adapter.Row) bool { return r.ID == id && bytes.Equal(r.Value, text) })
	})
	return nil
}

// invalidRow is the error of a table, of which only some are about what was declared.
func invalidRow(err error) error {
	if errors.Is(err, adapter.ErrRow) {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	return err
}

// ReplaceFilters puts filters in place of all that were declared at run time. It returns ErrInvalidDeclaration or
// ErrConfigured.
func (s *Server) ReplaceFilters(ctx context.Context, filters []routing.Filter) error {
	d := s.declared
	if d.filters == nil {
		return ErrNoStore
	}
	if _, err := routing.CompileFilters(filters, d.channels); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	rows := make([]adapter.Row, len(filters))
	for i, f := range filters {
		if err := d.notConfigured(f.ID); err != nil {
			return err
		}
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		rows[i] = adapter.Row{ID: f.ID, Value: text}
	}
	if err := d.filters.Replace(ctx, rows); err != nil {
		return invalidRow(err)
	}
	d.settle(ctx, d.filters, func(now []adapter.Row) bool {
		return slices.EqualFunc(now, rows, func(a, b adapter.Row) bool { return a.ID == b.ID && bytes.Equal(a.Value, b.Value) })
	})
	return nil
}

// RemoveFilter takes a filter back that was declared at run time, on all replicas within a second. It returns ErrUnknown
// or ErrConfigured.
func (s *Server) RemoveFilter(ctx context.Context, id string) error {
	d := s.declared
	if d.filters == nil {
		return ErrNoStore
	}
	return d.remove(ctx, d.filters, "filter", id, d.notConfigured(id) != nil)
}

// remove deletes a row.
func (d *declared) remove(ctx context.Context, t *adapter.Table, what, id string, configured bool) error {
	if configured {
		return fmt.Errorf("%s %q: %w", what, id, ErrConfigured)
	}
	switch there, err := t.Delete(ctx, id); {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("%s %q: %w", what, id, ErrUnknown)
	}
	d.settleWithout(ctx, t, id)
	return nil
}

// settleWithout waits until a row that was deleted is no longer in force here.
func (d *declared) settleWithout(ctx context.Context, t *adapter.Table, id string) {
	d.settle(ctx, t, func(rows []adapter.Row) bool {
		return !slices.ContainsFunc(rows, func(r adapter.Row) bool { return r.ID == id })
	})
}

// Rules are the rules that are declared, by channel, and whether they are those of the configuration.
func (s *Server) Rules(ctx context.Context) (rules map[string][]routing.Rule, configured bool, err error) {
	declared, err := declaredNow(ctx, s.declared.rules, routing.ParseRules)
	if err != nil || len(declared) > 0 {
		return last(declared), false, err
	}
	if rules = s.configured().Rules; rules == nil {
		rules = routing.Default()
	}
	return rules, true, nil
}

// last is the last value, or none.
func last[T any](values []T) (v T) {
	if len(values) > 0 {
		v = values[len(values)-1]
	}
	return v
}

// SetRules replaces all rules, on all replicas within a second. The channels must be those there are.
func (s *Server) SetRules(ctx context.Context, rules map[string][]routing.Rule) error {
	d := s.declared
	if d.rules == nil {
		return ErrNoStore
	}
	if err := d.fit(rules); err != nil { // which does not change
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	return d.put(ctx, d.rules, rulesRow, rules, time.Time{})
}

// ResetRules brings the rules of the configuration back.
func (s *Server) ResetRules(ctx context.Context) error {
	d := s.declared
	if d.rules == nil {
		return ErrNoStore
	}
	if _, err := d.rules.Delete(ctx, rulesRow); err != nil {
		return err
	}
	d.settleWithout(ctx, d.rules, rulesRow)
	return nil
}

// Webhooks lists the declared subscriptions, without their secrets, and of how many the configuration has the first.
func (s *Server) Webhooks(ctx context.Context) (all []delivery.Spec, configured int, err error) {
	specs, err := declaredNow(ctx, s.declared.subscriptions, delivery.ParseSpec)
	base := s.configured()
	for _, spec := range slices.Concat(base.Subscriptions, specs) {
		all = append(all, spec.Public())
	}
	return all, len(base.Subscriptions), err
}

// AddWebhook declares a subscription, or changes the one of its id, on all replicas within a second. Events that are
// accepted after it returns are kept for it. It returns ErrInvalidDeclaration or ErrConfigured.
func (s *Server) AddWebhook(ctx context.Context, spec delivery.Spec) error {
	d := s.declared
	if d.subscriptions == nil || s.Subscriptions == nil {
		return ErrNoStore
	}
	if err := s.Subscriptions.Check(spec); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	if d.configuresWebhook(spec.ID) {
		return fmt.Errorf("subscription %q: %w", spec.ID, ErrConfigured)
	}
	rows, err := d.subscriptions.Rows(ctx) // those in force here may be older
	if err != nil {
		return err
	}
	spec.CreatedAt = time.Now().UTC()
	for _, row := range rows {
		if row.ID != spec.ID {
			continue
		}
		if old, err := delivery.ParseSpec(row.Value); err == nil {
			if old.Channel != spec.Channel {
				return fmt.Errorf("%w: channel: is %q and cannot change: remove the subscription first", ErrInvalidDeclaration, old.Channel)
			}
			spec.CreatedAt = old.CreatedAt
		}
	}
	if err := d.put(ctx, d.subscriptions, spec.ID, spec, time.Time{}); err != nil {
		return err
	}
	// In this order: a group that nobody has declared would be taken for one that was left behind.
	return s.Store.Feed(spec.Channel).Create(ctx, delivery.Group(spec.ID))
}

// RemoveWebhook takes a subscription back that was declared at run time. What was pending for it goes to the dead letters.
func (s *Server) RemoveWebhook(ctx context.Context, id string) error {
	d := s.declared
	if d.subscriptions == nil {
		return ErrNoStore
	}
	return d.remove(ctx, d.subscriptions, "subscription", id, d.configuresWebhook(id))
}

func (d *declared) configuresWebhook(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.base.Subscriptions, func(x delivery.Spec) bool { return x.ID == id })
}

// Revoke takes tokens back, on all replicas within a second: they are refused from then on, and the connections that
// came by them are closed. It returns the id by which the revocation can be taken back.
func (s *Server) Revoke(ctx context.Context, r auth.Revocation) (id string, err error) {
	d := s.declared
	if d.revocations == nil {
		return "", ErrNoStore
	}
	now := time.Now()
	r = r.Complete(now, time.Time{})
	if err := r.Validate(now); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	id = r.Key()
	return id, d.put(ctx, d.revocations, id, r, r.Expires)
}

// Revocations lists those that have not expired.
func (s *Server) Revocations(ctx context.Context) ([]auth.Revocation, error) {
	return declaredNow(ctx, s.declared.revocations, auth.ParseRevocation)
}

// Unrevoke takes a revocation back.
func (s *Server) Unrevoke(ctx context.Context, id string) error {
	if s.declared.revocations == nil {
		return ErrNoStore
	}
	return s.declared.remove(ctx, s.declared.revocations, "revocation", id, false)
}
