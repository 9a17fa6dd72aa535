package delivery

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// aliveFor is how long a process counts as alive after its last sign of life, and aliveEvery how often it gives one.
	aliveFor   = time.Hour
	aliveEvery = 10 * time.Minute
	// lateAlive is how soon it tries again, if Redis was away.
	lateAlive = 5 * time.Second
)

// stayAlive says that this process lives as long as it has temporary subscriptions: their groups have its id.
func (s *Subscribers) stayAlive(ctx context.Context) {
	if s.parts.Processes == nil {
		return
	}
	said := time.Time{}
	for {
		subs, changed := s.wanted(func(sub *subscription) bool { return sub.temporary })
		wait := aliveEvery
		if len(subs) > 0 && time.Since(said) >= aliveEvery/2 {
			err := s.parts.Processes.Put(ctx, s.process, []byte(`{}`), time.Now().Add(aliveFor))
			if err == nil {
				said = time.Now()
			} else if wait = lateAlive; ctx.Err() == nil {
				s.parts.Logger.Info("this process does not get known as alive, trying again", zap.Error(err))
			}
		}
		select {
		case <-time.After(wait):
		case <-changed:
		case <-ctx.Done():
			if !said.IsZero() {
				parting, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingTime)
				defer cancel()
				_, _ = s.parts.Processes.Delete(parting, s.process) // else it expires
			}
			return
		}
	}
}

// sweep destroys the groups of temporary subscriptions whose process is dead, and was the last time: one that has just
// begun may not be known yet.
func (w *watch) sweep(ctx context.Context, f feed, groups []string, log *zap.Logger) {
	rows, err := w.s.parts.Processes.Rows(ctx)
	if err != nil {
		return // there is another time
	}
	alive := map[string]bool{w.s.process: true}
	for _, r := range rows {
		alive[r.ID] = true
	}
	dead := map[string]bool{}
	defer func() { w.dead = dead }()
	for _, group := range groups {
		rest, ok := strings.CutPrefix(group, temporaryPrefix)
		if process, _, _ := strings.Cut(rest, ":"); !ok || alive[process] {
			continue
		}
		if dead[group] = true; !w.dead[group] {
			continue
		}
		if err := f.Destroy(ctx, group); err == nil {
			log.Info("a temporary subscription of a dead process is removed", zap.String("group", group))
		}
	}
}
