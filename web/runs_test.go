package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/photo-management/event-bus/events"
)

const goodRun = `{"photoId":"photo-42","userId":"alice","clientId":"tab-1","sessionId":"session-1"}`

// published is one call of DevConfig.Publish.
type published struct {
	channel string
	events.Event
	at time.Time
}

// devSite is a site in dev mode that accepts the token "good" and keeps what is published.
func devSite(t *testing.T, got *[]published) http.Handler {
	return NewSite(SiteConfig{Dev: &DevConfig{
		Verify: verifyGood,
		Publish: func(_ context.Context, channel string, eventJSON []byte) error {
			ev, err := events.Decode(eventJSON, events.DefaultMaxBytes)
			if err != nil {
				t.Error(err)
			}
			if err := events.Validate(ev); err != nil {
				t.Error(err)
			}
			*got = append(*got, published{channel, ev, time.Now()})
			return nil
		},
	}})
}

func verifyGood(_ context.Context, token string) error {
	if token != "good" {
		return errors.New("invalid")
	}
	return nil
}

func postRun(site http.Handler, body string) *http.Response {
	return ask(site, "POST", "/demo/run", body, "Authorization", "Bearer good")
}

func TestRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []published
		start := time.Now()
		res := postRun(devSite(t, &got), goodRun)
		if took := time.Since(start); took != 7*570*time.Millisecond { // virtual time
			t.Errorf("the run took %v", took)
		}

		var sequence []string
		ids := map[string]bool{}
		progress := []int{}
		var job string
		for _, p := range got {
			sequence = append(sequence, p.channel+" "+p.Type)
			ids[p.ID] = true
			var data struct {
				PhotoID, JobID string
				Progress       *int
			}
			if err := json.Unmarshal(p.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data.Progress != nil {
				progress = append(progress, *data.Progress)
			}
			if job == "" {
				job = data.JobID
			}
			if data.PhotoID != "photo-42" || data.JobID != job && p.Type != events.PhotoUploaded {
				t.Errorf("%s: got photo %q and job %q, want photo-42 and %q", p.Type, data.PhotoID, data.JobID, job)
			}
			if p.Metadata.ClientID != "tab-1" || p.Metadata.SessionID != "session-1" {
				t.Errorf("%s: got metadata %+v", p.Type, p.Metadata)
			}
		}
		want := []string{
			"photo:upload photo.uploaded",
			"photo:processing photo.processing.started",
			"photo:processing photo.processing.stage.completed",
			"photo:processing photo.processing.stage.completed",
			"photo:processing photo.processing.stage.completed",
			"photo:processing photo.processing.stage.completed",
			"photo:processing photo.processing.stage.completed",
			"photo:completion photo.processing.completed",
		}
		if !slices.Equal(sequence, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(sequence, "\n"), strings.Join(want, "\n"))
		}
		if len(ids) != len(want) {
			t.Errorf("got %d different event ids, want %d", len(ids), len(want))
		}
		if !slices.Equal(progress, []int{30, 45, 75, 90, 100}) {
			t.Errorf("got progress %v", progress)
		}
		for i := 1; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-1].at); gap != 570*time.Millisecond {
				t.Errorf("event %d came after %v", i, gap)
			}
		}

		var answer struct {
			PhotoID, JobID string
			Events         int
		}
		if err := json.Unmarshal([]byte(bodyOf(t, res)), &answer); err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("got status %d, %v", res.StatusCode, err)
		}
		if answer.PhotoID != "photo-42" || answer.JobID != job || answer.Events != len(want) {
			t.Errorf("got answer %+v, want job %s and %d events", answer, job, len(want))
		}
	})
}

func TestRunCompletedHasAllResults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []published
		postRun(devSite(t, &got), goodRun)
		var data processingCompleted
		if err := json.Unmarshal(got[len(got)-1].Data, &data); err != nil {
			t.Fatal(err)
		}
		if got, want := data.Duration, int64(6*570); got != want {
			t.Errorf("got duration %d, want %d", got, want)
		}
		if got := data.Results.Thumbnails; len(got) != 3 || got[0].Dimensions != (dimensions{150, 100}) {
			t.Errorf("got thumbnails %+v", got)
		}
		if got := data.Results.Metadata; got.Format != "jpeg" || got.Dimensions != (dimensions{6000, 4000}) {
			t.Errorf("got metadata %+v", got)
		}
		o := data.Results.Optimization
		if ratio := float64(o.OriginalSize) / float64(o.OptimizedSize); ratio-o.CompressionRatio > .01 || o.CompressionRatio-ratio > .01 {
			t.Errorf("got compression ratio %v for %d to %d bytes", o.CompressionRatio, o.OriginalSize, o.OptimizedSize)
		}
	})
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var got []published
		res := postRun(devSite(t, &got), `{"photoId":"photo-42","userId":"alice","fail":true}`)
		if res.StatusCode != http.StatusOK {
			t.Errorf("got status %d", res.StatusCode)
		}
		last := got[len(got)-1]
		if len(got) != 5 || last.Type != events.PhotoProcessingFailed || last.channel != events.ChannelCompletion {
			t.Fatalf("got %d events, the last %s on %s", len(got), last.Type, last.channel)
		}
		var data processingFailed
		if err := json.Unmarshal(last.Data, &data); err != nil {
			t.Fatal(err)
		}
		if data.Stage != "optimization" || !data.Retryable || data.Error.Code == "" {
			t.Errorf("got %+v", data)
		}
	})
}

