package scaling

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// before and after are a minute of a busy process.
func before() Snapshot {
	return Snapshot{
		Time:          noon,
		Events:        EventFigures{Published: Known(100), Received: Known(1000), Errors: Known(10), Publish: buckets(100, 5, 100, 50, 100, inf, 100)},
		WebSockets:    WebSocketFigures{Active: Known(100), Connections: Known(500), Disconnections: Known(400), SlowClients: Known(5), Refused: Known(20)},
		Subscriptions: SubscriptionFigures{Active: Known(2), Processed: Known(50), HandlerErrors: Known(5), DeadLetters: Known(1), Handling: buckets(550, 10, 55, 100, 55, inf, 55)},
		Rooms:         RoomFigures{Active: Known(30), Broadcast: buckets(1000, 1, 1000, 10, 1000, inf, 1000)},
		Process:       ProcessFigures{CPUSeconds: Known(30), ResidentBytes: Known(100 << 20), MemoryLimit: Known(400 << 20), CPUs: Known(2), Goroutines: Known(50)},
	}
}

func after() Snapshot {
	return Snapshot{
		Time:          noon.Add(time.Minute),
		Events:        EventFigures{Published: Known(160), Received: Known(1594), Errors: Known(16), Publish: buckets(220, 5, 160, 50, 160, inf, 160)},
		WebSockets:    WebSocketFigures{Active: Known(120), Connections: Known(530), Disconnections: Known(411), SlowClients: Known(6), Refused: Known(20)},
		Subscriptions: SubscriptionFigures{Active: Known(3), Processed: Known(145), HandlerErrors: Known(10), DeadLetters: Known(1), Handling: buckets(1550, 10, 105, 100, 155, inf, 155)},
		Rooms:         RoomFigures{Active: Known(31), Broadcast: buckets(4000, 1, 1300, 10, 1600, inf, 1600)},
		Process:       ProcessFigures{CPUSeconds: Known(60), ResidentBytes: Known(200 << 20), MemoryLimit: Known(400 << 20), CPUs: Known(2), Goroutines: Known(60)},
	}
}

func TestAnalyse(t *testing.T) {
	t.Parallel()
	a := Analyse(before(), after(), Thresholds{})
	if want := (Span{noon, noon.Add(time.Minute), 60}); a.Window != want {
		t.Errorf("the window is %v, want %v", a.Window, want)
	}
	for name, test := range map[string]struct {
		got  Figure
		want float64
	}{
		"events per second":       {a.EventThroughput.EventsPerSecond, 9.9},
		"published per second":    {a.EventThroughput.PublishedPerSecond, 1},
		"average latency":         {a.EventThroughput.AverageLatency, 5},
		"median latency":          {a.EventThroughput.Latency.P50, 1},
		"latency p95":             {a.EventThroughput.Latency.P95, 9.1},
		"average publish latency": {a.EventThroughput.AveragePublish, 2},
		"publish p99":             {a.EventThroughput.Publish.P99, 4.95},
		"event error rate":        {a.EventThroughput.ErrorRate, 0.01},
		"active connections":      {a.Connections.Active, 120},
		"connection rate":         {a.Connections.ConnectionRate, 0.5},
		"disconnection rate":      {a.Connections.DisconnectionRate, 11.0 / 60},
		"connection error rate":   {a.Connections.ErrorRate, 0},
		"churn":                   {a.Connections.ChurnPerMinute, 0.1},
		"slow clients":            {a.Connections.SlowClientsPerMinute, 1},
		"active subscriptions":    {a.Subscriptions.Active, 3},
		"processed per second":    {a.Subscriptions.ProcessedPerSecond, 95.0 / 60},
		"handler error rate":      {a.Subscriptions.HandlerErrorRate, 0.05},
		"average handler latency": {a.Subscriptions.AverageHandler, 10},
		"handler p50":             {a.Subscriptions.Handler.P50, 10},
		"dead letters":            {a.Subscriptions.DeadLettersPerMinute, 0},
		"CPU":                     {a.Resources.CPU, 25},
		"memory":                  {a.Resources.Memory, 50},
		"resident":                {a.Resources.ResidentBytes, 200 << 20},
		"goroutines":              {a.Resources.Goroutines, 60},
	} {
		if !test.got.Known || math.Abs(test.got.Value-test.want) > 1e-9 {
			t.Errorf("%s: got %v, want %g", name, test.got, test.want)
		}
	}
	if a.Recommendations == nil || len(a.Recommendations) > 0 {
		t.Errorf("recommends %v", a.Recommendations)
	}
	own := Analyse(before(), after(), Thresholds{CPULimit: 0.5, MemoryLimit: 250 << 20}).Resources
	if own.CPU != Known(100) || own.Memory != Known(80) {
		t.Errorf("with limits of its own: %v", own)
	}
}

