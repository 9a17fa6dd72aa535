package web

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"path"
)

// SiteConfig says what the public port offers besides Socket.IO.
type SiteConfig struct {
	// Dev, when set, lets the demo page publish photo runs. Nil, for production, means there is no /demo/run.
	Dev *DevConfig
}

// contentSecurityPolicy lets the page use its own files and sockets, nothing else: no inline script or style, no other
// host, no frame around it, and no text turned into markup, since events are anybody's text.
const contentSecurityPolicy = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; " +
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// NewSite returns the handler for everything on the public port except the Socket.IO path: the demo page at /, its files
// under /static/, GET /demo/config, which tells the page {"dev":true|false}, and in dev mode POST /demo/run, see
// DevConfig. The page loads its client from socket.io/ beside it, so Bundles has to be mounted there.
func NewSite(cfg SiteConfig) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", pageFile("index.html", "text/html; charset=utf-8"))
	entries, err := static.ReadDir("static")
	if err != nil {
		panic(err) // embedded: settled when this is compiled
	}
	types := map[string]string{
		".js":  "text/javascript; charset=utf-8",
		".css": "text/css; charset=utf-8",
		".svg": "image/svg+xml",
	}
	for _, e := range entries {
		if contentType, ok := types[path.Ext(e.Name())]; ok {
			mux.Handle("/static/"+e.Name(), pageFile(e.Name(), contentType))
		}
	}
	mux.Handle("/demo/config", readOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, map[string]bool{"dev": cfg.Dev != nil})
	})))
	if cfg.Dev != nil {
		mux.Handle("/demo/run", allow(newRuns(*cfg.Dev), http.MethodPost))
	}
	mux.Handle("/", notFound)

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		mux.ServeHTTP(w, r)
	})
}

// pageFile serves one of the page's own files. It is revalidated each time, so that a new binary shows at once.
func pageFile(name, contentType string) http.Handler {
	body := mustRead(name)
	sum := sha256.Sum256(body)
	return readOnly(newAsset(body, contentType, fmt.Sprintf(`W/"%x"`, sum[:8]), "no-cache"))
}
