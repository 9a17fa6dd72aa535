package web

import (
	"context"
	"crypto/rand"
	"net/url"
	"time"

	"github.com/photo-management/event-bus/events"
)

// runStages are the stages of a run, with the progress reached when each is done.
var runStages = []struct {
	name     string
	progress int
	result   map[string]any
}{
	{"thumbnail", 30, map[string]any{"generated": 3}},
	{"metadata", 45, map[string]any{"format": "jpeg", "fields": 27}},
	{"optimization", 75, map[string]any{"quality": 82}},
	{"tagging", 90, map[string]any{"tags": []string{"mountains", "lake", "sunrise"}}},
	{"storage", 100, map[string]any{"replicas": 2}},
}

// failingStage is where a run breaks that was asked to fail.
const failingStage = "optimization"

// The invented photo of every run, in bytes.
const (
	originalSize  = 4_812_345
	optimizedSize = 1_634_210
)

// run is the life of one invented photo, from its upload to its completion.
type run struct {
	runRequest
	cfg       DevConfig
	jobID     string
	metadata  events.Metadata
	published int
}

func newRun(req runRequest, cfg DevConfig) *run {
	return &run{
		runRequest: req,
		cfg:        cfg,
		jobID:      "job-" + rand.Text(),
		metadata: events.Metadata{
			Source:    "eventbus-demo",
			TraceID:   rand.Text(),
			ClientID:  req.ClientID,
			SessionID: req.SessionID,
		},
	}
}

// play publishes the run's events one step apart. It ends early with the context or at the first event not taken.
func (r *run) play(ctx context.Context) error {
	err := r.emit(ctx, events.PhotoUploaded, photoUploaded{
		PhotoID: r.PhotoID, UserID: r.UserID, Filename: "sunrise-over-the-lake.jpg", Size: originalSize, MimeType: "image/jpeg",
	})
	if err != nil {
		return err
	}

	var names []string
	for _, s := range runStages {
		names = append(names, s.name)
	}
	started := time.Now()
	err = r.emit(ctx, events.PhotoProcessingStarted, processingStarted{
		PhotoID: r.PhotoID, JobID: r.jobID, Stages: names,
		EstimatedDuration: (time.Duration(len(runStages)+1) * r.cfg.Step).Milliseconds(),
	})
	if err != nil {
		return err
	}

	for i, s := range runStages {
		if r.Fail && s.name == failingStage {
			return r.emit(ctx, events.PhotoProcessingFailed, processingFailed{
				PhotoID: r.PhotoID, JobID: r.jobID, Stage: s.name, Retryable: true,
				Error: processError{
					Code:    "ENCODER_TIMEOUT",
					Message: "The encoder did not answer in time",
					Details: map[string]any{"attempts": 3},
				},
			})
		}
		done := stageCompleted{PhotoID: r.PhotoID, JobID: r.jobID, Stage: s.name, Result: s.result, Progress: s.progress}
		if i+1 < len(runStages) {
			done.NextStage = runStages[i+1].name
		}
		if err := r.emit(ctx, events.PhotoProcessingStageCompleted, done); err != nil {
			return err
		}
	}

	return r.emit(ctx, events.PhotoProcessingCompleted, processingCompleted{
		PhotoID: r.PhotoID, JobID: r.jobID, Results: r.results(), Duration: time.Since(started).Milliseconds(),
	})
}

func (r *run) results() results {
	thumb := func(size string, width, height int) thumbnail {
		address := "https://photos.example/" + url.PathEscape(r.PhotoID) + "/" + size + ".webp"
		return thumbnail{Size: size, URL: address, Dimensions: dimensions{width, height}}
	}
	return results{
		Thumbnails: []thumbnail{thumb("small", 150, 100), thumb("medium", 400, 267), thumb("large", 1200, 800)},
		Metadata: photoMetadata{
			Dimensions: dimensions{6000, 4000},
			Format:     "jpeg",
			ColorSpace: "sRGB",
			Exif:       map[string]any{"Model": "X-T5", "FNumber": 5.6, "ISO": 200, "ExposureTime": "1/250"},
		},
		Optimization: optimization{OriginalSize: originalSize, OptimizedSize: optimizedSize, CompressionRatio: 2.94},
	}
}

// emit publishes one event on its type's channel, a step after the one before.
func (r *run) emit(ctx context.Context, eventType string, data any) error {
	if r.published > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(r.cfg.Step):
		}
	}
	ev, err := events.New(eventType, data, r.metadata)
	if err != nil {
		return err
	}
	channel, _ := events.Channel(eventType) // the types of a run are all known
	if err := r.cfg.Publish(ctx, channel, ev.Raw()); err != nil {
		return err
	}
	r.published++
	return nil
}
