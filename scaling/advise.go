package scaling

import (
	"fmt"
	"math"
	"time"
)

// Recommendation is the seed's: what a person should look at, or a machine may do.
type Recommendation struct {
	Type        string `json:"type"`     // scaling, optimization or reliability
	Priority    string `json:"priority"` // low, medium or high
	Description string `json:"description"`
	Action      string `json:"action"`
}

// advise recommends what the thresholds ask for, in a fixed order. The seed's recommendations have its words, and the
// figures behind them.
func advise(a Analysis, g growth, t Thresholds) []Recommendation {
	all := []Recommendation{} // an empty list in JSON
	// say recommends if one of the figures, each from so many samples, exceeds its threshold; the highest is told.
	say := func(limit float64, in unit, r Recommendation, figures ...sampled) {
		worst := Figure{}
		for _, f := range figures {
			if f.samples >= float64(t.MinSamples) && f.exceeds(limit) && f.Value >= worst.Value {
				worst = f.Figure
			}
		}
		if worst.Known {
			r.Description += " " + fmt.Sprintf(in.format, worst.Value*in.scale, limit*in.scale)
			all = append(all, r)
		}
	}
	latency := unit{"%.1f ms on average, more than %.6g ms.", 1}
	percent := unit{"%.1f%%, more than %.3g%%.", 1}
	part := unit{percent.format, 100}
	minute := unit{"%.3g per minute, more than %.3g.", 1}
	ofOpen := unit{"%.1f%% of the open ones per minute, more than %.3g%%.", 100}
	always := math.Inf(1)

	say(ms(t.MaxLatency), latency, Recommendation{"scaling", "high", "High event latency detected. Consider scaling horizontally.", "scale_out"},
		sampled{a.EventThroughput.AverageLatency, g.broadcast.Count().Value}, sampled{a.EventThroughput.AveragePublish, g.publish.Count().Value})
	say(t.MaxCPU, percent, Recommendation{"scaling", "high", "High CPU use. Consider scaling horizontally.", "scale_out"},
		sampled{a.Resources.CPU, always})
	say(t.MaxMemory, percent, Recommendation{"scaling", "high", "High memory use. Consider scaling horizontally, or a smaller recovery window.", "scale_out"},
		sampled{a.Resources.Memory, always})
	say(t.MaxErrorRate, part, Recommendation{"reliability", "high", "High connection error rate. Review connection handling.", "investigate_errors"},
		sampled{a.Connections.ErrorRate, g.handshakes.Value})
	say(t.MaxErrorRate, part, Recommendation{"reliability", "high", "High event error rate. Review what publishers send.", "investigate_events"},
		sampled{a.EventThroughput.ErrorRate, g.incoming.Value})
	say(t.MaxDeadLetters, minute, Recommendation{"reliability", "high", "Events become dead letters. Review them, and replay them once their handlers are well.", "review_dead_letters"},
		sampled{a.Subscriptions.DeadLettersPerMinute, always})
	say(t.MaxHandlerErrorRate, part, Recommendation{"reliability", "medium", "High error rate of subscription handlers. Review them.", "investigate_handlers"},
		sampled{a.Subscriptions.HandlerErrorRate, g.handling.Count().Value})
	say(ms(t.MaxHandlerLatency), latency, Recommendation{"optimization", "medium", "Subscription handlers are slow. Let them answer first and work later.", "optimize_handlers"},
		sampled{a.Subscriptions.AverageHandler, g.handling.Count().Value})
	say(t.MaxSlowClients, minute, Recommendation{"optimization", "medium", "Connections are closed as clients do not read. Send them less, or let more wait for them.", "review_slow_clients"},
		sampled{a.Connections.SlowClientsPerMinute, always})
	say(t.MaxChurn, ofOpen, Recommendation{"reliability", "low", "Many connections end. Review proxies, time-outs and tokens.", "investigate_churn"},
		sampled{a.Connections.ChurnPerMinute, g.active.Value})
	return all
}

// sampled is a figure from so many observations.
type sampled struct {
	Figure
	samples float64
}

// unit is how a figure and its threshold are told.
type unit struct {
	format string
	scale  float64
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
