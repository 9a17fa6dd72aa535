package scaling

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Read makes a snapshot, of now, of what is gathered under the names that our metrics have. It fails if something could
// not be gathered or is not of the type that it should be: a snapshot is whole.
func Read(from prometheus.Gatherer) (Snapshot, error) {
	families, err := from.Gather()
	if err != nil {
		return Snapshot{}, fmt.Errorf("gather metrics: %w", err)
	}
	s := Snapshot{Time: time.Now()}
	figures, histograms := s.metrics()
	for _, family := range families {
		name := family.GetName()
		if into, ok := figures[name]; ok {
			err = into.read(family)
		} else if into, ok := histograms[name]; ok {
			err = readHistograms(family, into)
		}
		if err != nil {
			return Snapshot{}, fmt.Errorf("metric %s: %w", name, err)
		}
	}
	return s, nil
}

// metrics are the places of a snapshot, by the names of the metrics that belong there.
func (s *Snapshot) metrics() (map[string]place, map[string]*Histogram) {
	return map[string]place{
			"eventbus_events_published_total":                {sum: &s.Events.Published},
			"eventbus_events_received_total":                 {sum: &s.Events.Received},
			"eventbus_event_errors_total":                    {sum: &s.Events.Errors},
			"eventbus_websocket_active_connections":          {sum: &s.WebSockets.Active},
			"eventbus_websocket_connections_total":           {sum: &s.WebSockets.Connections},
			"eventbus_websocket_disconnections_total":        {sum: &s.WebSockets.Disconnections, label: "reason", value: "slow client", of: &s.WebSockets.SlowClients},
			"eventbus_connections_refused_total":             {sum: &s.WebSockets.Refused},
			"eventbus_active_subscriptions_total":            {sum: &s.Subscriptions.Active},
			"eventbus_subscription_messages_processed_total": {sum: &s.Subscriptions.Processed},
			"eventbus_subscription_handler_errors_total":     {sum: &s.Subscriptions.HandlerErrors},
			"eventbus_dead_letters_total":                    {sum: &s.Subscriptions.DeadLetters},
			"eventbus_active_rooms_total":                    {sum: &s.Rooms.Active},
			"process_cpu_seconds_total":                      {sum: &s.Process.CPUSeconds},
			"process_resident_memory_bytes":                  {sum: &s.Process.ResidentBytes},
			"go_gc_gomemlimit_bytes":                         {sum: &s.Process.MemoryLimit, below: math.MaxInt64}, // which says that there is none
			"go_sched_gomaxprocs_threads":                    {sum: &s.Process.CPUs},
			"process_start_time_seconds":                     {sum: &s.Process.Started},
			"go_goroutines":                                  {sum: &s.Process.Goroutines},
		}, map[string]*Histogram{
			"eventbus_event_publish_duration_milliseconds":        &s.Events.Publish,
			"eventbus_room_broadcast_duration_milliseconds":       &s.Rooms.Broadcast,
			"eventbus_subscription_handler_duration_milliseconds": &s.Subscriptions.Handling,
		}
}

// place is where the sum over the series of a metric goes, and, if label is set, that of the series whose label has the
// value: 0 if no series has.
type place struct {
	sum          *Figure
	label, value string
	of           *Figure
	below        float64 // if not 0, a sum that is not below it says that there is none
}

func (p place) read(family *dto.MetricFamily) error {
	sum, of := 0.0, 0.0
	for _, m := range family.GetMetric() {
		v, err := value(m)
		if err != nil {
			return err
		}
		sum += v
		for _, l := range m.GetLabel() {
			if l.GetName() == p.label && l.GetValue() == p.value {
				of += v
			}
		}
	}
	if len(family.GetMetric()) == 0 || p.below != 0 && sum >= p.below {
		return nil
	}
	*p.sum = Known(sum)
	if p.of != nil {
		*p.of = Known(of)
	}
	return nil
}

// value is that of a counter or a gauge, or of what a text did not say the type of.
func value(m *dto.Metric) (float64, error) {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue(), nil
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue(), nil
	case m.GetUntyped() != nil:
		return m.GetUntyped().GetValue(), nil
	}
	return 0, errors.New("it is neither a counter nor a gauge")
}

func readHistograms(family *dto.MetricFamily, into *Histogram) error {
	for _, m := range family.GetMetric() {
		h, err := readHistogram(m.GetHistogram())
		if err != nil {
			return err
		}
		if *into, err = into.add(h); err != nil {
			return err
		}
	}
	return nil
}
