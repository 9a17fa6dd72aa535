package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/delivery"
	"github.com/photo-management/event-bus/routing"
)

var (
	// ErrInvalidDeclaration says that what was declared cannot be; the errors beside it name the fields. Nothing was changed.
	ErrInvalidDeclaration = errors.New("invalid declaration")
	// ErrConfigured says that the id is that of a declaration in the configuration, which is changed there.
	ErrConfigured = errors.New("declared in the configuration")
	// ErrUnknown says that there is nothing of that id.
	ErrUnknown = errors.New("there is no such id")
	// ErrNoStore says that nothing can be declared at run time, as there is no Redis to keep it in.
	ErrNoStore = errors.New("not available without a store")
)

// watchEvery is how often replicas look whether something was declared: it is in force everywhere twice as soon as
// anybody may expect.
const watchEvery = 400 * time.Millisecond

// rulesRow is the id of the one row that has the rules.
const rulesRow = "rules"

// declared is what decides over events, and where it comes from: the configuration, and for the rest of it tables in
// Redis that all replicas watch.
type declared struct {
	filters, rules, subscriptions, revocations *adapter.Table // nil without a store

	mu       sync.Mutex
	base     Declarations // of the configuration
	rows     map[*adapter.Table][]adapter.Row
	channels []string // that there are, once and for all

	known   chan struct{} // closed when all tables have been read once
	changed chan struct{} // closed and made anew when one has been read
}

func newDeclared(base Declarations, store *adapter.Store) *declared {
	d := &declared{base: base, rows: map[*adapter.Table][]adapter.Row{}, known: make(chan struct{}), changed: make(chan struct{})}
	if store == nil {
		close(d.known)
	} else {
		d.filters = store.Table(adapter.TableConfig{Name: "filters", MaxEntries: max(routing.MaxFilters-len(base.Filters), 1)})
		d.rules = store.Table(adapter.TableConfig{Name: "rules", MaxEntries: 1, MaxBytes: 1 << 20})
		d.subscriptions = store.Table(adapter.TableConfig{Name: "subscriptions"})
		d.revocations = store.Table(adapter.TableConfig{Name: "revocations", MaxEntries: 10_000, MaxBytes: 4 << 10})
	}
	return d
}

// watch takes over what is declared at run time, here or on another replica, until ctx ends.
func (s *Server) watch(ctx context.Context) error {
	d := s.declared
	if d.filters == nil {
		return nil
	}
	changed := func(t *adapter.Table, then func()) func([]adapter.Row) {
		return func(rows []adapter.Row) {
			d.mu.Lock()
			defer d.mu.Unlock()
			_, again := d.rows[t]
			d.rows[t] = rows
			then()
			if !again && len(d.rows) == 4 {
				close(d.known)
			}
			close(d.changed)
			d.changed = make(chan struct{})
		}
	}
	return s.Tables(ctx, watchEvery, map[*adapter.Table]func([]adapter.Row){
		d.filters:       changed(d.filters, s.redecideLocked),
		d.rules:         changed(d.rules, s.redecideLocked),
		d.subscriptions: changed(d.subscriptions, s.resubscribeLocked),
		d.revocations:   changed(d.revocations, s.revokeLocked),
	})
}

// settleTime is how long whoever declares something waits at most for it to be in force here.
const settleTime = 3 * watchEvery

// settle waits until what was written to a table is in force here, so that who declares something finds it declared. If
// that takes long, as when Redis has just gone away, it comes into force later.
func (d *declared) settle(ctx context.Context, t *adapter.Table, written func([]adapter.Row) bool) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		d.mu.Lock()
		done, changed := written(d.rows[t]), d.changed
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Reload replaces what the configuration declares. The channels must stay the same: which replica leads which is
// settled when they start.
func (s *Server) Reload(base Declarations) error {
	if err := errors.Join(base.Validate(s.cfg.Webhooks), base.countable(s.Store)); err != nil {
		return err
	}
	d := s.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.sameChannels(base.Rules); err != nil {
		return err
	}
	before := d.base
	d.base = base
	if err := s.tryDecideLocked(); err != nil {
		d.base = before
		return err
	}
	s.resubscribeLocked()
	return nil
}

