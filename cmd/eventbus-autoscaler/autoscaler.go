package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/scaling"
)

// deployment is the scale of a Deployment: kubernetes, or a test's own.
type deployment interface {
	Scale(ctx context.Context) (scale, error)
	Resize(ctx context.Context, from, to int) error
	Rival(ctx context.Context) (string, error)
}

const loadTimeout = 30 * time.Second // to ask all replicas

// autoscaler evaluates the load again and again, and acts on what scaling.Decide makes of it.
type autoscaler struct {
	cfg        config
	deployment deployment
	load       func(ctx context.Context) ([]scaling.Replica, error)
	log        *zap.Logger
	metrics    *metrics
	damper     *scaling.Damper
	known      int // replicas that were wanted when last looked at; -1: not looked at yet
}

func newAutoscaler(cfg config, d deployment, load func(context.Context) ([]scaling.Replica, error), m *metrics, log *zap.Logger) *autoscaler {
	return &autoscaler{cfg: cfg, deployment: d, load: load, log: log, metrics: m, damper: scaling.NewDamper(cfg.damping), known: -1}
}

// run evaluates at once and at each interval, until ctx ends; then it returns nil. It fails if something else scales the
// Deployment, or whether that is so cannot be found out as the API is away.
func (a *autoscaler) run(ctx context.Context) error {
	switch rival, err := a.deployment.Rival(ctx); {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errUnseen):
		a.log.Warn("cannot see whether a HorizontalPodAutoscaler scales the deployment as well: make sure that none does", zap.Error(err))
	case err != nil:
		return fmt.Errorf("look for a HorizontalPodAutoscaler: %w", err)
	case rival != "" && a.cfg.dryRun:
		a.log.Warn("a HorizontalPodAutoscaler scales the deployment: this one only says what it would do", zap.String("hpa", rival))
	case rival != "":
		return fmt.Errorf("HorizontalPodAutoscaler %q scales deployment %q already: remove one of the two, as they would fight", rival, a.cfg.kubernetes.deployment)
	}
	for {
		a.evaluate(ctx)
		if pause(ctx, a.cfg.interval) != nil { // counted from the end, so there is always time to measure in
			return nil
		}
	}
}

// evaluate looks, decides and acts once. What goes wrong is told, and left for the next time.
func (a *autoscaler) evaluate(ctx context.Context) {
	now, err := a.deployment.Scale(ctx)
	if err != nil {
		a.failed(ctx, "scale", "the scale of the deployment is not known", err)
		return
	}
	if a.known >= 0 && a.known != now.wanted {
		a.log.Info("the number of replicas has been changed meanwhile", zap.Int("from", a.known), zap.Int("to", now.wanted))
		a.damper.Changed(time.Now())
	}
	a.known = now.wanted
	asking, done := context.WithTimeout(ctx, loadTimeout)
	reached, err := a.load(asking)
	done()
	if err != nil {
		a.failed(ctx, "load", "the load of some replicas is not known", err)
	}
	if ctx.Err() != nil {
		return
	}
	load := scaling.LoadOf(now.wanted, reached)
	decision := scaling.Decide(load, a.cfg.limits)
	settled := a.damper.Settle(decision, time.Now())
	a.metrics.evaluated(load, settled)
	a.tell(load, decision, settled)
	if settled.Action != scaling.NoChange && !a.cfg.dryRun {
		a.act(ctx, settled)
	}
}

// tell logs what was decided: to change nothing, quietly.
func (a *autoscaler) tell(load scaling.Load, decision, settled scaling.Decision) {
	level := zap.InfoLevel
	if decision.Action == scaling.NoChange {
		level = zap.DebugLevel
	}
	fields := []zap.Field{
		zap.String("action", settled.Action), zap.String("reason", settled.Reason),
		zap.Int("replicas", settled.CurrentReplicas), zap.Int("target", settled.TargetReplicas), zap.Int("missing", load.Missing),
	}
	for _, f := range []struct {
		name   string
		figure scaling.Figure
	}{{"cpu", load.CPU}, {"memory", load.Memory}, {"connections", load.Connections}} {
		if f.figure.Known {
			fields = append(fields, zap.Float64(f.name, f.figure.Value))
		}
	}
	if a.cfg.dryRun {
		fields = append(fields, zap.Bool("dryRun", true))
	}
	a.log.Log(level, "evaluated", fields...)
}

// act changes the count, unless somebody else does by now, and waits until the Deployment has it.
func (a *autoscaler) act(ctx context.Context, d scaling.Decision) {
	switch rival, err := a.deployment.Rival(ctx); {
	case errors.Is(err, errUnseen): // was told at the start
	case err != nil:
		a.failed(ctx, "hpa", "not scaling: whether a HorizontalPodAutoscaler does is not known", err)
		return
	case rival != "":
		a.failed(ctx, "hpa", "not scaling", fmt.Errorf("HorizontalPodAutoscaler %q scales the deployment", rival))
		return
	}
	if err := a.deployment.Resize(ctx, d.CurrentReplicas, d.TargetReplicas); err != nil {
		a.failed(ctx, "scale", "the deployment could not be scaled", err)
		return
	}
	a.damper.Changed(time.Now())
	a.known = d.TargetReplicas
	a.metrics.scaled(d)
	a.log.Info("scaled", zap.String("action", d.Action), zap.Int("from", d.CurrentReplicas), zap.Int("to", d.TargetReplicas), zap.String("reason", d.Reason))
	a.await(ctx, d.TargetReplicas)
}

// await looks until as many replicas are there as are wanted. Whether they are ready shows in their metrics.
func (a *autoscaler) await(ctx context.Context, target int) {
	patience, done := context.WithTimeout(ctx, a.cfg.wait)
	defer done()
	for {
		switch now, err := a.deployment.Scale(patience); {
		case err != nil:
			if patience.Err() == nil {
				a.failed(ctx, "scale", "the scale of the deployment is not known", err)
			}
		case now.wanted != target:
			return // the next evaluation tells
		case now.present == target:
			a.log.Info("scaling is complete", zap.Int("replicas", target))
			return
		}
		if pause(patience, a.cfg.poll) != nil {
			a.failed(ctx, "wait", "scaling takes long", fmt.Errorf("scaling timeout: failed to reach %d replicas within %s", target, a.cfg.wait))
			return
		}
	}
}

// failed tells what went wrong, unless that was the end.
func (a *autoscaler) failed(ctx context.Context, stage, message string, err error) {
	if ctx.Err() != nil {
		return
	}
	a.metrics.failures.WithLabelValues(stage).Inc()
	a.log.Warn(message, zap.Error(err))
}
