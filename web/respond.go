package web

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// problem is an error answer, application/problem+json of RFC 9457. Its type is about:blank: the status says what went
// wrong, detail and errors say how to put it right.
type problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Errors []FieldError `json:"errors,omitempty"` // what is wrong, member by member
}

func (p problem) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, p.Status, "application/problem+json", p.complete())
}

func (p problem) complete() problem {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	return p
}

func respond(w http.ResponseWriter, status int, v any) {
	writeJSON(w, status, "application/json", v)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}

// allow passes on requests of the given methods and answers others with 405 and the Allow header.
func allow(next http.Handler, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			methodNotAllowed(w, r, methods)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request, methods []string) {
	w.Header().Set("Allow", strings.Join(methods, ", "))
	problem{Status: http.StatusMethodNotAllowed, Detail: "Use " + strings.Join(methods, " or ") + "."}.ServeHTTP(w, r)
}

func readOnly(next http.Handler) http.Handler {
	return allow(next, http.MethodGet, http.MethodHead)
}

var notFound = problem{Status: http.StatusNotFound, Detail: "There is nothing at this address."}
