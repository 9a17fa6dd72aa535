package web

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// APIConfig says what the API under /api/v1/ asks and does. Verify is required. What is nil is not there in this mode,
// and answers 501.
//
// Everything is called from several goroutines, with a context that ends with the request or after at most a minute. What
// is wrong with a request is returned as an *Error; any other error is answered with a 500 that says nothing.
type APIConfig struct {
	// Verify returns whom a token stands for, as auth.Verifier does. It also refuses revoked tokens.
	Verify func(ctx context.Context, token string) (auth.Identity, error)

	// Policy says who besides admins may publish on a channel, and declare webhooks for its events. Nil means nobody.
	Policy *auth.Policy

	// Allow counts n of what a caller does and says whether that is within its limit, else how long to wait. What is
	// counted is LimitRequests and LimitEvents per user, and LimitRefused per IP address. Nil means no limits.
	Allow func(ctx context.Context, what Limit, caller string, n int) (ok bool, retryAfter time.Duration)

	// Audit hears of everything an admin changes or tries to, and of every caller that is turned away. It must not
	// wait. Nil means nobody listens.
	Audit func(auth.Record)

	// Failed hears of the errors behind the answers of 500. Nil means nobody listens.
	Failed func(requestID, operation string, err error)

	// MaxEvent is the bytes of the largest event. Zero means 1 MiB.
	MaxEvent int
	// MaxBatch is the bytes of the largest batch. Zero means 4 MiB. It has at most 1,000 events.
	MaxBatch int
	// MaxInFlight is how many requests may be under way; one more gets 503. It bounds the memory of their bodies. Zero
	// means 32.
	MaxInFlight int

	Events        Events
	Idempotency   Idempotency // nil refuses requests with an Idempotency-Key
	Clients       Clients
	Filters       Filters
	Rules         Rules
	Subscriptions Subscriptions
	DeadLetters   DeadLetters
	Revocations   Revocations
	LogLevel      LogLevel

	// Stats is the present state of the whole service.
	Stats func(ctx context.Context) (Stats, error)
	// Analysis is what scaling makes of the measurements, as the schema PerformanceAnalysis of openapi.json.
	Analysis func(ctx context.Context) (any, error)
}

func (c APIConfig) withDefaults() APIConfig {
	c.MaxEvent = cmp.Or(c.MaxEvent, 1<<20)
	c.MaxBatch = cmp.Or(c.MaxBatch, 4<<20)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 32)
	return c
}

// Limit is what APIConfig.Allow counts.
type Limit string

const (
	LimitRequests Limit = "requests" // calls of the API that do not publish
	LimitEvents   Limit = "events"   // events handed in, published or not
	LimitRefused  Limit = "refused"  // requests with no good token
)

// Page is a part of a list. Cursor is what the page before gave as its Next, empty for the first; what it holds is the
// list's own affair, and a bad one an Invalid("cursor", …). Limit is 1 to 1,000.
type Page struct {
	Cursor string
	Limit  int
}

// Where something comes from that the configuration and the API can both declare.
const (
	SourceConfiguration = "configuration"
	SourceAPI           = "api"
)

const (
	apiPrefix   = "/api/v1"
	callTimeout = 15 * time.Second
	bulkTimeout = time.Minute // of what goes through all dead letters
	maxSmall    = 4 << 10     // bytes of a body of a few members
	maxSpec     = 64 << 10    // of one filter or subscription
	maxSpecs    = 1 << 20     // of all filters or rules
)

type access uint8

const (
	admins      access = iota // with the role admin
	publishers                // with any good token; the channel decides
	subscribers               // the same
)

// operation is one call of the API: what the chain in call.go does before serve and after.
type operation struct {
	id      string // its operationId
	method  string
	path    string
	access  access
	audited auth.AuditEvent // empty: AdminAction
	profile bool            // of the process: reading it is audited too
	there   bool            // in this mode
	maxBody int             // bytes; 0: none is read
	timeout time.Duration
	serve   func(*call) error
}

type api struct {
	cfg   APIConfig
	slots chan struct{} // holds one value for each request under way
}

func newAPI(cfg APIConfig) *api {
	cfg = cfg.withDefaults()
	return &api{cfg, make(chan struct{}, cfg.MaxInFlight)}
}

// operations lists all there is; openapi.json describes each, which a test sees to.
func (a *api) operations() []operation {
	return slices.Concat(a.eventOperations(), a.clientOperations(), a.filterOperations(), a.ruleOperations(),
		a.subscriptionOperations(), a.deadLetterOperations(), a.revocationOperations(), a.insightOperations(),
		a.profileOperations())
}

// mount puts the API on the internal port.
func (a *api) mount(mux *http.ServeMux) {
	paths := map[string]map[string]http.Handler{}
	for _, op := range a.operations() {
		if paths[op.path] == nil {
			paths[op.path] = map[string]http.Handler{}
		}
		paths[op.path][op.method] = a.handler(op)
	}
	for path, methods := range paths {
		mux.Handle(path, byMethod(methods))
	}
	mux.Handle(apiPrefix+"/openapi.json", readOnly(openapiFile()))
}

// byMethod answers what is not among the methods with 405. GET serves HEAD too.
func byMethod(methods map[string]http.Handler) http.Handler {
	if get, ok := methods[http.MethodGet]; ok {
		methods[http.MethodHead] = get
	}
	var names []string
	for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if methods[m] != nil {
			names = append(names, m)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, ok := methods[r.Method]; ok {
			h.ServeHTTP(w, r)
			return
		}
		methodNotAllowed(w, r, names)
	})
}
