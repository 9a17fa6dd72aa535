package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	revoked  []auth.Revocation
	channels []string // that there are, once and for all

	known chan struct{} // closed when all tables have been read once
}

func newDeclared(base Declarations, store *adapter.Store) *declared {
	d := &declared{base: base, rows: map[*adapter.Table][]adapter.Row{}, known: make(chan struct{})}
	if store == nil {
		close(d.known)
	} else {
		d.filters = store.Table(adapter.TableConfig{Name: "filters", MaxEntries: routing.MaxFilters})
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
		}
	}
	return s.Tables(ctx, watchEvery, map[*adapter.Table]func([]adapter.Row){
		d.filters:       changed(d.filters, s.redecideLocked),
		d.rules:         changed(d.rules, s.redecideLocked),
		d.subscriptions: changed(d.subscriptions, s.resubscribeLocked),
		d.revocations:   changed(d.revocations, s.revokeLocked),
	})
}

// Reload replaces what the configuration declares. The channels must stay the same: which replica leads which is
// settled when they start.
func (s *Server) Reload(base Declarations) error {
	if err := base.Validate(s.cfg.Webhooks); err != nil {
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

// redecideLocked makes the decisions anew. If that cannot be, those in force stay: another replica may be newer than this
// one, and declare what it does not know.
func (s *Server) redecideLocked() {
	if err := s.tryDecideLocked(); err != nil {
		s.metrics.badDeclarations.Inc()
		s.Logger.Error("declared filters or rules are not taken over; those in force stay", zap.Error(err))
	}
}

func (s *Server) tryDecideLocked() error {
	all, err := s.declared.allLocked()
	if err != nil {
		return err
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

// allLocked is what is declared altogether.
func (d *declared) allLocked() (Declarations, error) {
	all := d.base
	filters, err := parseRows(d.rows[d.filters], routing.ParseFilter)
	all.Filters = slices.Concat(d.base.Filters, filters)
	for _, row := range d.rows[d.rules] {
		rules, bad := routing.ParseRules(row.Value)
		err = errors.Join(err, bad)
		all.Rules = rules
	}
	return all, err
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
	declared, err := parseRows(s.declared.rows[s.declared.subscriptions], delivery.ParseSpec)
	if err == nil {
		err = s.Subscriptions.Set(slices.Concat(s.declared.base.Subscriptions, declared))
	}
	if err != nil {
		s.metrics.badDeclarations.Inc()
		s.Logger.Error("some declared subscriptions are not taken over", zap.Error(err))
	}
}

// revokeLocked takes over which tokens are revoked, and closes the connections that came by one of them.
func (s *Server) revokeLocked() {
	revoked, err := parseRows(s.declared.rows[s.declared.revocations], auth.ParseRevocation)
	if err != nil {
		s.metrics.badDeclarations.Inc()
		s.Logger.Error("some revocations are not understood", zap.Error(err))
	}
	s.declared.revoked = revoked
	s.revocations.Set(revoked)
	if len(revoked) > 0 {
		s.closeRevoked()
	}
}

// Filters lists the filters in force, in their order, and of how many of them the configuration has the first.
func (s *Server) Filters() (all []routing.Filter, configured int) {
	d := s.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	both, _ := d.allLocked()
	return both.Filters, len(d.base.Filters)
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.base.Filters, func(x routing.Filter) bool { return x.ID == f.ID }) {
		return fmt.Errorf("filter %q: %w", f.ID, ErrConfigured)
	}
	if _, err := routing.CompileFilters([]routing.Filter{f}, d.channels); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	return d.put(ctx, d.filters, f.ID, f)
}

// put keeps a value in a table.
func (d *declared) put(ctx context.Context, t *adapter.Table, id string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return t.Put(ctx, id, text, time.Time{})
}

// ReplaceFilters puts filters in place of all that were declared at run time. It returns ErrInvalidDeclaration or
// ErrConfigured.
func (s *Server) ReplaceFilters(ctx context.Context, filters []routing.Filter) error {
	d := s.declared
	if d.filters == nil {
		return ErrNoStore
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := routing.CompileFilters(filters, d.channels); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	rows := make([]adapter.Row, len(filters))
	for i, f := range filters {
		if slices.ContainsFunc(d.base.Filters, func(x routing.Filter) bool { return x.ID == f.ID }) {
			return fmt.Errorf("filter %q: %w", f.ID, ErrConfigured)
		}
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		rows[i] = adapter.Row{ID: f.ID, Value: text}
	}
	return d.filters.Replace(ctx, rows)
}

// RemoveFilter takes a filter back that was declared at run time, on all replicas within a second. It returns ErrUnknown
// or ErrConfigured.
func (s *Server) RemoveFilter(ctx context.Context, id string) error {
	d := s.declared
	if d.filters == nil {
		return ErrNoStore
	}
	d.mu.Lock()
	configured := slices.ContainsFunc(d.base.Filters, func(x routing.Filter) bool { return x.ID == id })
	d.mu.Unlock()
	return remove(ctx, d.filters, "filter", id, configured)
}

// remove deletes a row.
func remove(ctx context.Context, t *adapter.Table, what, id string, configured bool) error {
	if configured {
		return fmt.Errorf("%s %q: %w", what, id, ErrConfigured)
	}
	if there, err := t.Delete(ctx, id); err != nil || there {
		return err
	}
	return fmt.Errorf("%s %q: %w", what, id, ErrUnknown)
}

// Rules are the rules in force, by channel, and whether they are those of the configuration.
func (s *Server) Rules() (rules map[string][]routing.Rule, configured bool) {
	d := s.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	return s.decisions.Load().rules.Spec(), len(d.rows[d.rules]) == 0
}

// SetRules replaces all rules, on all replicas within a second. The channels must be those there are.
func (s *Server) SetRules(ctx context.Context, rules map[string][]routing.Rule) error {
	d := s.declared
	if d.rules == nil {
		return ErrNoStore
	}
	if _, err := routing.Compile(rules); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.sameChannels(rules); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidDeclaration, err)
	}
	return d.put(ctx, d.rules, rulesRow, rules)
}

// ResetRules brings the rules of the configuration back.
func (s *Server) ResetRules(ctx context.Context) error {
	if s.declared.rules == nil {
		return ErrNoStore
	}
	_, err := s.declared.rules.Delete(ctx, rulesRow)
	return err
}

// Webhooks lists the declared subscriptions, without their secrets, and of how many the configuration has the first.
func (s *Server) Webhooks() (all []delivery.Spec, configured int) {
	d := s.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	rows, _ := parseRows(d.rows[d.subscriptions], delivery.ParseSpec)
	for _, spec := range slices.Concat(d.base.Subscriptions, rows) {
		all = append(all, spec.Public())
	}
	return all, len(d.base.Subscriptions)
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
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.base.Subscriptions, func(x delivery.Spec) bool { return x.ID == spec.ID }) {
		return fmt.Errorf("subscription %q: %w", spec.ID, ErrConfigured)
	}
	spec.CreatedAt = time.Now().UTC()
	for _, row := range d.rows[d.subscriptions] {
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
	if err := d.put(ctx, d.subscriptions, spec.ID, spec); err != nil {
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
	d.mu.Lock()
	configured := slices.ContainsFunc(d.base.Subscriptions, func(x delivery.Spec) bool { return x.ID == id })
	d.mu.Unlock()
	return remove(ctx, d.subscriptions, "subscription", id, configured)
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
	text, err := json.Marshal(r)
	if err != nil {
		return "", err
	}
	id = r.Key()
	return id, d.revocations.Put(ctx, id, text, r.Expires)
}

// Revocations lists those that have not expired.
func (s *Server) Revocations() []auth.Revocation {
	d := s.declared
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.revoked)
}

// Unrevoke takes a revocation back.
func (s *Server) Unrevoke(ctx context.Context, id string) error {
	if s.declared.revocations == nil {
		return ErrNoStore
	}
	return remove(ctx, s.declared.revocations, "revocation", id, false)
}
