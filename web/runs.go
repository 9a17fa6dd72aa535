package web

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// DevConfig is what POST /demo/run needs. Verify and Publish are required.
//
// The request carries "Authorization: Bearer <token>" and {"photoId", "userId", "clientId"?, "sessionId"?, "fail"?}. The
// answer comes when the run is over: 200 {"photoId", "jobId", "events"}, where events counts those published. The run
// lives as long as its request: it ends early when the client goes away or the server shuts down.
type DevConfig struct {
	// Verify returns nil if the token may publish a run.
	Verify func(ctx context.Context, token string) error

	// Publish hands one event to the bus. It logs its own failures; the client is only told that the run broke off.
	Publish func(ctx context.Context, channel string, eventJSON []byte) error

	// Step is the time between two events of a run. Zero means 570 ms, which makes a run last about 4 s.
	Step time.Duration

	// MaxRuns is how many runs may be under way at once; one more gets 429. Zero means 4.
	MaxRuns int
}

func (c DevConfig) withDefaults() DevConfig {
	c.Step = cmp.Or(c.Step, 570*time.Millisecond)
	c.MaxRuns = cmp.Or(c.MaxRuns, 4)
	return c
}

const (
	maxRunBody = 4 << 10
	maxRunID   = 128 // bytes of a photoId, userId, clientId or sessionId
)

// runs answers POST /demo/run.
type runs struct {
	cfg   DevConfig
	slots chan struct{} // holds one value for each run under way
}

func newRuns(cfg DevConfig) *runs {
	cfg = cfg.withDefaults()
	return &runs{cfg, make(chan struct{}, cfg.MaxRuns)}
}

func (rs *runs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || rs.cfg.Verify(r.Context(), token) != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		problem{Status: http.StatusUnauthorized, Detail: "A valid token is needed, as Authorization: Bearer <token>."}.ServeHTTP(w, r)
		return
	}
	req, bad := readRun(w, r)
	if bad != nil {
		bad.ServeHTTP(w, r)
		return
	}
	select {
	case rs.slots <- struct{}{}:
		defer func() { <-rs.slots }()
	default:
		w.Header().Set("Retry-After", "4")
		problem{Status: http.StatusTooManyRequests, Detail: "Too many runs are under way. Try again in a few seconds."}.ServeHTTP(w, r)
		return
	}
	run := newRun(req, rs.cfg)
	if err := run.play(r.Context()); err != nil {
		problem{Status: http.StatusServiceUnavailable,
			Detail: fmt.Sprintf("The run broke off after %d events.", run.published)}.ServeHTTP(w, r)
		return
	}
	respond(w, http.StatusOK, map[string]any{"photoId": req.PhotoID, "jobId": run.jobID, "events": run.published})
}

// runRequest is the body of POST /demo/run.
type runRequest struct {
	PhotoID   string `json:"photoId"`
	UserID    string `json:"userId"`
	ClientID  string `json:"clientId"`
	SessionID string `json:"sessionId"`
	Fail      bool   `json:"fail"`
}

func readRun(w http.ResponseWriter, r *http.Request) (runRequest, *problem) {
	// The body is tiny, and the server has no read timeout. The deadline must go before the run, which it would cancel.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // not every ResponseWriter can; all of net/http's can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRunBody))
	_ = conn.SetReadDeadline(time.Time{})

	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return runRequest{}, &problem{Status: http.StatusRequestEntityTooLarge,
			Detail: fmt.Sprintf("The body may have %d bytes.", maxRunBody)}
	}
	if err != nil {
		return runRequest{}, &problem{Status: http.StatusBadRequest, Detail: "The body did not arrive."}
	}
	var req runRequest
	err = json.Unmarshal(body, &req)
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return runRequest{}, fieldProblem(wrongType.Field,
			fmt.Sprintf("must be a %s, not a %s.", wrongType.Type, wrongType.Value))
	}
	if err != nil {
		return runRequest{}, &problem{Status: http.StatusBadRequest, Detail: "The body must be a JSON object."}
	}
	for _, id := range []struct {
		field, value string
		required     bool
	}{
		{"photoId", req.PhotoID, true},
		{"userId", req.UserID, true},
		{"clientId", req.ClientID, false},
		{"sessionId", req.SessionID, false},
	} {
		if why := checkID(id.value, id.required); why != "" {
			return runRequest{}, fieldProblem(id.field, why)
		}
	}
	return req, nil
}

func fieldProblem(field, why string) *problem {
	return &problem{Status: http.StatusBadRequest, Detail: field + " " + why, Errors: []FieldError{{field, why}}}
}

// checkID returns what is wrong with an id, or "".
func checkID(id string, required bool) string {
	switch {
	case required && id == "":
		return "is missing."
	case len(id) > maxRunID:
		return fmt.Sprintf("may have %d bytes.", maxRunID)
	case strings.ContainsFunc(id, unicode.IsControl):
		return "may not contain control characters."
	}
	return ""
}
