package web

import (
	"net/http"
	"net/http/pprof"
	runtimepprof "runtime/pprof"
	"strconv"
)

// maxProfile is how many seconds a profile may take.
const maxProfile = 60

// profileOperations are net/http/pprof, for admins. Its cmdline is left out: a command line may hold a secret.
func (a *api) profileOperations() []operation {
	profiled := func(id, name string, h http.HandlerFunc) operation {
		return operation{id: id, method: http.MethodGet, path: "/debug/pprof/" + name, there: true, profile: true,
			serve: func(c *call) error { return c.profile(h) }}
	}
	return []operation{
		profiled("listProfiles", "{$}", pprof.Index),
		profiled("getCPUProfile", "profile", pprof.Profile),
		profiled("getTrace", "trace", pprof.Trace),
		profiled("getSymbols", "symbol", pprof.Symbol),
		{id: "getProfile", method: http.MethodGet, path: "/debug/pprof/{profile}", there: true, profile: true, serve: func(c *call) error {
			name := c.r.PathValue("profile")
			if runtimepprof.Lookup(name) == nil {
				return NotFound("There is no profile of this name.")
			}
			return c.profile(pprof.Handler(name).ServeHTTP)
		}},
	}
}

// profile lets pprof answer by itself.
func (c *call) profile(h http.HandlerFunc) error {
	if err := checkSeconds(c.r); err != nil {
		return err
	}
	c.status = http.StatusOK
	h(c.w, c.r)
	return nil
}

// checkSeconds is strict, as pprof takes what it cannot read, or zero, or a part of a second, for half a minute.
func checkSeconds(r *http.Request) error {
	for _, v := range r.URL.Query()["seconds"] {
		if n, err := strconv.Atoi(v); err != nil || n < 1 || n > maxProfile {
			return malformedField("seconds", "must be a whole number from 1 to 60.")
		}
	}
	return nil
}
