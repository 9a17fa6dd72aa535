package server

import (
	"context"
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
