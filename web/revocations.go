package web

import (
	"context"
	"net/http"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// Revocations are the users and tokens that are refused on all replicas, whatever their tokens say.
type Revocations interface {
	List(ctx context.Context) ([]auth.Revocation, error)
	// Add takes one that is complete and valid. It replaces one of the same Key.
	Add(ctx context.Context, r auth.Revocation) error
	// Remove goes by Key, and may be NotFound.
	Remove(ctx context.Context, key string) error
}

func (a *api) revocationOperations() []operation {
	const all, one = apiPrefix + "/revocations", apiPrefix + "/revocations/{id}"
	return inMode([]operation{
		{id: "listRevocations", method: http.MethodGet, path: all, serve: a.listRevocations},
		{id: "addRevocation", method: http.MethodPost, path: all, audited: auth.TokenRevoked, maxBody: maxSmall, serve: a.addRevocation},
		{id: "deleteRevocation", method: http.MethodDelete, path: one, serve: a.deleteRevocation},
	}, a.cfg.Revocations != nil)
}

// revocationAnswer is a revocation with the id that takes it back.
type revocationAnswer struct {
	ID string `json:"id"`
	auth.Revocation
}

func (a *api) listRevocations(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	all, err := a.cfg.Revocations.List(c.ctx)
	if err != nil {
		return err
	}
	list := make([]revocationAnswer, len(all))
	for i, r := range all {
		list[i] = revocationAnswer{r.Key(), r}
	}
	return c.answer(http.StatusOK, map[string]any{"revocations": list})
}

func (a *api) addRevocation(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	body, err := c.object()
	if err != nil {
		return err
	}
	r, err := auth.ParseRevocation(body)
	if err != nil {
		return fieldErrors(http.StatusBadRequest, err)
	}
	now := time.Now()
	r = r.Complete(now, time.Time{})
	if err := r.Validate(now); err != nil {
		return InvalidErrors(err)
	}
	if err := a.cfg.Revocations.Add(c.ctx, r); err != nil {
		return err
	}
	return c.answer(http.StatusCreated, revocationAnswer{r.Key(), r})
}

func (a *api) deleteRevocation(c *call) error {
	key, err := c.name("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Revocations.Remove(c.ctx, key); err != nil {
		return err
	}
	return c.done()
}
