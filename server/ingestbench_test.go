package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/routing"
)

// BenchmarkIngest is the way of an event from its durable input to the log, both in a local Redis, in batches of 128: read,
// decode, hold against its schema, filter, route, append. One operation is one event. cpu-ns/op is our own process's time
// on all cores, without that of Redis: below 50,000 is 20,000 events a second on one core.
func BenchmarkIngest(b *testing.B) {
	for _, filters := range []int{0, 20, 1000} {
		b.Run(fmt.Sprintf("filters=%d", filters), func(b *testing.B) { benchmarkIngest(b, filters) })
	}
}

// benchFilters are filters of all kinds that have nothing to do with the events of BenchmarkIngest, but must find that out.
func benchFilters(n int) []routing.Filter {
	filters := make([]routing.Filter, n)
	for i := range filters {
		f := routing.Filter{ID: fmt.Sprint(i), Type: "exclude", Action: routing.Action{Type: "drop"}}
		switch {
		case i < 4: // these look at each event
			f.Conditions = []routing.Condition{{Field: "data.userId", Operator: "regex", Value: fmt.Sprintf("^test-%d", i)}}
		case i < 6:
			f.Conditions = []routing.Condition{{Field: "data.photoId", Operator: "contains", Value: "forbidden"}}
		case i < 8:
			f.Expr = `type == "photo.deleted" && data.size > 1e9`
		case i%4 == 0:
			f.Conditions = []routing.Condition{{Field: "type", Operator: "eq", Value: fmt.Sprintf("photo.other.%d", i)}}
		case i%4 == 1:
			f.Conditions = []routing.Condition{{Field: "data.userId", Operator: "eq", Value: fmt.Sprintf("banned-%d", i)}}
		case i%4 == 2:
			f.Channels = []string{"photo:upload"}
		default:
			f.Direction, f.Type = "outbound", "include"
			f.Action = routing.Action{Type: "transform", Params: json.RawMessage(`{"addFields":{"x":1}}`)}
		}
		filters[i] = f
	}
	return filters
}

func benchmarkIngest(b *testing.B, filters int) {
	const channel, kind = "photo:processing", "photo.processing.started"
	n := newNode(b, realRedis(b), setup{rules: routing.Default(), declared: Declarations{
		Filters:    benchFilters(filters),
		Validation: map[string][]events.ValidatorSpec{kind: {{Name: "schema", Type: events.SchemaValidator}}},
	}})
	client, ctx, stream := n.redis.Client(), b.Context(), "eventbus:in:"+channel
	payload, number := benchEvent(b, kind, `"photoId":"photo-123","userId":"user-42","jobId":"job-7","stages":["resize"]`, ``)
	for i := 0; i < b.N; {
		pipe := client.Pipeline()
		for range min(1000, b.N-i) {
			i++
			number(i)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"event", string(payload)}})
		}
		_, err := pipe.Exec(ctx)
		must(b, err)
	}
	must(b, client.Set(ctx, "lease", "mine", 0).Err())
	lease := adapter.Lease{Channel: channel, Key: "lease", Token: "mine"}

	done, errDone := 0, errors.New("all is taken")
	b.ReportAllocs()
	b.ResetTimer()
	began, cpu := time.Now(), cpuTime(b)
	err := n.Inputs.Consume(ctx, stream, adapter.Position{}, func(batch []adapter.Input) error {
		messages := make([]message, len(batch))
		for i, in := range batch {
			messages[i] = message{payload: in.Payload, cursor: in.Position}
		}
		must(b, n.channels[channel].take(ctx, lease, messages))
		if done += len(batch); done == b.N {
			return errDone
		}
		return nil
	})
	cpu = cpuTime(b) - cpu
	b.StopTimer()
	if !errors.Is(err, errDone) {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
	if got := client.XLen(context.Background(), "socket.io").Val(); got != int64(b.N)+1 { // and the one that it begins with
		b.Fatalf("the log has %d entries, want %d", got, b.N+1)
	}
}

// cpuTime is what this process has used of all cores.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
