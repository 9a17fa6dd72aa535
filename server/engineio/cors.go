package engineio

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// cors sets the headers that let browsers of the allowed origins poll, as the npm package cors does for Node, and
// answers preflight requests. It reports whether the request is answered.
func (s *Server) cors(w http.ResponseWriter, r *http.Request) bool {
	if origins := *s.origins.Load(); len(origins) > 0 {
		h, origin := w.Header(), r.Header.Get("Origin")
		switch {
		case slices.Contains(origins, "*"):
			h.Set("Access-Control-Allow-Origin", "*") // which browsers never combine with credentials
		default:
			h.Add("Vary", "Origin")
			if slices.Contains(origins, origin) {
				h.Set("Access-Control-Allow-Origin", origin)
				h.Set("Access-Control-Allow-Credentials", "true")
			}
		}
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET,POST")
			if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
				h.Add("Vary", "Access-Control-Request-Headers")
				h.Set("Access-Control-Allow-Headers", asked)
			}
		}
	}
	if r.Method != http.MethodOptions {
		return false
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}

// SetCORSOrigins replaces Options.CORSOrigins, for the requests to come.
func (s *Server) SetCORSOrigins(origins []string) { s.origins.Store(&origins) }

// validOrigin reports whether an origin is one that a browser might send, or *.
func validOrigin(origin string) bool {
	if origin == "*" || origin == "null" { // of a file, or a sandboxed frame
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && origin == u.Scheme+"://"+u.Host && !strings.Contains(u.Host, "*")
}
