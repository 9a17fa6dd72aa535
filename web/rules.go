package web

import (
	"context"
	"encoding/json"
	"net/http"
)

// Rules are the routing rules in force on all replicas: those of the configuration, until they are replaced here. They
// are the JSON of routing.Rule by channel, which the implementation reads and compiles before anything changes; what is
// wrong it reports with InvalidErrors.
type Rules interface {
	Current(ctx context.Context) (RuleSet, error)
	Replace(ctx context.Context, rules json.RawMessage) error
	// Reset goes back to the rules of the configuration, also when they are in force.
	Reset(ctx context.Context) error
}

// RuleSet is all the rules.
type RuleSet struct {
	Source string          `json:"source"` // SourceConfiguration or SourceAPI
	Rules  json.RawMessage `json:"rules"`  // an object: channel to an array of rules
}

func (a *api) ruleOperations() []operation {
	const path = apiPrefix + "/rules"
	return inMode([]operation{
		{id: "getRules", method: http.MethodGet, path: path, serve: a.getRules},
		{id: "replaceRules", method: http.MethodPut, path: path, maxBody: maxSpecs, serve: a.replaceRules},
		{id: "resetRules", method: http.MethodDelete, path: path, serve: a.resetRules},
	}, a.cfg.Rules != nil)
}

func (a *api) getRules(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	rules, err := a.cfg.Rules.Current(c.ctx)
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, rules)
}

// rulesRequest is the body of PUT /rules.
type rulesRequest struct {
	Rules json.RawMessage `json:"rules" api:"required"`
}

func (a *api) replaceRules(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	var req rulesRequest
	if err := c.decode(&req); err != nil {
		return err
	}
	if req.Rules[0] != '{' {
		return malformedField("rules", "must be an object of rules by channel.")
	}
	if err := a.cfg.Rules.Replace(c.ctx, req.Rules); err != nil {
		return err
	}
	return a.getRules(c)
}

func (a *api) resetRules(c *call) error {
	if err := c.noQuery(); err != nil {
		return err
	}
	if err := a.cfg.Rules.Reset(c.ctx); err != nil {
		return err
	}
	return c.done()
}