func TestRunRefusesBadInput(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 129)
	for _, c := range []struct {
		name, body string
		status     int
		field      string
		detail     string
	}{
		{"no body", ``, 400, "", "The body must be a JSON object."},
		{"not JSON", `photo-42`, 400, "", "The body must be a JSON object."},
		{"not an object", `["photo-42"]`, 400, "", "The body must be a JSON object."},
		{"two objects", goodRun + goodRun, 400, "", "The body must be a JSON object."},
		{"null", `null`, 400, "photoId", "photoId is missing."},
		{"no photo", `{"userId":"alice"}`, 400, "photoId", "photoId is missing."},
		{"no user", `{"photoId":"p"}`, 400, "userId", "userId is missing."},
		{"number for a photo", `{"photoId":7,"userId":"alice"}`, 400, "photoId", "photoId must be a string, not a number."},
		{"string for fail", `{"photoId":"p","userId":"u","fail":"yes"}`, 400, "fail", "fail must be a bool, not a string."},
		{"long client", `{"photoId":"p","userId":"u","clientId":"` + long + `"}`, 400, "clientId", "clientId may have 128 bytes."},
		{"control character", `{"photoId":"p","userId":"u","sessionId":"a\u0000b"}`, 400, "sessionId", "sessionId may not contain control characters."},
		{"large body", `{"photoId":"` + strings.Repeat("x", 5000) + `"}`, 413, "", "The body may have 4096 bytes."},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []published
			if detail := wantProblem(t, postRun(devSite(t, &got), c.body), c.status, c.field); detail != c.detail {
				t.Errorf("got detail %q, want %q", detail, c.detail)
			}
			if len(got) != 0 {
				t.Errorf("published %d events", len(got))
			}
		})
	}
}

func TestRunNeedsAToken(t *testing.T) {
	t.Parallel()
	var got []published
	site := devSite(t, &got)
	for _, authorization := range []string{"", "good", "Basic good", "Bearer", "Bearer bad"} {
		res := ask(site, "POST", "/demo/run", goodRun, "Authorization", authorization)
		wantProblem(t, res, http.StatusUnauthorized, "")
		if got := res.Header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("%q: got WWW-Authenticate %q", authorization, got)
		}
	}
	if len(got) != 0 {
		t.Errorf("published %d events", len(got))
	}
}

func TestRunsAreBounded(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	site := NewSite(SiteConfig{Dev: &DevConfig{
		Verify: verifyGood,
		Publish: func(context.Context, string, []byte) error {
			begun <- struct{}{}
			<-release
			return errors.New("enough")
		},
		MaxRuns: 2,
	}})
	answers := make(chan *http.Response, 2)
	for range 2 {
		go func() { answers <- postRun(site, goodRun) }()
		<-begun
	}
	res := postRun(site, goodRun)
	wantProblem(t, res, http.StatusTooManyRequests, "")
	if res.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(release)
	for range 2 {
		detail := wantProblem(t, <-answers, http.StatusServiceUnavailable, "")
		if want := "The run broke off after 0 events."; detail != want {
			t.Errorf("got detail %q, want %q", detail, want)
		}
	}
	go func() { answers <- postRun(site, goodRun) }() // the slots are free again
	<-begun
	<-answers
}

func TestRunEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	site := NewSite(SiteConfig{Dev: &DevConfig{
		Verify:  verifyGood,
		Publish: func(context.Context, string, []byte) error { close(begun); return nil }, // a second event would panic
		Step:    time.Hour,
	}})
	url, stop, done := serving(t, site, ServeConfig{Grace: time.Millisecond})
	answer := make(chan error, 1)
	go func() {
		req, _ := http.NewRequest("POST", url+"/demo/run", strings.NewReader(goodRun))
		req.Header.Set("Authorization", "Bearer good")
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		answer <- err
	}()
	<-begun
	stop()
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) { // it waits for the handler
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	<-answer
}