func (d *declared) sameChannels(rules map[string][]routing.Rule) error {
	if now := (Declarations{Rules: rules}).Channels(); !slices.Equal(now, d.channels) {
		return fmt.Errorf("routing.rules: the channels are %q and were %q: restart the service to change them", now, d.channels)
	}
	return nil
}

// redecideLocked makes the decisions anew.
func (s *Server) redecideLocked() {
	if err := s.tryDecideLocked(); err != nil {
		s.badDeclared("declared filters and rules are not taken over; those in force stay", err)
	}
}

func (s *Server) badDeclared(what string, err error) {
	s.metrics.badDeclarations.Inc()
	s.Logger.Error(what, zap.Error(err))
}

// tryDecideLocked makes the decisions anew, without those of the declared filters and rules that do not fit.
func (s *Server) tryDecideLocked() error {
	all, bad := s.declared.allLocked()
	if bad != nil {
		s.badDeclared("some declared filters or rules are left out", bad)
	}
	c, err := all.compile(s.cfg.MaxEvent)
	if err != nil {
		return err
	}
	if old := s.decisions.Load(); old != nil {
		c.filters.Inherit(old.filters)
	}
	s.decisions.Store(c)
	return nil
}

// allLocked is what is declared altogether, and an error about what is left out, as it does not fit what the configuration
// declares now, or this replica does not know it: another one may be newer.
func (d *declared) allLocked() (Declarations, error) {
	all := d.base
	ids := make(map[string]bool, len(all.Filters))
	for _, f := range all.Filters {
		ids[f.ID] = true
	}
	filters, err := parseRows(d.rows[d.filters], func(text []byte) (routing.Filter, error) {
		f, err := routing.ParseFilter(text)
		if err == nil {
			_, err = routing.CompileFilters([]routing.Filter{f}, d.channels)
		}
		switch {
		case err != nil:
			return f, err
		case ids[f.ID]:
			return f, fmt.Errorf("filter %q: %w", f.ID, ErrConfigured)
		case len(ids) >= routing.MaxFilters:
			return f, fmt.Errorf("filter %q: %w of %d, with those of the configuration", f.ID, adapter.ErrTableFull, routing.MaxFilters)
		}
		ids[f.ID] = true
		return f, nil
	})
	all.Filters = slices.Concat(d.base.Filters, filters)
	for _, row := range d.rows[d.rules] {
		rules, bad := routing.ParseRules(row.Value)
		if bad == nil {
			bad = d.fit(rules)
		}
		if bad == nil {
			all.Rules = rules
		}
		err = errors.Join(err, bad)
	}
	return all, err
}

// fit says what is wrong with rules that are to be in force.
func (d *declared) fit(rules map[string][]routing.Rule) error {
	if _, err := routing.Compile(rules); err != nil {
		return err
	}
	return d.sameChannels(rules)
}

// parseRows reads the values of rows.
func parseRows[T any](rows []adapter.Row, parse func([]byte) (T, error)) ([]T, error) {
	values := make([]T, 0, len(rows))
	var errs []error
	for _, row := range rows {
		v, err := parse(row.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("row %q: %w", row.ID, err))
			continue
		}
		values = append(values, v)
	}
	return values, errors.Join(errs...)
}

// resubscribeLocked hands over the subscriptions there are.
func (s *Server) resubscribeLocked() {
	if s.Subscriptions == nil {
		return
	}
	specs := slices.Clone(s.declared.base.Subscriptions)
	var errs []error
	for _, row := range s.declared.rows[s.declared.subscriptions] {
		spec, err := delivery.ParseSpec(row.Value)
		if err != nil {
			errs = append(errs, fmt.Errorf("row %q: %w", row.ID, err))
			spec = delivery.Spec{ID: row.ID} // of which nothing can be made, but it is there: what waits for it stays
		}
		specs = append(specs, spec)
	}
	if err := errors.Join(append(errs, s.Subscriptions.Set(specs))...); err != nil {
		s.badDeclared("some declared subscriptions are not taken over", err)
	}
}

// revokeLocked takes over which tokens are revoked, and closes the connections that came by one of them.
func (s *Server) revokeLocked() {
	revoked, err := parseRows(s.declared.rows[s.declared.revocations], auth.ParseRevocation)
	if err != nil {
		s.badDeclared("some revocations are not understood", err)
	}
	s.revocations.Set(revoked)
	if len(revoked) > 0 {
		s.closeRevoked()
	}
}

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
