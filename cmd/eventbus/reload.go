package main

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/web"
)

// reloads are the times that somebody wants the configuration read again: SIGHUP.
type reloads struct {
	signals <-chan os.Signal
	args    []string
	std     stdio
}

// reloadable are the settings that a reload takes over, beside rules, filters, subscriptions, event types and validators.
var reloadable = []string{
	"log-level", "cors-origins", "rate-limit", "rate-limit-max", "rate-limit-window", "rate-limit-ip-max", "rate-limit-ip-window",
	"rate-limit-events", "rate-limit-events-burst", "rate-limit-user-events", "rate-limit-user-window", "rate-limit-publish",
	"rate-limit-publish-window",
}

// watch reads the configuration again whenever it is wanted, until ctx ends. A configuration with anything wrong in it
// changes nothing.
func (r reloads) watch(ctx context.Context, s *replica, running config, certificates *web.Certificates) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signals:
		}
		s.audit.Reopen()
		if certificates != nil {
			if err := certificates.Reload(); err != nil {
				s.log.Error("the certificate was not read again", zap.Error(err))
			}
		}
		if err := s.reload(r.args, r.std, running); err != nil {
			s.log.Error("the configuration is not taken over, nothing has changed", zap.Error(err))
			continue
		}
		s.log.Info("the configuration was read again")
	}
}

// reload takes over what can be changed while running.
func (s *replica) reload(args []string, std stdio, running config) error {
	var cfg config
	fs := newFlags("serve", "", std)
	cfg.flags(fs)
	if err := cfg.read(fs, args, nil); err != nil {
		return err
	}
	cfg.jwtSecret = running.jwtSecret // one that --dev has made
	if err := cfg.check(); err != nil {
		return err
	}
	if err := s.srv.Reload(cfg.declared); err != nil {
		return err
	}
	err := errors.Join(s.srv.ReloadLimits(cfg.limits), s.publishing.Reload(cfg.limits.Of(cfg.limits.Publish.PerUser)))
	s.srv.SetCORSOrigins(cfg.server.Socket.Engine.CORSOrigins)
	s.level.SetLevel(cfg.monitoring.logLevel)
	if others := changed(cfg, running); len(others) > 0 {
		s.log.Warn("some settings have changed that need a restart", zap.Strings("settings", others))
	}
	return err
}

// changed lists the settings that differ from those that the replica runs with, and cannot be taken over.
func changed(now, running config) []string {
	names := map[string]bool{}
	for name, value := range running.values {
		if now.values[name] != value && !slices.Contains(reloadable, name) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
