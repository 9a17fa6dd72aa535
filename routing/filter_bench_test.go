package routing

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/photo-management/event-bus/events"
)

func BenchmarkFilters20(b *testing.B)   { benchmarkFilters(b, 20) }
func BenchmarkFilters1000(b *testing.B) { benchmarkFilters(b, 1000) }

// benchmarkFilters takes an event that no filter has anything to do with through n filters; one operation is one event,
// in batches of 100.
func benchmarkFilters(b *testing.B, n int) {
	kinds := []struct {
		name string
		spec func(i int) Filter
	}{
		{"type", func(i int) Filter {
			return Filter{Conditions: []Condition{{"type", "eq", fmt.Sprintf("photo.other.%d", i/2)}, {"data.size", "gt", i}}}
		}},
		{"channel", func(i int) Filter {
			return Filter{Channels: []string{fmt.Sprintf("other:%d", i/2)}, Conditions: []Condition{{"data.size", "gt", i}}}
		}},
		{"equal", func(i int) Filter {
			return Filter{Conditions: []Condition{{"data.userId", "eq", fmt.Sprintf("other-%d", i)}, {"data.size", "gt", 0}}}
		}},
		{"mixed", func(i int) Filter {
			switch i % 4 {
			case 0:
				return Filter{Conditions: []Condition{{"type", "in", []any{fmt.Sprintf("photo.%d", i), "photo.none"}}}}
			case 1:
				return Filter{Channels: []string{"other"}}
			case 2:
				return Filter{Direction: "outbound"}
			}
			return Filter{Conditions: []Condition{{"data.photoId", "eq", fmt.Sprintf("other-%d", i)}}}
		}},
		{"unindexed", func(i int) Filter {
			return Filter{Conditions: []Condition{{"data.size", "gt", 1e9 + float64(i)}}}
		}},
	}
	ev, err := events.Decode([]byte(`{"id":"0199f3c2-7d1e-7c3a-9b52-1f0e8d6c4a10","type":"photo.uploaded","data":{"photoId":"photo-123",`+
		`"userId":"user-42","filename":"a.jpg","size":2483921,"mimeType":"image/jpeg"},"metadata":{"source":"upload",`+
		`"clientId":"c-7","version":"1.0"},"timestamp":"2026-01-31T12:00:00.000Z"}`), 0)
	if err != nil {
		b.Fatal(err)
	}
	batch := make([]events.Event, 100)
	for i := range batch {
		batch[i] = ev
	}
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			specs := make([]Filter, n)
			for i := range specs {
				specs[i] = kind.spec(i)
				specs[i].ID, specs[i].Type = fmt.Sprintf("f%d", i), "exclude"
				specs[i].Action = Action{Type: "drop"}
			}
			f := compileFilters(b, specs...)
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += len(batch) {
				if outs, err := f.Apply(b.Context(), Inbound, "photo:upload", batch, nil); err != nil || outs != nil {
					b.Fatal(outs, err)
				}
			}
		})
	}
}

func BenchmarkTransform(b *testing.B) {
	f := compileFilters(b, Filter{ID: "f", Type: "include", Action: Action{"transform",
		json.RawMessage(`{"addFields":{"priority":"high"},"removeFields":["filename"],"modifyFields":{"data.photoId":{"type":"append","value":"!"}}}`)}})
	evs := []events.Event{event(b, `{"photoId":"photo-123","userId":"user-42","filename":"a.jpg","size":2483921}`, `{"source":"s"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if outs, err := f.Apply(b.Context(), Inbound, "c", evs, nil); err != nil || !outs[0].Changed {
			b.Fatal(outs, err)
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	f := compileFilters(b, Filter{ID: "f", Type: "exclude", Expr: `data.size > 1e9 && any(data.tags, # == "x")`, Action: Action{Type: "drop"}})
	evs := []events.Event{event(b, `{"photoId":"photo-123","userId":"user-42","tags":["a","b"],"size":2483921}`, `{"source":"s"}`)}
	b.ReportAllocs()
	for b.Loop() {
		if outs, err := f.Apply(b.Context(), Inbound, "c", evs, nil); err != nil || outs != nil {
			b.Fatal(outs, err)
		}
	}
}