// A process that has started anew in between is measured from its start, and nothing becomes negative.
func TestAnalyseRestart(t *testing.T) {
	t.Parallel()
	from, to := after(), before()
	from.Time, to.Time = noon, noon.Add(time.Minute)
	a := Analyse(from, to, Thresholds{})
	if got, want := a.EventThroughput.EventsPerSecond, Known(1000.0/60); got != want {
		t.Errorf("got %v events per second, want %v", got, want)
	}
	if got := a.EventThroughput.ErrorRate; !got.Known || got.Value < 0 || got.Value > 1 {
		t.Errorf("the error rate is %v", got)
	}
	if got := a.EventThroughput.AverageLatency; got != Known(1) {
		t.Errorf("the average latency is %v", got)
	}
}

// What is not known is left out; what the schema of the API demands is there.
func TestAnalysisJSON(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		from, to Snapshot
		want     string
	}{
		"nothing":             {Snapshot{}, Snapshot{}, `{"eventThroughput":{},"connectionPerformance":{},"subscriptionPerformance":{},"resources":{},"recommendations":[]}`},
		"one snapshot":        {after(), after(), `{"eventThroughput":{},"connectionPerformance":{"activeConnections":120},"subscriptionPerformance":{"activeSubscriptions":3},"resources":{"memoryPercent":50,"residentBytes":209715200,"goroutines":60},"recommendations":[]}`},
		"the clock went back": {after(), before(), `{"eventThroughput":{},"connectionPerformance":{"activeConnections":100},"subscriptionPerformance":{"activeSubscriptions":2},"resources":{"memoryPercent":25,"residentBytes":104857600,"goroutines":50},"recommendations":[]}`},
		"no errors known": {
			Snapshot{Time: noon, Events: EventFigures{Received: Known(10)}}, Snapshot{Time: noon.Add(10 * time.Second), Events: EventFigures{Received: Known(20)}},
			`{"window":{"from":"2026-01-02T12:00:00Z","to":"2026-01-02T12:00:10Z","seconds":10},"eventThroughput":{"eventsPerSecond":1},"connectionPerformance":{},"subscriptionPerformance":{},"resources":{},"recommendations":[]}`,
		},
	} {
		got, err := json.Marshal(Analyse(test.from, test.to, Thresholds{}))
		if err != nil || string(got) != test.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", name, got, err, test.want)
		}
	}
	for f, want := range map[Figure]string{{}: "null", Known(1.5): "1.5", Known(math.NaN()): "null", Known(inf): "null"} {
		if got, err := json.Marshal(f); err != nil || string(got) != want {
			t.Errorf("%v: got %s, %v", f, got, err)
		}
	}
}

