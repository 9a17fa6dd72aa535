package web

import (
	"context"
	"encoding/json"
	"net/http"
)

// Filters are the event filters in force on all replicas, in the order they are applied: first those of the
// configuration, which the API shows but does not change (Conflict), then those declared here. Specs are the JSON of
// routing.Filter, which the implementation reads and compiles before anything changes; what is wrong it reports with
// InvalidErrors.
type Filters interface {
	List(ctx context.Context) ([]Filter, error)
	// Put declares a filter or replaces the one of this id in its place.
	Put(ctx context.Context, id string, spec json.RawMessage) (created bool, err error)
	// Replace puts an array of specs, each with its id, in place of all that were declared here.
	Replace(ctx context.Context, specs json.RawMessage) error
	// Delete may be NotFound.
	Delete(ctx context.Context, id string) error
}

// Filter is one filter.
type Filter struct {
	ID     string          `json:"id"`
	Source string          `json:"source"` // SourceConfiguration or SourceAPI
	Spec   json.RawMessage `json:"spec"`
}

func (a *api) filterOperations() []operation {
	const all, one = apiPrefix + "/filters", apiPrefix + "/filters/{id}"
	return inMode([]operation{
		{id: "listFilters", method: http.MethodGet, path: all, serve: a.listFilters},
		{id: "replaceFilters", method: http.MethodPut, path: all, maxBody: maxSpecs, serve: a.replaceFilters},
		{id: "deleteFilters", method: http.MethodDelete, path: all, serve: a.deleteFilters},
		{id: "getFilter", method: http.MethodGet, path: one, serve: a.getFilter},
		{id: "putFilter", method: http.MethodPut, path: one, maxBody: maxSpec, serve: a.putFilter},
		{id: "deleteFilter", method: http.MethodDelete, path: one, serve: a.deleteFilter},
	}, a.cfg.Filters != nil)
}

func (a *api) listFilters(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	return a.answerFilters(c)
}

func (a *api) answerFilters(c *call) error {
	filters, err := a.cfg.Filters.List(c.ctx)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, map[string]any{"filters": orNone(filters)})
}

// filtersRequest is the body of PUT /filters.
type filtersRequest struct {
	Filters json.RawMessage `json:"filters" api:"required"`
}

func (a *api) replaceFilters(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	var req filtersRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if req.Filters[0] != '[' {
		return malformedField("filters", "must be an array.")
	}
	if err := a.cfg.Filters.Replace(c.ctx, req.Filters); err != nil {
		return err
	}
	return a.answerFilters(c)
}

func (a *api) deleteFilters(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Filters.Replace(c.ctx, json.RawMessage("[]")); err != nil {
		return err
	}
	return c.done()
}

func (a *api) getFilter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	return a.answerFilter(c, id, http.StatusOK)
}

func (a *api) answerFilter(c *call, id string, status int) error {
	filters, err := a.cfg.Filters.List(c.ctx)
	if err != nil {
		return err
	}
	for _, f := range filters {
		if f.ID == id {
			return c.answer(status, f)
		}
	}
	return NotFound("There is no filter of this id.")
}

func (a *api) putFilter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	spec, err := c.spec(id)
	if err != nil {
		return err
	}
	created, err := a.cfg.Filters.Put(c.ctx, id, spec)
	if err != nil {
		return err
	}
	return a.answerFilter(c, id, putStatus(created))
}

func putStatus(created bool) int {
	if created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (a *api) deleteFilter(c *call) error {
	id, err := c.id("id")
	if err != nil {
		return err
	}
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Filters.Delete(c.ctx, id); err != nil {
		return err
	}
	return c.done()
}

// spec is a body that declares something of the id in the path; if it names an id, it is that one.
func (c *call) spec(id string) (json.RawMessage, error) {
	if err := c.noQuery(); err != nil {
		return nil, err
	}
	spec, err := c.object()
	if err != nil {
		return nil, err
	}
	named, err := specID(spec)
	if err != nil {
		return nil, err
	}
	if named != "" && named != id {
		return nil, malformedField("id", "must be that of the address, or be left out.")
	}
	return spec, nil
}

// object is a body that is an object, each of its members there once. The rest of it is for the implementation to read.
func (c *call) object() (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := c.decode(&members); err != nil {
		return nil, err
	}
	return c.body, nil
}

// specID is the id that a spec names, or "".
func specID(spec json.RawMessage) (string, error) {
	var named struct {
		ID *string `json:"id"`
	}
	if json.Unmarshal(spec, &named) != nil {
		return "", malformedField("id", "must be a string.")
	}
	if named.ID == nil {
		return "", nil
	}
	return *named.ID, nil
}
