package web

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
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
		{id: "listSubscriptions", method: http.MethodGet, path: all, access: subscribers, serve: a.listSubscriptions},
		{id: "createSubscription", method: http.MethodPost, path: all, access: subscribers, audited: auth.SubscriptionChanged, maxBody: maxSpec, serve: a.createSubscription},
		{id: "getSubscription", method: http.MethodGet, path: one, access: subscribers, serve: a.getSubscription},
		{id: "putSubscription", method: http.MethodPut, path: one, access: subscribers, audited: auth.SubscriptionChanged, maxBody: maxSpec, serve: a.putSubscription},
		{id: "deleteSubscription", method: http.MethodDelete, path: one, access: subscribers, audited: auth.SubscriptionChanged, serve: a.deleteSubscription},
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
	all = slices.DeleteFunc(all, func(s Subscription) bool { return !c.may(auth.Subscribe, s.Channel) })
	return c.answer(http.StatusOK, map[string]any{"subscriptions": orNone(all)})
}

// subscribes refuses a caller who may not subscribe to the channel. A spec without one is for others to refuse.
func (c *call) subscribes(channel string) error {
	if channel == "" || c.may(auth.Subscribe, channel) {
		return nil
	}
	c.denied = channel
	return &Error{Status: http.StatusForbidden,
		Detail: "You may not subscribe to this channel: it takes the role admin, the permission event_bus:subscribe:<channel>, or a role in security.channelAccess."}
}

// known is the subscription of an id, if the caller may know of it.
func (a *api) known(c *call, id string) (Subscription, error) {
	s, err := a.cfg.Subscriptions.Get(c.ctx, id)
	if err == nil {
		err = c.subscribes(s.Channel)
	}
	return s, err
}

// specChannel is the channel of a spec, empty if it has none that could be one.
func specChannel(spec json.RawMessage) string {
	var s struct {
		Channel string `json:"channel"`
	}
	_ = json.Unmarshal(spec, &s) // what is wrong with it, is told when it is declared
	return s.Channel
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
	if err := c.subscribes(specChannel(spec)); err != nil {
		return err
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
	s, err := a.known(c, id)
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
	if err := c.subscribes(specChannel(spec)); err != nil {
		return err
	}
	if !c.who.HasRole(roleAdmin) { // nor may it take one over from a channel of others
		if _, err := a.known(c, id); err != nil && !isNotFound(err) {
			return err
		}
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
	if !c.who.HasRole(roleAdmin) {
		if _, err := a.known(c, id); err != nil {
			return err
		}
	}
	if err := a.cfg.Subscriptions.Delete(c.ctx, id); err != nil {
		return err
	}
	return c.done()
}
