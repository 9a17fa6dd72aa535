package web

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// Subscriptions are the webhooks, and whatever else has the events of a channel delivered. Specs are JSON that the
// implementation reads and checks before anything changes; what is wrong it reports with InvalidErrors. In a spec it
// returns, secrets are masked. Those of the configuration are shown, and not changed (Conflict).
type Subscriptions interface {
	List(ctx context.Context) ([]Subscription, error)
	Get(ctx context.Context, id string) (Subscription, error) // may be NotFound
	// Create declares one of the id in the spec, or of one it makes up. It may be a Conflict.
	Create(ctx context.Context, spec json.RawMessage) (Subscription, error)
	// Put declares one or replaces it; what was not yet delivered stays to be delivered.
	Put(ctx context.Context, id string, spec json.RawMessage) (s Subscription, created bool, err error)
	Delete(ctx context.Context, id string) error // may be NotFound
}

// Subscription is one subscription and how it fares. Counts, times and the state are known to the replica that leads its
// channel alone; Pending and Lag to all.
type Subscription struct {
	ID      string          `json:"id"`
	Channel string          `json:"channel"`
	Source  string          `json:"source"` // SourceConfiguration or SourceAPI
	Spec    json.RawMessage `json:"spec"`
	// State is active, or paused while its circuit is open.
	State         string    `json:"state"`
	CreatedAt     time.Time `json:"createdAt,omitzero"`
	LastMessageAt time.Time `json:"lastMessageAt,omitzero"`
	MessageCount  int64     `json:"messageCount"` // delivered
	ErrorCount    int64     `json:"errorCount"`   // failed attempts
	Pending       int64     `json:"pending"`      // being delivered or waiting for a retry
	Lag           int64     `json:"lag"`          // not yet looked at
}

// States of a Subscription.
const (
	StateActive = "active"
	StatePaused = "paused"
)

func (a *api) subscriptionOperations() []operation {
	const all, one = apiPrefix + "/subscriptions", apiPrefix + "/subscriptions/{id}"
	return inMode([]operation{
		{id: "listSubscriptions", method: http.MethodGet, path: all, serve: a.listSubscriptions},
		{id: "createSubscription", method: http.MethodPost, path: all, audited: auth.SubscriptionChanged, maxBody: maxSpec, serve: a.createSubscription},
		{id: "getSubscription", method: http.MethodGet, path: one, serve: a.getSubscription},
		{id: "putSubscription", method: http.MethodPut, path: one, audited: auth.SubscriptionChanged, maxBody: maxSpec, serve: a.putSubscription},
		{id: "deleteSubscription", method: http.MethodDelete, path: one, audited: auth.SubscriptionChanged, serve: a.deleteSubscription},
	}, a.cfg.Subscriptions != nil)
}

func (a *api) listSubscriptions(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	all, err := a.cfg.Subscriptions.List(c.ctx)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, map[string]any{"subscriptions": orNone(all)})
}

func (a *api) createSubscription(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	spec, err := c.object()
	if err != nil {
		return err
	}
	switch id, err := specID(spec); {
	case err != nil:
		return err
	case id != "" && checkNewID(id) != "":
		return malformedField("id", checkNewID(id))
	}
	s, err := a.cfg.Subscriptions.Create(c.ctx, spec)
	if err != nil {
		return err
	}
	c.w.Header().Set("Location", apiPrefix+"/subscriptions/"+s.ID)
	return c.answer(http.StatusCreated, s)
}

func (a *api) getSubscription(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	s, err := a.cfg.Subscriptions.Get(c.ctx, id)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, s)
}

func (a *api) putSubscription(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	spec, err := c.spec(id)
	if err != nil {
		return err
	}
	s, created, err := a.cfg.Subscriptions.Put(c.ctx, id, spec)
	if err != nil {
		return err
	}
	return c.answer(putStatus(created), s)
}

func (a *api) deleteSubscription(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Subscriptions.Delete(c.ctx, id); err != nil {
		return err
	}
	return c.done()
}