func TestRecommendations(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change     func(*Snapshot)
		thresholds Thresholds
		want       string // type/priority/action: description; several on lines
	}{
		"none":    {func(*Snapshot) {}, Thresholds{}, ""},
		"latency": {func(s *Snapshot) { s.Rooms.Broadcast.Sum += 90_000 }, Thresholds{}, "scaling/high/scale_out: High event latency detected. Consider scaling horizontally. 155.0 ms on average, more than 100 ms."},
		"publish latency": {func(s *Snapshot) { s.Events.Publish.Sum += 12_000 }, Thresholds{},
			"scaling/high/scale_out: High event latency detected. Consider scaling horizontally. 202.0 ms on average, more than 100 ms."},
		"latency, own threshold":  {func(*Snapshot) {}, Thresholds{MaxLatency: 1500 * time.Microsecond}, "scaling/high/scale_out: High event latency detected. Consider scaling horizontally. 5.0 ms on average, more than 1.5 ms."},
		"latency, none":           {func(s *Snapshot) { s.Rooms.Broadcast.Sum += 90_000 }, Thresholds{MaxLatency: -1}, ""},
		"latency, few broadcasts": {func(s *Snapshot) { s.Rooms.Broadcast.Sum += 90_000 }, Thresholds{MinSamples: 601}, ""},
		"refusals":                {func(s *Snapshot) { s.WebSockets.Refused.Value += 10 }, Thresholds{}, "reliability/high/investigate_errors: High connection error rate. Review connection handling. 25.0%, more than 5%."},
		"errors":                  {func(s *Snapshot) { s.Events.Errors.Value += 194 }, Thresholds{}, "reliability/high/investigate_events: High event error rate. Review what publishers send. 25.2%, more than 5%."},
		"CPU":                     {func(s *Snapshot) { s.Process.CPUSeconds.Value += 72 }, Thresholds{}, "scaling/high/scale_out: High CPU use. Consider scaling horizontally. 85.0%, more than 80%."},
		"memory":                  {func(s *Snapshot) { s.Process.ResidentBytes = Known(380 << 20) }, Thresholds{}, "scaling/high/scale_out: High memory use. Consider scaling horizontally, or a smaller recovery window. 95.0%, more than 85%."},
		"memory, no limit":        {func(s *Snapshot) { s.Process.ResidentBytes, s.Process.MemoryLimit = Known(380<<20), Figure{} }, Thresholds{}, ""},
		"dead letters":            {func(s *Snapshot) { s.Subscriptions.DeadLetters.Value += 2 }, Thresholds{}, "reliability/high/review_dead_letters: Events become dead letters. Review them, and replay them once their handlers are well. 2 per minute, more than 1."},
		"handler errors":          {func(s *Snapshot) { s.Subscriptions.HandlerErrors.Value += 10 }, Thresholds{}, "reliability/medium/investigate_handlers: High error rate of subscription handlers. Review them. 15.0%, more than 10%."},
		"handler latency":         {func(s *Snapshot) { s.Subscriptions.Handling.Sum += 200_000 }, Thresholds{}, "optimization/medium/optimize_handlers: Subscription handlers are slow. Let them answer first and work later. 2010.0 ms on average, more than 1000 ms."},
		"slow clients":            {func(s *Snapshot) { s.WebSockets.SlowClients.Value += 14 }, Thresholds{}, "optimization/medium/review_slow_clients: Connections are closed as clients do not read. Send them less, or let more wait for them. 15 per minute, more than 10."},
		"churn":                   {func(s *Snapshot) { s.WebSockets.Disconnections.Value += 22 }, Thresholds{}, "reliability/low/investigate_churn: Many connections end. Review proxies, time-outs and tokens. 30.0% of the open ones per minute, more than 25%."},
		"two, in order": {func(s *Snapshot) { s.Subscriptions.DeadLetters.Value++; s.Process.CPUSeconds.Value += 90 }, Thresholds{MaxDeadLetters: 0.5},
			"scaling/high/scale_out: High CPU use. Consider scaling horizontally. 100.0%, more than 80%.\nreliability/high/review_dead_letters: Events become dead letters. Review them, and replay them once their handlers are well. 1 per minute, more than 0.5."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := after()
			test.change(&to)
			var got []string
			for _, r := range Analyse(before(), to, test.thresholds).Recommendations {
				got = append(got, r.Type+"/"+r.Priority+"/"+r.Action+": "+r.Description)
			}
			if got := strings.Join(got, "\n"); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestThresholdsValidate(t *testing.T) {
	t.Parallel()
	if err := (Thresholds{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	off := Thresholds{MaxLatency: -1, MaxErrorRate: -1, MaxHandlerLatency: -1, MaxHandlerErrorRate: -1, MaxDeadLetters: -1, MaxSlowClients: -1, MaxChurn: -1, MaxCPU: -1, MaxMemory: -1}
	if err := off.Validate(); err != nil {
		t.Errorf("all turned off: %v", err)
	}
	bad := Thresholds{MaxErrorRate: 5, MaxHandlerErrorRate: math.NaN(), MaxDeadLetters: inf, MaxSlowClients: math.Inf(-1), MaxChurn: inf, MaxCPU: 101, MaxMemory: 1000, MinSamples: -1, CPULimit: -1, MemoryLimit: -1}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, key := range []string{"maxErrorRate is 5: want a part of 1", "maxHandlerErrorRate is NaN", "maxDeadLetters is +Inf", "maxSlowClients is -Inf", "maxChurn is +Inf", "maxCpu is 101", "maxMemory is 1000", "minSamples is -1", "cpuLimit is -1", "memoryLimit is -1"} {
		if !strings.Contains(err.Error(), "scaling.thresholds."+key) {
			t.Errorf("%q is not in\n%v", key, err)
		}
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 10 {
		t.Errorf("%d problems:\n%v", n, err)
	}
}
